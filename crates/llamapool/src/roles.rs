//! The roles of a process as data: name, texts, settings, and the way to run it.
//!
//! A new role is a file here, an entry of [`ROLES`], a variant of [`RoleSettings`], and its
//! settings in `settings`. Command line, help, completions, man pages and documents follow.

mod bridge;
mod demo;
pub(crate) mod relay;
mod reload;
mod server;
mod worker;

use llamapool_settings::{Schema, Sources};

use crate::cli::CommandLine;
use crate::settings::{
    BridgeSettings, ConfigError, DemoSettings, RelaySettings, ServerSettings, WorkerSettings,
};

pub use bridge::ROLE as BRIDGE;
pub use demo::ROLE as DEMO;
pub use relay::ROLE as RELAY;
pub use server::ROLE as SERVER;
pub use worker::ROLE as WORKER;

/// A role of a process.
pub struct Role {
    /// Name of its subcommand.
    pub name: &'static str,
    /// Its purpose in a few words, for the list of commands.
    pub summary: &'static str,
    /// Its purpose in a paragraph, for its own help.
    pub introduction: &'static str,
    /// Command lines, for its own help.
    pub examples: &'static [&'static str],
    /// Its settings.
    pub schema: &'static Schema,
    /// Reads its configuration.
    pub resolve: fn(&Sources) -> Result<RoleSettings, ConfigError>,
}

/// The configuration of a process in its role.
#[derive(Debug)]
pub enum RoleSettings {
    /// The public server.
    Server(Box<ServerSettings>),
    /// The relay of MCP providers.
    Relay(Box<RelaySettings>),
    /// The relay of LLM runtimes.
    Worker(Box<WorkerSettings>),
    /// A program, served over HTTP on this machine.
    Bridge(Box<BridgeSettings>),
    /// Server, relay and provider in one process.
    Demo(DemoSettings),
}

/// All roles, in the order of the help.
pub static ROLES: &[&Role] = &[&SERVER, &RELAY, &WORKER, &BRIDGE, &DEMO];

impl Role {
    /// Returns the role whose subcommand has this name, `None` if there is none.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ROLES.iter().copied().find(|role| role.name == name)
    }
}

impl RoleSettings {
    /// Runs the role until the process is stopped. A relay reads its command line again on a
    /// hangup signal.
    ///
    /// # Errors
    ///
    /// If the role cannot be started, or ends by itself.
    pub fn run(self, command_line: CommandLine) -> anyhow::Result<()> {
        match self {
            Self::Server(settings) => server::run(*settings, command_line),
            Self::Relay(settings) => relay::run(*settings, command_line),
            Self::Worker(settings) => worker::run(*settings),
            Self::Bridge(settings) => bridge::run(*settings),
            Self::Demo(settings) => demo::run(settings),
        }
    }
}
