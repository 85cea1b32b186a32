//! The problem of an id whose calls fail.

use llamapool_wire::{Cause, Hop};

use super::{IdFacts, Problem, ProblemKind, ProblemLevel};
use crate::calls::{FailureReason, RecentFailure};

/// The words of a reason, as the errors have them.
struct Words {
    cause: &'static str,
    hop: Hop,
    todo: &'static str,
}

/// Returns the problem of an id whose calls failed in the last minute.
pub(super) fn problem(id: &IdFacts<'_>) -> Option<Problem> {
    let RecentFailure { since, reason } = id.recent.failure?;
    let Words { cause, hop, todo } = words(reason);
    let is_total = id.recent.failed >= id.recent.calls;

    Some(Problem {
        kind: ProblemKind::Failing,
        level: if is_total {
            ProblemLevel::Error
        } else {
            ProblemLevel::Warning
        },
        id: id.id.clone(),
        relay: match &id.members[..] {
            [only] => Some(only.relay.to_owned()),
            _ => None,
        },
        hop,
        cause: Some(cause),
        since,
        count: id.recent.failed,
        of: Some(id.recent.calls),
        text: text(id, reason),
        todo: todo.to_owned(),
    })
}

/// Returns the details of the newest failure.
fn text(id: &IdFacts<'_>, reason: FailureReason) -> String {
    match (reason, &id.last_error) {
        (FailureReason::Status(status), _) => format!("the provider answered with status {status}"),
        (FailureReason::Word(word), Some((last, message))) if word == *last => message.clone(),
        (FailureReason::Word(word), _) => {
            let cause = Cause::from_word(word);
            cause.map_or(word, |it| it.meaning().trim()).to_owned()
        }
    }
}

fn words(reason: FailureReason) -> Words {
    let FailureReason::Word(word) = reason else {
        return Words {
            cause: "provider_error",
            hop: Hop::Provider,
            todo: "Look into the log of the provider: it answers with a status of 500 or more.",
        };
    };
    if let Some(cause) = Cause::from_word(word) {
        return Words {
            cause: cause.word(),
            hop: cause.hop(),
            todo: cause.advice(),
        };
    }
    // An answer that began and did not end in order.
    let todo = match word {
        "timed_out" => {
            "Look into the log of the provider, or raise `STREAM_IDLE_TIMEOUT` or `CALL_TIMEOUT` of the server."
        }
        _ => {
            "Look into the logs of the provider and of the relay: answers break off after they have begun."
        }
    };
    Words {
        cause: word,
        hop: Hop::Provider,
        todo,
    }
}
