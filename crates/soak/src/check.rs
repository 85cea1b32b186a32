//! The checker: a pure function from a history to its violations.
//!
//! Each rule is a promise of llamapool. A history without a violation proves nothing; a violation
//! proves a fault, of llamapool or of the harness.

mod answers;
mod executions;
mod messages;
mod settled;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::settled::{DESCRIPTOR_SLACK, MEMORY_SLACK};
use crate::history::{Call, History};

/// A rule, by what breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rule {
    /// A provider executed a call twice.
    ExecutedTwice,
    /// A provider executed a call that no caller sent in the window.
    UnknownExecution,
    /// A call was refused as not executed, and was executed.
    ExecutedThoughRefused,
    /// A caller got a result, and no provider executed the call.
    NeverExecuted,
    /// The upload of a call arrived changed or cut, and the provider executed it as whole.
    AlteredRequest,
    /// A call has no end.
    NoEnd,
    /// A call ended more than once.
    SeveralEnds,
    /// A call did not end within its time.
    Late,
    /// An answer of status 200 that ended cleanly contains no response.
    NoResponse,
    /// An answer contains more than one response.
    SeveralResponses,
    /// An answer contains a message about another call.
    ForeignMessage,
    /// A download has other bytes than the provider sent.
    AlteredAnswer,
    /// An event of a stream was received again, or behind a later one.
    RepeatedEvent,
    /// An event of a stream is missing between two others, or before the result.
    MissingEvent,
    /// A cancellation reached another call than its sender meant.
    WrongCancellation,
    /// A session was gone although all processes that hold it ran on.
    SessionLost,
    /// An id did not answer a call when all faults were over.
    NotRecovered,
    /// The state after the last fault is not the truth.
    StateDiffers,
    /// The totals of the state are not those of the history.
    TotalsDiffer,
    /// A process ended without a fault that ends processes.
    ProcessExited,
    /// A process did not end after `SIGTERM`.
    ProcessStuck,
    /// Descriptors were not closed.
    DescriptorsLeaked,
    /// Memory was not given back.
    MemoryLeaked,
    /// Programs outlive their sessions.
    ProgramsLeaked,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A broken rule, with the excerpt of the history that breaks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The call, the process or the id that broke it, as text.
    pub excerpt: String,
}

impl Violation {
    fn of_call(rule: Rule, call: &Call) -> Self {
        Self::new(rule, format!("{call:?}"))
    }

    fn new(rule: Rule, excerpt: impl Into<String>) -> Self {
        Self {
            rule,
            excerpt: excerpt.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.excerpt)
    }
}

/// Returns every violation of a history.
pub fn check(history: &History) -> Vec<Violation> {
    let calls = Calls::of(history);

    let mut violations = executions::check(history, &calls);
    violations.extend(answers::check(history));
    violations.extend(messages::check(history));
    let stuck = history.stuck.iter();
    violations.extend(stuck.map(|name| Violation::new(Rule::ProcessStuck, name)));
    if let Some(settled) = &history.settled {
        violations.extend(settled::check(settled, &history.calls));
    }
    violations
}

/// The calls of a history by their nonces, with how often each was executed.
struct Calls<'a> {
    by_nonce: HashMap<&'a str, &'a Call>,
    executions: HashMap<&'a str, usize>,
}

impl<'a> Calls<'a> {
    fn of(history: &'a History) -> Self {
        let mut executions = HashMap::new();
        for execution in &history.executions {
            *executions.entry(execution.nonce.as_str()).or_default() += 1;
        }
        let calls = history.calls.iter();
        Self {
            by_nonce: calls.map(|call| (call.nonce.as_str(), call)).collect(),
            executions,
        }
    }

    fn executions(&self, nonce: &str) -> usize {
        self.executions.get(nonce).copied().unwrap_or(0)
    }
}
