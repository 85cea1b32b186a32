//! The WebSocket: binary messages carry frames, everything else ends here.
//!
//! Pings and pongs, a middlebox's too, are signs of life and nothing more. A close is the end. A
//! text message is an error: the peer speaks another protocol. The WebSocket outlives the streams,
//! because an end sends its reason to close only when they are gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::close::CloseReason;
use crate::config::{
    CLOSE_PATIENCE, MAX_MESSAGE_BYTES, MESSAGE_BYTES, READ_BUFFER_BYTES, WEBSOCKET_BUFFER_BYTES,
};

/// Close code of a close frame without a code (RFC 6455, 7.1.5).
const NO_CODE: u16 = 1005;

/// A byte stream under a WebSocket. The dynamic call costs nothing beside the system call.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// One end of a WebSocket.
pub(crate) struct WebSocket {
    stream: WebSocketStream<Box<dyn ByteStream>>,
    has_unflushed: bool,
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
    Transport(Error),
    #[error("the peer sent a text message, expected binary messages alone")]
    TextMessage,
}

impl WebSocket {
    /// Creates a WebSocket on a byte stream whose upgrade is done.
    pub(super) async fn new(io: impl ByteStream + 'static, role: Role) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WEBSOCKET_BUFFER_BYTES)
            .max_write_buffer_size(WEBSOCKET_BUFFER_BYTES + 8 * MESSAGE_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let io: Box<dyn ByteStream> = Box::new(io);

        Self {
            stream: WebSocketStream::from_raw_socket(io, role, Some(config)).await,
            has_unflushed: false,
        }
    }

    /// Sends a ping, as far as the socket accepts it. Later writes push the rest.
    pub(super) fn send_ping(&mut self) -> Result<(), WebSocketError> {
        self.start_send(Message::Ping(Bytes::new()))
    }

    /// Receives the next message.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, WebSocketError>> {
        let received = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(Message::Binary(bytes))) => Received::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Received::Control,
            Some(Ok(Message::Text(_))) => Received::Text,
            Some(Ok(Message::Close(frame))) => {
                Received::Close(frame.map_or(NO_CODE, |frame| frame.code.into()))
            }
            Some(Err(error)) => return Poll::Ready(ignore_close(error).map(|()| Received::End)),
            None => Received::End,
        };
        Poll::Ready(Ok(received))
    }

    /// Waits until one more message may be sent.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        Pin::new(&mut self.stream)
            .poll_ready(cx)
            .map(|ready| ready.or_else(ignore_close))
    }

    /// Sends a binary message, after [`poll_ready`](Self::poll_ready).
    pub(super) fn send(&mut self, bytes: Bytes) -> Result<(), WebSocketError> {
        self.start_send(Message::Binary(bytes))
    }

    /// Writes the buffered messages, as far as the socket accepts them.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), WebSocketError> {
        if self.has_unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed.or_else(ignore_close)?;
            self.has_unflushed = false;
        }
        Ok(())
    }

    /// Sends the reason to close, and receives until the peer has closed, too: a socket that is
    /// closed over unread bytes is reset, and the reset would overtake the reason.
    pub(crate) async fn close(mut self, reason: CloseReason) {
        let frame = CloseFrame {
            code: reason.code().into(),
            reason: Default::default(),
        };

        let handshake = async {
            // Fails if the peer closed first: its close is then only acknowledged.
            let _ = self.stream.close(Some(frame)).await;
            let _ = SinkExt::<Message>::flush(&mut self.stream).await;

            while let Some(Ok(message)) = self.stream.next().await {
                if message.is_close() {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(CLOSE_PATIENCE, handshake).await;
    }

    fn start_send(&mut self, message: Message) -> Result<(), WebSocketError> {
        self.has_unflushed = true;
        Pin::new(&mut self.stream)
            .start_send(message)
            .or_else(ignore_close)
    }
}

/// Returns `Ok` for a WebSocket that has ended in good order, which is no error.
fn ignore_close(error: Error) -> Result<(), WebSocketError> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        other => Err(WebSocketError::Transport(other)),
    }
}
