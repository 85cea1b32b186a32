//! The public side: gives the provider of every relay a URL and forwards each call through the
//! relay's tunnel.
//!
//! [`Server::bind`] takes the addresses, [`Server::run`] serves until it is stopped, and drains. This
//! crate reads no environment variable and installs nothing global; that is the executable's
//! business. It depends on no code of a relay: the two meet in `llamapool-wire` and on the tunnel.

mod auth;
mod calls;
mod config;
mod data_dir;
mod directory;
mod doors;
mod error;
mod listen;
mod metrics;
mod pool;
mod relays;
mod routes;
mod scheduler;
mod server;

pub use auth::{AuthConfig, KeyClass, KeyDigest, Keys, LlmKey};
pub use config::ServerConfig;
pub use data_dir::DataDirConfig;
pub use doors::llm::{AffinityScope, LlmConfig, ModelAlias};
pub use doors::mcp::{McpConfig, TrustedPages};
pub use doors::state::StateConfig;
pub use listen::ListenConfig;
pub use relays::RelaysConfig;
pub use server::Server;

/// The checks of the fuzz targets in `fuzz/`.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::doors::mcp::fuzzing::{call_head, cookie, seal, target};
}
