//! The private side: dials out to the server and makes its providers reachable through it.
//!
//! [`Relay::bind`] takes the addresses of the status server, [`Relay::run`] keeps the tunnel up until it is told to
//! stop. This crate reads no environment variable and installs nothing global; that is the binary's business.
//!
//! The one rule: what the relay runs or dials is its own configuration. Nothing that comes through the tunnel can
//! choose it.

mod answer_body;
mod app;
mod backoff;
mod board;
mod config;
mod connect;
mod connect_once;
mod dial;
mod error;
mod events;
mod hosted;
mod metrics;
mod probe;
mod providers;
mod relay;
mod serve;
mod status;
mod tls;

pub use board::LinkState;
pub use config::*;
pub use connect::GaveUp;
pub use dial::{DialError, NoProxy};
pub use relay::{Relay, StartError};
