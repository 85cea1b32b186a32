//! The conformance suite reports the same for a provider that is a program, through llamapool, as
//! for the same provider directly over HTTP, check by check, except for one.

use serde_json::Value;

use crate::conformance::{KINDS, direct_report, run_suite};
use crate::counts::{Form, check};
use crate::stdio::Bridge;

/// A check that a program cannot pass.
pub(crate) struct MissingCheck {
    scenario: &'static str,
    pub(crate) check: &'static str,
    /// The reason, for the document.
    pub(crate) reason: &'static str,
}

/// The only one. The suite omits it if a stream does not end before its answer, and does not count
/// that as a failure.
pub(crate) const MISSING_CHECK: MissingCheck = MissingCheck {
    scenario: "server-sse-polling",
    check: "server-sse-disconnect-resume",
    reason: "a server over HTTP may end the event stream of a call before its answer, for the client to resume it, and a program \
             has\nno stream that it could end",
};

/// Returns the expected report of every scenario: the direct one without the missing check.
fn expected(direct: &Value) -> Value {
    let mut expected = direct["scenarios"].clone();
    if let Some(scenario) = expected.get_mut(MISSING_CHECK.scenario) {
        let passed = scenario["passed"].as_array_mut().expect("a list");
        let index = passed
            .iter()
            .position(|check| check == MISSING_CHECK.check)
            .expect("it passes directly");
        passed.remove(index);
    }

    expected
}

/// Compares the report on the program with the expected one.
async fn compare_reports(mode: &str) {
    let bridge = Bridge::conformance().await;
    let stdio = run_suite(&bridge.url(), mode).await;

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

    let expected = expected(direct_report(mode).await);
    let names = |all: &Value| {
        all.as_object()
            .expect("scenarios")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };

    assert_eq!(names(&expected), names(&stdio["scenarios"]));

    for (name, scenario) in expected.as_object().expect("scenarios") {
        for kind in KINDS {
            let ours = &stdio["scenarios"][name];
            assert_eq!(
                scenario[kind], ours[kind],
                "{name}, {kind}: direct, then stdio: {}",
                ours["why"]
            );
        }
    }

    check(mode, Form::Stdio, &stdio);
}

#[tokio::test]
async fn the_suite_reports_the_same_of_2025_11_25_over_stdio() {
    compare_reports("2025-11-25").await;
}

#[tokio::test]
async fn the_suite_reports_the_same_of_2026_07_28_over_stdio() {
    compare_reports("2026-07-28").await;
}

#[tokio::test]
async fn the_suite_reports_the_same_of_everything_over_stdio() {
    compare_reports("all").await;
}
