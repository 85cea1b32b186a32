//! Serves a program that speaks MCP on standard input and output over HTTP.
//!
//! [`Bridge::serve`] answers one HTTP request, [`Bridge::run`] attends to programs and sessions for as long as the
//! bridge lives, [`Bridge::shutdown`] ends every program. The module `guard` is the process between a bridge and each
//! of its programs. This crate opens no socket and reads no environment variable; it knows neither relays nor tunnels.

mod bridge;
mod child;
mod config;
mod error;
mod error_events;
mod event_id;
mod event_queue;
mod event_stream;
#[cfg(unix)]
pub mod guard;
mod guard_command;
mod health;
mod launcher;
mod line_reader;
mod multiplexer;
mod post;
mod program_input;
mod response;
mod rewrite;
mod sessions;
mod shared_session;
mod stateless;
mod stats;
mod stderr;

pub use bridge::{Bridge, not_found};
pub use config::BridgeConfig;
pub use error_events::BridgeBody;
pub use health::BridgeEvents;
pub use stats::BridgeStats;
