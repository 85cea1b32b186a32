//! The commands that reach a server over its public and its administration API: `status`, `connect`, `call`,
//! `drain`, `undrain` and `kick`. They need no file of the server, and run anywhere.
//!
//! Everything that comes from a server is foreign text: it is cut, and shown without what would control a terminal.

mod address;
mod call;
mod client;
mod connect;
mod control;
mod flags;
mod prompt;
mod state;
mod status;
mod text;

use clap::{ArgMatches, Command};

use crate::cli::CliError;
use crate::settings::Environment;

/// Exit code: the server, or what is behind it, reports something wrong.
const PROBLEM: u8 = 1;
/// Exit code: no server of llamapool could be reached (`EX_UNAVAILABLE` of `sysexits.h`).
const UNAVAILABLE: u8 = 69;
/// Exit code: a key is missing, wrong, or not for this (`EX_NOPERM` of `sysexits.h`).
const NO_PERMISSION: u8 = 77;

/// A command, as it was typed.
#[derive(Debug)]
pub enum RemoteCommand {
    /// `status`.
    Status(status::StatusCommand),
    /// `connect`.
    Connect(connect::ConnectCommand),
    /// `call`.
    Call(call::CallCommand),
    /// `drain`, `undrain` and `kick`.
    Control(control::ControlCommand),
}

/// What a command prints at its end.
#[derive(Debug, Default)]
pub struct Finished {
    /// On standard output: what a script reads.
    pub output: String,
    /// On standard error: what people read.
    pub notes: String,
    /// The exit code.
    pub code: u8,
}

/// Returns the commands.
pub(crate) fn commands() -> [Command; 6] {
    [
        status::command(),
        connect::command(),
        call::command(),
        control::Verb::Drain.command(),
        control::Verb::Undrain.command(),
        control::Verb::Kick.command(),
    ]
}

/// The names of the commands, in the order of the help.
pub(crate) const NAMES: [&str; 6] = ["status", "connect", "call", "drain", "undrain", "kick"];

impl RemoteCommand {
    /// Reads the command `name` of the command line.
    pub(crate) fn read(
        name: &str,
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Result<Option<Self>, CliError> {
        let control = |verb| control::read(verb, matches, environment).map(Self::Control);
        let command = match name {
            "status" => Self::Status(status::read(matches, environment)?),
            "connect" => Self::Connect(connect::read(matches, environment)?),
            "call" => Self::Call(call::read(matches, environment)?),
            "drain" => control(control::Verb::Drain)?,
            "undrain" => control(control::Verb::Undrain)?,
            "kick" => control(control::Verb::Kick)?,
            _ => return Ok(None),
        };
        Ok(Some(command))
    }

    /// Runs the command.
    ///
    /// # Errors
    ///
    /// If something on this machine is in the way. What is wrong elsewhere is in the result.
    pub fn run(self) -> anyhow::Result<Finished> {
        match self {
            Self::Status(command) => command.run(),
            Self::Connect(command) => command.run(),
            Self::Call(command) => command.run(),
            Self::Control(command) => command.run(),
        }
    }
}

impl Finished {
    /// Returns the result of a command that failed elsewhere.
    fn failed(error: &client::RemoteError) -> Self {
        Self {
            notes: format!("llamapool: {}\n", text::shown(&error.to_string(), 2000)),
            code: error.code(),
            ..Self::default()
        }
    }
}
