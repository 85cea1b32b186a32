//! The decision when queued frames are flushed, and by which task.

use crate::config::{EARLY_FLUSH_ITEMS, FEW_STREAMS, OUTBOX_BYTES};

/// Decides when the frames in the outbox are written to the socket, and which task writes them.
///
/// A flush costs a system call, and an early one also a wake-up of the peer. So frames that are
/// queued in one turn of the runtime share a write, which the connection task makes at the end of
/// the turn. That is too late in two cases:
///
/// - Many calls are ready. The peer idles until this end has worked on all of them, and then this
///   end idles. So the task that enqueues the eighth request, response or piece of a body flushes.
/// - Few streams are open. There is hardly another frame to share a write with, and the way through
///   the connection task is a task switch for nothing. So each task flushes what it enqueues.
///
/// The measurements behind that: load, server, relay and provider on the same two cores, 32
/// connections if nothing else is stated, medians of three to six rounds in turns with the version
/// before. Processor time is that of one call on the server / on the relay, in µs.
///
/// | policy | calls a second | processor time | |
/// |---|---:|---|---|
/// | the connection task flushes, at the end of a turn | 1.00× | 18.8 / 18.4 | before; 28 % of the machine was idle |
/// | with 8 requests or responses queued, the eighth flushes | 1.18× | 18.9 / 18.8 | kept; 12 % was idle |
/// | shorter turns instead: 4 events from the system at once | 1.12× | 17.5 → 19.7 / 17.5 → 19.2 | dropped |
/// | besides, with up to 4 streams each enqueue flushes, and a response and its body are one item | 1.08×; at one connection 1.03× | 17.7 → 17.4 / 17.4 → 17.1 | kept |
///
/// Items are counted instead of frames: a head whose body follows at once is not worth a write of
/// its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushPolicy;

/// Fill level of the outbox directly after an enqueue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxLevel {
    /// True if nothing was queued before the enqueue.
    pub(crate) was_empty: bool,
    /// Number of requests, responses, pieces of bodies and other frames since the last flush.
    pub(crate) items: usize,
    /// Size of the queued frames.
    pub(crate) bytes: usize,
}

/// Urgency of a flush. The greatest one since the last decision counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Urgency {
    /// An earlier enqueue has already arranged the flush.
    None = 0,
    /// The first frame is queued. Others may share its write.
    Low = 1,
    /// Enough is queued for a write of its own.
    High = 2,
}

/// The task that flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flusher {
    /// None: there is nothing new to flush.
    None,
    /// The task that has enqueued, at once.
    Caller,
    /// The connection task, at the end of its turn.
    Connection,
}

impl FlushPolicy {
    /// Returns the urgency of an enqueue, given the fill level that it led to.
    pub(crate) fn urgency(level: OutboxLevel) -> Urgency {
        if level.items == EARLY_FLUSH_ITEMS || level.bytes >= OUTBOX_BYTES {
            Urgency::High
        } else if level.was_empty && level.bytes > 0 {
            Urgency::Low
        } else {
            Urgency::None
        }
    }

    /// Returns the task that flushes, given the number of open streams.
    pub(crate) fn flusher(urgency: Urgency, open_streams: usize) -> Flusher {
        match urgency {
            Urgency::None => Flusher::None,
            Urgency::Low if open_streams > FEW_STREAMS => Flusher::Connection,
            Urgency::Low | Urgency::High => Flusher::Caller,
        }
    }

    /// Returns whether the connection task has to run after a call's task tried to flush: if the
    /// socket was in use, or if senders wait for the room that there is now. Only the connection
    /// task grants turns.
    pub(crate) fn needs_connection(is_flushed: bool, has_waiting_senders: bool) -> bool {
        !is_flushed || has_waiting_senders
    }
}

impl From<u8> for Urgency {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::None,
            1 => Self::Low,
            _ => Self::High,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(was_empty: bool, items: usize, bytes: usize) -> OutboxLevel {
        OutboxLevel {
            was_empty,
            items,
            bytes,
        }
    }

    #[test]
    fn the_first_frame_and_the_eighth_item_are_urgent() {
        let urgencies: Vec<_> = (1..=10)
            .map(|items| FlushPolicy::urgency(level(items == 1, items, 100 * items)))
            .collect();

        let mut expected = vec![Urgency::None; 10];
        expected[0] = Urgency::Low;
        expected[EARLY_FLUSH_ITEMS - 1] = Urgency::High;
        assert_eq!(urgencies, expected);
    }

    #[test]
    fn a_full_outbox_is_urgent_whatever_filled_it() {
        for items in [1, 3, 20] {
            let full = level(items == 1, items, OUTBOX_BYTES);
            let nearly_full = level(false, items, OUTBOX_BYTES - 1);

            assert_eq!(FlushPolicy::urgency(full), Urgency::High);
            assert_eq!(FlushPolicy::urgency(nearly_full), Urgency::None);
        }
    }

    #[test]
    fn an_enqueue_without_bytes_is_not_urgent() {
        assert_eq!(FlushPolicy::urgency(level(true, 1, 0)), Urgency::None);
    }

    #[test]
    fn with_few_streams_the_caller_flushes_everything() {
        for open_streams in 0..=FEW_STREAMS {
            let flusher = |urgency| FlushPolicy::flusher(urgency, open_streams);

            assert_eq!(flusher(Urgency::None), Flusher::None);
            assert_eq!(flusher(Urgency::Low), Flusher::Caller);
            assert_eq!(flusher(Urgency::High), Flusher::Caller);
        }
    }

    #[test]
    fn with_many_streams_the_caller_flushes_only_the_urgent() {
        let flusher = |urgency| FlushPolicy::flusher(urgency, FEW_STREAMS + 1);

        assert_eq!(flusher(Urgency::None), Flusher::None);
        assert_eq!(flusher(Urgency::Low), Flusher::Connection);
        assert_eq!(flusher(Urgency::High), Flusher::Caller);
    }

    #[test]
    fn the_connection_finishes_a_flush_and_grants_turns() {
        assert!(!FlushPolicy::needs_connection(true, false));
        assert!(FlushPolicy::needs_connection(true, true));
        assert!(FlushPolicy::needs_connection(false, false));
        assert!(FlushPolicy::needs_connection(false, true));
    }

    #[test]
    fn urgencies_survive_their_bytes() {
        for urgency in [Urgency::None, Urgency::Low, Urgency::High] {
            assert_eq!(Urgency::from(urgency as u8), urgency);
        }
    }
}
