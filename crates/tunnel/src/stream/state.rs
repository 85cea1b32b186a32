//! State of one stream: a state machine without reference to the tunnel or the socket.
//!
//! Transitions are named after frames: `receive_…` for received ones; methods that return a
//! [`Frame`] leave it to the caller to send it.

mod receive;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use llamapool_limits::{MemoryAccount, ShareError};
use parking_lot::Mutex;

use super::error::StreamError;
use super::lease::Held;
use super::receive_buffer::ReceiveBuffer;
use super::receive_window::ReceiveWindow;
use crate::config::PIECE_BYTES;
use crate::frame::{CancelReason, Frame, encode_data, encode_head};
use crate::socket::Turn;

/// A stream's state, shared by the two halves and the table of open streams.
pub(crate) type SharedState = Arc<Mutex<StreamState>>;

/// State of one stream.
pub(crate) struct StreamState {
    /// Number of the stream, or 0 before its request is enqueued.
    number: u32,
    /// Received head of the response, until it is taken.
    response_head: Option<ReceivedHead>,
    has_received_head: bool,
    receive_buffer: ReceiveBuffer,
    receive_window: ReceiveWindow,
    /// Looks at the unread bytes since the reader took some.
    looks_at_reader: u8,
    receiving: BodyProgress,
    /// Bytes that the peer still accepts of this end's body.
    send_window: u32,
    sending: BodyProgress,
    error: Option<StreamError>,
    /// Turn in the outbox. `None` until this end had to wait for room.
    pub(super) turn: Option<Turn>,
    is_removed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Places that the stream holds until it is over for both ends.
    held: Held,
}

/// The windows with which the bodies of a stream begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    /// Bytes that the peer accepts of this end's body.
    pub(super) send: u32,
    /// Bytes that this end accepts of the peer's body.
    pub(super) receive: u32,
    /// Bytes to which the window of the peer's body may grow.
    pub(super) receive_max: u32,
}

/// A received head, still encoded.
#[derive(Debug)]
pub(crate) struct ReceivedHead {
    pub(crate) bytes: Bytes,
    /// True if no body follows.
    pub(crate) is_last: bool,
}

/// Progress of the body in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyProgress {
    Open,
    Ended,
    Aborted,
    /// The receiver wants no more of it.
    Stopped,
}

/// Progress of a received body.
pub(crate) enum BodyEvent {
    Data(Bytes),
    End,
    Aborted,
    Failed(StreamError),
}

/// How far a received body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadProgress {
    /// True if the whole body has arrived and was read.
    pub(super) has_read_all: bool,
    /// True if so, and the stream is over for both ends.
    pub(super) is_done: bool,
}

impl StreamState {
    /// Creates the state of a request that is to be sent.
    #[inline]
    pub(super) fn new_request(windows: Windows, held: Held, memory: Option<MemoryAccount>) -> Self {
        Self {
            held,
            receive_window: ReceiveWindow::new(windows.receive, windows.receive_max, memory),
            ..Self::new(0, windows)
        }
    }

    /// Creates the state of a received request. `is_last`: it has no body.
    #[inline]
    pub(super) fn received_request(number: u32, is_last: bool, windows: Windows) -> Self {
        let receiving = if is_last {
            BodyProgress::Ended
        } else {
            BodyProgress::Open
        };
        Self {
            receiving,
            has_received_head: true,
            ..Self::new(number, windows)
        }
    }

    // Inlined: a state has some hundred bytes, which are to be written once.
    #[inline]
    fn new(number: u32, windows: Windows) -> Self {
        Self {
            number,
            response_head: None,
            has_received_head: false,
            receive_buffer: ReceiveBuffer::default(),
            receive_window: ReceiveWindow::new(windows.receive, windows.receive_max, None),
            looks_at_reader: 0,
            receiving: BodyProgress::Open,
            send_window: windows.send,
            sending: BodyProgress::Open,
            error: None,
            turn: None,
            is_removed: false,
            reader: None,
            writer: None,
            held: Held::default(),
        }
    }

    /// Returns whether the stream is over for both ends.
    fn is_done(&self) -> bool {
        self.error.is_some()
            || (self.receiving != BodyProgress::Open && self.sending != BodyProgress::Open)
    }

    /// Returns the number of a stream that is done and the places that it held, once: it is to be
    /// removed.
    pub(super) fn take_finished(&mut self) -> Option<(u32, Held)> {
        if !self.is_done() || self.is_removed {
            return None;
        }
        self.is_removed = true;
        Some((self.number, std::mem::take(&mut self.held)))
    }

    /// Takes the wakers of the tasks that wait for this stream.
    pub(super) fn take_wakers(&mut self) -> [Option<Waker>; 2] {
        [self.reader.take(), self.writer.take()]
    }

    /// Ends the stream in both directions. The first error counts.
    pub(crate) fn fail(&mut self, error: StreamError) {
        self.error.get_or_insert(error);
    }

    /// Ends the stream in both directions. Returns the frame for the peer, unless the stream was
    /// over before.
    pub(super) fn cancel(&mut self, reason: CancelReason) -> Option<Frame> {
        let is_known = self.number == 0 || self.is_done();
        self.fail(StreamError::Cancelled(reason));
        (!is_known).then_some(Frame::Cancel {
            stream: self.number,
            reason,
        })
    }

    /// Ends the stream because of its reader, and discards the unread bytes. Returns the frame for
    /// the peer, unless the stream was over before.
    fn give_up(&mut self, error: StreamError) -> Option<Frame> {
        let is_over = self.is_done();
        self.fail(error);
        self.receiving = BodyProgress::Aborted;
        self.receive_buffer = ReceiveBuffer::default();
        self.receive_window.release_memory();
        (!is_over).then_some(Frame::Cancel {
            stream: self.number,
            reason: CancelReason::GivenUp,
        })
    }

    /// Looks at the unread bytes of the peer's body, again and again at equal intervals. Gives the
    /// stream up if its reader has taken none since more than `max_looks` looks, and returns the
    /// frame for the peer.
    pub(super) fn look_at_reader(&mut self, max_looks: u8) -> Option<Frame> {
        if self.receive_buffer.is_empty() {
            self.looks_at_reader = 0;
            return None;
        }
        self.looks_at_reader += 1;
        if self.looks_at_reader > max_looks {
            return self.give_up(StreamError::ReaderStalled);
        }
        None
    }
}

/// Sending.
impl StreamState {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn set_number(&mut self, number: u32) {
        self.number = number;
    }

    pub(super) fn error(&self) -> Option<&StreamError> {
        self.error.as_ref()
    }

    /// Returns whether the peer still accepts this end's body.
    pub(super) fn is_sending(&self) -> bool {
        self.error.is_none() && self.sending == BodyProgress::Open
    }

    /// Returns the maximum size of the next data frame.
    pub(super) fn max_piece(&self) -> usize {
        PIECE_BYTES.min(self.send_window as usize)
    }

    /// Appends this end's head, and its whole `body` where that has arrived and the window has room
    /// for it. `is_last`: no more of the body follows.
    pub(super) fn encode_start(
        &mut self,
        out: &mut BytesMut,
        write_head: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        is_last: bool,
    ) {
        encode_head(out, self.number, is_last && body.is_none(), write_head);
        if let Some(body) = body {
            self.send_window -= body.len() as u32;
            encode_data(out, self.number, body, is_last);
        }
        if is_last {
            self.sending = BodyProgress::Ended;
        }
    }

    /// Appends a piece of this end's body for which the window has room.
    pub(super) fn encode_piece(&mut self, out: &mut BytesMut, piece: &Bytes, is_last: bool) {
        self.send_window -= piece.len() as u32;
        encode_data(out, self.number, piece, is_last);
        if is_last {
            self.sending = BodyProgress::Ended;
        }
    }

    /// Ends this end's body as broken off. Returns the frame for the peer, unless it wants no more.
    pub(super) fn abort(&mut self) -> Option<Frame> {
        if !self.is_sending() {
            return None;
        }
        self.sending = BodyProgress::Aborted;
        Some(Frame::Abort {
            stream: self.number,
        })
    }

    /// Waits until the peer wants no more of this end's body.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.error.is_some() || self.sending == BodyProgress::Stopped {
            return Poll::Ready(());
        }
        self.register_writer(cx);
        Poll::Pending
    }

    pub(super) fn register_writer(&mut self, cx: &mut Context<'_>) {
        register(&mut self.writer, cx);
    }
}

/// Receiving, for the reader of a stream.
impl StreamState {
    /// Waits for the head of the response.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ReceivedHead, StreamError>> {
        if let Some(head) = self.response_head.take() {
            return Poll::Ready(Ok(head));
        }
        if let Some(error) = &self.error {
            return Poll::Ready(Err(error.clone()));
        }
        register(&mut self.reader, cx);
        Poll::Pending
    }

    /// Waits for the next progress of the peer's body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<BodyEvent> {
        if let Some(data) = self.receive_buffer.pop() {
            self.looks_at_reader = 0;
            return Poll::Ready(BodyEvent::Data(data));
        }
        match (&self.error, self.receiving) {
            (Some(error), _) if error.discards_unread() => {
                Poll::Ready(BodyEvent::Failed(error.clone()))
            }
            (_, BodyProgress::Ended) => Poll::Ready(BodyEvent::End),
            (_, BodyProgress::Aborted) => Poll::Ready(BodyEvent::Aborted),
            (Some(error), _) => Poll::Ready(BodyEvent::Failed(error.clone())),
            (None, BodyProgress::Open | BodyProgress::Stopped) => {
                register(&mut self.reader, cx);
                Poll::Pending
            }
        }
    }

    /// Returns whether the peer's whole body has arrived and was read.
    pub(super) fn has_read_all(&self) -> bool {
        self.receiving == BodyProgress::Ended && self.receive_buffer.is_empty()
    }

    /// Returns how far the peer's body is read.
    pub(super) fn read_progress(&self) -> ReadProgress {
        let has_read_all = self.has_read_all();
        ReadProgress {
            has_read_all,
            is_done: has_read_all && self.is_done(),
        }
    }

    /// Takes the peer's whole body, of at most `max_bytes`, if it has arrived, and the stream is over
    /// for both ends where that is needed.
    pub(super) fn take_whole(&mut self, max_bytes: usize, needs_both_ends: bool) -> Option<Bytes> {
        let is_whole = self.receiving == BodyProgress::Ended && self.error.is_none();
        let is_early = needs_both_ends && !self.is_done();
        if !is_whole || is_early || self.receive_buffer.len() > max_bytes {
            return None;
        }
        Some(self.receive_buffer.take_all())
    }

    /// Takes the peer's whole body if it has arrived and `is_wanted` returns true of its length.
    pub(super) fn take_arrived(&mut self, is_wanted: impl FnOnce(usize) -> bool) -> Option<Bytes> {
        let is_whole = self.receiving == BodyProgress::Ended && self.error.is_none();
        let is_taken = is_whole && is_wanted(self.receive_buffer.len());
        is_taken.then(|| self.receive_buffer.take_all())
    }

    /// Returns whether more of the peer's body may arrive.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving == BodyProgress::Open
    }

    /// Counts the memory of the peer's body from now on for these parties. Fails if there is none
    /// for its window.
    pub(super) fn cover_window(&mut self, account: MemoryAccount) -> Result<(), ShareError> {
        if self.receiving != BodyProgress::Open {
            return Ok(());
        }
        self.receive_window.set_account(Some(account));
        self.receive_window.cover()
    }

    /// Gives read bytes of the receive window back. Returns the frame for the peer when it is due:
    /// with half of the window read, so that bodies within it cost no such frame.
    pub(super) fn release_window(&mut self) -> Option<Frame> {
        if self.receiving != BodyProgress::Open || self.error.is_some() {
            return None;
        }
        let unread = self.receive_buffer.len() as u32;
        let bytes = self.receive_window.give_back(unread)?;
        Some(Frame::WindowUpdate {
            stream: self.number,
            bytes,
        })
    }

    /// Discards the rest of the peer's body. Returns the frame for a peer that still sends it.
    pub(super) fn stop_receiving(&mut self) -> Option<Frame> {
        if self.error.is_some() || self.receiving != BodyProgress::Open {
            return None;
        }
        self.receiving = BodyProgress::Stopped;
        Some(Frame::StopSending {
            stream: self.number,
        })
    }
}

/// Stores the waker of the current task in `slot`.
fn register(slot: &mut Option<Waker>, cx: &mut Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

impl std::fmt::Debug for StreamState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamState")
            .field("number", &self.number)
            .field("receiving", &self.receiving)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
