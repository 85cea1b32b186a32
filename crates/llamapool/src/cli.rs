//! The command line: which command, and the settings of its role.
//!
//! The flags of a role are derived from its settings. An error never contains a value that was
//! typed.

mod command;
mod error;
mod generate;
mod help;
mod print;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use llamapool_settings::{Sources, command_line};

pub use error::CliError;
pub use generate::write_man_pages;

use crate::admin::AdminCommand;
use crate::doctor::{self, DoctorCommand};
use crate::remote::RemoteCommand;
use crate::roles::{Role, RoleSettings};
use crate::service;
use crate::settings::{ConfigError, Environment};
use crate::support::{self, SupportCommand};

/// A parsed command line.
#[derive(Debug)]
pub enum Invocation {
    /// Print this text and exit: help, version, completions or a man page.
    Print(String),
    /// Print this text, and notes for people on standard error, and exit.
    PrintWithNotes {
        /// The text.
        text: String,
        /// The notes, each with a line end.
        notes: String,
    },
    /// Write the man pages of all commands into this directory.
    ManPages(PathBuf),
    /// Print this text as what should have been typed.
    Usage(String),
    /// Run a role.
    Run(RoleSettings),
    /// Change who may do what.
    Admin(AdminCommand),
    /// Look for what is in the way.
    Doctor(DoctorCommand),
    /// Reach a server over the network.
    Remote(RemoteCommand),
    /// Collect what helps to help.
    Support(SupportCommand),
}

/// The command line and the environment of a process, which can be read again. Not `Debug`: there are
/// secrets in both.
#[derive(Clone)]
pub struct CommandLine {
    arguments: Vec<OsString>,
    environment: Environment,
}

impl CommandLine {
    /// The command line with these arguments; the first one is the name of the program.
    pub fn new(arguments: impl IntoIterator<Item = OsString>, environment: Environment) -> Self {
        Self {
            arguments: arguments.into_iter().collect(),
            environment,
        }
    }

    /// Parses the command line and reads the settings of its role, with the files as they are now.
    ///
    /// # Errors
    ///
    /// If the command line is wrong, or a setting in any source.
    pub fn parse(&self) -> Result<Invocation, CliError> {
        parse(self.arguments.iter().cloned(), &self.environment)
    }
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
    let mut arguments = help::as_flag(arguments);
    let called_as = match arguments.first() {
        Some(program) => role_of_program(program)?,
        None => None,
    };

    if called_as.is_none() && arguments.len() <= 1 {
        return Ok(Invocation::Usage(help::short()));
    }
    if called_as.is_none() {
        arguments = match arguments.get(1).and_then(|it| it.to_str()) {
            Some(doctor::DOCTOR) => doctor::with_role(arguments, environment),
            Some(support::SUPPORT) => support::with_role(arguments, environment),
            _ => arguments,
        };
    }
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
        command::MAN => match matches.get_one::<PathBuf>(command::DIRECTORY) {
            Some(directory) => Ok(Invocation::ManPages(directory.clone())),
            None => Ok(Invocation::Print(generate::man(matches)?)),
        },
        service::SERVICE => Ok(Invocation::Print(service::read(matches)?)),
        doctor::DOCTOR => doctor::read(matches, environment).map(Invocation::Doctor),
        support::SUPPORT => support::read(matches, environment).map(Invocation::Support),
        name => {
            if let Some(command) = RemoteCommand::read(name, matches, environment)? {
                return Ok(Invocation::Remote(command));
            }
            if let Some(command) = AdminCommand::read(name, matches, environment)? {
                return Ok(Invocation::Admin(command));
            }
            match Role::by_name(name) {
                Some(role) => configure(role, matches, environment),
                None => Err(CliError::unknown_command(name)),
            }
        }
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
        Ok(settings) if command::is_printing(matches) => print::servers_file(&settings),
        Ok(settings) => Ok(Invocation::Run(settings)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
