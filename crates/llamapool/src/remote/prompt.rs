//! A question before something is done that others notice.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

/// The answer of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consent {
    /// Yes.
    Given,
    /// No, or nothing.
    Refused,
    /// There is no terminal to ask on.
    NotAsked,
}

/// Asks on the terminal. Only a yes is one.
pub(super) fn ask(question: &str) -> Consent {
    if !stdin().is_terminal() {
        return Consent::NotAsked;
    }
    // A terminal that is gone gives no consent either.
    let _ = write!(stderr(), "{question} [y/N] ");
    let _ = stderr().flush();

    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Consent::Given,
        _ => Consent::Refused,
    }
}
