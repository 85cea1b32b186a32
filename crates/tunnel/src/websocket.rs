//! The WebSocket as a byte stream: binary messages carry bytes, everything else ends here.
//!
//! Pings and pongs, a middlebox's too, are signs of life and nothing more. A close is the end of the stream. A text
//! message is an error: the peer speaks something else. The WebSocket outlives the byte stream inside it, because an
//! end says why it closes only after HTTP/2 is gone.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::config::{CLOSE_PATIENCE, MAX_MESSAGE_BYTES, MESSAGE_BYTES, WEBSOCKET_BUFFER_BYTES};
use crate::link::{CloseReason, Link};

/// How much is read from the socket at once. It is held by every idle tunnel.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// A WebSocket whose byte stream may end before it does.
pub(crate) struct Socket<S>(Arc<Mutex<WebSocketStream<S>>>);

/// The byte stream inside a WebSocket.
pub(crate) struct WebSocketBytes<S> {
    socket: Socket<S>,
    /// What is left of the last binary message.
    unread: Bytes,
    link: Arc<Link>,
    read_ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Starts on a byte stream whose upgrade is done.
    pub(crate) async fn new(io: S, role: Role) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WEBSOCKET_BUFFER_BYTES)
            .max_write_buffer_size(WEBSOCKET_BUFFER_BYTES + 8 * MESSAGE_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let socket = WebSocketStream::from_raw_socket(io, role, Some(config)).await;
        Self(Arc::new(Mutex::new(socket)))
    }

    /// The byte stream inside. There is one; it is dropped before [`Socket::close`].
    pub(crate) fn bytes(&self, link: Arc<Link>) -> WebSocketBytes<S> {
        WebSocketBytes { socket: Self(self.0.clone()), unread: Bytes::new(), link, read_ended: false }
    }

    /// Says why this end closes, and takes what is still under way until the peer has said the same: a socket that is
    /// closed over unread bytes is reset, and the reset would overtake the reason.
    pub(crate) async fn close(self, reason: CloseReason) {
        // Held by nobody else: the byte stream went with HTTP/2.
        let Some(socket) = Arc::into_inner(self.0) else { return };
        let mut socket = socket.into_inner().unwrap_or_else(PoisonError::into_inner);
        let farewell = async {
            // It fails if the peer closed first, whose close is then only acknowledged.
            let _ = socket.close(Some(CloseFrame { code: reason.code().into(), reason: Default::default() })).await;
            let _ = SinkExt::<Message>::flush(&mut socket).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(CLOSE_PATIENCE, farewell).await;
    }

    fn lock(&self) -> MutexGuard<'_, WebSocketStream<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketBytes<S> {
    /// Sends the ping that the watcher asked for, as far as the socket takes it; later writes push the rest.
    fn ping_if_wanted(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.link.register(cx.waker());
        if !self.link.take_ping() {
            return Ok(());
        }
        let mut socket = self.socket.lock();
        Pin::new(&mut *socket).start_send(Message::Ping(Bytes::new())).or_else(ended).map_err(to_io)?;
        match Pin::new(&mut *socket).poll_flush(cx) {
            Poll::Ready(result) => result.or_else(ended).map_err(to_io),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.ping_if_wanted(cx)?;
        while this.unread.is_empty() {
            if this.read_ended {
                return Poll::Ready(Ok(()));
            }
            let message = match ready!(Pin::new(&mut *this.socket.lock()).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(ended(error).map_err(to_io)),
                None => return Poll::Ready(Ok(())),
            };
            this.link.hear();
            match message {
                Message::Binary(bytes) => this.unread = bytes,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(frame) => {
                    this.link.closed_by_peer(frame.map_or(1005, |frame| frame.code.into()));
                    this.read_ended = true;
                }
                Message::Text(_) => {
                    let error = "the peer sent a text message, expected binary messages alone";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
        }
        let length = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..length]);
        this.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.socket.lock();
        ready!(Pin::new(&mut *socket).poll_ready(cx)).map_err(to_io)?;
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MESSAGE_BYTES);
        let mut message = BytesMut::with_capacity(length);
        for slice in slices {
            let room = length - message.len();
            message.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Pin::new(&mut *socket).start_send(Message::Binary(message.freeze())).map_err(to_io)?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.lock()).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// A WebSocket that has ended in good order is no error.
fn ended(error: Error) -> Result<(), Error> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        other => Err(other),
    }
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
