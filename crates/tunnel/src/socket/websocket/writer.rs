//! The sending half of a WebSocket: writes one frame after the other.
//!
//! Control frames wait for the frame that is being written, and there is at most one of each kind.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::Role;
use super::header::Opcode;
use super::outgoing::Outgoing;

#[derive(Debug)]
pub(super) struct Writer {
    role: Role,
    /// What is left of the frame that is being written.
    frame: BytesMut,
    ping: bool,
    /// Payload of the newest ping that is not answered. Older ones need no answer (RFC 6455,
    /// 5.5.3), so that a peer which does not read collects nothing here.
    pong: Option<Bytes>,
    /// Payload of the close frame. No frame follows it.
    close: Option<Bytes>,
    /// True if bytes were written that may wait in a buffer below.
    is_unflushed: bool,
}

impl Writer {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            frame: BytesMut::new(),
            ping: false,
            pong: None,
            close: None,
            is_unflushed: false,
        }
    }

    /// Sends a message. To be called when nothing waits to be written, which
    /// [`poll_write`](Self::poll_write) says.
    pub(super) fn send(&mut self, message: Outgoing) {
        debug_assert!(self.frame.is_empty());
        self.frame = message.into_frame(Opcode::Binary, self.role);
    }

    pub(super) fn send_ping(&mut self) {
        self.ping = true;
    }

    pub(super) fn send_pong(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    pub(super) fn send_close(&mut self, payload: Bytes) {
        self.close = Some(payload);
    }

    /// Writes what waits to be written. Ready when nothing does.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin + ?Sized),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.frame.is_empty() {
                match ready!(Pin::new(&mut *io).poll_write(cx, &self.frame))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.frame.advance(count),
                }
                self.is_unflushed = true;
            }
            // Without its capacity: an idle tunnel keeps none.
            self.frame = self.next_control().unwrap_or_default();
            if self.frame.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes all that waits, here and in the buffers below.
    pub(super) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin + ?Sized),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, cx))?;
        if self.is_unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Returns whether it has memory for as much as a byte.
    #[cfg(test)]
    pub(super) fn holds_memory(&mut self) -> bool {
        self.frame.try_reclaim(1)
    }

    /// Takes the next control frame.
    fn next_control(&mut self) -> Option<BytesMut> {
        let (opcode, payload) = if let Some(payload) = self.pong.take() {
            (Opcode::Pong, payload)
        } else if std::mem::take(&mut self.ping) {
            (Opcode::Ping, Bytes::new())
        } else {
            (Opcode::Close, self.close.take()?)
        };
        Some(Outgoing::copy(&payload).into_frame(opcode, self.role))
    }
}
