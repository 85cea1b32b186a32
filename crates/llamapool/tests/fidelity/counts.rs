//! The number of checks of the conformance suite that pass, for every form of the project's own
//! provider: a table of `docs/reference/fidelity.md`.
//!
//! Every run of the suite is compared with the table, so that the document cannot claim more.

use serde_json::Value;

use crate::stdio_conformance::MISSING_CHECK;

/// The transport and route of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Over HTTP, directly.
    Direct,
    /// Over HTTP, through llamapool.
    Through,
    /// On standard input and output, through llamapool.
    Stdio,
}

/// The numbers of checks that pass in one mode of the suite.
struct PassCounts {
    mode: &'static str,
    /// Its name in the document.
    name: &'static str,
    direct: u64,
    through: u64,
    stdio: u64,
}

const PASS_COUNTS: &[PassCounts] = &[
    PassCounts {
        mode: "2025-11-25",
        name: "what 2025-11-25 requires",
        direct: 84,
        through: 84,
        stdio: 83,
    },
    PassCounts {
        mode: "2026-07-28",
        name: "what 2026-07-28 requires",
        direct: 196,
        through: 196,
        stdio: 196,
    },
    PassCounts {
        mode: "all",
        name: "everything that it has",
        direct: 276,
        through: 276,
        stdio: 275,
    },
];

/// Compares a report of the suite with the table.
pub(crate) fn check(mode: &str, form: Form, report: &Value) {
    let row = PASS_COUNTS
        .iter()
        .find(|row| row.mode == mode)
        .expect("a row for every mode");
    let passed = match form {
        Form::Direct => row.direct,
        Form::Through => row.through,
        Form::Stdio => row.stdio,
    };
    let kinds = ["passed", "failed", "warned"];
    let found = kinds.map(|kind| report[kind].as_u64().expect("a number"));

    assert_eq!(
        found,
        [passed, 0, 0],
        "{mode}, {form:?}: passed, failed, warned; PASS_COUNTS has the first"
    );
}

/// Returns the section of the document.
pub(crate) fn section() -> String {
    let mut text = OPENING.to_owned();
    for PassCounts {
        name,
        direct,
        through,
        stdio,
        ..
    } in PASS_COUNTS
    {
        text.push_str(&format!("| {name} | {direct} | {through} | {stdio} |\n"));
    }

    text.push_str(&format!(
        "\nThe check that a program lacks is `{}`:\n{}.\n",
        MISSING_CHECK.check, MISSING_CHECK.reason
    ));
    text
}

const OPENING: &str = "
## Conformance

The number of checks of the official suite that pass. They are the same in every column, except for one, see below; no check
fails or warns. In the last column the same provider runs as a program on standard input and output.

| the suite runs | direct | through llamapool | a program, through llamapool |
|---|---|---|---|
";
