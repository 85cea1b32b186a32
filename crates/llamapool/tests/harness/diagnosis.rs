//! What `llamapool doctor` says of a role.

use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// The longest time of a doctor: it waits 30 s in silence.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a doctor has found.
pub struct Diagnosis {
    /// The exit code.
    pub code: Option<i32>,
    /// The report.
    pub report: Value,
    /// What it printed.
    pub output: String,
}

impl Diagnosis {
    /// Runs `llamapool doctor ROLE --json` with these flags and no other environment than these
    /// variables. The words behind `--` come last.
    pub async fn of(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let output = Self::printed(&[&["doctor"], arguments].concat(), environment).await;
        let text = String::from_utf8(output.stdout).expect("it is text");
        let notes = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_str(&text);
        Self {
            code: output.status.code(),
            report: report.unwrap_or_else(|_| panic!("no report: {text} {notes}")),
            output: text,
        }
    }

    /// Runs any command of llamapool with no other environment than these variables.
    pub async fn printed(arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
        command.args(arguments).env_clear().kill_on_drop(true);
        let path = std::env::var("PATH").expect("there is a PATH");
        command.env("PATH", path).envs(environment.iter().copied());
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        output.expect("the doctor ends").expect("it starts")
    }

    /// Returns what it says of the check with a cause: the worst, if it made it several times.
    pub fn check(&self, cause: &str) -> (&str, String) {
        let checks = self.report["checks"].as_array().expect("a list");
        let of_cause = checks.iter().filter(|check| check["cause"] == cause);
        let rank = |check: &&Value| {
            let status = check["status"].as_str().unwrap_or_default();
            ["not_looked_at", "ok", "warn", "fail"]
                .iter()
                .position(|it| *it == status)
        };
        let worst = of_cause.max_by_key(rank);
        let worst = worst.unwrap_or_else(|| panic!("no check {cause}: {}", self.output));
        (worst["status"].as_str().expect("a word"), worst.to_string())
    }

    /// Checks what it says of a check.
    pub fn has(&self, cause: &str, status: &str, text: &str) {
        let (found, check) = self.check(cause);
        assert_eq!(found, status, "{check}\n{}", self.output);
        assert!(check.contains(text), "expected {text:?} in {check}");
        if matches!(status, "warn" | "fail") {
            assert!(check.contains("\"remedy\""), "{check}");
        }
    }

    /// Returns the causes of the checks with a status.
    pub fn with_status(&self, status: &str) -> Vec<&str> {
        let checks = self.report["checks"].as_array().expect("a list");
        let of_status = checks.iter().filter(|check| check["status"] == status);
        of_status
            .filter_map(|check| check["cause"].as_str())
            .collect()
    }
}
