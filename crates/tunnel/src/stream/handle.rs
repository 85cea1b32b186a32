//! A stream together with its tunnel: applies actions of this end and sends their frames.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use llamapool_limits::{MemoryAccount, ShareError};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::error::{SendStoppedError, StreamError};
use super::lease::{Held, StreamLease};
use super::state::{BodyEvent, ReadProgress, ReceivedHead, SharedState, StreamState};
use super::tunnel::Tunnel;
use crate::frame::{CancelReason, Frame};
use crate::socket::{OpenStreamError, Outbox};

/// One request and its response. Clones are the same stream.
#[derive(Clone)]
pub(crate) struct Stream {
    tunnel: Arc<Tunnel>,
    state: SharedState,
}

impl Stream {
    /// Creates a stream for a request that is to be sent.
    pub(crate) fn new(
        tunnel: Arc<Tunnel>,
        permit: OwnedSemaphorePermit,
        lease: StreamLease,
    ) -> Self {
        let StreamLease { place, memory } = lease;
        let held = Held::new(permit, place);
        let state = StreamState::new_request(tunnel.windows(), held, memory);
        Self {
            tunnel,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Adds a stream for a received request. `is_last`: the request has no body.
    pub(crate) fn accept(tunnel: Arc<Tunnel>, number: u32, is_last: bool) -> Self {
        let state = StreamState::received_request(number, is_last, tunnel.windows());
        let state = Arc::new(Mutex::new(state));
        tunnel.streams.insert(number, state.clone());
        Self { tunnel, state }
    }

    /// Sends the head of a request, and its whole `body` where that has arrived. `is_last`: no more
    /// of the body follows.
    pub(crate) fn open(
        &self,
        write_head: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        is_last: bool,
    ) -> Result<(), OpenStreamError> {
        let mut state = self.state.lock();
        self.tunnel.outbox.enqueue_request(|out, number| {
            state.set_number(number);
            state.encode_start(out, write_head, body, is_last);
            self.tunnel.streams.insert(number, self.state.clone());
        })?;

        drop(state);
        self.tunnel.flush();
        Ok(())
    }

    /// Sends the head of the response, and its whole `body` where that has arrived. `is_last`: no
    /// more of the body follows.
    pub(super) fn respond(
        &self,
        write_head: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        is_last: bool,
    ) {
        self.change(|state, outbox| {
            if state.error().is_none() {
                outbox.enqueue(|out| state.encode_start(out, write_head, body, is_last));
            }
        });
    }

    /// Waits for a turn in the outbox. Returns how many bytes may be in the next piece of this end's
    /// body, or an error if the stream has failed.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        let mut state = self.state.lock();
        if let Some(error) = state.error() {
            return Poll::Ready(Err(error.clone()));
        }
        if self.tunnel.outbox.poll_room(&mut state.turn, cx).is_ready() {
            return Poll::Ready(Ok(state.max_piece()));
        }
        state.register_writer(cx);
        Poll::Pending
    }

    /// Sends as much of `data` as there is room for. Ready when all of it is enqueued.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        is_last: bool,
    ) -> Poll<Result<(), SendStoppedError>> {
        self.change(|state, outbox| {
            loop {
                if !state.is_sending() {
                    return Poll::Ready(Err(SendStoppedError));
                }
                let length = data.len().min(state.max_piece());
                let is_window_full = length == 0 && !data.is_empty();
                if is_window_full || outbox.poll_room(&mut state.turn, cx).is_pending() {
                    state.register_writer(cx);
                    return Poll::Pending;
                }

                let piece = data.split_to(length);
                let is_last_piece = is_last && data.is_empty();
                if !piece.is_empty() || is_last_piece {
                    outbox.enqueue(|out| state.encode_piece(out, &piece, is_last_piece));
                }
                if data.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// Waits until the peer wants no more of this end's body.
    pub(super) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.state.lock().poll_stopped(cx)
    }

    /// Sends that this end's body has broken off, behind what was sent of it.
    pub(super) fn abort(&self) {
        self.change(|state, outbox| enqueue(outbox, state.abort()));
    }

    /// Ends the stream in both directions.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        // Delivered as if received, so that the task of the other half is woken, too.
        self.tunnel.deliver(&self.state, |state| {
            enqueue(&self.tunnel.outbox, state.cancel(reason));
        });
        self.tunnel.flush();
    }

    /// Sends that no more of the peer's body is wanted.
    pub(super) fn stop_receiving(&self) {
        self.change(|state, outbox| enqueue(outbox, state.stop_receiving()));
    }

    /// Waits for the head of the response.
    pub(super) fn poll_head(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ReceivedHead, StreamError>> {
        self.state.lock().poll_head(cx)
    }

    /// Waits for the next progress of the peer's body, and returns how far it is read with it.
    /// Reading gives the window back.
    pub(super) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<(BodyEvent, ReadProgress)> {
        let mut state = self.state.lock();
        let event = ready!(state.poll_body(cx));
        let progress = state.read_progress();

        let is_data = matches!(event, BodyEvent::Data(_));
        if is_data && let Some(update) = state.release_window() {
            self.tunnel.outbox.enqueue_frame(&update);
            drop(state);
            self.tunnel.flush();
        }
        Poll::Ready((event, progress))
    }

    /// Takes the peer's whole body, of at most `max_bytes`, if it has arrived, and the stream is over
    /// for both ends where that is needed.
    pub(super) fn take_whole(&self, max_bytes: usize, needs_both_ends: bool) -> Option<Bytes> {
        self.state.lock().take_whole(max_bytes, needs_both_ends)
    }

    /// Takes the peer's whole body if it has arrived and `is_wanted` returns true of its length.
    pub(super) fn take_arrived(&self, is_wanted: impl FnOnce(usize) -> bool) -> Option<Bytes> {
        self.state.lock().take_arrived(is_wanted)
    }

    /// Returns whether more of the peer's body may arrive.
    pub(super) fn is_receiving(&self) -> bool {
        self.state.lock().is_receiving()
    }

    /// Counts the memory of the peer's body from now on for these parties.
    pub(super) fn cover_window(&self, account: MemoryAccount) -> Result<(), ShareError> {
        self.state.lock().cover_window(account)
    }

    /// Returns whether the peer's whole body has arrived and was read.
    pub(super) fn has_read_all(&self) -> bool {
        self.state.lock().has_read_all()
    }

    /// Applies an action of this end, and flushes what it has enqueued.
    fn change<T>(&self, action: impl FnOnce(&mut StreamState, &Outbox) -> T) -> T {
        let mut state = self.state.lock();
        let result = action(&mut state, &self.tunnel.outbox);
        self.tunnel.remove_finished(state);
        self.tunnel.flush();
        result
    }
}

fn enqueue(outbox: &Outbox, frame: Option<Frame>) {
    if let Some(frame) = frame {
        outbox.enqueue_frame(&frame);
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("number", &self.state.lock().number())
            .finish_non_exhaustive()
    }
}
