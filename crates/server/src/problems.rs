//! What needs the attention of an operator: a pure function of facts that the server has anyway.
//!
//! The state, and with it every surface that shows it, has its problems and the state of each id from here,
//! so that none is green where another is red. Causes, hops and advice are those of the errors that
//! callers get.

mod facts;
mod failing;

use std::cmp::Reverse;
use std::time::SystemTime;

use llamapool_wire::{Cause, Hop, ProviderHealth, RelayId};
use serde::{Serialize, Serializer};

pub(crate) use facts::{AbsentFacts, Facts, IdFacts, MemberFacts};

/// The most problems that are listed; the worst are.
const MAX_LISTED: usize = 1000;
/// The length from which an id of hexadecimal digits cannot be guessed: 128 bits.
const UNGUESSABLE_DIGITS: usize = 32;

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProblemKind {
    /// A relay is connected, and its provider cannot be reached.
    ProviderDown,
    /// Calls failed in the last minute.
    Failing,
    /// The id had a relay and has none now.
    NoRelay,
    /// The id takes no new calls.
    Draining,
    /// Every caller that finds the URL can call the id.
    Open,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProblemLevel {
    /// For information.
    Note,
    /// Some callers are hit.
    Warning,
    /// All callers are hit.
    Error,
}

/// The state of an id in one word: how a new call would fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IdState {
    /// A relay is connected, its provider is reachable, and no call failed in the last minute.
    Up,
    /// Calls failed in the last minute.
    Failing,
    /// The provider of every relay that takes calls cannot be reached.
    ProviderDown,
    /// No relay is connected.
    NoRelay,
    /// Nothing new is taken.
    Draining,
    /// No provider was looked at yet, and none was called in the last minute.
    Unknown,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    pub(crate) level: ProblemLevel,
    pub(crate) id: RelayId,
    /// The name of the relay; null if it is not about one.
    pub(crate) relay: Option<String>,
    pub(crate) hop: Hop,
    /// A word of the errors, or `broken`, `timed_out`, `provider_error`; null for a note on access.
    pub(crate) cause: Option<&'static str>,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) since: SystemTime,
    /// The calls that failed in the last minute, or for an id without a relay those that were refused
    /// since.
    pub(crate) count: u64,
    /// The calls of the last minute that `count` is a part of; null if it is not.
    pub(crate) of: Option<u64>,
    /// Details, such as the last words of a program.
    pub(crate) text: String,
    /// What to do about it, in Markdown.
    pub(crate) todo: String,
}

/// Returns the state of an id that has relays.
pub(crate) fn state_of(id: &IdFacts<'_>) -> IdState {
    let taking = || id.members.iter().filter(|member| !member.is_draining);
    if taking().next().is_none() {
        IdState::Draining
    } else if taking().all(|it| it.is_unreachable()) {
        IdState::ProviderDown
    } else if id.recent.failure.is_some() {
        IdState::Failing
    } else if id.recent.calls == 0 && !taking().any(|it| it.is_reachable()) {
        IdState::Unknown
    } else {
        IdState::Up
    }
}

/// Returns what needs attention, the worst first, 1000 at most.
pub(crate) fn problems(facts: &Facts<'_>) -> Vec<Problem> {
    let of_ids = facts.ids.iter().flat_map(of_id);
    let mut problems: Vec<_> = of_ids
        .chain(facts.absent.iter().filter_map(absent))
        .collect();

    problems.sort_by(|one, other| {
        let key = |it: &Problem| (Reverse(it.level), it.kind);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.id.cmp(&other.id))
    });
    problems.truncate(MAX_LISTED);
    problems
}

/// Returns the problems of an id that has relays.
fn of_id(id: &IdFacts<'_>) -> Vec<Problem> {
    let down = id.members.iter().filter(|it| it.is_unreachable());
    let mut problems: Vec<_> = down.map(|member| provider_down(id, member)).collect();

    // Where no provider can be reached, that is what its calls fail of.
    let state = state_of(id);
    if state != IdState::ProviderDown {
        problems.extend(failing::problem(id));
    }
    if state == IdState::Draining {
        problems.extend(draining(id));
    }
    problems.extend(open(id));
    problems
}

fn provider_down(id: &IdFacts<'_>, member: &MemberFacts<'_>) -> Problem {
    let cause = if member.is_program {
        Cause::ProviderNotStarted
    } else {
        Cause::ProviderUnreachable
    };
    let others_serve = id
        .members
        .iter()
        .any(|other| !other.is_draining && !other.is_unreachable());
    let text = match member.health {
        ProviderHealth::Unreachable { error, .. } => error.clone(),
        _ => String::new(),
    };

    Problem {
        level: if others_serve {
            ProblemLevel::Warning
        } else {
            ProblemLevel::Error
        },
        relay: Some(member.relay.to_owned()),
        since: member.health_since,
        count: id.recent.failed,
        of: Some(id.recent.calls),
        text,
        ..Problem::of(id.id, ProblemKind::ProviderDown, cause)
    }
}

fn draining(id: &IdFacts<'_>) -> Option<Problem> {
    let member = id.members.first()?;
    let (text, todo) = if member.is_held {
        let todo = format!(
            "Let it take calls again with `llamapool undrain {}`.",
            id.id
        );
        ("an operator holds it back from calls", todo)
    } else {
        let todo = "Wait for its relay to end and to come back, or start another one.";
        ("its relay takes no new calls", todo.to_owned())
    };
    Some(Problem {
        level: ProblemLevel::Note,
        relay: Some(member.relay.to_owned()),
        since: member.offered_at,
        text: text.to_owned(),
        todo,
        ..Problem::of(id.id, ProblemKind::Draining, Cause::RelayDraining)
    })
}

/// Returns the note that an id is open to every caller that finds its URL.
fn open(id: &IdFacts<'_>) -> Option<Problem> {
    let text = id.id.as_str();
    let is_guessable =
        text.len() < UNGUESSABLE_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let member = id.members.iter().find(|member| !member.is_protected)?;
    if !id.is_open || !is_guessable {
        return None;
    }

    Some(Problem {
        kind: ProblemKind::Open,
        level: ProblemLevel::Note,
        id: id.id.clone(),
        relay: Some(member.relay.to_owned()),
        hop: Hop::Server,
        cause: None,
        since: member.connected_at,
        count: 0,
        of: None,
        text: "anyone who knows the URL can call it: it asks for no key, and its id can be guessed"
            .to_owned(),
        todo: format!(
            "Ask for a key with `llamapool access set {text} keys`, or give the relay an `AUTH_TOKEN`."
        ),
    })
}

/// Returns the problem of an id that has lost its relay. One that has left in order is none until a call
/// misses it.
fn absent(absent: &AbsentFacts<'_>) -> Option<Problem> {
    if absent.was_announced && absent.refused == 0 {
        return None;
    }
    let text = if absent.was_announced {
        "its relay has left"
    } else {
        absent.reason
    };
    Some(Problem {
        level: if absent.was_announced {
            ProblemLevel::Warning
        } else {
            ProblemLevel::Error
        },
        relay: Some(absent.relay.to_owned()),
        since: absent.since,
        count: absent.refused,
        text: text.to_owned(),
        ..Problem::of(absent.id, ProblemKind::NoRelay, Cause::RelayOffline)
    })
}

impl Problem {
    /// Returns a problem with the words of a cause.
    fn of(id: &RelayId, kind: ProblemKind, cause: Cause) -> Self {
        Self {
            kind,
            level: ProblemLevel::Error,
            id: id.clone(),
            relay: None,
            hop: cause.hop(),
            cause: Some(cause.word()),
            since: SystemTime::UNIX_EPOCH,
            count: 0,
            of: None,
            text: String::new(),
            todo: cause.advice().to_owned(),
        }
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_nanos(*time))
}

#[cfg(test)]
mod tests;
