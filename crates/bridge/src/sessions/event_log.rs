//! The events that can be replayed, up to a bound, and while there is memory for them. The oldest is
//! forgotten first, and the log records that it was.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use llamapool_http::CountedMemory;
use llamapool_limits::MemoryAccount;

use crate::event_id::EventId;

/// The events of all streams of one session.
pub(super) struct EventLog {
    streams: BTreeMap<u64, StreamLog>,
    bytes: usize,
    max_bytes: usize,
    memory: CountedMemory,
}

#[derive(Default)]
struct StreamLog {
    events: VecDeque<(u64, Bytes)>,
    /// The events up to this number are forgotten.
    forgotten: u64,
}

impl EventLog {
    /// Creates a log that holds up to `max_bytes` of messages.
    pub(super) fn new(max_bytes: usize, memory: &MemoryAccount) -> Self {
        Self {
            streams: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            memory: CountedMemory::new(memory),
        }
    }

    /// Appends the newest event of a stream.
    pub(super) fn append(&mut self, id: EventId, message: Bytes) {
        self.bytes += message.len();
        let log = self.streams.entry(id.stream).or_default();
        log.events.push_back((id.number, message));

        while self.bytes > self.max_bytes || self.memory.fit(self.bytes).is_err() {
            let oldest = self.streams.values_mut().find(|log| !log.events.is_empty());
            let Some(log) = oldest else { break };
            if let Some((number, message)) = log.events.pop_front() {
                self.bytes -= message.len();
                log.forgotten = number;
            }
        }
    }

    /// Returns the events of a stream after `last`; `None` if one of them is forgotten.
    pub(super) fn after(&self, last: EventId) -> Option<impl Iterator<Item = (EventId, Bytes)>> {
        let log = self.streams.get(&last.stream);
        if log.is_some_and(|log| last.number < log.forgotten) {
            return None;
        }

        let events = log.into_iter().flat_map(|log| log.events.iter());
        let events = events.skip_while(move |(number, _)| *number <= last.number);
        Some(events.map(move |(number, message)| {
            let id = EventId {
                stream: last.stream,
                number: *number,
            };
            (id, message.clone())
        }))
    }

    /// Removes a stream.
    pub(super) fn remove(&mut self, stream: u64) {
        let log = self.streams.remove(&stream).unwrap_or_default();
        let bytes: usize = log.events.iter().map(|(_, message)| message.len()).sum();
        self.bytes -= bytes;
        // Less is always granted.
        let _ = self.memory.fit(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use llamapool_limits::{Claim, MemoryBudget, Owner};

    use super::*;

    fn log_of(events: &[(u64, u64, usize)], max_bytes: usize) -> EventLog {
        let mut log = EventLog::new(max_bytes, &MemoryAccount::default());

        for (stream, number, length) in events {
            log.append(
                EventId {
                    stream: *stream,
                    number: *number,
                },
                Bytes::from(vec![b'x'; *length]),
            );
        }

        log
    }

    fn after(log: &EventLog, stream: u64, number: u64) -> Option<Vec<u64>> {
        Some(
            log.after(EventId { stream, number })?
                .map(|(id, _)| id.number)
                .collect(),
        )
    }

    #[test]
    fn replayed_events_are_of_the_same_stream() {
        let log = log_of(&[(1, 1, 5), (2, 1, 5), (1, 2, 5), (1, 3, 5)], 100);

        assert_eq!(after(&log, 1, 1), Some(vec![2, 3]));
        assert_eq!(after(&log, 1, 0), Some(vec![1, 2, 3]));
        assert_eq!(after(&log, 2, 1), Some(vec![]));
        assert_eq!(after(&log, 3, 0), Some(vec![]));
    }

    #[test]
    fn the_oldest_events_are_forgotten_and_leave_a_gap() {
        let mut log = log_of(&[(1, 1, 40), (1, 2, 40), (2, 1, 40)], 100);

        assert_eq!(after(&log, 1, 0), None);
        assert_eq!(after(&log, 1, 1), Some(vec![2]));
        assert_eq!(after(&log, 2, 0), Some(vec![1]));

        log.append(
            EventId {
                stream: 3,
                number: 1,
            },
            Bytes::from(vec![b'x'; 1000]),
        );

        assert_eq!((after(&log, 2, 0), after(&log, 3, 0)), (None, None));

        log.remove(1);
        log.remove(3);

        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn events_without_memory_are_forgotten_and_never_refused() {
        let claim = Claim {
            owner: Owner::of(&"all"),
            factor: usize::MAX,
        };
        let account = MemoryBudget::new(200_000).account([claim; 3]);
        let mut log = EventLog::new(1 << 20, &account);

        for number in 1..=10 {
            let id = EventId { stream: 1, number };
            log.append(id, Bytes::from(vec![b'x'; 50_000]));
        }

        assert_eq!(after(&log, 1, 6), None);
        assert_eq!(after(&log, 1, 7), Some(vec![8, 9, 10]));
        assert!(account.budget().used() <= 200_000);

        log.remove(1);

        assert_eq!(account.budget().used(), 0);
    }
}
