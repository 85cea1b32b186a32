//! Serves a program that speaks MCP on standard input and output over HTTP.
//!
//! [`Bridge::serve`] answers one HTTP request, [`Bridge::run`] attends to programs and sessions for as long as the
//! bridge lives, [`Bridge::shutdown`] ends every program. The module `guard` is the process between a bridge and each
//! of its programs. This crate opens no socket and reads no environment variable; it knows neither relays nor tunnels.

mod answers;
mod body;
mod bridge;
mod child;
mod config;
mod crew;
mod event_id;
#[cfg(unix)]
pub mod guard;
mod guard_command;
mod head;
mod health;
mod input;
mod launcher;
mod legacy;
mod lines;
mod load;
mod message;
mod modern;
mod pipe;
mod plain;
mod posted;
mod rewrite;
mod shared;
mod sse;
mod stderr;
mod told;

pub use bridge::{Bridge, not_found};
pub use config::BridgeConfig;
pub use health::BridgeEvents;
pub use load::Load;
pub use told::BridgeBody;
