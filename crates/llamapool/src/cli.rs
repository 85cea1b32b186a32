//! The command line: which command, and the settings of its role.
//!
//! The flags of a role are derived from its settings. An error never contains a value that was
//! typed.

mod command;
mod error;
mod generate;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::ArgMatches;
use llamapool_settings::{Sources, command_line};

pub use error::CliError;

use crate::roles::{Role, RoleSettings};
use crate::settings::{ConfigError, Environment};

/// A parsed command line.
#[derive(Debug)]
pub enum Invocation {
    /// Print this text and exit: help, version, completions or a man page.
    Print(String),
    /// Run a role.
    Run(RoleSettings),
}

/// Parses the command line and reads the settings of its role. The first argument is the name of
/// the program.
///
/// # Errors
///
/// If the command line is wrong, or a setting in any source.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Invocation, CliError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called_as = match arguments.first() {
        Some(program) => role_of_program(program)?,
        None => None,
    };

    let command = match called_as {
        Some(role) => command::of_role(role, format!("llamapool-{}", role.name)),
        None => command::top(),
    };
    let matches = match command.try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return error::or_answer(&error, &arguments, called_as),
    };

    match (called_as, matches.subcommand()) {
        (Some(role), _) => configure(role, &matches, environment),
        (None, Some((name, matches))) => invoke(name, matches, environment),
        (None, None) => Err(CliError::MissingCommand),
    }
}

/// Returns the role that the program's name stands for, as that of a symlink `llamapool-server`
/// does.
fn role_of_program(program: &OsStr) -> Result<Option<&'static Role>, CliError> {
    let name = Path::new(program)
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    let name = name.strip_suffix(".exe").unwrap_or(name);
    let Some(name) = name.strip_prefix("llamapool-") else {
        return Ok(None);
    };

    match Role::by_name(name) {
        Some(role) => Ok(Some(role)),
        None => Err(CliError::unknown_command(name)),
    }
}

fn invoke(
    name: &str,
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Invocation, CliError> {
    match name {
        command::COMPLETIONS => Ok(Invocation::Print(generate::completions(matches))),
        command::MAN => Ok(Invocation::Print(generate::man(matches)?)),
        name => match Role::by_name(name) {
            Some(role) => configure(role, matches, environment),
            None => Err(CliError::unknown_command(name)),
        },
    }
}

fn configure(
    role: &Role,
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Invocation, CliError> {
    let flags = command_line::flag_values(role.schema, matches);
    let sources = Sources::collect_leniently(role.schema, flags, environment);
    let resolved = (role.resolve)(&sources);

    match ConfigError::all(sources.take_problems(), resolved) {
        Ok(settings) => Ok(Invocation::Run(settings)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
