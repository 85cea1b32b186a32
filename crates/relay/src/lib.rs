//! The private side: dials the server and makes its providers reachable through the tunnel.
//!
//! [`Relay::bind`] binds the addresses of the status server, [`Relay::run`] keeps the tunnel up until
//! it is stopped. This crate reads no environment variable and installs nothing global; that is the
//! executable's concern.
//!
//! The relay's own configuration decides what it runs and dials. Nothing that comes through the
//! tunnel can choose it.
//!
//! One call goes through `supervisor` (keeps a tunnel up), `connection` (one tunnel), `serve` (one
//! request of it), `providers::entry` (id, token, counters) and one kind of provider:
//! `providers::mcp_http`, `providers::mcp_stdio` or `providers::llm`.

mod app;
mod backoff;
mod config;
mod connection;
mod dial;
mod error;
mod events;
mod providers;
mod relay;
mod response_body;
mod serve;
mod status;
mod supervisor;
mod tls;

pub use config::*;
pub use dial::{DialError, ProxyError};
pub use providers::{FindRuntimeError, FoundRuntime, RUNTIME_PORTS, find_runtime};
pub use relay::{Relay, StartError};
pub use status::link::LinkState;
pub use supervisor::DisconnectedError;

/// The checks of the fuzz targets in `fuzz/`.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::dial::fuzzing::{proxy, proxy_answer, server_response};
    pub use crate::providers::fuzzing::{
        call_url, challenge, endpoint_stream, metadata, response_head,
    };
    pub use crate::providers::llm_fuzzing::poll_answers;
}
