//! Keeps what the checked code logs, in place of a log: the reason of a failure often stands there alone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// The most events that are kept: a check that goes wrong logs some dozens.
const MAX_EVENTS: usize = 1000;
/// The prefix of the targets of llamapool's crates.
const OWN_TARGETS: &str = "llamapool";

/// The events so far. Clones are the same recorder.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<VecDeque<Recorded>>>);

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    level: Level,
    target: String,
    fields: Vec<(&'static str, String)>,
}

impl Recorder {
    /// Installs a recorder as the log of the process. One that is there already stays, and then nothing
    /// is recorded.
    pub(crate) fn install() -> Self {
        let recorder = Self::default();
        let filter = Targets::new().with_target(OWN_TARGETS, Level::DEBUG);
        let registry = tracing_subscriber::registry()
            .with(recorder.clone())
            .with(filter);
        // A second one in a process, as in tests, records nothing.
        let _ = tracing::subscriber::set_global_default(registry);
        recorder
    }

    /// Returns the values of a field in all events of a module.
    pub(super) fn values(&self, module: &str, field: &str) -> Vec<String> {
        let events = self.0.lock();
        let of_module = events.iter().filter(|event| event.target.ends_with(module));
        let fields = of_module.flat_map(|event| &event.fields);
        let values = fields.filter(|(name, _)| *name == field);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// Returns all events as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().map(Recorded::to_string).collect()
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut recorded = Recorded {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields: Vec::new(),
        };
        event.record(&mut recorded);
        let mut events = self.0.lock();
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(recorded);
    }
}

impl Visit for Recorded {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.push((field.name(), format!("{value:?}")));
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.target)?;
        for (name, value) in &self.fields {
            if *name == "message" {
                write!(f, " {value}")?;
            } else {
                write!(f, " {name}={value:?}")?;
            }
        }
        Ok(())
    }
}
