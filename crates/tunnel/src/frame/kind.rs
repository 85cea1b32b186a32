//! The eight kinds of frames.

use bytes::Bytes;

/// Size of what precedes the content of each frame: kind, stream number and length.
pub(super) const PRELUDE_BYTES: usize = 9;
/// Version of the frames and heads: the first content byte of a hello.
pub(super) const VERSION: u8 = 1;
/// Flag in the kind of a head or data frame: the last frame of its body.
pub(super) const LAST: u8 = 0x80;

pub(super) const HELLO: u8 = 1;
pub(super) const HEAD: u8 = 2;
pub(super) const DATA: u8 = 3;
pub(super) const ABORT: u8 = 4;
pub(super) const STOP_SENDING: u8 = 5;
pub(super) const CANCEL: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 7;
pub(super) const DRAIN: u8 = 8;

/// One frame of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Settings of the sender. The first frame of each end, and only the first.
    Hello(Hello),
    /// Head of a request, which opens a stream, or of its response.
    Head {
        stream: u32,
        head: Bytes,
        is_last: bool,
    },
    /// Piece of a body.
    Data {
        stream: u32,
        data: Bytes,
        is_last: bool,
    },
    /// The sender's body broke off behind the pieces that were sent of it.
    Abort { stream: u32 },
    /// The receiver wants no more of the body. The other direction goes on. QUIC's `STOP_SENDING`.
    StopSending { stream: u32 },
    /// The stream is over in both directions. HTTP/2's `RST_STREAM`.
    Cancel { stream: u32, reason: CancelReason },
    /// The receiver accepts so many more bytes of the body. HTTP/2's `WINDOW_UPDATE`.
    WindowUpdate { stream: u32, bytes: u32 },
    /// From the relay: open no more streams. From the server, as its reply: no more will come.
    Drain,
}

/// Settings that each end announces in its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Initial window of each body, in bytes.
    pub(crate) window: u32,
    /// Maximum number of streams at once.
    pub(crate) max_streams: u32,
    /// Exclusive limit for the size of a head, in bytes.
    pub(crate) max_header_bytes: u32,
}

/// The reason why a stream was cancelled before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The caller has left: its response is no longer wanted.
    CallerLeft,
    /// The peer has not begun with the request, and will not.
    NotBegun,
    /// The peer has begun with the request and gave it up.
    GivenUp,
    /// The head of the response is larger than the peer accepts.
    HeadTooLarge,
    /// The peer sent a malformed message.
    Malformed,
}

impl std::fmt::Display for CancelReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CallerLeft => "nobody wants its answer",
            Self::NotBegun => "it was not begun",
            Self::GivenUp => "it was given up",
            Self::HeadTooLarge => "the head of its answer is too large",
            Self::Malformed => "it makes no sense",
        })
    }
}

impl CancelReason {
    /// Returns the byte of the reason in a cancel frame.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::CallerLeft => 0,
            Self::NotBegun => 1,
            Self::GivenUp => 2,
            Self::HeadTooLarge => 3,
            Self::Malformed => 4,
        }
    }

    /// Returns the reason for a byte. An unknown one at least means that the peer does not go on.
    pub(super) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::CallerLeft,
            1 => Self::NotBegun,
            3 => Self::HeadTooLarge,
            4 => Self::Malformed,
            _ => Self::GivenUp,
        }
    }
}
