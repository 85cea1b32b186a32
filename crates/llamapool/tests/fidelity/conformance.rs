//! The conformance suite reports the same for a provider through llamapool as directly, check by
//! check.
//!
//! The checks are compared, not the exit codes, with which the suite accepts many a broken proxy.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::counts::{Form, check};
use crate::differential::{MANY_COMMENTS, Route};
use crate::harness::Settings;
use crate::parts::{PATH, root};
use crate::programs::{Program, installed};

/// The time limit of one mode; `run` has its own limit of 300 s.
const LONGEST: Duration = Duration::from_secs(330);
/// The outcomes of a check.
pub(crate) const KINDS: [&str; 4] = ["passed", "failed", "warned", "skipped"];

/// The modes in which the suite runs.
const MODES: [&str; 3] = ["2025-11-25", "2026-07-28", "all"];

/// Returns the report on the project's own provider without llamapool; the suite runs once in a
/// process.
pub(crate) async fn direct_report(mode: &str) -> &'static Value {
    static REPORTS: [OnceCell<Value>; MODES.len()] = [const { OnceCell::const_new() }; MODES.len()];

    let index = MODES.iter().position(|it| *it == mode).expect("a mode");
    let run = async || {
        let program = Program::conformance().await;
        let report = run_suite(&program.url(), mode).await;
        check(mode, Form::Direct, &report);
        report
    };
    REPORTS[index].get_or_init(run).await
}

/// Runs the suite against the provider at a URL and returns its report for this mode.
pub(crate) async fn run_suite(url: &str, mode: &str) -> Value {
    let mut command = Command::new("python3");
    command
        .arg(root().join("tests/parts/conformance/run"))
        .args([url, "--mode", mode]);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LLAMAPOOL_PARTS", installed(""));
    command.stdin(Stdio::null()).kill_on_drop(true);

    let output = tokio::time::timeout(LONGEST, command.output())
        .await
        .expect("the suite ends")
        .expect("it starts");

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    summary["modes"][mode].clone()
}

/// Compares the report through llamapool with the direct one.
async fn compare_reports(mode: &str, settings: Settings<'_>) {
    let program = Program::conformance().await;
    let direct = direct_report(mode).await;
    let endpoint = Route::Through.endpoint_with(&program.url(), settings).await;
    let through = run_suite(&endpoint.url(), mode).await;
    check(mode, Form::Through, &through);

    #[allow(
        clippy::print_stdout,
        reason = "the counts are what a reader of the log wants"
    )]
    for (route, all) in [("direct", direct), ("through", &through)] {
        let counts: Vec<_> = KINDS
            .iter()
            .map(|kind| format!("{} {kind}", all[kind]))
            .collect();
        println!("{mode} {route}: {}", counts.join(", "));
    }

    let scenarios = direct["scenarios"].as_object().expect("scenarios");
    assert!(
        !scenarios.is_empty() && direct["passed"].as_u64().unwrap() > 0,
        "{direct}"
    );

    for (name, scenario) in scenarios {
        let is_scored = scenario["scored"].as_bool().unwrap();
        assert!(
            !is_scored || scenario["failed"] == serde_json::json!([]),
            "direct, {name}: {}",
            scenario["why"]
        );
    }

    let names = |all: &Value| {
        all["scenarios"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(direct), names(&through));

    for (name, scenario) in scenarios {
        for kind in KINDS {
            let ours = &through["scenarios"][name];
            assert_eq!(
                scenario[kind], ours[kind],
                "{name}, {kind}: direct, then through: {}",
                ours["why"]
            );
        }
    }
}

#[tokio::test]
async fn the_suite_reports_the_same_of_2025_11_25() {
    compare_reports("2025-11-25", &[]).await;
}

#[tokio::test]
async fn the_suite_reports_the_same_of_2026_07_28() {
    compare_reports("2026-07-28", &[]).await;
}

#[tokio::test]
async fn the_suite_reports_the_same_of_everything() {
    compare_reports("all", &[]).await;
}

#[tokio::test]
async fn the_suite_reports_the_same_among_many_comments() {
    compare_reports("2025-11-25", MANY_COMMENTS).await;
}
