//! Files of MCP servers at the command line: exit codes, and what goes to which output.

use std::process::{Command, Output};

fn mcp(content: &[u8], arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mcp.json");
    std::fs::write(&path, content).unwrap();

    Command::new(env!("CARGO_BIN_EXE_llamapool"))
        .args(["mcp", "--mcp-servers"])
        .arg(&path)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TOKEN", "hunter2")
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The reasons are in the texts that are tested beside the code.
#[test]
fn a_wrong_file_exits_with_64_and_shows_no_secret() {
    let deep = "{\"mcpServers\":".repeat(50_000);
    let huge = format!("{{\"mcpServers\": \"{}\"}}", "hunter2".repeat(200_000));
    let files: &[&[u8]] = &[
        b"",
        b"hunter2",
        b"{\"mcpServers\": {\"a\": {\"command\": \"hunter2",
        b"{\"mcpServers\": {\"a\": {\"command\": [\"hunter2\"]}}}",
        b"{\"mcpServers\": {\"a\": {\"command\": \"sh\", \"env\": {\"A\": [\"hunter2\"]}}}}",
        b"{\"mcpServers\": {\"a\": {\"url\": \"ftp://${TOKEN}\"}}}",
        b"{\"mcpServers\": {\"a\": {\"url\": \"http://a\", \"headers\": {\"A\": \"${TOKEN}\\n\"}}}}",
        b"{\"mcpServers\": {\"..\": {\"command\": \"sh\"}}}",
        b"{\"servers\": {\"a\": {\"command\": \"${input:hunter}\"}}}",
        b"\xff\xfe{\0}\0",
        deep.as_bytes(),
        huge.as_bytes(),
    ];
    for file in files {
        let output = mcp(file, &[]);

        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.starts_with("llamapool: "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.lines().all(|line| line.len() < 500), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn printing_is_toml_on_one_output_and_a_warning_on_the_other() {
    let file = br#"{"mcpServers": {
        "my notes": {"command": "sh", "args": ["-c", "a b"], "env": {"KEY": "${TOKEN}"}, "disabledTools": []}
    }}"#;

    let output = mcp(file, &["--print", "--id-prefix", "me."]);

    let printed = text(&output.stdout);
    let notes = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{notes}");
    let table = "\n[[provider]]\nid = \"me.my-notes\"\ncommand = \"sh\"\nargs = [\"-c\", \"a b\"]\n\
                 env = { KEY = \"hunter2\" }\n";
    assert!(printed.ends_with(table), "{printed}");
    assert!(printed.starts_with("# "), "{printed}");
    assert_eq!(notes.lines().count(), 2, "{notes}");
    assert!(notes.contains("my notes.disabledTools"), "{notes}");
    assert!(
        notes.contains("may be secrets") && !notes.contains("hunter2"),
        "{notes}"
    );
}

#[test]
fn printing_without_a_file_is_wrong_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_llamapool"))
        .args(["mcp", "--print"])
        .env_clear()
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("--print is for the file of --mcp-servers"));
}
