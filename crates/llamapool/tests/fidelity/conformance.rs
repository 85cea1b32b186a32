//! The conformance suite says the same of a provider through llamapool as straight at it, check by check.
//!
//! The one rule: counts are compared, not exit codes. The suite calls many a broken proxy a good server.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::counts::{Form, hold};
use crate::differential::{MANY_COMMENTS, Way};
use crate::harness::Settings;
use crate::parts::{PATH, root};
use crate::programs::{Program, installed};

/// For one mode, in which `run` has its own limit of 300 s.
const LONGEST: Duration = Duration::from_secs(330);
/// What a check can have come to.
pub(crate) const KINDS: [&str; 4] = ["passed", "failed", "warned", "skipped"];

/// The modes in which the suite runs.
const MODES: [&str; 3] = ["2025-11-25", "2026-07-28", "all"];

/// What the suite says of the project's own provider straight at it; it runs once in a process, however many tests ask.
pub(crate) async fn straight(mode: &str) -> &'static Value {
    static SAID: [OnceCell<Value>; MODES.len()] = [const { OnceCell::const_new() }; MODES.len()];
    let place = MODES.iter().position(|it| *it == mode).expect("a mode");
    let run = async || {
        let program = Program::conformance().await;
        let said = judged(&program.url(), mode).await;
        hold(mode, Form::Straight, &said);
        said
    };
    SAID[place].get_or_init(run).await
}

/// What the suite says of the provider at a URL.
pub(crate) async fn judged(url: &str, mode: &str) -> Value {
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

async fn is_judged_the_same(mode: &str, settings: Settings<'_>) {
    let program = Program::conformance().await;
    let direct = straight(mode).await;
    let place = Way::Through.with(&program.url(), settings).await;
    let through = judged(&place.url(), mode).await;
    hold(mode, Form::Through, &through);
    #[allow(
        clippy::print_stdout,
        reason = "the counts are what a reader of the log wants"
    )]
    for (way, all) in [("direct", direct), ("through", &through)] {
        let counts: Vec<_> = KINDS
            .iter()
            .map(|kind| format!("{} {kind}", all[kind]))
            .collect();
        println!("{mode} {way}: {}", counts.join(", "));
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
async fn the_suite_says_the_same_of_2025_11_25() {
    is_judged_the_same("2025-11-25", &[]).await;
}

#[tokio::test]
async fn the_suite_says_the_same_of_2026_07_28() {
    is_judged_the_same("2026-07-28", &[]).await;
}

#[tokio::test]
async fn the_suite_says_the_same_of_everything_it_has() {
    is_judged_the_same("all", &[]).await;
}

#[tokio::test]
async fn the_suite_says_the_same_among_many_comments() {
    is_judged_the_same("2025-11-25", MANY_COMMENTS).await;
}
