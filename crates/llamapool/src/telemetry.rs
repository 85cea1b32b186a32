//! The log, on standard error: lines for people, full lines, or JSON.
//!
//! Control characters of a value are always escaped, and so are those that turn or hide text:
//! values come from callers, relays and providers, and could otherwise forge a line or control a
//! terminal. `tracing-subscriber` alone does not escape line ends.
//!
//! However many events there are, the log has a bound; see `throttle`. What people read is declared
//! by the events themselves; see `people`.

mod colours;
mod full;
mod people;
mod throttle;

use std::io::{self, IsTerminal};

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

pub(crate) use self::colours::Colours;
use self::people::PeopleLayer;
use self::throttle::{LeftOutReports, Throttle};
use crate::settings::{LogFormat, LogSettings, LogStyle};
use crate::terminal::Screen;

/// Prefix of the targets of llamapool's crates. Other crates log from `warn` on: in detail they
/// would log what passes through them, headers with keys included.
const OWN_TARGETS: &str = "llamapool";

/// Targets of the SDK of the demo's MCP server, which warns of tool names with a slash, such as the
/// walkthrough's `time/now`.
const DEMO_TARGETS: &str = "rmcp";

/// The log of a process. Dropping it, at the end of the process, logs how many lines were left out
/// last.
#[must_use]
pub struct Log {
    /// `None` if lines are never left out.
    _reports: Option<LeftOutReports>,
    people: Option<Screen>,
}

/// Whether a role has a banner, which shows what some events would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Banner {
    /// It has one, where people read.
    Shown,
    /// It has one, and is server and relay in one process: the lines of the relay are enough.
    OfBothSides,
    /// It has none.
    None,
}

impl Log {
    /// Returns the screen of people; `None` in the other styles.
    pub fn people(&self) -> Option<&Screen> {
        self.people.as_ref()
    }
}

/// Installs the log of the process.
///
/// # Errors
///
/// If it was installed before.
pub fn install(log: &LogSettings, banner: Banner) -> Result<Log, SetGlobalDefaultError> {
    let is_terminal = io::stderr().is_terminal();
    let colours = Colours::of_process(is_terminal);
    let throttle = Throttle::new(log.limit);
    let reports = throttle.as_ref().map(Throttle::reports);

    let people = is_for_people(log, is_terminal).then(|| Screen::stderr(is_terminal, colours));
    let dispatch = match &people {
        Some(screen) => for_people(log.level, throttle, screen.clone(), banner),
        None => full(log, colours, throttle, io::stderr),
    };
    tracing::dispatcher::set_global_default(dispatch)?;

    for flag in &log.secret_flags {
        tracing::warn!(
            flag,
            "every user of this machine can read a flag in the list of processes: \
             set the secret as a variable of the environment, or its file with {flag}-file"
        );
    }
    Ok(Log {
        _reports: reports,
        people,
    })
}

/// Returns whether the log is for people. Details are for those who look for a fault: they get full
/// lines.
fn is_for_people(log: &LogSettings, is_terminal: bool) -> bool {
    if log.format == LogFormat::Json {
        return false;
    }
    match log.style {
        LogStyle::Full => false,
        LogStyle::People => true,
        LogStyle::Auto => is_terminal && log.level <= LevelFilter::INFO,
    }
}

fn for_people(
    level: LevelFilter,
    throttle: Option<Throttle>,
    screen: Screen,
    banner: Banner,
) -> Dispatch {
    finish(PeopleLayer::new(screen, banner), level, throttle)
}

fn full<W>(log: &LogSettings, colours: Colours, throttle: Option<Throttle>, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    match log.format {
        LogFormat::Text => finish(full::text(colours, writer), log.level, throttle),
        LogFormat::Json => finish(full::json(writer), log.level, throttle),
    }
}

fn finish(
    lines: impl Layer<Registry> + Send + Sync,
    level: LevelFilter,
    throttle: Option<Throttle>,
) -> Dispatch {
    let log = tracing_subscriber::registry().with(lines);
    // The filters are for all of the log: the last one sees the events that the others admit. Those
    // of `with_filter` are for one layer of several, and cannot refuse an event.
    match throttle {
        Some(throttle) => Dispatch::new(log.with(throttle).with(targets(level))),
        None => Dispatch::new(log.with(targets(level))),
    }
}

/// Returns the filter by level.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(OWN_TARGETS, level)
        .with_target(DEMO_TARGETS, level.min(LevelFilter::ERROR))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use llamapool_wire::controls_display;
    use parking_lot::Mutex;

    use super::*;
    use crate::settings::LogLimit;

    /// Control characters of every kind: line end, carriage return, escape sequence, DEL, and CSI
    /// as one character; then text that is turned around, and text without width.
    const HOSTILE: &str =
        "a\nINFO b\r\u{1b}[31mc\u{7f}\u{9b}31md\te\0f\u{202e}g\u{2028}h\u{feff}i\u{e0041}";

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(
        level: LevelFilter,
        format: LogFormat,
        colours: Colours,
        events: impl FnOnce(),
    ) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let limit = LogLimit {
            burst: 0,
            per_minute: 0,
        };
        let settings = LogSettings {
            level,
            format,
            style: LogStyle::Full,
            limit,
            secret_flags: Vec::new(),
        };
        let dispatch = full(&settings, colours, None, move || writer.clone());

        tracing::dispatcher::with_default(&dispatch, events);

        let bytes = buffer.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn hostile_events() {
        let error = io::Error::other(HOSTILE);
        let span = tracing::info_span!("span", name = %HOSTILE);
        let _entered = span.enter();

        tracing::info!(
            text = HOSTILE,
            shown = %HOSTILE,
            debug = ?HOSTILE,
            error = &error as &dyn std::error::Error,
            "{HOSTILE}"
        );
    }

    #[test]
    fn control_characters_never_reach_a_text_log() {
        let text = logged(
            LevelFilter::INFO,
            LogFormat::Text,
            Colours::Off,
            hostile_events,
        );

        for part in ["shown=", "span{", "error="] {
            assert!(text.contains(part), "{text:?}");
        }
        assert!(text.ends_with('\n'));
        assert_eq!(
            text.trim_end_matches('\n').find(controls_display),
            None,
            "{text:?}"
        );
    }

    #[test]
    fn control_characters_never_reach_a_json_log() {
        let text = logged(
            LevelFilter::INFO,
            LogFormat::Json,
            Colours::On,
            hostile_events,
        );

        assert!(text.starts_with('{') && text.ends_with("}\n"), "{text:?}");
        for escaped in ["\\u009b", "\\u202e", "\\udb40\\udc41"] {
            assert!(text.contains(escaped), "{text:?}");
        }
        assert_eq!(
            text.trim_end_matches('\n').find(controls_display),
            None,
            "{text:?}"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        let event = || tracing::info!(port = 8080, "hello");

        let coloured = logged(LevelFilter::INFO, LogFormat::Text, Colours::On, event);
        let plain = logged(LevelFilter::INFO, LogFormat::Text, Colours::Off, event);

        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
        assert!(
            plain.ends_with("INFO llamapool::telemetry::tests: hello port=8080\n"),
            "{plain:?}"
        );
    }

    #[test]
    fn other_crates_log_from_warn_on() {
        let events = || {
            tracing::debug!("ours");
            tracing::trace!("too much");
            tracing::debug!(target: "llamapool_relay::supervisor", "sister");
            tracing::info!(target: "hyper::client", "theirs");
            tracing::warn!(target: "hyper::client", "loud");
        };
        let text = |level| logged(level, LogFormat::Text, Colours::Off, events);

        let debug = text(LevelFilter::DEBUG);

        for word in ["ours", "sister", "loud"] {
            assert!(debug.contains(word), "{debug}");
        }
        for word in ["too much", "theirs"] {
            assert!(!debug.contains(word), "{debug}");
        }
        assert_eq!(text(LevelFilter::OFF), "");
        assert_eq!(text(LevelFilter::ERROR), "");
    }
}
