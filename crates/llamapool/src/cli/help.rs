//! `llamapool help`, and what a bare `llamapool` shows.

use std::ffi::OsString;

use super::command::{self, HELP};

/// Returns `llamapool help server` as `llamapool server --help`, and every other command line as it is.
pub(super) fn as_flag(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_asked = arguments.get(1).is_some_and(|word| word == HELP);
    if is_asked {
        while arguments.get(1).is_some_and(|word| word == HELP) {
            arguments.remove(1);
        }
        if !arguments.iter().skip(1).any(|word| word == "--help") {
            arguments.push("--help".into());
        }
    }
    arguments
}

/// Returns the commands and examples, for a command line without a command.
pub(super) fn short() -> String {
    command::top().render_help().to_string()
}
