//! The outbox: frames of all streams that wait to be sent, in the order in which they were
//! enqueued.
//!
//! A task that enqueues a frame then flushes, as [`FlushPolicy`] decides. Heads and bodies wait for
//! room and get it in turns, so that the outbox is bounded and a large body does not hold back
//! small calls. Frames that are short and limited to one per stream need no room.
//!
//! The one rule: requests get their numbers here, under the same lock that orders their heads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BufMut, BytesMut};
use parking_lot::Mutex;

use super::flush::{FlushPolicy, OutboxLevel, Urgency};
use super::turn::{Turn, TurnState};
use super::websocket::{MAX_HEADER_BYTES, Outgoing};
use crate::config::{MESSAGE_BYTES, OUTBOX_BYTES};
use crate::frame::Frame;

/// Capacity that the first frame reserves at least, in bytes: more than most calls need. An idle
/// tunnel holds none.
const FIRST_BYTES: usize = 2 * 1024;

/// The queue of encoded frames.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<FrameQueue>,
    /// The greatest [`Urgency`] since the last flush decision.
    urgency: AtomicU8,
}

#[derive(Debug, Default)]
struct FrameQueue {
    /// Encoded frames behind room for the header of a WebSocket message, or nothing at all.
    bytes: BytesMut,
    /// Number of enqueues since the last message was taken.
    items: usize,
    /// Size of the last message: the next one is likely to have as much.
    last_message: usize,
    /// Senders that wait for room, in the order of their turns.
    senders: VecDeque<Turn>,
    /// Number of the newest request.
    newest_request: u32,
    accepts_requests: bool,
    is_closed: bool,
}

/// The reason why a request cannot be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenStreamError {
    #[error("the relay takes no more requests")]
    Draining,
    #[error("the tunnel has no numbers left for requests")]
    NumbersExhausted,
}

impl Outbox {
    /// Enqueues the bytes that `write` appends.
    pub(crate) fn enqueue(&self, write: impl FnOnce(&mut BytesMut)) {
        self.with_queue(|queue| write(&mut queue.bytes));
    }

    /// Enqueues a frame.
    pub(crate) fn enqueue_frame(&self, frame: &Frame) {
        self.enqueue(|out| frame.encode(out));
    }

    /// Enqueues a request under the next number, which `write` receives.
    pub(crate) fn enqueue_request(
        &self,
        write: impl FnOnce(&mut BytesMut, u32),
    ) -> Result<(), OpenStreamError> {
        self.with_queue(|queue| {
            if !queue.accepts_requests {
                return Err(OpenStreamError::Draining);
            }
            let number = queue
                .newest_request
                .checked_add(1)
                .ok_or(OpenStreamError::NumbersExhausted)?;

            queue.newest_request = number;
            write(&mut queue.bytes, number);
            Ok(())
        })
    }

    /// Accepts requests from now on.
    pub(crate) fn accept_requests(&self) {
        self.queue.lock().accepts_requests = true;
    }

    /// Accepts no more requests, and enqueues the drain frame that announces it, once.
    pub(crate) fn finish_requests(&self) {
        self.with_queue(|queue| {
            if std::mem::take(&mut queue.accepts_requests) {
                Frame::Drain.encode(&mut queue.bytes);
            }
        });
    }

    /// Returns the number of the newest request, or 0 before the first one.
    pub(crate) fn newest_request(&self) -> u32 {
        self.queue.lock().newest_request
    }

    /// Returns the urgency of what was enqueued since the last call, and resets it.
    pub(crate) fn take_urgency(&self) -> Urgency {
        // Most calls find nothing, and a load is cheaper than a swap.
        match self.urgency.load(Ordering::Acquire) {
            0 => Urgency::None,
            _ => self.urgency.swap(0, Ordering::AcqRel).into(),
        }
    }

    /// Returns the size of the queued frames.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().len()
    }

    /// Waits for room for a head or a piece of a body. While other senders wait, the sender queues
    /// behind them. `turn` is the sender's own, created when it waits for the first time.
    pub(crate) fn poll_room(&self, turn: &mut Option<Turn>, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.lock();
        let state = turn.as_ref().map_or(TurnState::Idle, Turn::state);
        let is_next = match state {
            TurnState::Idle => queue.senders.is_empty(),
            TurnState::Queued => false,
            TurnState::Granted => true,
        };

        if is_next && queue.len() < OUTBOX_BYTES {
            if let Some(turn) = turn {
                turn.reset();
            }
            return Poll::Ready(());
        }

        let turn = turn.get_or_insert_default();
        turn.wait(cx);
        match state {
            TurnState::Idle => queue.senders.push_back(turn.clone()),
            TurnState::Granted => queue.senders.push_front(turn.clone()),
            TurnState::Queued => {}
        }
        Poll::Pending
    }

    /// Returns whether senders wait for their turn.
    pub(crate) fn has_waiting_senders(&self) -> bool {
        !self.queue.lock().senders.is_empty()
    }

    /// Grants turns for the room that there is now. Returns whether there are more senders than
    /// room: then the connection task must call it again, whether the woken senders enqueue or not.
    pub(crate) fn grant_turns(&self) -> bool {
        let mut queue = self.queue.lock();
        if queue.senders.is_empty() {
            return false;
        }

        let room = OUTBOX_BYTES
            .saturating_sub(queue.len())
            .div_ceil(MESSAGE_BYTES);
        let count = room.min(queue.senders.len());
        let granted = grant(queue.senders.drain(..count));
        let has_more = room > 0 && !queue.senders.is_empty();

        drop(queue);
        granted.into_iter().for_each(Waker::wake);
        has_more
    }

    /// Takes the queued frames, up to the size of one message. Returns `None` if nothing is queued.
    pub(super) fn take_message(&self) -> Option<Outgoing> {
        let mut queue = self.queue.lock();
        queue.items = 0;
        let length = queue.len();
        if length > 0 {
            // And a quarter: messages are not equally large.
            queue.last_message = (length + length / 4).min(MESSAGE_BYTES);
        }
        match length {
            0 => None,
            // With its capacity: an idle tunnel keeps none.
            1..=MESSAGE_BYTES => Some(Outgoing::from_bytes_with_room(std::mem::take(
                &mut queue.bytes,
            ))),
            _ => {
                let first = &queue.bytes[MAX_HEADER_BYTES..][..MESSAGE_BYTES];
                let message = Outgoing::copy(first);
                // The end of what was copied becomes the room of the next message.
                queue.bytes.advance(MESSAGE_BYTES);
                Some(message)
            }
        }
    }

    /// Discards all frames, also later ones, and wakes all senders.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        queue.accepts_requests = false;
        queue.bytes = BytesMut::new();
        let granted = grant(queue.senders.drain(..));

        drop(queue);
        granted.into_iter().for_each(Waker::wake);
    }

    fn with_queue<T>(&self, enqueue: impl FnOnce(&mut FrameQueue) -> T) -> T {
        let mut queue = self.queue.lock();
        let was_empty = queue.len() == 0;
        if queue.bytes.is_empty() {
            let bytes = queue.last_message.max(FIRST_BYTES);
            queue.bytes.reserve(MAX_HEADER_BYTES + bytes);
            queue.bytes.put_bytes(0, MAX_HEADER_BYTES);
        }
        queue.items += 1;
        let result = enqueue(&mut queue);
        if queue.is_closed {
            queue.bytes.clear();
        }

        let urgency = FlushPolicy::urgency(OutboxLevel {
            was_empty,
            items: queue.items,
            bytes: queue.len(),
        });
        if urgency != Urgency::None {
            self.urgency.fetch_max(urgency as u8, Ordering::AcqRel);
        }
        result
    }
}

impl FrameQueue {
    /// Returns the size of the queued frames.
    fn len(&self) -> usize {
        self.bytes.len().saturating_sub(MAX_HEADER_BYTES)
    }
}

/// Grants the turns, and returns the wakers of the senders. To be woken outside the lock.
fn grant(turns: impl Iterator<Item = Turn>) -> Vec<Waker> {
    turns.filter_map(|turn| turn.grant()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;
    use crate::config::EARLY_FLUSH_ITEMS;

    fn enqueue(outbox: &Outbox) -> Urgency {
        outbox.enqueue(|out| out.extend_from_slice(b"frame"));
        outbox.take_urgency()
    }

    fn fill(outbox: &Outbox) {
        outbox.enqueue(|out| out.extend_from_slice(&[7; OUTBOX_BYTES]));
    }

    fn empty(outbox: &Outbox) {
        while outbox.take_message().is_some() {}
    }

    #[test]
    fn items_are_counted_from_message_to_message() {
        let outbox = Outbox::default();
        for _ in 0..2 {
            let urgencies: Vec<_> = (0..EARLY_FLUSH_ITEMS).map(|_| enqueue(&outbox)).collect();

            assert_eq!(urgencies[0], Urgency::Low);
            assert!(
                urgencies[1..EARLY_FLUSH_ITEMS - 1]
                    .iter()
                    .all(|urgency| *urgency == Urgency::None)
            );
            assert_eq!(urgencies[EARLY_FLUSH_ITEMS - 1], Urgency::High);
            assert_eq!(
                outbox.take_urgency(),
                Urgency::None,
                "it is reported only once"
            );

            let message = outbox.take_message().unwrap();
            assert_eq!(message.content().len(), EARLY_FLUSH_ITEMS * b"frame".len());
            assert!(outbox.take_message().is_none());
        }
    }

    #[test]
    fn the_greatest_urgency_counts() {
        let outbox = Outbox::default();

        outbox.enqueue(|out| out.extend_from_slice(b"frame"));
        fill(&outbox);
        outbox.enqueue(|_| {});

        assert_eq!(outbox.take_urgency(), Urgency::High);
        assert_eq!(
            outbox.take_message().unwrap().content().len(),
            MESSAGE_BYTES
        );
    }

    #[test]
    fn requests_are_numbered_while_numbers_last() {
        let outbox = Outbox::default();
        let request = || {
            let mut given = 0;
            outbox
                .enqueue_request(|_, number| given = number)
                .map(|()| given)
        };

        assert_eq!(
            request(),
            Err(OpenStreamError::Draining),
            "before the peer's hello"
        );
        outbox.accept_requests();
        assert_eq!(request(), Ok(1));
        assert_eq!(request(), Ok(2));
        assert_eq!(outbox.newest_request(), 2);

        outbox.queue.lock().newest_request = u32::MAX - 1;
        assert_eq!(request(), Ok(u32::MAX));
        assert_eq!(request(), Err(OpenStreamError::NumbersExhausted));
    }

    #[test]
    fn the_end_of_requests_is_announced_once() {
        let outbox = Outbox::default();
        outbox.accept_requests();

        outbox.finish_requests();
        outbox.finish_requests();

        assert_eq!(
            outbox.enqueue_request(|_, _| ()),
            Err(OpenStreamError::Draining)
        );
        assert_eq!(
            outbox.take_message().unwrap().content(),
            &b"\x08\0\0\0\0\0\0\0\0"[..]
        );
    }

    /// A sender that notices when its task is woken.
    #[derive(Default)]
    struct Sender {
        turn: Option<Turn>,
        flag: Arc<Flag>,
    }

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    impl Sender {
        fn has_room(&mut self, outbox: &Outbox) -> bool {
            let waker = Waker::from(self.flag.clone());
            outbox
                .poll_room(&mut self.turn, &mut Context::from_waker(&waker))
                .is_ready()
        }
    }

    /// Returns the senders that were woken since the last call.
    fn woken(senders: &[Sender]) -> Vec<usize> {
        (0..senders.len())
            .filter(|&index| senders[index].flag.0.swap(false, Ordering::SeqCst))
            .collect()
    }

    #[test]
    fn turns_are_granted_in_the_order_of_the_queue() {
        let outbox = Outbox::default();
        let mut senders: [Sender; 4] = Default::default();
        assert!(senders[0].has_room(&outbox));

        fill(&outbox);
        for index in [2, 0, 1, 0, 2] {
            assert!(!senders[index].has_room(&outbox));
        }
        assert!(!outbox.grant_turns());
        assert!(woken(&senders).is_empty(), "there is no room yet");

        empty(&outbox);
        assert!(
            !senders[3].has_room(&outbox),
            "a later sender queues behind the others"
        );
        assert!(outbox.grant_turns());
        assert_eq!(woken(&senders), [0, 2]);

        assert!(senders[2].has_room(&outbox));
        assert!(!senders[2].has_room(&outbox), "a turn is good for one");
        assert!(outbox.grant_turns());
        assert_eq!(woken(&senders), [1, 3]);
        assert!(!outbox.grant_turns());
        assert_eq!(woken(&senders), [2]);
    }

    #[test]
    fn a_turn_that_finds_no_room_stays_the_next() {
        let outbox = Outbox::default();
        let mut senders: [Sender; 2] = Default::default();
        fill(&outbox);
        assert!(!senders[0].has_room(&outbox));
        empty(&outbox);
        assert!(!outbox.grant_turns());

        // Others fill the outbox before the sender runs.
        fill(&outbox);
        assert!(!senders[1].has_room(&outbox));
        assert!(!senders[0].has_room(&outbox));
        fill_to_one_turn(&outbox);
        woken(&senders);

        assert!(outbox.grant_turns());
        assert_eq!(woken(&senders), [0]);
    }

    /// Leaves room for the turn of one sender.
    fn fill_to_one_turn(outbox: &Outbox) {
        empty(outbox);
        outbox.enqueue(|out| out.extend_from_slice(&[7; OUTBOX_BYTES - 1]));
    }

    #[test]
    fn a_closed_outbox_keeps_nothing() {
        let outbox = Outbox::default();
        outbox.accept_requests();
        enqueue(&outbox);

        outbox.close();
        enqueue(&outbox);

        assert_eq!(outbox.len(), 0);
        assert!(outbox.take_message().is_none());
        assert_eq!(
            outbox.enqueue_request(|_, _| ()),
            Err(OpenStreamError::Draining)
        );
    }

    #[test]
    fn a_closed_outbox_wakes_all_senders() {
        let outbox = Outbox::default();
        let mut senders: [Sender; 3] = Default::default();
        fill(&outbox);
        for sender in &mut senders {
            assert!(!sender.has_room(&outbox));
        }

        outbox.close();

        assert_eq!(woken(&senders), [0, 1, 2]);
        for sender in &mut senders {
            assert!(sender.has_room(&outbox), "it finds the end by itself");
        }
    }
}
