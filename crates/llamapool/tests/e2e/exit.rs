//! Exit codes of the process, and the single line on standard error for a wrong start.
//!
//! The texts are tested beside the code. The environment of these processes is empty.

use std::process::{Command, Output};

fn llamapool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llamapool"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program starts")
}

#[test]
fn wrong_usage_and_wrong_settings_exit_with_64_and_one_line() {
    let wrong: &[&[&str]] = &[
        &["sever"],
        &["server", "--prot", "1"],
        &["server", "--port", "a\nb"],
        &["server", "--config-file", "/no\nwhere"],
        &["server", "--a\nb"],
        &["mcp", "--provider-url", "nowhere"],
        &["demo", "--port"],
        &["completions", "no\nshell"],
        &["man", "no\ncommand"],
        &["service", "print", "demo"],
        &["service", "print", "server", "--user"],
        &["service", "print", "mcp", "--program", "llama pool"],
    ];

    for arguments in wrong {
        let output = llamapool(arguments);

        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(text.starts_with("llamapool: "), "{text}");
        assert!(text.ends_with('\n'), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_a_command_help_is_on_standard_error() {
    let output = llamapool(&[]);

    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("Commands:"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn help_version_completions_and_man_pages_are_printed() {
    for arguments in [
        &["--help"][..],
        &["help"],
        &["help", "status"],
        &["--version"],
        &["server", "--help"],
        &["mcp", "--help"],
        &["completions", "bash"],
        &["man"],
        &["man", "server"],
        &["service", "print", "server"],
        &["service", "print", "mcp", "--user"],
    ] {
        let output = llamapool(arguments);

        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
}
