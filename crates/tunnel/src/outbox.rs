//! What waits to go out: the frames of all streams, in the order in which they were put.
//!
//! Whoever has a frame puts it here, and says by [`Outbox::haste`] when it is to go out. Heads and bodies wait for room, and
//! get it in turns, so that what waits is bounded and a large body does not hold back small calls. What is short and
//! cannot be asked for more than once a stream needs no room.
//!
//! The one rule: requests get their numbers here, under the same lock that puts their heads into the order.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{EARLY, MESSAGE_BYTES, OUTBOX_BYTES};
use crate::frame::Frame;
use crate::stream::Stream;

/// The frames that wait.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    haste: AtomicU8,
}

/// When what was put is to go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Nothing is new, or whoever put what waits besides sees to it.
    None,
    /// It is the first that waits: others may join it.
    Soon,
    /// Enough has gathered.
    Now,
}

/// How a stream stands to the queue for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Turn {
    /// Not in it.
    #[default]
    None,
    /// In it.
    Queued,
    /// It is next.
    Granted,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: BytesMut,
    /// How many things were put since something was carried off.
    gathered: usize,
    /// Streams that have more to send, in the order of their turns.
    senders: VecDeque<Arc<Stream>>,
    /// The number of the newest request.
    last: u32,
    takes_requests: bool,
    is_closed: bool,
}

/// How much is made room for when the first frame is put, which is more than most calls have. An idle tunnel holds none.
const FIRST_BYTES: usize = 2 * 1024;

/// Why no request can be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRequest {
    #[error("the relay takes no more requests")]
    Draining,
    #[error("the tunnel has no numbers left for requests")]
    NoNumbersLeft,
}

impl Outbox {
    /// Puts what `write` writes.
    pub(crate) fn put(&self, write: impl FnOnce(&mut BytesMut)) {
        self.locked(|waiting| write(&mut waiting.frames));
    }

    /// Puts a frame.
    pub(crate) fn put_frame(&self, frame: &Frame) {
        self.put(|out| frame.put(out));
    }

    /// Puts a request under the next number.
    pub(crate) fn put_request(
        &self,
        write: impl FnOnce(&mut BytesMut, u32),
    ) -> Result<(), NoRequest> {
        self.locked(|waiting| {
            if !waiting.takes_requests {
                return Err(NoRequest::Draining);
            }
            waiting.last = waiting
                .last
                .checked_add(1)
                .ok_or(NoRequest::NoNumbersLeft)?;
            let number = waiting.last;
            write(&mut waiting.frames, number);
            Ok(())
        })
    }

    /// From here on requests can be put.
    pub(crate) fn take_requests(&self) {
        self.lock().takes_requests = true;
    }

    /// Puts the last frame of one who puts no more requests, once.
    pub(crate) fn put_no_more_requests(&self) {
        self.locked(|waiting| {
            if std::mem::take(&mut waiting.takes_requests) {
                Frame::Drain.put(&mut waiting.frames);
            }
        });
    }

    /// The number of the newest request that was put.
    pub(crate) fn last_request(&self) -> u32 {
        self.lock().last
    }

    /// When what was put since the last question is to go out. Whoever puts something asks, outside of all locks.
    pub(crate) fn haste(&self) -> Haste {
        match self.haste.load(Ordering::Acquire) {
            0 => Haste::None,
            _ => match self.haste.swap(0, Ordering::AcqRel) {
                0 => Haste::None,
                1 => Haste::Soon,
                _ => Haste::Now,
            },
        }
    }

    fn hurry(&self, haste: Haste) {
        self.haste.fetch_max(haste as u8, Ordering::AcqRel);
    }

    /// Whether somebody waits for a turn.
    pub(crate) fn has_queue(&self) -> bool {
        !self.lock().senders.is_empty()
    }

    /// How many bytes wait to be carried off.
    pub(crate) fn len(&self) -> usize {
        self.lock().frames.len()
    }

    /// Whether a stream may put a head or a piece now. If not, it is in the queue, and so is everybody while others are.
    pub(crate) fn has_room(&self, sender: &Arc<Stream>, turn: &mut Turn) -> bool {
        let mut waiting = self.lock();
        let is_next = *turn == Turn::Granted || (*turn == Turn::None && waiting.senders.is_empty());
        if is_next && waiting.frames.len() < OUTBOX_BYTES {
            *turn = Turn::None;
            return true;
        }
        match std::mem::replace(turn, Turn::Queued) {
            Turn::None => waiting.senders.push_back(sender.clone()),
            Turn::Granted => waiting.senders.push_front(sender.clone()),
            Turn::Queued => {}
        }
        false
    }

    /// What is to go out next, as large as a message may be.
    pub(crate) fn take(&self) -> Option<Bytes> {
        let mut waiting = self.lock();
        waiting.gathered = 0;
        match waiting.frames.len() {
            0 => None,
            // Without a place for more: an idle tunnel keeps none.
            1..=MESSAGE_BYTES => Some(std::mem::take(&mut waiting.frames).freeze()),
            _ => Some(waiting.frames.split_to(MESSAGE_BYTES).freeze()),
        }
    }

    /// The connection: who has waited for room that there is now. The others wait on; if there are any, it must ask
    /// again, whether those who were woken put something or not.
    pub(crate) fn next_senders(&self) -> (Vec<Arc<Stream>>, bool) {
        let mut waiting = self.lock();
        let room = OUTBOX_BYTES
            .saturating_sub(waiting.frames.len())
            .div_ceil(MESSAGE_BYTES);
        let count = room.min(waiting.senders.len());
        let next = waiting.senders.drain(..count).collect();
        (next, room > 0 && !waiting.senders.is_empty())
    }

    /// Nobody carries anything off any more.
    pub(crate) fn close(&self) -> Vec<Arc<Stream>> {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.takes_requests = false;
        waiting.frames = BytesMut::new();
        waiting.senders.drain(..).collect()
    }

    fn locked<T>(&self, put: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.lock();
        let was_empty = waiting.frames.is_empty();
        if was_empty {
            waiting.frames.reserve(FIRST_BYTES);
        }
        waiting.gathered += 1;
        let result = put(&mut waiting);
        if waiting.is_closed {
            waiting.frames.clear();
        }
        if waiting.gathered == EARLY || waiting.frames.len() >= OUTBOX_BYTES {
            self.hurry(Haste::Now);
        } else if was_empty && !waiting.frames.is_empty() {
            self.hurry(Haste::Soon);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::config::TunnelConfig;
    use crate::link::Link;
    use crate::tunnel::Tunnel;
    use crate::websocket::Socket;

    fn put(outbox: &Outbox) -> Haste {
        outbox.put(|out| out.extend_from_slice(b"frame"));
        outbox.haste()
    }

    #[test]
    fn the_first_frame_is_told_of_and_enough_of_them_hurry() {
        let outbox = Outbox::default();
        for _ in 0..2 {
            assert_eq!(put(&outbox), Haste::Soon);
            for _ in 2..EARLY {
                assert_eq!(put(&outbox), Haste::None);
            }
            assert_eq!(put(&outbox), Haste::Now);
            assert_eq!(outbox.haste(), Haste::None, "it is said once");
            assert_eq!(outbox.take().unwrap().len(), EARLY * 5);
            assert!(outbox.take().is_none());
        }
    }

    #[test]
    fn much_to_carry_hurries() {
        let outbox = Outbox::default();
        outbox.put(|out| out.resize(OUTBOX_BYTES, 7));
        assert_eq!(outbox.haste(), Haste::Now);
        assert_eq!(outbox.take().unwrap().len(), MESSAGE_BYTES);
    }

    #[test]
    fn requests_are_numbered_while_they_are_taken_and_numbers_last() {
        let outbox = Outbox::default();
        let ask = || {
            let mut given = 0;
            outbox
                .put_request(|_, number| given = number)
                .map(|()| given)
        };
        assert_eq!(ask(), Err(NoRequest::Draining), "nobody has said hello");
        outbox.take_requests();
        assert_eq!((ask(), ask()), (Ok(1), Ok(2)));
        assert_eq!(outbox.last_request(), 2);
        outbox.lock().last = u32::MAX - 1;
        assert_eq!(
            (ask(), ask()),
            (Ok(u32::MAX), Err(NoRequest::NoNumbersLeft))
        );
        outbox.put_no_more_requests();
        outbox.put_no_more_requests();
        assert_eq!(ask(), Err(NoRequest::Draining));
        assert_eq!(outbox.take().unwrap(), b"\x08\0\0\0\0\0\0\0\0"[..]);
    }

    /// Streams of a tunnel that nobody drives.
    async fn streams(count: u32) -> Vec<Arc<Stream>> {
        let link = Arc::new(Link::new());
        let socket = Socket::new(tokio::io::duplex(1).0, Role::Server, link.clone()).await;
        let tunnel = Tunnel::new(socket, link, &TunnelConfig::default());
        (1..=count)
            .map(|number| Stream::opened_by_peer(tunnel.clone(), number, true))
            .collect()
    }

    #[tokio::test]
    async fn turns_are_given_in_the_order_in_which_they_were_asked_for() {
        let (outbox, streams) = (Outbox::default(), streams(4).await);
        let mut turns = [Turn::None; 4];
        assert!(outbox.has_room(&streams[0], &mut turns[0]));
        outbox.put(|out| out.resize(OUTBOX_BYTES, 7));
        for at in [2, 0, 1, 0, 2] {
            assert!(!outbox.has_room(&streams[at], &mut turns[at]));
        }
        assert!(outbox.next_senders().0.is_empty(), "there is no room yet");
        while outbox.take().is_some() {}
        assert!(
            !outbox.has_room(&streams[3], &mut turns[3]),
            "who comes later queues behind the others"
        );
        let numbers = |next: &[Arc<Stream>]| -> Vec<_> {
            next.iter()
                .map(|one| {
                    streams
                        .iter()
                        .position(|other| Arc::ptr_eq(one, other))
                        .unwrap()
                })
                .collect()
        };
        let (next, others_wait) = outbox.next_senders();
        assert_eq!((numbers(&next), others_wait), (vec![2, 0], true));
        turns[2] = Turn::Granted;
        assert!(outbox.has_room(&streams[2], &mut turns[2]));
        assert!(
            !outbox.has_room(&streams[2], &mut turns[2]),
            "a turn is one"
        );
        let (next, others_wait) = outbox.next_senders();
        assert_eq!((numbers(&next), others_wait), (vec![1, 3], true));
        let (next, others_wait) = outbox.next_senders();
        assert_eq!((numbers(&next), others_wait), (vec![2], false));
    }

    #[tokio::test]
    async fn a_turn_that_finds_no_room_stays_the_next() {
        let (outbox, streams) = (Outbox::default(), streams(2).await);
        let mut turns = [Turn::None; 2];
        outbox.put(|out| out.resize(OUTBOX_BYTES, 7));
        assert!(!outbox.has_room(&streams[1], &mut turns[1]));
        turns[0] = Turn::Granted;
        assert!(!outbox.has_room(&streams[0], &mut turns[0]));
        while outbox.take().is_some() {}
        assert!(Arc::ptr_eq(&outbox.next_senders().0[0], &streams[0]));
    }

    #[test]
    fn a_closed_outbox_keeps_nothing() {
        let outbox = Outbox::default();
        outbox.take_requests();
        put(&outbox);
        outbox.close();
        put(&outbox);
        assert!(outbox.len() == 0 && outbox.take().is_none());
        assert_eq!(outbox.put_request(|_, _| ()), Err(NoRequest::Draining));
    }
}
