//! How many checks of the conformance suite pass, in every form of the project's own provider: a table of
//! `docs/fidelity.md`.
//!
//! The one rule: every run of the suite is held against the table, so the document cannot say more than was seen.

use serde_json::Value;

use crate::stdio_conformance::MISSING;

/// How the provider is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Over HTTP, straight.
    Straight,
    /// Over HTTP, through llamapool.
    Through,
    /// On standard input and output, through llamapool.
    Stdio,
}

/// How many checks pass in one mode of the suite.
struct Passed {
    mode: &'static str,
    /// What the document calls it.
    name: &'static str,
    straight: u64,
    through: u64,
    stdio: u64,
}

const PASSED: &[Passed] = &[
    Passed {
        mode: "2025-11-25",
        name: "what 2025-11-25 requires",
        straight: 84,
        through: 84,
        stdio: 83,
    },
    Passed {
        mode: "2026-07-28",
        name: "what 2026-07-28 requires",
        straight: 196,
        through: 196,
        stdio: 196,
    },
    Passed {
        mode: "all",
        name: "everything that it has",
        straight: 276,
        through: 276,
        stdio: 275,
    },
];

/// Compares what the suite says with the table.
pub(crate) fn hold(mode: &str, form: Form, said: &Value) {
    let row = PASSED
        .iter()
        .find(|row| row.mode == mode)
        .expect("a row for every mode");
    let passed = match form {
        Form::Straight => row.straight,
        Form::Through => row.through,
        Form::Stdio => row.stdio,
    };
    let found = ["passed", "failed", "warned"].map(|kind| said[kind].as_u64().expect("a number"));
    assert_eq!(
        found,
        [passed, 0, 0],
        "{mode}, {form:?}: passed, failed, warned; PASSED has the first"
    );
}

/// The section of the document.
pub(crate) fn section() -> String {
    let mut text = OPENING.to_owned();
    for Passed {
        name,
        straight,
        through,
        stdio,
        ..
    } in PASSED
    {
        text.push_str(&format!("| {name} | {straight} | {through} | {stdio} |\n"));
    }
    text.push_str(&format!(
        "\nThe one that a program lacks is `{}`:\n{}.\n",
        MISSING.check, MISSING.reason
    ));
    text
}

const OPENING: &str = "
## Conformance

How many checks of the official suite pass. They are the same ones in every column, but for the one below; none fails, and none
warns. The last column is the same provider as a program, which is spoken to on standard input and output.

| the suite runs | straight | through llamapool | a program, through llamapool |
|---|---|---|---|
";
