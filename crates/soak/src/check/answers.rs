//! Answers: exactly one end for each call, in time, and with one response where it is a success.

use std::collections::HashMap;

use super::{Rule, Violation};
use crate::history::{Call, Content, History, Millis, Operation, Outcome, PROBE};

/// Time beyond the bound of a call before its end counts as late, in milliseconds.
const SLACK_MS: Millis = 5_000;
/// The longest pause in a session after which it may be gone. Less than the `SESSION_IDLE_TIMEOUT`
/// of the relays under test.
const SESSION_PAUSE_MS: Millis = 20_000;

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for call in &history.calls {
        match call.ends.as_slice() {
            [] => violations.push(Violation::of_call(Rule::NoEnd, call)),
            [_] => {}
            _ => violations.push(Violation::of_call(Rule::SeveralEnds, call)),
        }
        if is_late(call, history.lag) {
            violations.push(Violation::of_call(Rule::Late, call));
        }
        if call.caller == PROBE && !is_answered(call, 200) {
            violations.push(Violation::of_call(Rule::NotRecovered, call));
        }
        if responses(call) == 0 && must_have_response(call) {
            violations.push(Violation::of_call(Rule::NoResponse, call));
        }
        if responses(call) > 1 {
            violations.push(Violation::of_call(Rule::SeveralResponses, call));
        }
    }
    violations.extend(lost_sessions(history));
    violations
}

fn is_answered(call: &Call, wanted: u16) -> bool {
    call.ends.iter().any(|end| match &end.outcome {
        Outcome::Answered { status, .. } => *status == wanted,
        _ => false,
    })
}

fn is_late(call: &Call, lag: Millis) -> bool {
    call.ends.iter().any(|end| {
        let bound = call.began + call.within + SLACK_MS + lag;
        end.outcome == Outcome::Hung || end.at > bound
    })
}

fn responses(call: &Call) -> usize {
    let messages = call.messages.iter();
    messages
        .filter(|message| !matches!(message.content, Content::Event(_)))
        .count()
}

/// Returns whether an answer ended cleanly that has to contain a response. A stream that was
/// resumed has it once, in any of its parts, see [`super::messages`].
fn must_have_response(call: &Call) -> bool {
    matches!(call.operation, Operation::Tool | Operation::Initialize) && is_answered(call, 200)
}

/// Finds sessions that were answered with 404 although no process that holds them was ended since
/// they began.
fn lost_sessions(history: &History) -> Vec<Violation> {
    let begins = history.calls.iter();
    let begins: HashMap<&str, &Call> = begins
        .filter(|call| call.operation == Operation::Initialize)
        .map(|call| (call.nonce.as_str(), call))
        .collect();

    let mut violations = Vec::new();
    for call in &history.calls {
        // A session may be gone because its deletion was executed and the answer lost.
        if call.operation == Operation::Delete || !is_unknown_session(call) {
            continue;
        }
        let begin = call.session.as_deref().and_then(|nonce| begins.get(nonce));
        let Some(begin) = begin else { continue };
        let holder_stopped = history
            .stops
            .iter()
            .any(|stop| holds(&stop.process, &call.id) && stop.at >= begin.began);
        if !holder_stopped && !was_idle(history, call) {
            violations.push(Violation::of_call(Rule::SessionLost, call));
        }
    }
    violations
}

/// Returns whether the session of a call had no message for so long that it may have ended.
fn was_idle(history: &History, call: &Call) -> bool {
    let of_session =
        |it: &&Call| it.session == call.session || Some(&it.nonce) == call.session.as_ref();
    let earlier = history.calls.iter().filter(of_session);
    let earlier = earlier
        .map(|it| it.began)
        .filter(|began| *began < call.began);
    let last = earlier.max().unwrap_or(call.began);
    call.ends.iter().any(|end| end.at > last + SESSION_PAUSE_MS)
}

/// Returns whether a process holds sessions of an id: its relays and its provider, which have the id
/// in their names.
fn holds(process: &str, id: &str) -> bool {
    process.split('-').any(|part| part == id)
}

fn is_unknown_session(call: &Call) -> bool {
    call.session.is_some() && is_answered(call, 404)
}
