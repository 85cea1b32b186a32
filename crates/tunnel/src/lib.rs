//! The tunnel: many HTTP requests and their responses over one WebSocket, with its roles reversed.
//!
//! The relay dials, so it is the WebSocket's client; the server sends the requests. This crate
//! contains the two ends, [`ServerEnd`] and [`serve_heads`], and nothing else: no MCP, no LLM,
//! no keys, no JSON. It takes a byte stream whose WebSocket upgrade has already happened.
//!
//! The one rule: a body's clean end, its abort and the loss of the tunnel arrive as three different
//! things.
//!
//! No task runs in the background: both ends are futures that the caller owns, and dropping one
//! ends everything that belongs to it.

mod config;
mod connection;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod relay_end;
mod server_end;
mod socket;
mod stream;

pub use config::TunnelConfig;
pub use frame::{CancelReason, field_bytes, header_bytes};
pub use relay_end::{serve_heads, serve_relay_end};
pub use server_end::{Driver, SendError, ServerEnd};
pub use socket::{CloseCode, CloseReason, TunnelEnd};
pub use stream::{
    BoxError, BytesObserver, IncomingBody, IncomingBodyError, OutgoingBody, StreamLease, WholeBody,
};
