//! The commands that change who may do what: `key`, `access`, `client`, `grant` and `login`; and `audit`,
//! which shows what became of it.
//!
//! They write the store of a server's data directory, whether the server runs or not, and wait until
//! a server that runs has applied the change.

mod access;
mod audit;
mod client;
mod grant;
mod key;
mod limit_flags;
mod login;
mod place;
mod table;

use clap::ArgMatches;

use crate::cli::CliError;
use crate::settings::Environment;

pub(crate) use access::{ACCESS, command as access_command};
pub(crate) use audit::{AUDIT, command as audit_command};
pub(crate) use client::{CLIENT, command as client_command};
pub(crate) use grant::{GRANT, command as grant_command};
pub(crate) use key::{KEY, command as key_command};
pub(crate) use login::{LOGIN, command as login_command};

/// A command, as it was typed.
#[derive(Debug)]
pub enum AdminCommand {
    /// `key`.
    Key(Box<key::KeyCommand>),
    /// `access`.
    Access(Box<access::AccessCommand>),
    /// `client`.
    Client(client::ClientCommand),
    /// `grant`.
    Grant(grant::GrantCommand),
    /// `login`.
    Login(login::LoginCommand),
    /// `audit`.
    Audit(audit::AuditCommand),
}

/// What a command prints.
#[derive(Debug, Default)]
pub struct Printed {
    /// On standard output: what a script reads.
    pub output: String,
    /// On standard error: what people read.
    pub notes: String,
}

impl AdminCommand {
    /// Reads the command `name` of the command line.
    pub(crate) fn read(
        name: &str,
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Result<Option<Self>, CliError> {
        match name {
            KEY => key::read(matches, environment)
                .map(Box::new)
                .map(Self::Key)
                .map(Some),
            ACCESS => access::read(matches, environment)
                .map(Box::new)
                .map(Self::Access)
                .map(Some),
            CLIENT => client::read(matches, environment)
                .map(Self::Client)
                .map(Some),
            GRANT => grant::read(matches, environment).map(Self::Grant).map(Some),
            LOGIN => login::read(matches, environment).map(Self::Login).map(Some),
            AUDIT => audit::read(matches, environment).map(Self::Audit).map(Some),
            _ => Ok(None),
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    ///
    /// If the store cannot be opened or written, or has no such record.
    pub fn run(self) -> anyhow::Result<Printed> {
        match self {
            Self::Key(command) => command.run(),
            Self::Access(command) => command.run(),
            Self::Client(command) => command.run(),
            Self::Grant(command) => command.run(),
            Self::Login(command) => command.run(),
            Self::Audit(command) => command.run(),
        }
    }
}
