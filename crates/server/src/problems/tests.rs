//! Which problems there are, by what is known of ids and relays.

use std::time::Duration;

use super::*;
use crate::calls::{FailureReason, RecentCounts, RecentFailure};

const REACHABLE: ProviderHealth = ProviderHealth::Reachable { for_ms: 1 };
const UNKNOWN: ProviderHealth = ProviderHealth::Unknown;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn down() -> ProviderHealth {
    ProviderHealth::Unreachable {
        for_ms: 1,
        error: "ImportError: no module named foo".to_owned(),
    }
}

fn member(health: &ProviderHealth) -> MemberFacts<'_> {
    MemberFacts {
        relay: "Alpha",
        is_draining: false,
        is_held: false,
        is_protected: true,
        is_program: true,
        health,
        health_since: at(7),
        connected_at: at(1),
        offered_at: at(2),
    }
}

fn id_of<'a>(id: &'a RelayId, members: Vec<MemberFacts<'a>>) -> IdFacts<'a> {
    IdFacts {
        id,
        members,
        recent: RecentCounts::default(),
        last_error: None,
        is_open: false,
    }
}

fn failed(failed: u64, calls: u64, reason: FailureReason) -> RecentCounts {
    RecentCounts {
        calls,
        failed,
        failure: Some(RecentFailure {
            since: at(9),
            reason,
        }),
    }
}

fn problems_of(ids: Vec<IdFacts<'_>>) -> Vec<Problem> {
    problems(&Facts {
        ids,
        absent: Vec::new(),
    })
}

/// An id is green only where something is known, and nothing bad.
#[test]
fn an_id_is_up_only_if_that_is_known() {
    let id: RelayId = "notes".parse().unwrap();
    let down = down();
    let state = |members, recent| {
        let facts = IdFacts {
            recent,
            ..id_of(&id, members)
        };
        state_of(&facts)
    };
    let ok = RecentCounts {
        calls: 3,
        ..RecentCounts::default()
    };
    let none = RecentCounts::default;
    let drains = |health| MemberFacts {
        is_draining: true,
        ..member(health)
    };

    assert_eq!(state(vec![member(&REACHABLE)], none()), IdState::Up);
    assert_eq!(state(vec![member(&UNKNOWN)], none()), IdState::Unknown);
    assert_eq!(state(vec![member(&UNKNOWN)], ok), IdState::Up);
    assert_eq!(state(vec![member(&down)], ok), IdState::ProviderDown);
    assert_eq!(
        state(vec![member(&down), member(&REACHABLE)], ok),
        IdState::Up
    );
    assert_eq!(
        state(vec![member(&down), drains(&REACHABLE)], ok),
        IdState::ProviderDown
    );
    assert_eq!(state(vec![drains(&REACHABLE)], ok), IdState::Draining);
    let failing = failed(1, 20, FailureReason::Status(500));
    assert_eq!(state(vec![member(&REACHABLE)], failing), IdState::Failing);
}

#[test]
fn failing_calls_are_told_with_their_share_and_cause() {
    let id: RelayId = "notes".parse().unwrap();
    let facts = IdFacts {
        recent: failed(14, 20, FailureReason::Word("provider_exited")),
        last_error: Some(("provider_exited", "it ended".to_owned())),
        ..id_of(&id, vec![member(&REACHABLE)])
    };

    let problems = problems_of(vec![facts.clone()]);

    let problem = &problems[0];
    assert_eq!(problems.len(), 1);
    assert_eq!(problem.kind, ProblemKind::Failing);
    assert_eq!(problem.level, ProblemLevel::Warning);
    assert_eq!((problem.count, problem.of), (14, Some(20)));
    assert_eq!(problem.cause, Some("provider_exited"));
    assert_eq!(problem.hop, Hop::Provider);
    assert_eq!(problem.text, "it ended");
    assert_eq!(problem.todo, Cause::ProviderExited.advice());
    assert_eq!(problem.since, at(9));
    let all = IdFacts {
        recent: failed(20, 20, FailureReason::Status(503)),
        ..facts
    };
    let problems = problems_of(vec![all]);
    assert_eq!(problems[0].level, ProblemLevel::Error);
    assert_eq!(problems[0].cause, Some("provider_error"));
    assert_eq!(problems[0].text, "the provider answered with status 503");
}

/// Where its provider is down, the calls that fail of it are no second problem.
#[test]
fn a_provider_that_is_down_is_one_problem_with_its_last_words() {
    let id: RelayId = "notes".parse().unwrap();
    let down = down();
    let facts = IdFacts {
        recent: failed(3, 3, FailureReason::Word("provider_not_started")),
        ..id_of(&id, vec![member(&down)])
    };

    let problems = problems_of(vec![facts]);

    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].kind, ProblemKind::ProviderDown);
    assert_eq!(problems[0].text, "ImportError: no module named foo");
    assert_eq!(problems[0].cause, Some("provider_not_started"));
    assert_eq!((problems[0].count, problems[0].since), (3, at(7)));

    let shared = id_of(&id, vec![member(&down), member(&REACHABLE)]);
    assert_eq!(problems_of(vec![shared])[0].level, ProblemLevel::Warning);
}

#[test]
fn an_id_without_a_relay_is_a_problem_if_it_is_missed() {
    let id: RelayId = "wiki".parse().unwrap();
    let of = |was_announced, refused| {
        let absent = vec![AbsentFacts {
            id: &id,
            relay: "Alpha",
            since: at(5),
            was_announced,
            reason: "the peer was silent for too long",
            refused,
        }];
        problems(&Facts {
            ids: Vec::new(),
            absent,
        })
    };

    assert_eq!(of(true, 0), []);
    assert_eq!(of(true, 2)[0].level, ProblemLevel::Warning);
    let lost = &of(false, 3)[0];
    assert_eq!(lost.level, ProblemLevel::Error);
    assert_eq!(lost.text, "the peer was silent for too long");
    assert_eq!((lost.count, lost.since), (3, at(5)));
    assert_eq!(lost.cause, Some("relay_offline"));
}

#[test]
fn the_worst_comes_first() {
    let names = ["a", "b", "c"].map(|id| id.parse::<RelayId>().unwrap());
    let down = down();
    let open = IdFacts {
        is_open: true,
        ..id_of(
            &names[0],
            vec![MemberFacts {
                is_protected: false,
                ..member(&REACHABLE)
            }],
        )
    };
    let failing = IdFacts {
        recent: failed(1, 2, FailureReason::Status(500)),
        ..id_of(&names[1], vec![member(&REACHABLE)])
    };

    let problems = problems_of(vec![open, failing, id_of(&names[2], vec![member(&down)])]);

    let kinds: Vec<_> = problems.iter().map(|it| it.kind).collect();
    let expected = [
        ProblemKind::ProviderDown,
        ProblemKind::Failing,
        ProblemKind::Open,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn an_id_that_cannot_be_guessed_or_is_protected_is_not_noted() {
    let note = |id: &str, is_protected, is_open| {
        let id: RelayId = id.parse().unwrap();
        let member = MemberFacts {
            is_protected,
            ..member(&REACHABLE)
        };
        let facts = IdFacts {
            is_open,
            ..id_of(&id, vec![member])
        };
        !problems_of(vec![facts]).is_empty()
    };

    assert!(note("notes", false, true));
    assert!(!note("notes", true, true));
    assert!(!note("notes", false, false));
    assert!(!note("dd31ae4979c9df11a6dbec28643daef9", false, true));
}
