//! The WebSocket of one tunnel, as the connection task and the tasks of calls share it.
//!
//! The connection task flushes the outbox once all tasks that were ready have had their turn, so
//! that many frames share one write. If many frames are queued, the peer idles meanwhile. So a task
//! that enqueues a frame may flush by itself, where [`FlushPolicy`] decides so.
//!
//! The one rule: a call's task never waits for the socket. The connection task flushes the rest.

mod close;
mod flush;
mod liveness;
mod outbox;
mod turn;
mod websocket;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::websocket::fuzzing;

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

pub(crate) use self::close::CloseState;
pub use self::close::{CloseCode, CloseReason, TunnelEnd};
pub(crate) use self::flush::{FlushPolicy, Flusher};
pub(crate) use self::liveness::Liveness;
pub(crate) use self::outbox::{OpenStreamError, Outbox};
pub(crate) use self::turn::Turn;
use self::websocket::Received;
pub(crate) use self::websocket::{ByteStream, Role, WebSocket, WebSocketError};

/// The shared WebSocket, with the peer's liveness and the state of the close handshake.
pub(crate) struct Socket {
    pub(crate) liveness: Liveness,
    pub(crate) close: CloseState,
    /// `None` once the tunnel has ended.
    open: Mutex<Option<OpenSocket>>,
}

struct OpenSocket {
    websocket: WebSocket,
    /// Waker of the connection task. The WebSocket wakes it when it can write again.
    connection: Waker,
    /// Error of a flush by a call's task. The connection task reports it.
    write_error: Option<WebSocketError>,
}

impl Socket {
    /// Creates the socket of a tunnel on a byte stream whose upgrade is done.
    pub(crate) fn new(io: impl ByteStream + 'static, role: Role) -> Self {
        let open = OpenSocket {
            websocket: WebSocket::new(io, role),
            connection: Waker::noop().clone(),
            write_error: None,
        };
        Self {
            liveness: Liveness::new(),
            close: CloseState::new(),
            open: Mutex::new(Some(open)),
        }
    }

    /// Registers the connection task and sends a ping if one was requested.
    pub(crate) fn register(&self, cx: &mut Context<'_>) -> Result<(), WebSocketError> {
        self.with_open((), |open| {
            open.connection.clone_from(cx.waker());
            self.liveness.register_connection(cx.waker());
            if self.liveness.take_ping_request() {
                open.websocket.send_ping();
            }
            Ok(())
        })
    }

    /// Receives the content of the next binary message. Returns `None` when the peer has closed.
    /// For the connection task.
    pub(crate) fn poll_message(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, WebSocketError>> {
        let message = self.with_open(Poll::Pending, |open| {
            Ok(self.poll_binary(&mut open.websocket, cx)?)
        });
        message?.map(Ok)
    }

    /// Receives until a binary message or the end. Everything received is a sign of life.
    fn poll_binary(
        &self,
        websocket: &mut WebSocket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, WebSocketError>> {
        loop {
            let received = std::task::ready!(websocket.poll_receive(cx)?);
            if received != Received::End {
                self.liveness.record_received();
            }
            match received {
                Received::Binary(bytes) => return Poll::Ready(Ok(Some(bytes))),
                Received::Control => {}
                Received::Text => return Poll::Ready(Err(WebSocketError::TextMessage)),
                Received::Close(code) => {
                    self.close.record_peer_code(code);
                    return Poll::Ready(Ok(None));
                }
                Received::End => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Flushes the outbox, as far as the socket accepts it. For the connection task, which the
    /// socket wakes when it accepts more.
    pub(crate) fn flush(
        &self,
        outbox: &Outbox,
        cx: &mut Context<'_>,
    ) -> Result<(), WebSocketError> {
        self.with_open((), |open| flush(&mut open.websocket, outbox, cx))
    }

    /// Flushes the outbox, as far as the socket accepts it. For a call's task: the rest is left to
    /// the connection task. Returns `false` if another task is using the socket.
    pub(crate) fn try_flush(&self, outbox: &Outbox) -> bool {
        let Some(mut guard) = self.open.try_lock() else {
            return false;
        };
        let Some(open) = &mut *guard else {
            return true;
        };

        // The socket wakes the connection task, which goes on where the socket accepts no more.
        let waker = open.connection.clone();
        let mut cx = Context::from_waker(&waker);
        if let Err(error) = flush(&mut open.websocket, outbox, &mut cx) {
            open.write_error.get_or_insert(error);
            waker.wake();
        }
        true
    }

    /// Takes the WebSocket out for the close handshake. From then on nothing is sent or received.
    pub(crate) fn take(&self) -> Option<WebSocket> {
        self.open.lock().take().map(|open| open.websocket)
    }

    /// Applies `operation` to the WebSocket. Returns `closed` when the tunnel has ended, and the
    /// error of an earlier flush if there was one.
    fn with_open<T>(
        &self,
        closed: T,
        operation: impl FnOnce(&mut OpenSocket) -> Result<T, WebSocketError>,
    ) -> Result<T, WebSocketError> {
        let mut guard = self.open.lock();
        let Some(open) = &mut *guard else {
            return Ok(closed);
        };
        match open.write_error.take() {
            Some(error) => Err(error),
            None => operation(open),
        }
    }
}

/// Moves the outbox into the WebSocket, as far as it accepts it.
fn flush(
    websocket: &mut WebSocket,
    outbox: &Outbox,
    cx: &mut Context<'_>,
) -> Result<(), WebSocketError> {
    while websocket.poll_ready(cx)?.is_ready() {
        let Some(message) = outbox.take_message() else {
            break;
        };
        websocket.send(message);
    }
    websocket.flush(cx)
}
