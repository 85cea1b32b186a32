//! Errors of streams: of a whole stream, of a body that is sent, and of a received frame.

use std::sync::Arc;

use crate::frame::CancelReason;

/// The reason why a stream failed as a whole.
#[derive(Debug, Clone)]
pub(crate) enum StreamError {
    Cancelled(CancelReason),
    /// The tunnel was lost, for this reason.
    TunnelLost(Arc<str>),
    /// The reader of the peer's body took nothing for too long.
    ReaderStalled,
    /// There is no memory for the unread bytes of the peer's body.
    OutOfMemory,
}

impl StreamError {
    /// Returns whether the unread bytes were discarded, so that the body broke off before them.
    pub(super) fn discards_unread(&self) -> bool {
        matches!(self, Self::ReaderStalled | Self::OutOfMemory)
    }
}

/// A frame that is impossible in the state of its stream. It ends the tunnel.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a second head on stream {0}")]
    SecondHead(u32),
    #[error("a body before its head on stream {0}")]
    BodyBeforeHead(u32),
    #[error("a body that goes on behind its end on stream {0}")]
    BodyBehindEnd(u32),
    #[error("more of a body than there was room for on stream {0}")]
    WindowExceeded(u32),
    #[error("more room than can be counted on stream {0}")]
    WindowOverflow(u32),
}

/// The error of a sender whose receiver wants no more of its body, or is gone.
#[derive(Debug)]
pub(crate) struct SendStoppedError;
