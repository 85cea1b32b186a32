//! Executions: at most one for each call, one for each result, none for a refusal.

use super::{Calls, Rule, Violation};
use crate::history::{Call, Content, Execution, History, Operation, Outcome};

/// Causes besides those of status 429 and 503 with which llamapool promises that the provider has
/// not executed the call (docs/reference/errors.md).
const NOT_EXECUTED: [&str; 8] = [
    "provider_unreachable",
    "head_too_large",
    "message_too_large",
    "request_broken",
    "wrong_token",
    "origin_refused",
    "host_refused",
    "path_refused",
];

pub(super) fn check(history: &History, calls: &Calls<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (nonce, count) in &calls.executions {
        if *count > 1 {
            let call = calls.by_nonce.get(nonce);
            let excerpt = format!("{nonce} {count} times: {call:?}");
            violations.push(Violation::new(Rule::ExecutedTwice, excerpt));
        }
    }
    for execution in &history.executions {
        match calls.by_nonce.get(execution.nonce.as_str()) {
            None => {
                let excerpt = format!("{execution:?}");
                violations.push(Violation::new(Rule::UnknownExecution, excerpt));
            }
            Some(call) if !is_whole(execution, call) => {
                let excerpt = format!("{execution:?} of {call:?}");
                violations.push(Violation::new(Rule::AlteredRequest, excerpt));
            }
            Some(_) => {}
        }
    }

    let tools = history.calls.iter();
    for call in tools.filter(|call| call.operation == Operation::Tool) {
        let executed = calls.executions(&call.nonce) > 0;
        if executed && is_refused(call) {
            violations.push(Violation::of_call(Rule::ExecutedThoughRefused, call));
        }
        if !executed && has_result(call) {
            violations.push(Violation::of_call(Rule::NeverExecuted, call));
        }
    }
    violations
}

/// Returns whether the upload arrived as it was sent.
fn is_whole(execution: &Execution, call: &Call) -> bool {
    execution.upload == Some(call.upload)
}

/// Returns whether the answer promises that the call was not executed.
fn is_refused(call: &Call) -> bool {
    call.ends.iter().any(|end| match &end.outcome {
        Outcome::Answered {
            status,
            cause: Some(cause),
        } => matches!(status, 429 | 503) || NOT_EXECUTED.contains(&cause.as_str()),
        _ => false,
    })
}

fn has_result(call: &Call) -> bool {
    let mut messages = call.messages.iter();
    messages.any(|message| {
        message.nonce == call.nonce && matches!(message.content, Content::Result { .. })
    })
}
