//! The two halves of a stream: the messages that this end sends and receives. Dropping a half
//! before its end announces that to the peer, so no caller has to remember it.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use llamapool_limits::{MemoryAccount, ShareError};

use super::error::{SendStoppedError, StreamError};
use super::handle::Stream;
use super::state::{BodyEvent, ReadProgress, ReceivedHead};
use crate::frame::CancelReason;

/// The sending half of a stream. Dropped before its end, it cancels the whole stream.
#[derive(Debug)]
pub(crate) struct SendHalf {
    stream: Stream,
    /// Reason that the drop sends to the peer.
    reason_on_drop: CancelReason,
    has_ended: bool,
}

/// The receiving half of a stream. Dropped before its end, it announces that no more is wanted.
#[derive(Debug)]
pub(crate) struct ReceiveHalf {
    stream: Stream,
    on_drop: OnDrop,
    /// True once the whole body was read.
    has_read_all: bool,
    /// True once a drop changes nothing.
    is_over: bool,
}

/// Effect of dropping a [`ReceiveHalf`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// Cancels the stream: the caller has left, and wants nothing of it.
    CancelStream,
    /// Stops the body: the handler does not need the rest of the request.
    StopBody,
}

impl SendHalf {
    /// Creates the sending half of a stream, which cancels it with `reason_on_drop`.
    pub(crate) fn new(stream: Stream, reason_on_drop: CancelReason) -> Self {
        Self {
            stream,
            reason_on_drop,
            has_ended: false,
        }
    }

    /// Waits until the peer wants no more of this body.
    pub(crate) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_stopped(cx)
    }

    /// Waits for a turn in the outbox. Returns how many bytes may be in the next piece of the body, or
    /// an error if the stream has failed.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        self.stream.poll_turn(cx)
    }

    /// Sends the head of the response, after [`poll_turn`](Self::poll_turn), and the whole `body`
    /// where that has arrived. `is_last`: no more of the body follows.
    pub(crate) fn respond(
        &mut self,
        write_head: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        is_last: bool,
    ) {
        self.stream.respond(write_head, body, is_last);
        self.has_ended |= is_last;
    }

    /// Sends as much of `data` as there is room for. Ready when all of it is enqueued.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        is_last: bool,
    ) -> Poll<Result<(), SendStoppedError>> {
        let sent = self.stream.poll_send(cx, data, is_last);
        self.has_ended |= is_last && matches!(sent, Poll::Ready(Ok(())));
        sent
    }

    /// Ends the body as broken off.
    pub(crate) fn abort(mut self) {
        self.has_ended = true;
        self.stream.abort();
    }

    /// Gives up a body that the receiver has stopped. The other direction goes on.
    pub(crate) fn give_up(mut self) {
        self.has_ended = true;
    }

    /// Cancels the whole stream for another reason than a drop has.
    pub(crate) fn cancel(mut self, reason: CancelReason) {
        self.reason_on_drop = reason;
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.has_ended {
            self.stream.cancel(self.reason_on_drop);
        }
    }
}

impl ReceiveHalf {
    /// Creates the receiving half of a stream.
    pub(crate) fn new(stream: Stream, on_drop: OnDrop) -> Self {
        Self {
            stream,
            on_drop,
            has_read_all: false,
            is_over: false,
        }
    }

    /// Waits for the head of the response.
    pub(crate) fn poll_head(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ReceivedHead, StreamError>> {
        self.stream.poll_head(cx)
    }

    /// Waits for the next progress of the body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<BodyEvent> {
        let (event, progress) = ready!(self.stream.poll_body(cx));
        self.has_read_all = progress.has_read_all;
        self.is_over = self.is_over_with(progress);
        Poll::Ready(event)
    }

    /// Takes the whole body, of at most `max_bytes`, if it has arrived and a drop of this half then
    /// changes nothing.
    pub(super) fn take_whole(&mut self, max_bytes: usize) -> Option<Bytes> {
        let needs_both_ends = self.on_drop == OnDrop::CancelStream;
        let body = self.stream.take_whole(max_bytes, needs_both_ends)?;
        self.has_read_all = true;
        self.is_over = true;
        Some(body)
    }

    fn is_over_with(&self, progress: ReadProgress) -> bool {
        match self.on_drop {
            OnDrop::CancelStream => progress.is_done,
            OnDrop::StopBody => progress.has_read_all,
        }
    }

    /// Takes the whole body if it has arrived and `is_wanted` returns true of its length.
    pub(super) fn take_arrived(&mut self, is_wanted: impl FnOnce(usize) -> bool) -> Option<Bytes> {
        let body = self.stream.take_arrived(is_wanted)?;
        self.has_read_all = true;
        self.is_over = true;
        Some(body)
    }

    /// Returns whether more of the body may arrive.
    pub(super) fn is_receiving(&self) -> bool {
        self.stream.is_receiving()
    }

    /// Counts the memory of the body from now on for these parties.
    pub(super) fn cover_window(&self, account: MemoryAccount) -> Result<(), ShareError> {
        self.stream.cover_window(account)
    }

    /// Returns whether the whole body has arrived and was read.
    pub(super) fn has_read_all(&self) -> bool {
        self.has_read_all || self.stream.has_read_all()
    }
}

impl Drop for ReceiveHalf {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        match self.on_drop {
            OnDrop::CancelStream => self.stream.cancel(CancelReason::CallerLeft),
            OnDrop::StopBody => self.stream.stop_receiving(),
        }
    }
}
