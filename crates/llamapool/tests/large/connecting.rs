//! `llamapool connect` for Codex: what is pasted and what `--write` puts into its file are the same, and Codex reads it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::soon;
use crate::parts::{PATH, file};

/// The part with Codex.
const CODEX: &str = "codex-0.171.0";
/// A server that is not there: what the id asks is said.
const SERVER: &str = "https://pool.example";

/// Runs a command in a home. Returns its standard output.
async fn run(mut command: Command, home: &Path) -> String {
    let path = format!("{}:{PATH}", file(CODEX, "node_modules/.bin").display());
    command.env_clear().env("HOME", home).env("PATH", path);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = soon("the command ends", command.output()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn connect(asks: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
    command.args(["connect", "notes", "-c", "codex", "--server", SERVER]);
    command.args(["--asks", asks]).args(more);
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euc", script]);
    command
}

#[tokio::test]
async fn what_is_pasted_is_what_is_written_and_codex_reads_it() {
    for asks in ["nothing", "key"] {
        let pasted = tempfile::tempdir().unwrap();
        let written = tempfile::tempdir().unwrap();

        let recipe = run(connect(asks, &[]), pasted.path()).await;
        run(shell(&recipe), pasted.path()).await;
        run(connect(asks, &["--write", "--yes"]), written.path()).await;

        let read = |home: &Path| std::fs::read_to_string(home.join(".codex/config.toml")).unwrap();
        assert_eq!(read(pasted.path()), read(written.path()), "{asks}");
        let list = run(shell("codex mcp list --json"), written.path()).await;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let transport = &list[0]["transport"];
        assert_eq!(transport["url"], format!("{SERVER}/api/mcp/id/notes"));
        let variable = (asks == "key").then_some("NOTES_TOKEN");
        assert_eq!(transport["bearer_token_env_var"].as_str(), variable);
    }
}
