//! Messages: none about another call, each event once and in order, over all parts of a stream.

use std::collections::HashMap;

use super::{Rule, Violation};
use crate::history::{Call, Content, History, Operation};

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for call in &history.calls {
        let owner = owner(call);
        let foreign =
            |message: &crate::history::Message| !message.nonce.is_empty() && message.nonce != owner;
        if call.messages.iter().any(foreign) {
            violations.push(Violation::of_call(Rule::ForeignMessage, call));
        }
        let altered = Content::Result { intact: false };
        if call.messages.iter().any(|it| it.content == altered) {
            violations.push(Violation::of_call(Rule::AlteredAnswer, call));
        }
    }
    for parts in streams(history).into_values() {
        violations.extend(check_stream(&parts));
    }
    for cancellation in &history.cancellations {
        if cancellation.named != cancellation.meant {
            let excerpt = format!("{cancellation:?}");
            violations.push(Violation::new(Rule::WrongCancellation, excerpt));
        }
    }
    violations
}

/// Returns the nonce that the messages of a call carry.
fn owner(call: &Call) -> &str {
    match &call.operation {
        Operation::Resume(stream) => stream,
        _ => &call.nonce,
    }
}

/// Returns the parts of each stream: the call, and the requests that resumed it, by time.
fn streams(history: &History) -> HashMap<&str, Vec<&Call>> {
    let mut streams: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in &history.calls {
        if matches!(call.operation, Operation::Tool | Operation::Resume(_)) {
            streams.entry(owner(call)).or_default().push(call);
        }
    }
    for parts in streams.values_mut() {
        parts.sort_by_key(|call| call.began);
    }
    streams
}

/// Checks the numbers of the events of a stream over all its parts, and that a result of a stream
/// comes once.
fn check_stream(parts: &[&Call]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut next = 0;
    let mut results = 0;
    for message in parts.iter().flat_map(|call| &call.messages) {
        match message.content {
            Content::Event(number) if number == next => next += 1,
            Content::Event(number) => {
                let is_again = number < next;
                let rule = [Rule::MissingEvent, Rule::RepeatedEvent][usize::from(is_again)];
                violations.push(Violation::new(rule, format!("event {number}: {parts:?}")));
                next = next.max(number + 1);
            }
            Content::Result { .. } => {
                results += 1;
                if parts[0].events.is_some_and(|events| events != next) {
                    let excerpt = format!("{next} events before the result: {parts:?}");
                    violations.push(Violation::new(Rule::MissingEvent, excerpt));
                }
            }
            Content::Error { .. } => {}
        }
    }
    if parts.len() > 1 && results > 1 {
        let excerpt = format!("{results} results: {parts:?}");
        violations.push(Violation::new(Rule::SeveralResponses, excerpt));
    }
    violations
}
