//! The exit codes of the process, and the form of its error: one line on standard error.
//!
//! The texts are tested beside the code. The environment of these processes is empty.

use std::process::{Command, Output};

/// Runs the executable with these arguments.
fn llamapool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llamapool"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program starts")
}

#[test]
fn wrong_usage_and_wrong_settings_end_with_64_and_one_line() {
    let wrong: &[&[&str]] = &[
        &[],
        &["sever"],
        &["server", "--prot", "1"],
        &["server", "--port", "a\nb"],
        &["server", "--config-file", "/no\nwhere"],
        &["server", "--a\nb"],
        &["mcp", "--provider-url", "nowhere"],
        &["demo", "--port"],
    ];

    for arguments in wrong {
        let output = llamapool(arguments);

        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(
            text.starts_with("llamapool: ") && text.ends_with('\n'),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_and_version_end_with_0_on_standard_output() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["server", "--help"],
        &["mcp", "--help"],
    ] {
        let output = llamapool(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty() && !output.stdout.is_empty());
    }
}
