//! The conformance suite says the same of a provider that is a program, through llamapool, as of the same provider straight
//! over HTTP, check by check.
//!
//! The one rule: one check may be missing, and it is named here.

use serde_json::Value;

use crate::conformance::{KINDS, judged, straight};
use crate::counts::{Form, hold};
use crate::stdio::Bridge;

/// A check that a program cannot pass.
pub(crate) struct Missing {
    scenario: &'static str,
    pub(crate) check: &'static str,
    /// Why, for the document.
    pub(crate) reason: &'static str,
}

/// The only one. The suite leaves it out where a stream does not end before its answer, and does not call that a failure.
pub(crate) const MISSING: Missing = Missing {
    scenario: "server-sse-polling",
    check: "server-sse-disconnect-resume",
    reason: "a server over HTTP may end the event stream of a call before its answer, for the client to resume it, and a program \
             knows\nof no stream that it could end",
};

/// What the suite must say of every scenario: what it says straight, without the check that is missing.
fn wanted(straight: &Value) -> Value {
    let mut wanted = straight["scenarios"].clone();
    if let Some(scenario) = wanted.get_mut(MISSING.scenario) {
        let passed = scenario["passed"].as_array_mut().expect("a list");
        let place = passed
            .iter()
            .position(|check| check == MISSING.check)
            .expect("it passes straight");
        passed.remove(place);
    }
    wanted
}

async fn is_judged_the_same(mode: &str) {
    let bridge = Bridge::conformance().await;
    let stdio = judged(&bridge.url(), mode).await;
    #[allow(
        clippy::print_stdout,
        reason = "the counts are what a reader of the log wants"
    )]
    {
        let counts: Vec<_> = KINDS
            .iter()
            .map(|kind| format!("{} {kind}", stdio[kind]))
            .collect();
        println!("{mode} stdio: {}", counts.join(", "));
    }
    let wanted = wanted(straight(mode).await);
    let names = |all: &Value| {
        all.as_object()
            .expect("scenarios")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&wanted), names(&stdio["scenarios"]));
    for (name, scenario) in wanted.as_object().expect("scenarios") {
        for kind in KINDS {
            let ours = &stdio["scenarios"][name];
            assert_eq!(
                scenario[kind], ours[kind],
                "{name}, {kind}: straight, then stdio: {}",
                ours["why"]
            );
        }
    }
    hold(mode, Form::Stdio, &stdio);
}

#[tokio::test]
async fn the_suite_says_the_same_of_2025_11_25_over_stdio() {
    is_judged_the_same("2025-11-25").await;
}

#[tokio::test]
async fn the_suite_says_the_same_of_2026_07_28_over_stdio() {
    is_judged_the_same("2026-07-28").await;
}

#[tokio::test]
async fn the_suite_says_the_same_of_everything_it_has_over_stdio() {
    is_judged_the_same("all").await;
}
