//! The WebSocket: binary messages carry frames, everything else ends here.
//!
//! Pings and pongs, a middlebox's too, are signs of life and nothing more. A close is the end. A
//! text message is an error: the peer speaks another protocol. The WebSocket outlives the streams,
//! because an end sends its reason to close only when they are gone.
//!
//! Its framing (RFC 6455) is written for tunnels: received bytes are stored once and in what they
//! need, sent ones get their header where they are, and an idle tunnel holds no buffer.

mod header;
mod mask;
mod outgoing;
mod reader;
mod writer;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::close::CloseReason;
use crate::config::{CLOSE_PATIENCE, MAX_MESSAGE_BYTES};

pub(super) use self::header::MAX_HEADER_BYTES;
pub(super) use self::outgoing::Outgoing;
use self::reader::{Incoming, Reader};
use self::writer::Writer;

/// Close code of a close frame without a code (RFC 6455, 7.1.5).
const NO_CODE: u16 = 1005;
/// Close code of an end that has received what the protocol does not allow (RFC 6455, 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;

/// A byte stream under a WebSocket. The dynamic call costs nothing beside the system call.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// The side of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The side that was dialed: it masks nothing.
    Server,
    /// The side that dialed: it masks every frame.
    Client,
}

/// One end of a WebSocket.
pub(crate) struct WebSocket {
    io: Box<dyn ByteStream>,
    role: Role,
    reader: Reader,
    writer: Writer,
    /// Code of the peer's close frame, [`NO_CODE`] for none.
    peer_close: Option<u16>,
}

/// A received message, as far as the tunnel cares.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Content of a binary message.
    Binary(Bytes),
    /// A ping or a pong.
    Control,
    /// A text message, which has no meaning in a tunnel.
    Text,
    /// The peer's close frame, with its code.
    Close(u16),
    /// The end of the WebSocket in good order.
    End,
}

/// The reason why a WebSocket failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebSocketError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer ended the connection without the WebSocket's closing handshake")]
    NoClose,
    #[error("the peer sent a text message, expected binary messages alone")]
    TextMessage,
    #[error("the peer sent a WebSocket frame of opcode {0}, expected 0, 1, 2, 8, 9 or 10")]
    Opcode(u8),
    #[error("the peer sent a WebSocket frame that {0}")]
    Protocol(&'static str),
    #[error("the peer sent a WebSocket control frame of {0} bytes, expected at most 125")]
    ControlTooLarge(usize),
    #[error("the peer sent a WebSocket message of {0} bytes, expected at most {MAX_MESSAGE_BYTES}")]
    TooLarge(u64),
}

impl WebSocket {
    /// Creates a WebSocket on a byte stream whose upgrade is done.
    pub(super) fn new(io: impl ByteStream + 'static, role: Role) -> Self {
        Self {
            io: Box::new(io),
            role,
            reader: Reader::new(role),
            writer: Writer::new(role),
            peer_close: None,
        }
    }

    /// Sends a ping with the next write.
    pub(super) fn send_ping(&mut self) {
        self.writer.send_ping();
    }

    /// Receives the next message.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, WebSocketError>> {
        loop {
            if self.peer_close.is_some() {
                return Poll::Ready(Ok(Received::End));
            }
            if let Some(incoming) = self.reader.next()? {
                return Poll::Ready(Ok(self.receive(incoming)));
            }
            if !ready!(self.reader.poll_read(&mut *self.io, cx))? {
                return Poll::Ready(Err(WebSocketError::NoClose));
            }
        }
    }

    /// Writes what was sent. Ready when nothing waits, and one more message may be sent.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        Poll::Ready(Ok(ready!(self.writer.poll_write(&mut *self.io, cx))?))
    }

    /// Sends a binary message, after [`poll_ready`](Self::poll_ready).
    pub(super) fn send(&mut self, message: Outgoing) {
        self.writer.send(message);
    }

    /// Writes what was sent, as far as the socket accepts it.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), WebSocketError> {
        match self.writer.poll_flush(&mut *self.io, cx) {
            Poll::Ready(flushed) => Ok(flushed?),
            Poll::Pending => Ok(()),
        }
    }

    /// Sends the reason to close, and receives until the peer has closed, too: a socket that is
    /// closed over unread bytes is reset, and the reset would overtake the reason.
    pub(crate) async fn close(mut self, reason: CloseReason) {
        let handshake = async {
            let peer_was_first = self.peer_close.is_some();
            self.writer.send_close(match self.peer_close {
                Some(code) => reply_to_close(code),
                None => Bytes::copy_from_slice(&reason.code().to_be_bytes()),
            });
            poll_fn(|cx| self.writer.poll_flush(&mut *self.io, cx)).await?;

            // If both have closed, the server is the first to end the connection (RFC 6455, 7.1.1).
            if peer_was_first && self.role == Role::Server {
                return Ok(());
            }
            while peer_was_first || self.peer_close.is_none() {
                match self.reader.next() {
                    Ok(Some(incoming)) => drop(self.receive(incoming)),
                    Ok(None) if poll_fn(|cx| self.reader.poll_read(&mut *self.io, cx)).await? => {}
                    Ok(None) | Err(_) => break,
                }
            }
            io::Result::Ok(())
        };
        // Whichever way it ends, the connection is dropped.
        let _ = tokio::time::timeout(CLOSE_PATIENCE, handshake).await;
    }

    fn receive(&mut self, incoming: Incoming) -> Received {
        match incoming {
            Incoming::Binary(bytes) => Received::Binary(bytes),
            Incoming::Text => Received::Text,
            Incoming::Pong => Received::Control,
            Incoming::Ping(payload) => {
                self.writer.send_pong(payload);
                Received::Control
            }
            Incoming::Close(payload) => {
                let code = payload.first_chunk().copied();
                let code = code.map_or(NO_CODE, u16::from_be_bytes);
                self.peer_close.get_or_insert(code);
                Received::Close(code)
            }
        }
    }
}

/// Returns the payload of the close frame that replies to the peer's: the same code if it may be
/// sent at all (RFC 6455, 7.4).
fn reply_to_close(code: u16) -> Bytes {
    match code {
        NO_CODE => Bytes::new(),
        1000..=1003 | 1007..=1014 | 3000..=4999 => Bytes::copy_from_slice(&code.to_be_bytes()),
        _ => Bytes::copy_from_slice(&PROTOCOL_ERROR.to_be_bytes()),
    }
}
