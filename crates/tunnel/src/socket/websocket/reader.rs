//! The receiving half of a WebSocket: finds the frames in received bytes, and joins fragments.
//!
//! Between messages it holds no memory, so an idle tunnel has no read buffer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::header::{Header, Opcode};
use super::mask::apply_mask;
use super::{Role, WebSocketError};
use crate::config::{MAX_MESSAGE_BYTES, READ_BYTES};

#[derive(Debug)]
pub(super) struct Reader {
    role: Role,
    /// Received bytes, from the beginning of a frame on.
    received: BytesMut,
    /// Size of `received` with which its first frame is whole, or its header may be. 0 if unknown.
    needed: usize,
    /// The message whose last fragment has not arrived.
    fragments: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    opcode: Opcode,
    bytes: BytesMut,
}

/// A received message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Binary(Bytes),
    Text,
    Ping(Bytes),
    Pong,
    /// A close frame with its payload: the code and the reason, or nothing.
    Close(Bytes),
}

impl Reader {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            received: BytesMut::new(),
            needed: 0,
            fragments: None,
        }
    }

    /// Returns the next message or control frame in the received bytes, `None` if they have none.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, WebSocketError> {
        loop {
            let Some((header, payload)) = self.next_frame()? else {
                return Ok(None);
            };
            let incoming = match header.opcode {
                Opcode::Ping => Some(Incoming::Ping(payload.freeze())),
                Opcode::Pong => Some(Incoming::Pong),
                Opcode::Close => Some(Incoming::Close(payload.freeze())),
                opcode => self.join(opcode, header.is_final, payload)?,
            };
            if incoming.is_some() {
                return Ok(incoming);
            }
        }
    }

    /// Reads from `io`. Returns `false` at the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        io: &mut (impl AsyncRead + Unpin + ?Sized),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut io = Pin::new(io);
        let missing = self.needed.saturating_sub(self.received.len());
        if missing >= READ_BYTES {
            // The rest of a large frame, straight to where it belongs.
            self.received.reserve(missing);
            let rest = &mut (&mut self.received).limit(missing);
            return poll_read_buf(io, cx, rest).map_ok(|count| count > 0);
        }

        // By way of the stack: how much comes is known only then, and no more is allocated.
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(io.as_mut().poll_read(cx, &mut read))?;
        self.received.extend_from_slice(read.filled());
        Poll::Ready(Ok(!read.filled().is_empty()))
    }

    /// Returns whether it has memory for as much as a byte.
    #[cfg(test)]
    pub(super) fn holds_memory(&mut self) -> bool {
        self.received.try_reclaim(1)
    }

    /// Returns the number of bytes that it has memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.received.capacity()
    }

    /// Takes the first frame, without its header and its mask.
    fn next_frame(&mut self) -> Result<Option<(Header, BytesMut)>, WebSocketError> {
        if self.received.len() < self.needed.max(1) {
            return Ok(None);
        }
        let Some(header) = Header::read(&self.received, self.role)? else {
            self.needed = self.received.len() + 1;
            return Ok(None);
        };
        let end = header.header_bytes + header.payload_bytes;
        if self.received.len() < end {
            self.needed = end;
            return Ok(None);
        }

        self.needed = 0;
        let mut frame = if self.received.len() == end {
            std::mem::take(&mut self.received)
        } else {
            self.received.split_to(end)
        };
        frame.advance(header.header_bytes);
        if let Some(mask) = header.mask {
            apply_mask(&mut frame, mask);
        }
        Ok(Some((header, frame)))
    }

    /// Returns the message that a data frame completes.
    fn join(
        &mut self,
        opcode: Opcode,
        is_final: bool,
        payload: BytesMut,
    ) -> Result<Option<Incoming>, WebSocketError> {
        let message = match (opcode, self.fragments.take()) {
            (Opcode::Continuation, None) => {
                return Err(WebSocketError::Protocol("continues no message"));
            }
            (Opcode::Continuation, Some(mut started)) => {
                let bytes = started.bytes.len() + payload.len();
                if bytes > MAX_MESSAGE_BYTES {
                    return Err(WebSocketError::TooLarge(bytes as u64));
                }
                started.bytes.extend_from_slice(&payload);
                started
            }
            (opcode, None) => Fragments {
                opcode,
                bytes: payload,
            },
            (_, Some(_)) => {
                return Err(WebSocketError::Protocol(
                    "begins a message within another one",
                ));
            }
        };

        if !is_final {
            self.fragments = Some(message);
            return Ok(None);
        }
        Ok(Some(match message.opcode {
            Opcode::Text => Incoming::Text,
            _ => Incoming::Binary(message.bytes.freeze()),
        }))
    }
}
