//! Errors of the command line, each in one line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use llamapool_settings::{Suggestion, command_line, suggest};

use super::Invocation;
use super::command;
use crate::doctor;
use crate::roles::Role;
use crate::settings::ConfigError;
use crate::support;
use crate::version::version_line;

/// A reason why a command line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No command.
    #[error(
        "missing command, expected one of {} (see llamapool --help)",
        commands()
    )]
    MissingCommand,
    /// A command that does not exist.
    #[error("unknown command {name:?}{} (see llamapool --help)", expected(*suggestion))]
    UnknownCommand {
        /// The word in its place.
        name: String,
        /// The command that may be meant.
        suggestion: Option<&'static str>,
    },
    /// A flag that does not exist.
    #[error("unknown flag {}{}", flag.escape_debug(), Suggestion(suggestion.as_deref()))]
    UnknownFlag {
        /// The flag, without its value.
        flag: String,
        /// The existing flag that may be meant.
        suggestion: Option<String>,
    },
    /// A word that is no flag. It is not shown, as it may be the value of a mistyped flag.
    #[error("unexpected argument: expected only flags, or for mcp and bridge a program behind --")]
    UnexpectedArgument,
    /// Another mistake in the form of the command line.
    #[error("{0}")]
    Usage(String),
    /// A wrong setting, in any source.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl CliError {
    /// Returns the error for a command that does not exist.
    pub(super) fn unknown_command(name: &str) -> Self {
        Self::UnknownCommand {
            name: name.to_owned(),
            suggestion: suggest(name, command::names()),
        }
    }
}

/// Returns help and version, at which clap stops like at an error, as texts to print, and
/// everything else as an error.
pub(super) fn or_answer(
    error: &clap::Error,
    arguments: &[OsString],
    called_as: Option<&Role>,
) -> Result<Invocation, CliError> {
    match error.kind() {
        ErrorKind::DisplayHelp => Ok(Invocation::Print(error.to_string())),
        ErrorKind::DisplayVersion => Ok(Invocation::Print(format!("{}\n", version_line()))),
        _ => Err(from_clap(error, arguments, called_as)),
    }
}

fn from_clap(error: &clap::Error, arguments: &[OsString], called_as: Option<&Role>) -> CliError {
    match error.kind() {
        ErrorKind::MissingSubcommand => CliError::MissingCommand,
        ErrorKind::InvalidSubcommand => {
            CliError::unknown_command(&text(error, ContextKind::InvalidSubcommand))
        }
        ErrorKind::UnknownArgument => {
            let flag = text(error, ContextKind::InvalidArg);
            if flag.starts_with('-') {
                unknown_flag(flag, arguments, called_as)
            } else {
                CliError::UnexpectedArgument
            }
        }
        ErrorKind::MissingRequiredArgument => CliError::Usage(format!(
            "missing argument {}",
            texts(error, ContextKind::InvalidArg).join(" ")
        )),
        ErrorKind::InvalidValue if !text(error, ContextKind::InvalidValue).is_empty() => {
            invalid_word(error)
        }
        _ => CliError::Usage(first_line(error)),
    }
}

fn unknown_flag(flag: String, arguments: &[OsString], called_as: Option<&Role>) -> CliError {
    let command = arguments.get(1).and_then(|name| name.to_str());

    // The doctor of a role has the flags of that role.
    let place = match command {
        Some(doctor::DOCTOR | support::SUPPORT) => 2,
        _ => 1,
    };
    let name = arguments.get(place).and_then(|name| name.to_str());
    let role = called_as.or_else(|| Role::by_name(name?));
    if let Some(role) = role {
        let suggestion = command_line::suggest_flag(role.schema, &flag);
        return CliError::UnknownFlag { flag, suggestion };
    }

    let is_command = command.is_some_and(|command| command::names().any(|name| name == command));
    if is_command {
        CliError::UnknownFlag {
            flag,
            suggestion: None,
        }
    } else {
        CliError::MissingCommand
    }
}

/// Returns the error for a word that is none of those that an argument can have. No setting has
/// such an argument.
fn invalid_word(error: &clap::Error) -> CliError {
    CliError::Usage(format!(
        "invalid {}: {:?}, expected {}",
        text(error, ContextKind::InvalidArg),
        text(error, ContextKind::InvalidValue),
        texts(error, ContextKind::ValidValue).join(", ")
    ))
}

/// Returns one text of an error's context, empty if there is none.
fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    }
}

/// Returns all texts of an error's context.
fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Returns the first line of an error, which clap follows with usage and hints.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();

    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Returns what was expected in place of an unknown command.
fn expected(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(_) => Suggestion(suggestion).to_string(),
        None => format!(", expected one of {}", commands()),
    }
}

fn commands() -> String {
    command::names().collect::<Vec<_>>().join(", ")
}
