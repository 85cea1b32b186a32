//! The public side: gives every relay's provider a URL and forwards each call through the relay's tunnel.
//!
//! [`Server::bind`] takes the addresses, [`Server::run`] serves until it is told to drain. This crate reads no
//! environment variable and installs nothing global; that is the binary's business. It never sees a relay's code: the
//! two meet in `llamapool-wire` and on the tunnel.

mod app;
mod auth;
mod books;
mod challenge;
mod config;
mod cors;
mod doors;
mod drain;
mod edge;
mod entrance;
mod error;
mod listen;
mod metrics;
mod peer;
mod plain_answer;
mod public_url;
mod registry;
mod request_id;
mod scheduler;
mod server;
mod sessions;
mod state;

pub use config::{
    AuthConfig, Keys, ListenConfig, McpConfig, RelaysConfig, ServerConfig, StateConfig,
};
pub use server::Server;
