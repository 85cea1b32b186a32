//! Commands as users paste them: from documents and from printed texts, run by a real shell.

use serde_json::Value;
use std::process::Stdio;
use tokio::process::Command;

use crate::harness::soon;
use crate::parts::PATH;

/// Returns the shell blocks of a Markdown document.
pub(crate) fn blocks(document: &str) -> Vec<String> {
    let inside = document.split("\n```").collect::<Vec<_>>();
    let inside = inside.into_iter().skip(1).step_by(2);
    inside
        .filter_map(|block| block.strip_prefix("sh\n"))
        .map(str::to_owned)
        .collect()
}

/// Builds a shell with a script, without the variables of this process's environment that would
/// redirect it.
pub(crate) fn bash(script: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .env_clear()
        .env("PATH", PATH);
    command
}

/// Runs a command to its end. Returns its standard output.
pub(crate) async fn run(script: &str) -> String {
    let mut command = bash(script);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = soon("the command ends", command.output())
        .await
        .expect("bash runs");
    let errors = String::from_utf8_lossy(&output.stderr);

    assert!(
        output.status.success(),
        "{script}\n{}\n{errors}",
        output.status
    );

    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a command and parses its standard output as JSON.
pub(crate) async fn run_json(script: &str) -> Value {
    let answer = run(script).await;
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{script}\n{error}: {answer:?}"))
}
