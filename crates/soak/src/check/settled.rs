//! The state after the last fault: equal to the truth, and everything that was taken is given back.

use super::{Rule, Violation};
use crate::history::{Call, IdState, Outcome, ProcessSample, Settled};

/// Descriptors that a process may have open beyond those at the end of its first window:
/// connections that are kept for the next calls.
pub const DESCRIPTOR_SLACK: usize = 64;
/// Descriptors of a relay for each of its programs.
const DESCRIPTORS_PER_PROGRAM: usize = 4;
/// Memory that a process may hold beyond that at the end of its first windows, besides half as much
/// again: what an allocator keeps of its largest moment.
pub const MEMORY_SLACK: u64 = 96 * 1024 * 1024;

pub(super) fn check(settled: &Settled, calls: &[Call]) -> Vec<Violation> {
    let mut violations = check_state(settled);
    violations.extend(check_totals(settled, calls));
    for process in &settled.processes {
        let programs = settled.programs * DESCRIPTORS_PER_PROGRAM;
        violations.extend(check_process(process, programs));
    }
    if settled.programs > settled.programs_allowed {
        let excerpt = format!("{} run, {} may", settled.programs, settled.programs_allowed);
        violations.push(Violation::new(Rule::ProgramsLeaked, excerpt));
    }
    violations
}

fn check_state(settled: &Settled) -> Vec<Violation> {
    let Some(reported) = &settled.reported else {
        return vec![Violation::new(Rule::StateDiffers, "no answer")];
    };

    let mut violations = Vec::new();
    for truth in &settled.truth {
        let state = reported.iter().find(|state| state.id == truth.id);
        let is_true = state.is_some_and(|state| {
            state.relays == truth.relays && state.reachable == truth.relays && state.inflight == 0
        });
        if !is_true {
            let excerpt = format!("{truth:?} is reported as {state:?}");
            violations.push(Violation::new(Rule::StateDiffers, excerpt));
        }
    }
    let is_known = |state: &IdState| settled.truth.iter().any(|truth| truth.id == state.id);
    for state in reported.iter().filter(|state| !is_known(state)) {
        let excerpt = format!("{state:?} has no relay");
        violations.push(Violation::new(Rule::StateDiffers, excerpt));
    }
    violations
}

/// Compares the totals of a server that ran through the whole window. Each call with an answer of a
/// provider, or with a failure after its admission, is counted; no other can be but those that
/// were sent.
fn check_totals(settled: &Settled, calls: &[Call]) -> Vec<Violation> {
    let Some(before) = &settled.before else {
        return Vec::new();
    };
    let Some(after) = &settled.reported else {
        return Vec::new();
    };

    let mut violations = Vec::new();
    for state in after {
        let Some(start) = before.iter().find(|it| it.id == state.id) else {
            continue;
        };
        let counted = state.calls_total.saturating_sub(start.calls_total);
        let of_id = calls.iter().filter(|call| call.id == state.id);
        let least = count(of_id.clone().filter(|call| was_admitted(call)));
        let most = count(of_id.filter(|call| was_sent(call)));
        if state.calls_total < start.calls_total || counted < least || counted > most {
            let excerpt = format!("{counted} counted, {least} to {most} made: {start:?} {state:?}");
            violations.push(Violation::new(Rule::TotalsDiffer, excerpt));
        }
    }
    violations
}

fn count<'a>(calls: impl Iterator<Item = &'a Call>) -> u64 {
    calls.count().try_into().unwrap_or(u64::MAX)
}

fn was_sent(call: &Call) -> bool {
    !call.ends.iter().any(|end| end.outcome == Outcome::NotSent)
}

fn was_admitted(call: &Call) -> bool {
    call.ends.iter().any(|end| match &end.outcome {
        Outcome::Answered { cause: None, .. } | Outcome::Broken { .. } => true,
        Outcome::Answered { status, .. } => matches!(status, 502 | 504),
        _ => false,
    })
}

/// Checks one process. `programs` is the number of descriptors that the programs of a relay need.
fn check_process(process: &ProcessSample, programs: usize) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut violate =
        |rule, is_broken| violations.extend(process_violation(process, rule, is_broken));

    violate(Rule::ProcessExited, process.exited.is_some());
    let descriptors = process.descriptors_before + DESCRIPTOR_SLACK + programs;
    violate(Rule::DescriptorsLeaked, process.descriptors > descriptors);
    let memory = process.memory_before / 2 * 3 + MEMORY_SLACK;
    // The provider is a part of the harness, which keeps the events of streams for a while.
    let is_ours = !process.name.starts_with("provider");
    violate(Rule::MemoryLeaked, is_ours && process.memory > memory);
    violations
}

fn process_violation(process: &ProcessSample, rule: Rule, is_broken: bool) -> Option<Violation> {
    is_broken.then(|| Violation::new(rule, format!("{process:?}")))
}
