//! The settings of every role: declared once in a table, given by flags, environment and file, parsed once into types.
//!
//! Everything that knows names, sources and texts of settings is in here; what a setting does is not. The one rule:
//! flag before environment before file before default, and what is wrong stops the start and never shows a secret.

mod address;
mod demo;
mod environment;
mod error;
mod file;
mod given;
mod kind;
mod logging;
mod markdown;
mod nearest;
mod program;
mod provider;
mod relay;
mod server;
mod setting;
mod tunnel;

pub use demo::DemoSettings;
pub use environment::Environment;
pub(crate) use error::Meant;
pub use error::{Place, SettingsError, Shown};
pub use given::{Flag, Given};
pub use kind::Form;
pub use logging::{LogFormat, LogSettings};
pub use markdown::{markdown, provider_markdown};
pub use nearest::nearest;
pub use relay::RelaySettings;
pub use server::{GeneratedKey, ServerSettings};
pub use setting::{Group, Naming, PerProvider, Reach, Setting, Unset, flag_of, key_of};

/// A role that a process can have, each with settings of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The public server.
    Server,
    /// The relay of an MCP provider.
    Mcp,
    /// Everything on one machine, to look at.
    Demo,
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Self] = &[Self::Server, Self::Mcp, Self::Demo];

    /// The name of its subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Mcp => "mcp",
            Self::Demo => "demo",
        }
    }

    /// The role of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }

    /// Its settings, in the order of the documents.
    pub fn table(self) -> &'static [&'static Setting] {
        match self {
            Self::Server => server::TABLE,
            Self::Mcp => relay::TABLE,
            Self::Demo => demo::TABLE,
        }
    }
}

#[cfg(test)]
mod tests;
