//! The history of one window: the calls with what their callers received, and what the runtimes wrote.
//!
//! Data alone. Times are milliseconds of the harness's clock.

use serde::{Deserialize, Serialize};

use crate::history::Millis;

/// One window of a run, from its first call until everything has settled.
#[derive(Debug, Clone, Default)]
pub(crate) struct LlmHistory {
    /// Every call of every caller.
    pub(crate) calls: Vec<LlmCall>,
    /// The records of all runtimes, in the order in which they were written.
    pub(crate) records: Vec<AttemptRecord>,
    /// The nonces of the calls whose attempts failed, as the server logged them: one entry each.
    pub(crate) failed_attempts: Vec<String>,
    /// What was not as it should be once all faults were over; empty if all was.
    pub(crate) unsettled: Vec<String>,
    /// The longest time for which the harness itself was not run.
    pub(crate) lag: Millis,
}

/// A call of a caller.
#[derive(Debug, Clone)]
pub(crate) struct LlmCall {
    /// The mark of the call, unique in the run, which is also its request id.
    pub(crate) nonce: String,
    /// The time at which it was sent.
    pub(crate) began: Millis,
    /// The content that arrived, of all events.
    pub(crate) text: String,
    /// How it ended: exactly one entry, unless llamapool or the harness is at fault.
    pub(crate) ends: Vec<LlmEnd>,
}

/// The end of a call, as its caller saw it.
#[derive(Debug, Clone)]
pub(crate) struct LlmEnd {
    /// Its time.
    pub(crate) at: Millis,
    /// Its kind.
    pub(crate) outcome: LlmOutcome,
}

/// The kinds of ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LlmOutcome {
    /// A whole answer: a JSON answer, or a stream up to `[DONE]`.
    Whole,
    /// An error, before any event.
    Refused(Refusal),
    /// A stream that broke off, with the word of its last event if that is an error.
    Broken(Option<String>),
    /// A stream that ended as if it were whole, and has no last event.
    Endless,
    /// No answer came, although the server ran on.
    NoAnswer,
    /// The caller left on purpose.
    Left,
    /// The caller gave up after the time within which the call had to end.
    Hung,
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its status.
    pub(crate) status: u16,
    /// Its `Llamapool-Error`, empty if the runtime made it.
    pub(crate) word: String,
    /// Whether `x-should-retry` promises that nothing was executed.
    pub(crate) should_retry: bool,
}

/// The record of a runtime, written before it does what it records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AttemptRecord {
    /// It begins to compute a call.
    Begin {
        /// The mark of this attempt, which each of its words begins with.
        attempt: String,
        /// The mark of the call.
        nonce: String,
    },
    /// It writes the word of this number, counted from 0.
    Word {
        /// The mark of the attempt.
        attempt: String,
        /// The number.
        number: u32,
    },
    /// It has written all words.
    End {
        /// The mark of the attempt.
        attempt: String,
    },
}

/// Returns the word of a number that an attempt writes.
pub(crate) fn word(attempt: &str, number: u32) -> String {
    format!("{attempt}.{number} ")
}
