//! The WebSocket as the connection and the streams share it, and what waits to go out over it.
//!
//! The connection carries off whatever waits, once all who had something to say have said it: so many frames share one
//! write. But when that is much, the peer stands idle meanwhile. So whoever puts the frame that makes enough of them
//! carries them off at once.
//!
//! The one rule: a stream never waits for the socket here. What it cannot carry off is the connection's to do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::outbox::Outbox;
use crate::websocket::{Socket, SocketError};

/// The socket; none, when the tunnel has ended.
pub(crate) struct SharedSocket(Mutex<Option<Held>>);

struct Held {
    socket: Socket,
    /// Whom the socket wakes when it takes more.
    connection: Waker,
    /// What went wrong while a stream carried something off.
    failed: Option<SocketError>,
}

impl SharedSocket {
    pub(crate) fn new(socket: Socket) -> Self {
        Self(Mutex::new(Some(Held {
            socket,
            connection: Waker::noop().clone(),
            failed: None,
        })))
    }

    /// The connection: asks for a sign of life where that is due.
    pub(crate) fn ping_if_wanted(&self, cx: &mut Context<'_>) -> Result<(), SocketError> {
        self.with((), |held| {
            held.connection.clone_from(cx.waker());
            held.socket.ping_if_wanted(cx)
        })
    }

    /// The connection: the content of the next message; none, when the peer has closed.
    pub(crate) fn poll_message(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, SocketError>> {
        let message = self.with(Poll::Pending, |held| Ok(held.socket.poll_message(cx)?));
        message?.map(Ok)
    }

    /// The connection: carries off all that waits.
    pub(crate) fn carry(&self, outbox: &Outbox, cx: &mut Context<'_>) -> Result<(), SocketError> {
        self.with((), |held| carry(&mut held.socket, outbox, cx))
    }

    /// A stream: carries off what waits, as far as the socket takes it; false, if somebody else uses the socket just now.
    pub(crate) fn carry_now(&self, outbox: &Outbox) -> bool {
        let Ok(mut socket) = self.0.try_lock() else {
            return false;
        };
        let Some(held) = &mut *socket else {
            return true;
        };
        // The socket wakes the connection, which has to go on if it takes no more now.
        let waker = held.connection.clone();
        if let Err(error) = carry(&mut held.socket, outbox, &mut Context::from_waker(&waker)) {
            held.failed.get_or_insert(error);
            waker.wake();
        }
        true
    }

    /// Takes the socket out for a last word.
    pub(crate) fn take(&self) -> Option<Socket> {
        self.lock().take().map(|held| held.socket)
    }

    /// Works with the socket; when the tunnel has ended, nothing is to be done.
    fn with<T>(
        &self,
        nothing: T,
        work: impl FnOnce(&mut Held) -> Result<T, SocketError>,
    ) -> Result<T, SocketError> {
        let mut socket = self.lock();
        let Some(held) = &mut *socket else {
            return Ok(nothing);
        };
        match held.failed.take() {
            Some(failed) => Err(failed),
            None => work(held),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves what waits into the socket, as far as it takes it.
fn carry(socket: &mut Socket, outbox: &Outbox, cx: &mut Context<'_>) -> Result<(), SocketError> {
    while socket.poll_ready(cx)?.is_ready() {
        let Some(message) = outbox.take() else { break };
        socket.send(message)?;
    }
    socket.flush(cx)
}
