//! The WebSocket: binary messages carry frames, everything else ends here.
//!
//! Pings and pongs, a middlebox's too, are signs of life and nothing more. A close is the end. A text message is an error:
//! the peer speaks something else. The WebSocket outlives the streams, because an end says why it closes only when they are
//! gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::config::{
    CLOSE_PATIENCE, MAX_MESSAGE_BYTES, MESSAGE_BYTES, READ_BUFFER_BYTES, WEBSOCKET_BUFFER_BYTES,
};
use crate::link::{CloseReason, Link};

/// What a WebSocket runs on, whatever that is: a call of it costs nothing beside the system's.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// One end of a WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Io>>,
    link: Arc<Link>,
    has_unsent: bool,
}

/// What went wrong with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("{0}")]
    WebSocket(Error),
    #[error("the peer sent a text message, expected binary messages alone")]
    Text,
}

impl Socket {
    /// Starts on a byte stream whose upgrade is done.
    pub(crate) async fn new(io: impl Io + 'static, role: Role, link: Arc<Link>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WEBSOCKET_BUFFER_BYTES)
            .max_write_buffer_size(WEBSOCKET_BUFFER_BYTES + 8 * MESSAGE_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let stream =
            WebSocketStream::from_raw_socket(Box::new(io) as Box<dyn Io>, role, Some(config)).await;
        Self {
            stream,
            link,
            has_unsent: false,
        }
    }

    /// Sends the ping that the watcher asked for, as far as the socket takes it; later writes push the rest.
    pub(crate) fn ping_if_wanted(&mut self, cx: &mut Context<'_>) -> Result<(), SocketError> {
        self.link.register(cx.waker());
        if self.link.take_ping() {
            self.put(Message::Ping(Bytes::new()))?;
        }
        Ok(())
    }

    /// The content of the next binary message; none, when the peer has closed.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, SocketError>> {
        loop {
            let message = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(in_good_order(error).map(|()| None)),
                None => return Poll::Ready(Ok(None)),
            };
            self.link.hear();
            match message {
                Message::Binary(bytes) => return Poll::Ready(Ok(Some(bytes))),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(frame) => {
                    self.link
                        .closed_by_peer(frame.map_or(1005, |frame| frame.code.into()));
                    return Poll::Ready(Ok(None));
                }
                Message::Text(_) => return Poll::Ready(Err(SocketError::Text)),
            }
        }
    }

    /// Ready when one more message may be sent.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.stream)
            .poll_ready(cx)
            .map(|ready| ready.or_else(in_good_order))
    }

    /// Sends a binary message, for which the socket was ready.
    pub(crate) fn send(&mut self, bytes: Bytes) -> Result<(), SocketError> {
        self.put(Message::Binary(bytes))
    }

    /// Pushes what was sent, as far as the socket takes it.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), SocketError> {
        if self.has_unsent
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed.or_else(in_good_order)?;
            self.has_unsent = false;
        }
        Ok(())
    }

    /// Says why this end closes, and takes what is still under way until the peer has said the same: a socket that is
    /// closed over unread bytes is reset, and the reset would overtake the reason.
    pub(crate) async fn close(mut self, reason: CloseReason) {
        let farewell = async {
            // It fails if the peer closed first, whose close is then only acknowledged.
            let frame = CloseFrame {
                code: reason.code().into(),
                reason: Default::default(),
            };
            let _ = self.stream.close(Some(frame)).await;
            let _ = SinkExt::<Message>::flush(&mut self.stream).await;
            while let Some(Ok(message)) = self.stream.next().await {
                if message.is_close() {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(CLOSE_PATIENCE, farewell).await;
    }

    fn put(&mut self, message: Message) -> Result<(), SocketError> {
        self.has_unsent = true;
        Pin::new(&mut self.stream)
            .start_send(message)
            .or_else(in_good_order)
    }
}

/// A WebSocket that has ended in good order is no error.
fn in_good_order(error: Error) -> Result<(), SocketError> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        other => Err(SocketError::WebSocket(other)),
    }
}
