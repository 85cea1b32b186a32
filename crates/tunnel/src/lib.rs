//! One tunnel: many HTTP requests and their answers over one WebSocket, its roles reversed.
//!
//! The relay dials, so it is the WebSocket's client; the server sends the requests. This crate has the two ends,
//! [`ServerEnd`] and [`serve_relay_end`], and nothing else: no MCP, no LLM, no keys, no JSON. It takes a byte stream on
//! which the WebSocket upgrade has already happened.
//!
//! The one rule: a body's clean end, its abort and the loss of the tunnel arrive as three different things.
//!
//! Nothing runs on by itself: the ends are futures of whoever holds them, and dropping one ends all that belongs to it.

mod body;
mod config;
mod connection;
mod frame;
mod halves;
mod head;
mod head_start;
mod link;
mod outbox;
mod pump;
mod relay_end;
mod server_end;
mod shared_socket;
mod stream;
mod streams;
mod tunnel;
mod unread;
mod websocket;

pub use body::{IncomingBody, IncomingBodyError};
pub use config::TunnelConfig;
pub use frame::CancelReason;
pub use link::{CloseCode, CloseReason, TunnelEnd};
pub use relay_end::serve_relay_end;
pub use server_end::{Driver, SendError, ServerEnd};

/// An error of a body that is sent, whatever it is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
