//! Finds the frames in received bytes, wherever those were cut.

use bytes::{Buf, Bytes, BytesMut};

use crate::config::READ_BYTES;

use super::kind::{
    ABORT, CANCEL, CancelReason, DATA, DRAIN, Frame, HEAD, HELLO, Hello, LAST, PRELUDE_BYTES,
    STOP_SENDING, VERSION, WINDOW_UPDATE,
};

/// Message size up to which any part of a message may keep all of it in memory: as much as the read
/// that a small message is a part of. Most messages under load are smaller.
const SMALL_MESSAGE_BYTES: usize = READ_BYTES;

/// The reason why received bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
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

/// An incremental decoder: takes bytes in pieces of any size and returns whole frames.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Bytes that start at the boundary of a frame and are still to be decoded.
    undecoded: Bytes,
    /// Size of the message that `undecoded` is a part of, and that stays in memory with each slice
    /// of it.
    message_bytes: usize,
    /// Beginning of a frame whose rest has not arrived.
    partial: BytesMut,
    /// Size of `partial` from which on decoding is worth another try.
    needed: usize,
    max_content: usize,
}

impl Decoder {
    /// Creates a decoder for frames with at most `max_content` bytes of content.
    pub(crate) fn new(max_content: usize) -> Self {
        Self {
            undecoded: Bytes::new(),
            message_bytes: 0,
            partial: BytesMut::new(),
            needed: 0,
            max_content,
        }
    }

    /// Adds received bytes.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if self.partial.is_empty() && self.undecoded.is_empty() {
            self.undecoded = bytes;
        } else {
            self.partial.extend_from_slice(&bytes);
            if self.partial.len() >= self.needed {
                self.undecoded = self.partial.split().freeze();
            }
        }
        self.message_bytes = self.undecoded.len();
    }

    /// Returns the next whole frame, or `None` once all bytes that were pushed have been examined.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.undecoded.is_empty() {
            return Ok(None);
        }

        let Some(mut prelude) = self.undecoded.get(..PRELUDE_BYTES) else {
            self.wait_for(PRELUDE_BYTES);
            return Ok(None);
        };
        let kind = prelude.get_u8();
        let stream = prelude.get_u32();
        let length = prelude.get_u32() as usize;

        if length > self.max_content {
            return Err(FrameError::Length {
                kind,
                length,
                expected: "no more than a head or a piece may have",
            });
        }
        if self.undecoded.len() < PRELUDE_BYTES + length {
            self.wait_for(PRELUDE_BYTES + length);
            return Ok(None);
        }

        self.undecoded.advance(PRELUDE_BYTES);
        let content = self.undecoded.split_to(length);
        let content = detach_if_small(content, self.message_bytes);
        parse(kind, stream, content).map(Some)
    }

    /// Sets the rest aside until it has grown to `needed` bytes.
    fn wait_for(&mut self, needed: usize) {
        self.needed = needed;
        // A copy, so that a few bytes do not keep the whole message.
        let rest = std::mem::take(&mut self.undecoded);
        self.partial.extend_from_slice(&rest);
    }
}

/// Copies `part` if it is a small part of a large message.
///
/// A receiver may keep the part for long, and the message stays in memory with it: that is allowed
/// only where little is lost by it.
fn detach_if_small(part: Bytes, message_bytes: usize) -> Bytes {
    if part.len() * 2 >= message_bytes || message_bytes <= SMALL_MESSAGE_BYTES {
        part
    } else {
        Bytes::copy_from_slice(&part)
    }
}

/// Parses one frame from its kind, its stream number and its content.
fn parse(kind: u8, stream: u32, mut content: Bytes) -> Result<Frame, FrameError> {
    let length = content.len();
    let wrong_length = |expected| {
        Err(FrameError::Length {
            kind,
            length,
            expected,
        })
    };
    let is_last = kind & LAST != 0;

    Ok(match (kind, length) {
        (HELLO, 13) => match content.get_u8() {
            VERSION => Frame::Hello(Hello {
                window: content.get_u32(),
                max_streams: content.get_u32(),
                max_header_bytes: content.get_u32(),
            }),
            other => return Err(FrameError::Version(other)),
        },
        (HELLO, _) => return wrong_length("13"),
        _ if kind & !LAST == HEAD => Frame::Head {
            stream,
            head: content,
            is_last,
        },
        _ if kind & !LAST == DATA => Frame::Data {
            stream,
            data: content,
            is_last,
        },
        (ABORT, 0) => Frame::Abort { stream },
        (STOP_SENDING, 0) => Frame::StopSending { stream },
        (CANCEL, 1) => Frame::Cancel {
            stream,
            reason: CancelReason::from_code(content.get_u8()),
        },
        (CANCEL, _) => return wrong_length("1"),
        (WINDOW_UPDATE, 4) => Frame::WindowUpdate {
            stream,
            bytes: content.get_u32(),
        },
        (WINDOW_UPDATE, _) => return wrong_length("4"),
        (DRAIN, 0) => Frame::Drain,
        (ABORT | STOP_SENDING | DRAIN, _) => return wrong_length("0"),
        _ => return Err(FrameError::Kind(kind)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::encode_data;
    use super::*;

    #[test]
    fn a_frame_in_the_smallest_pieces_is_copied_once() {
        let mut bytes = BytesMut::new();
        encode_data(&mut bytes, 1, &[7; 1000], true);
        let last_byte = bytes.split_off(bytes.len() - 1).freeze();
        let mut decoder = Decoder::new(1024);

        for byte in &bytes {
            decoder.push(Bytes::copy_from_slice(&[*byte]));
            let is_examined = !decoder.undecoded.is_empty();

            assert_eq!(decoder.next(), Ok(None));
            let is_worth_it = [1, PRELUDE_BYTES].contains(&decoder.partial.len());
            assert_eq!(is_examined, is_worth_it);
        }

        decoder.push(last_byte);
        let whole = Frame::Data {
            stream: 1,
            data: Bytes::from(vec![7; 1000]),
            is_last: true,
        };
        assert_eq!(decoder.next(), Ok(Some(whole)));
    }

    /// Most of a message is not copied; a small part of it does not keep all of it in memory.
    #[test]
    fn only_large_parts_keep_their_message() {
        let cases = [
            (&[20_000, 8000][..], true),
            (&[8000, 20_000], true),
            (&[9000, 9000, 9000], false),
        ];
        for (pieces, keeps_message) in cases {
            let mut bytes = BytesMut::new();
            for &length in pieces {
                encode_data(&mut bytes, 1, &vec![7; length], false);
            }
            let message = bytes.freeze();

            let mut decoder = Decoder::new(20_000);
            decoder.push(message.clone());
            let mut frames = Vec::new();
            while let Ok(Some(frame)) = decoder.next() {
                frames.push(frame);
            }
            drop(decoder);

            assert_eq!(frames.len(), pieces.len());
            assert_eq!(!message.is_unique(), keeps_message, "{pieces:?}");
            frames.retain(|frame| matches!(frame, Frame::Data { data, .. } if data.len() < 10_000));
            assert!(message.is_unique(), "a small part keeps no message");
        }
    }
}
