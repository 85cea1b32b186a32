//! Bounds what goes into the log, whatever causes it.
//!
//! Callers, relays and providers cause lines, and a log without a bound fills its disk. Each line of
//! the source may write a burst of lines and then so many a minute, counted for each id, provider or
//! program that it is about: one that causes many takes no lines from the others. The number of
//! lines that were left out is logged once a minute. Lines below the configured level count nothing.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::{Condvar, Mutex};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::settings::LogLimit;

/// The fields that name what a line is about.
const SUBJECT_FIELDS: &[&str] = &["id", "provider", "pid"];
/// The fields that distinguish what repeats, besides those.
const REPEATED_FIELDS: &[&str] = &["remote", "reason", "error"];
/// The field that an event has of which more means nothing new. It is logged at once, and then
/// counted for as long as it goes on.
const REPEATS: &str = "repeats";
/// The lines of what repeats: one, and the next when the first was reported.
const REPEATED: Allowance = Allowance {
    burst: 1.0,
    per_second: 1.0 / 60.0,
};
/// The most subjects whose lines are counted each for itself, over all lines of the source. Beyond
/// it the one that was silent longest begins anew, within the bound of all subjects together.
const MAX_SUBJECTS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// The lines about all subjects together, as a multiple of those about one.
const ALL_SUBJECTS: f64 = 20.0;
/// The multiple for lines of a program's standard error, which are many lines of one text.
const PROGRAM_OUTPUT: f64 = 20.0;
/// The target of calls that are shown, which somebody watches.
const CALLS_TARGET: &str = "llamapool_relay::shown_calls";
/// The target of those lines.
const PROGRAM_OUTPUT_TARGET: &str = "llamapool_bridge::stderr";
/// The multiple at the levels debug and trace, which are chosen to see each call.
const DETAILED: f64 = 100.0;
/// The time between two reports of what was left out.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The most characters of the message that a report repeats.
const SHOWN_CHARS: usize = 100;

/// A layer that admits as many events as the log bears.
pub(super) struct Throttle(Arc<Counts>);

/// Reports what was left out: once a minute, and when this is dropped at the end of the process.
#[must_use]
pub(super) struct LeftOutReports {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

struct Counts {
    limit: LogLimit,
    hashes: RandomState,
    state: Mutex<State>,
    /// Notified when the first line is left out, and at the end.
    changed: Condvar,
}

struct State {
    lines: HashMap<Identifier, SourceLine>,
    subjects: LruCache<(Identifier, u64), Bucket>,
    has_left_out: bool,
    is_over: bool,
}

/// The events of one line of the source.
struct SourceLine {
    bucket: Bucket,
    left_out: u64,
    /// The message of the first event that was left out since the last report.
    message: String,
}

/// A token bucket of lines.
struct Bucket {
    lines: f64,
    at: Instant,
}

/// The sizes of the buckets of an event.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: f64,
    per_second: f64,
}

/// The events of one line of the source that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    message: String,
    lines: u64,
}

impl Throttle {
    /// Returns a filter with a bound. `None`: the log has none.
    pub(super) fn new(limit: LogLimit) -> Option<Self> {
        let state = State {
            lines: HashMap::new(),
            subjects: LruCache::new(MAX_SUBJECTS),
            has_left_out: false,
            is_over: false,
        };
        (limit.burst > 0).then(|| {
            Self(Arc::new(Counts {
                limit,
                hashes: RandomState::new(),
                state: Mutex::new(state),
                changed: Condvar::new(),
            }))
        })
    }

    /// Returns the reports of this filter. They come from a thread of their own, as an event cannot
    /// be logged while another one is.
    pub(super) fn reports(&self) -> LeftOutReports {
        let counts = self.0.clone();
        let thread = std::thread::Builder::new()
            .name("log-reports".to_owned())
            .spawn(move || counts.report_until_over());
        LeftOutReports {
            counts: self.0.clone(),
            // Without a thread there is one report, at the end.
            thread: thread.ok(),
        }
    }
}

impl<S: Subscriber> Layer<S> for Throttle {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event, Instant::now())
    }
}

impl Counts {
    /// Counts an event. Returns whether it is logged.
    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if metadata.target() == module_path!() {
            return true;
        }
        let mut subject = SubjectHasher {
            hasher: None,
            hashes: &self.hashes,
            repeats: repeats(metadata),
        };
        event.record(&mut subject);
        let subject = subject.hasher.map_or(0, |hasher| hasher.finish());
        let allowance = Allowance::of(metadata, self.limit);

        let is_first = {
            let mut state = self.state.lock();
            let Some(is_first) = state.count(metadata.callsite(), subject, allowance, now) else {
                return true;
            };
            is_first
        };
        if is_first {
            // Without the lock: a field may log while it is written.
            let message = message(event);
            let mut state = self.state.lock();
            if let Some(line) = state.lines.get_mut(&metadata.callsite()) {
                line.message = message;
            }
            drop(state);
            self.changed.notify_all();
        }
        false
    }

    /// Reports what is left out, until the end of the process.
    fn report_until_over(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.has_left_out && !state.is_over {
                self.changed.wait(&mut state);
            }
            let until = Instant::now() + REPORT_INTERVAL;
            while !state.is_over && !self.changed.wait_until(&mut state, until).timed_out() {}
            let is_over = state.is_over;
            drop(state);

            self.report();
            if is_over {
                return;
            }
        }
    }

    fn report(&self) {
        for LeftOut { message, lines } in self.take_left_out() {
            tracing::warn!(
                lines, like = message,
                people = %format_args!("… {lines} more times in the last minute: {message}"),
                "lines were left out of this log"
            );
        }
    }

    fn take_left_out(&self) -> Vec<LeftOut> {
        let mut state = self.state.lock();
        state.has_left_out = false;
        let mut left_out: Vec<_> = state
            .lines
            .values_mut()
            .filter(|line| line.left_out > 0)
            .map(|line| LeftOut {
                message: std::mem::take(&mut line.message),
                lines: std::mem::take(&mut line.left_out),
            })
            .collect();
        left_out.sort_by(|one, other| one.message.cmp(&other.message));
        left_out
    }
}

impl State {
    /// Counts an event. Returns `None` if it is logged, and otherwise whether it is the first of
    /// its line that was left out since the last report.
    fn count(
        &mut self,
        callsite: Identifier,
        subject: u64,
        allowance: Allowance,
        now: Instant,
    ) -> Option<bool> {
        let of_all = allowance.times(ALL_SUBJECTS);
        let line = self
            .lines
            .entry(callsite.clone())
            .or_insert_with(|| SourceLine {
                bucket: Bucket::full(of_all, now),
                left_out: 0,
                message: String::new(),
            });
        let own = self
            .subjects
            .get_or_insert_mut((callsite, subject), || Bucket::full(allowance, now));

        // One that has used up its own lines takes none of those of all.
        if own.has_line(allowance, now) && line.bucket.has_line(of_all, now) {
            own.lines -= 1.0;
            line.bucket.lines -= 1.0;
            return None;
        }
        line.left_out += 1;
        self.has_left_out = true;
        Some(line.left_out == 1)
    }
}

impl Bucket {
    fn full(allowance: Allowance, now: Instant) -> Self {
        Self {
            lines: allowance.burst,
            at: now,
        }
    }

    /// Adds what has come in since the last time. Returns whether a line can be taken.
    fn has_line(&mut self, allowance: Allowance, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.lines = (self.lines + passed * allowance.per_second).min(allowance.burst);
        self.at = now;
        self.lines >= 1.0
    }
}

impl Allowance {
    /// Returns the lines that an event about one subject may have.
    fn of(metadata: &Metadata<'_>, limit: LogLimit) -> Self {
        let one = Self {
            burst: f64::from(limit.burst),
            per_second: f64::from(limit.per_minute) / 60.0,
        };
        if repeats(metadata) {
            REPEATED
        } else if *metadata.level() > Level::INFO || metadata.target() == CALLS_TARGET {
            one.times(DETAILED)
        } else if metadata.target() == PROGRAM_OUTPUT_TARGET {
            one.times(PROGRAM_OUTPUT)
        } else {
            one
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            burst: self.burst * factor,
            per_second: self.per_second * factor,
        }
    }
}

impl Drop for LeftOutReports {
    fn drop(&mut self) {
        self.counts.state.lock().is_over = true;
        self.counts.changed.notify_all();
        let has_reported = self.thread.take().map(JoinHandle::join);
        if has_reported.is_none() {
            self.counts.report();
        }
    }
}

/// Returns whether an event is declared as one that repeats.
fn repeats(metadata: &Metadata<'_>) -> bool {
    metadata.fields().field(REPEATS).is_some()
}

/// Hashes the fields that name the subject of an event, without making a text of them.
struct SubjectHasher<'a> {
    hasher: Option<std::hash::DefaultHasher>,
    hashes: &'a RandomState,
    repeats: bool,
}

impl Visit for SubjectHasher<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        let is_subject =
            SUBJECT_FIELDS.contains(&name) || (self.repeats && REPEATED_FIELDS.contains(&name));
        if is_subject {
            let hashes = self.hashes;
            let hasher = self.hasher.get_or_insert_with(|| hashes.build_hasher());
            // A hasher takes every text.
            let _ = write!(TextHasher(hasher), "{value:?}");
        }
    }
}

struct TextHasher<'a>(&'a mut std::hash::DefaultHasher);

impl fmt::Write for TextHasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Returns the beginning of the message of an event.
fn message(event: &Event<'_>) -> String {
    struct Message(String);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }

    let mut message = Message(String::new());
    event.record(&mut message);
    message.0.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests;
