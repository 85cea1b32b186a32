//! Serves a program that speaks MCP on standard input and output over HTTP.
//!
//! [`Bridge::serve`] answers one HTTP request, [`Bridge::run`] attends to programs and sessions,
//! [`Bridge::shutdown`] ends every program. [`HttpServer`] serves one bridge on a listener of its
//! own. The module `guard` is the process between a bridge and each of its programs.
//!
//! The crate depends on neither relay nor tunnel, and reads no environment variable.

mod bridge;
mod caller;
mod child;
mod config;
mod error;
mod error_events;
mod event_id;
mod event_queue;
mod event_stream;
mod first_exchange;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(unix)]
pub mod guard;
mod guard_command;
mod guard_input;
mod health;
mod http_server;
mod invalid_lines;
mod launcher;
mod line_reader;
mod multiplexer;
mod post;
mod program_input;
mod program_log;
mod response;
mod response_body;
mod rewrite;
mod sessions;
mod shared_program;
mod shared_session;
mod start_gate;
mod stateless;
mod stats;
mod stderr;

pub use bridge::{Bridge, not_found};
pub use caller::BridgeCaller;
pub use config::{BridgeConfig, SessionLimits, StartLimits};
pub use error_events::BridgeBody;
pub use health::BridgeEvents;
pub use http_server::{HttpServer, HttpServerConfig};
pub use launcher::StartingProgram;
pub use start_gate::StartGate;
pub use stats::BridgeStats;
