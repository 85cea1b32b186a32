//! The sums over all windows of a run: what its report is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::{Rule, Violation};
use crate::history::{Call, Operation, Outcome, ProcessSample};
use crate::window::WindowResult;

/// Violations that are kept with their excerpts; further ones are counted.
const KEPT_VIOLATIONS: usize = 100;
/// Characters of an excerpt that are kept.
const KEPT_CHARACTERS: usize = 900;

/// A violation with the window that it was found in.
#[derive(Debug, Clone)]
pub(crate) struct FoundViolation {
    pub(crate) window: u32,
    pub(crate) seed: u64,
    pub(crate) violation: Violation,
}

/// The processes at the end of a window.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// Since the start of the run.
    pub(crate) at: Duration,
    pub(crate) processes: Vec<ProcessSample>,
}

/// The sums.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) windows: u32,
    pub(crate) calls: u64,
    pub(crate) executions: u64,
    pub(crate) cancellations: u64,
    /// Streams that were resumed.
    pub(crate) resumes: u64,
    pub(crate) sessions: u64,
    pub(crate) outcomes: BTreeMap<String, u64>,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) rules: BTreeMap<Rule, u64>,
    pub(crate) violations: Vec<FoundViolation>,
    pub(crate) failures: Vec<String>,
    pub(crate) moments: Vec<Moment>,
    pub(crate) slowest_settling: Duration,
}

impl Totals {
    /// Adds a window.
    pub(crate) fn add(&mut self, at: Duration, window: u32, seed: u64, result: &WindowResult) {
        self.windows += 1;
        self.slowest_settling = self.slowest_settling.max(result.settled_after);
        self.executions += result.history.executions.len() as u64;
        self.cancellations += result.history.cancellations.len() as u64;
        for call in &result.history.calls {
            self.calls += 1;
            match &call.operation {
                Operation::Resume(_) => self.resumes += 1,
                Operation::Initialize => self.sessions += 1,
                Operation::Tool | Operation::Notify | Operation::Delete => {}
            }
            *self.outcomes.entry(outcome(call)).or_default() += 1;
        }
        for fault in &result.faults {
            *self.faults.entry(fault.clone()).or_default() += 1;
        }
        for violation in &result.violations {
            *self.rules.entry(violation.rule).or_default() += 1;
            if self.violations.len() < KEPT_VIOLATIONS {
                self.violations.push(FoundViolation {
                    window,
                    seed,
                    violation: shortened(violation),
                });
            }
        }
        let failures = result.failures.iter().cloned();
        let room = KEPT_VIOLATIONS.saturating_sub(self.failures.len());
        self.failures.extend(failures.take(room));
        if let Some(settled) = &result.history.settled {
            let processes = settled.processes.clone();
            self.moments.push(Moment { at, processes });
        }
    }

    /// Returns the number of faults.
    pub(crate) fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Returns the number of violations.
    pub(crate) fn violation_count(&self) -> u64 {
        self.rules.values().sum()
    }
}

fn shortened(violation: &Violation) -> Violation {
    Violation {
        rule: violation.rule,
        excerpt: violation.excerpt.chars().take(KEPT_CHARACTERS).collect(),
    }
}

/// Returns the end of a call as a row of the report.
fn outcome(call: &Call) -> String {
    let [end] = call.ends.as_slice() else {
        return "no end, or several".to_owned();
    };
    match &end.outcome {
        Outcome::Answered {
            status,
            cause: None,
        } => format!("answered {status}"),
        Outcome::Answered {
            status,
            cause: Some(cause),
        } => format!("answered {status} {cause}"),
        Outcome::Broken { status } => format!("answer of {status} broken off"),
        Outcome::NoAnswer => "connection lost before an answer".to_owned(),
        Outcome::NotSent => "no connection".to_owned(),
        Outcome::Left => "caller left".to_owned(),
        Outcome::Hung => "no end within its time".to_owned(),
    }
}
