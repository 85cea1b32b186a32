//! What the two ends say to each other, and its bytes.
//!
//! A frame is a kind (1 byte), the number of a stream (4 bytes), the length of what follows (4 bytes), and that. Numbers
//! are big-endian. Frames follow each other without a gap, and neither care nor know where messages of the WebSocket
//! begin and end. [docs/design/0001-tunnel.md](../../../docs/design/0001-tunnel.md) has them in a table.
//!
//! The one rule: what a peer sends is either a frame of this table or the end of the tunnel. Nothing is guessed.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What comes before the content of each frame.
pub(crate) const PRELUDE_BYTES: usize = 9;
/// Which frames and heads there are: the first byte of the first frame.
const VERSION: u8 = 1;
/// In the kind of a head or of data: the body ends here.
const ENDS: u8 = 0x80;

const HELLO: u8 = 1;
const HEAD: u8 = 2;
const DATA: u8 = 3;
const ABORT: u8 = 4;
const ENOUGH: u8 = 5;
const CANCEL: u8 = 6;
const ROOM: u8 = 7;
const DRAIN: u8 = 8;

/// What an end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The first of each end, and only the first.
    Hello(Hello),
    /// The head of a request, which opens a stream, or of its answer.
    Head {
        stream: u32,
        head: Bytes,
        ends: bool,
    },
    /// A piece of a body.
    Data {
        stream: u32,
        data: Bytes,
        ends: bool,
    },
    /// The sender's body broke off, behind what it has sent of it.
    Abort { stream: u32 },
    /// The receiver wants no more of the body; the other direction goes on.
    Enough { stream: u32 },
    /// The stream is over in both directions.
    Cancel { stream: u32, why: CancelReason },
    /// The receiver has room for so many bytes more of the body.
    Room { stream: u32, bytes: u32 },
    /// From the relay: open no more streams. From the server, as its answer: no more will come.
    Drain,
}

/// What each end tells the other of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// How many bytes of each body it takes at first.
    pub(crate) window: u32,
    /// How many streams it takes at once.
    pub(crate) max_streams: u32,
    /// Below how many bytes a head must stay.
    pub(crate) max_header_bytes: u32,
}

/// Why a stream is over before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelReason {
    /// Nobody wants the answer any more.
    #[error("nobody wants its answer")]
    CallerLeft,
    /// The peer has not begun with it, and will not.
    #[error("it was not begun")]
    NotBegun,
    /// The peer has begun with it and gives it up.
    #[error("it was given up")]
    GivenUp,
    /// The head of the answer is more than the peer takes.
    #[error("the head of its answer is too large")]
    HeadTooLarge,
    /// What the peer has sent makes no sense.
    #[error("it makes no sense")]
    Malformed,
}

/// Why what a peer sends is no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoFrame {
    #[error("a frame of kind {0}, expected 1 to 8")]
    Kind(u8),
    #[error("a frame of kind {kind} with {length} bytes, expected {expected}")]
    Length {
        kind: u8,
        length: usize,
        expected: &'static str,
    },
    #[error("a hello of version {0}, expected {VERSION}")]
    Version(u8),
}

/// Puts a head behind what is there; `write` writes it.
pub(crate) fn put_head(
    out: &mut BytesMut,
    stream: u32,
    ends: bool,
    write: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    put_prelude(out, if ends { HEAD | ENDS } else { HEAD }, stream, 0);
    write(out);
    let length = u32::try_from(out.len() - start - PRELUDE_BYTES).unwrap_or(u32::MAX);
    out[start + PRELUDE_BYTES - 4..start + PRELUDE_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Puts a piece of a body behind what is there.
pub(crate) fn put_data(out: &mut BytesMut, stream: u32, data: &[u8], ends: bool) {
    out.reserve(PRELUDE_BYTES + data.len());
    put_prelude(
        out,
        if ends { DATA | ENDS } else { DATA },
        stream,
        data.len() as u32,
    );
    out.extend_from_slice(data);
}

fn put_prelude(out: &mut BytesMut, kind: u8, stream: u32, length: u32) {
    out.put_u8(kind);
    out.put_u32(stream);
    out.put_u32(length);
}

impl Frame {
    /// Puts the frame behind what is there.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => {
                put_prelude(out, HELLO, 0, 13);
                out.put_u8(VERSION);
                out.put_u32(hello.window);
                out.put_u32(hello.max_streams);
                out.put_u32(hello.max_header_bytes);
            }
            Self::Head { stream, head, ends } => {
                put_head(out, *stream, *ends, |out| out.extend_from_slice(head))
            }
            Self::Data { stream, data, ends } => put_data(out, *stream, data, *ends),
            Self::Abort { stream } => put_prelude(out, ABORT, *stream, 0),
            Self::Enough { stream } => put_prelude(out, ENOUGH, *stream, 0),
            Self::Cancel { stream, why } => {
                put_prelude(out, CANCEL, *stream, 1);
                out.put_u8(why.code());
            }
            Self::Room { stream, bytes } => {
                put_prelude(out, ROOM, *stream, 4);
                out.put_u32(*bytes);
            }
            Self::Drain => put_prelude(out, DRAIN, 0, 0),
        }
    }

    fn parse(kind: u8, stream: u32, mut content: Bytes) -> Result<Self, NoFrame> {
        let length = content.len();
        let wrong = |expected| {
            Err(NoFrame::Length {
                kind,
                length,
                expected,
            })
        };
        let ends = kind & ENDS != 0;
        Ok(match (kind, length) {
            (HELLO, 13) => match content.get_u8() {
                VERSION => Self::Hello(Hello {
                    window: content.get_u32(),
                    max_streams: content.get_u32(),
                    max_header_bytes: content.get_u32(),
                }),
                other => return Err(NoFrame::Version(other)),
            },
            (HELLO, _) => return wrong("13"),
            _ if kind & !ENDS == HEAD => Self::Head {
                stream,
                head: content,
                ends,
            },
            _ if kind & !ENDS == DATA => Self::Data {
                stream,
                data: content,
                ends,
            },
            (ABORT, 0) => Self::Abort { stream },
            (ENOUGH, 0) => Self::Enough { stream },
            (CANCEL, 1) => Self::Cancel {
                stream,
                why: CancelReason::from_code(content.get_u8()),
            },
            (CANCEL, _) => return wrong("1"),
            (ROOM, 4) => Self::Room {
                stream,
                bytes: content.get_u32(),
            },
            (ROOM, _) => return wrong("4"),
            (DRAIN, 0) => Self::Drain,
            (ABORT | ENOUGH | DRAIN, _) => return wrong("0"),
            _ => return Err(NoFrame::Kind(kind)),
        })
    }
}

impl CancelReason {
    fn code(self) -> u8 {
        match self {
            Self::CallerLeft => 0,
            Self::NotBegun => 1,
            Self::GivenUp => 2,
            Self::HeadTooLarge => 3,
            Self::Malformed => 4,
        }
    }

    /// A reason that this end does not know says at least that the peer does not go on.
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::CallerLeft,
            1 => Self::NotBegun,
            3 => Self::HeadTooLarge,
            4 => Self::Malformed,
            _ => Self::GivenUp,
        }
    }
}

/// Finds the frames in what comes, wherever it was cut.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// What is whole up to here.
    whole: Bytes,
    /// How many bytes were pushed with it, which stay in memory with each part of it.
    message: usize,
    /// The beginning of a frame whose rest has not come yet.
    begun: BytesMut,
    /// With how many bytes it can be looked at again.
    wanted: usize,
    max_content: usize,
}

impl Decoder {
    /// For frames with so many bytes of content at most.
    pub(crate) fn new(max_content: usize) -> Self {
        Self {
            whole: Bytes::new(),
            message: 0,
            begun: BytesMut::new(),
            wanted: 0,
            max_content,
        }
    }

    /// Takes what has come.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if self.begun.is_empty() && self.whole.is_empty() {
            self.whole = bytes;
        } else {
            self.begun.extend_from_slice(&bytes);
            if self.begun.len() >= self.wanted {
                self.whole = self.begun.split().freeze();
            }
        }
        self.message = self.whole.len();
    }

    /// The next frame that is whole. When there is none, all that was pushed has been looked at.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, NoFrame> {
        if self.whole.is_empty() {
            return Ok(None);
        }
        let Some(mut prelude) = self.whole.get(..PRELUDE_BYTES) else {
            self.wait_for(PRELUDE_BYTES);
            return Ok(None);
        };
        let (kind, stream, length) = (
            prelude.get_u8(),
            prelude.get_u32(),
            prelude.get_u32() as usize,
        );
        if length > self.max_content {
            return Err(NoFrame::Length {
                kind,
                length,
                expected: "no more than a head or a piece may have",
            });
        }
        if self.whole.len() < PRELUDE_BYTES + length {
            self.wait_for(PRELUDE_BYTES + length);
            return Ok(None);
        }
        self.whole.advance(PRELUDE_BYTES);
        Frame::parse(
            kind,
            stream,
            kept(self.whole.split_to(length), self.message),
        )
        .map(Some)
    }

    fn wait_for(&mut self, wanted: usize) {
        self.wanted = wanted;
        // A copy, so that a few bytes do not keep the whole message.
        self.begun
            .extend_from_slice(&std::mem::take(&mut self.whole));
    }
}

/// A part of a message of so many bytes, for somebody who may keep it: the message stays in memory with it only where little
/// is lost by that.
fn kept(part: Bytes, message: usize) -> Bytes {
    if part.len() * 2 >= message || message <= SMALL_MESSAGE_BYTES {
        part
    } else {
        Bytes::copy_from_slice(&part)
    }
}

/// A message up to this size may be kept for whatever part of it.
const SMALL_MESSAGE_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests;
