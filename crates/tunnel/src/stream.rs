//! One request and its response inside a tunnel, as one end sees them.
//!
//! A stream has two directions with one body each, and each ends by itself: cleanly, by an abort of
//! its sender, or because its receiver stops it. Besides, the whole stream may fail: cancelled, or
//! lost with the tunnel. The connection delivers received frames to the [`StreamState`]; the two
//! halves of a stream send and receive for a call, and dropping a half before its end announces
//! that to the peer.
//!
//! The one rule: a stream that is over for both ends is removed at once, and its places are free.

mod error;
mod first_chunk;
mod half;
mod handle;
mod incoming_body;
mod lease;
mod outgoing_body;
mod receive_buffer;
mod receive_window;
mod send_body;
mod state;
mod table;
mod tunnel;
mod whole_body;

pub(crate) use error::{ProtocolError, StreamError};
pub(crate) use first_chunk::FirstChunk;
pub(crate) use half::{OnDrop, ReceiveHalf, SendHalf};
pub(crate) use handle::Stream;
pub(crate) use incoming_body::content_length;
pub use incoming_body::{BytesObserver, IncomingBody, IncomingBodyError};
pub use lease::StreamLease;
pub use outgoing_body::OutgoingBody;
pub use send_body::BoxError;
pub(crate) use send_body::{SendBodyError, send_body, send_bytes};
pub(crate) use state::{ReceivedHead, SharedState, StreamState};
pub(crate) use tunnel::Tunnel;
pub use whole_body::WholeBody;
