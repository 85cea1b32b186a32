//! The settings of every role: each declared and read in one file, beside the configuration that it
//! becomes.
//!
//! The engine is in `llamapool-settings`; the effect of a setting is in the crate of its
//! configuration. A new setting is declared in the file of its subsystem, listed in its `SETTINGS`
//! and read in its `resolve`; flag, variable, key, help and documents follow.

mod address;
mod allowed_hosts;
mod bridge;
mod config_file;
mod demo;
mod error;
mod fixed;
pub mod group;
mod headers;
mod logging;
mod memory;
mod relay;
mod server;
mod tunnel;
mod url;
mod value;
mod worker;

pub use bridge::BridgeSettings;
pub use demo::{DemoProvider, DemoSettings};
pub use error::ConfigError;
pub use llamapool_settings::Environment;
pub use logging::{LogFormat, LogLimit, LogSettings, LogStyle};
pub use relay::RelaySettings;
pub use relay::mcp_servers::{McpServersError, ServersFile, ServersFileError};
pub(crate) use server::data_dir as server_data_dir;
pub use server::{GeneratedKey, ServerSettings};
pub use worker::WorkerSettings;

pub(crate) use bridge::SCHEMA as BRIDGE;
pub(crate) use demo::SCHEMA as DEMO;
pub(crate) use relay::SCHEMA as RELAY;
pub(crate) use server::SCHEMA as SERVER;
pub(crate) use value::model_patterns;
pub(crate) use worker::SCHEMA as WORKER;

#[cfg(test)]
mod tests;
