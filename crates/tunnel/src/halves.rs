//! The two halves of a stream: what this end sends, and what it receives. Each tells the peer when it is dropped before its
//! end, so that nobody has to remember it.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use crate::frame::CancelReason;
use crate::stream::{ArrivedHead, Incoming, Over, Stream, Unwanted};

/// What is sent on a stream. Dropped before its end, it ends the whole stream.
#[derive(Debug)]
pub(crate) struct SendHalf {
    stream: Arc<Stream>,
    /// What the peer is told by the drop.
    why: CancelReason,
    has_ended: bool,
}

/// What is received on a stream. Dropped before its end, it tells the peer that nothing more is wanted.
#[derive(Debug)]
pub(crate) struct ReceiveHalf {
    stream: Arc<Stream>,
    leaving: Leaving,
}

/// What it means that nobody reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// A caller has left: nothing of the stream is wanted.
    EndsTheStream,
    /// Who answers does not need the rest of the request.
    EndsTheBody,
}

impl SendHalf {
    pub(crate) fn new(stream: Arc<Stream>, why: CancelReason) -> Self {
        Self {
            stream,
            why,
            has_ended: false,
        }
    }

    /// Ready when nobody wants this body any more.
    pub(crate) fn poll_unwanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_unwanted(cx)
    }

    /// Puts as much of the data as there is room for; ready when all of it is on its way.
    pub(crate) fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        ends: bool,
    ) -> Poll<Result<(), Unwanted>> {
        let put = self.stream.poll_put(cx, data, ends);
        self.has_ended |= ends && matches!(put, Poll::Ready(Ok(())));
        put
    }

    /// What was to be sent has broken off.
    pub(crate) fn abort(mut self) {
        self.has_ended = true;
        self.stream.abort();
    }

    /// The receiver wants no more of it; the other direction goes on.
    pub(crate) fn forgo(mut self) {
        self.has_ended = true;
    }

    /// Waits for a turn in the outbox.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        self.stream.poll_turn(cx)
    }

    /// How many bytes may be in a piece of the body now.
    pub(crate) fn room(&self) -> usize {
        self.stream.room()
    }

    /// Puts the head of the answer, whose turn it is, and with it all of its body where that is there.
    pub(crate) fn answer(
        &mut self,
        write: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        ends: bool,
    ) {
        self.stream.answer(write, body, ends);
        self.has_ended |= ends;
    }

    /// Ends the whole stream, for another reason than the usual.
    pub(crate) fn cancel(mut self, why: CancelReason) {
        self.why = why;
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.has_ended {
            self.stream.cancel(self.why);
        }
    }
}

impl ReceiveHalf {
    pub(crate) fn new(stream: Arc<Stream>, leaving: Leaving) -> Self {
        Self { stream, leaving }
    }

    /// The head of the answer.
    pub(crate) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<ArrivedHead, Over>> {
        self.stream.poll_head(cx)
    }

    /// What comes next of the body.
    pub(crate) fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        self.stream.poll_incoming(cx)
    }

    /// Whether all has come and was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.stream.has_ended()
    }
}

impl Drop for ReceiveHalf {
    fn drop(&mut self) {
        match self.leaving {
            Leaving::EndsTheStream => self.stream.cancel(CancelReason::CallerLeft),
            Leaving::EndsTheBody => self.stream.refuse_the_rest(),
        }
    }
}
