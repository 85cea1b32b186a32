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
mod call;
mod config;
mod connection;
mod dial;
mod error;
mod events;
mod providers;
mod relay;
mod relay_tunnel;
mod reload;
mod response_body;
mod roster;
mod serve;
mod shown_calls;
mod slot;
mod status;
mod supervisor;
mod tls;
mod view;

pub use config::*;
pub use dial::{DialError, ProbedStream, ProxyError, ServerProbe};
pub use providers::{
    FindRuntimeError, FoundRuntime, RUNTIME_PORTS, RuntimeReport, find_runtime, generate_one_token,
    inspect_runtime, reach_provider,
};
pub use relay::{Relay, StartError};
pub use reload::{ReloadError, ReloadReport, Reloader};
pub use status::link::LinkState;
pub use status::provider::ProviderFacts;
pub use supervisor::DisconnectedError;
pub use view::{ProviderTarget, ProviderView, RelayView};

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
