//! The frames of the tunnel protocol, and their bytes.
//!
//! A frame is its kind (1 byte), the number of a stream (4 bytes), the length of its content (4
//! bytes), and the content. Numbers are big-endian. Frames follow each other without a gap and are
//! independent of the boundaries of WebSocket messages.
//! [docs/design/0001-tunnel.md](../../../docs/design/0001-tunnel.md) lists them in a table.
//!
//! The one rule: received bytes are either a frame of that table or the end of the tunnel. Nothing
//! is guessed.

mod decoder;
mod encode;
mod head;
mod kind;

pub(crate) use decoder::{Decoder, FrameError};
pub(crate) use encode::{encode_data, encode_head};
pub(crate) use head::{
    HeadError, check_request, check_response, read_request, read_response, write_request,
    write_response,
};
pub use head::{field_bytes, header_bytes};
pub use kind::CancelReason;
pub(crate) use kind::{Frame, Hello};

#[cfg(test)]
mod tests;
