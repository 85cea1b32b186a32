//! The events that can be said again, up to a bound; the oldest is forgotten first, and that it was is known.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::event_id::EventId;

/// The events of all streams of one session.
pub(super) struct Kept {
    streams: BTreeMap<u64, Log>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Log {
    events: VecDeque<(u64, Bytes)>,
    /// Up to this one they are forgotten.
    forgotten: u64,
}

impl Kept {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Keeps the newest event of a stream.
    pub(super) fn keep(&mut self, id: EventId, message: Bytes) {
        self.bytes += message.len();
        self.streams
            .entry(id.stream)
            .or_default()
            .events
            .push_back((id.number, message));
        while self.bytes > self.max_bytes {
            let Some(log) = self.streams.values_mut().find(|log| !log.events.is_empty()) else {
                break;
            };
            if let Some((number, message)) = log.events.pop_front() {
                self.bytes -= message.len();
                log.forgotten = number;
            }
        }
    }

    /// The events of a stream behind one of them, if all of them are kept.
    pub(super) fn behind(&self, last: EventId) -> Option<impl Iterator<Item = (EventId, Bytes)>> {
        let log = self.streams.get(&last.stream);
        if log.is_some_and(|log| last.number < log.forgotten) {
            return None;
        }
        let events = log.into_iter().flat_map(|log| log.events.iter());
        let events = events.skip_while(move |(number, _)| *number <= last.number);
        Some(events.map(move |(number, message)| {
            (
                EventId {
                    stream: last.stream,
                    number: *number,
                },
                message.clone(),
            )
        }))
    }

    /// Forgets a stream.
    pub(super) fn forget(&mut self, stream: u64) {
        let log = self.streams.remove(&stream).unwrap_or_default();
        self.bytes -= log
            .events
            .iter()
            .map(|(_, message)| message.len())
            .sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(events: &[(u64, u64, usize)], max_bytes: usize) -> Kept {
        let mut kept = Kept::new(max_bytes);
        for (stream, number, length) in events {
            kept.keep(
                EventId {
                    stream: *stream,
                    number: *number,
                },
                Bytes::from(vec![b'x'; *length]),
            );
        }
        kept
    }

    fn behind(kept: &Kept, stream: u64, number: u64) -> Option<Vec<u64>> {
        Some(
            kept.behind(EventId { stream, number })?
                .map(|(id, _)| id.number)
                .collect(),
        )
    }

    #[test]
    fn what_is_behind_an_event_is_of_its_own_stream_alone() {
        let kept = kept(&[(1, 1, 5), (2, 1, 5), (1, 2, 5), (1, 3, 5)], 100);
        assert_eq!(behind(&kept, 1, 1), Some(vec![2, 3]));
        assert_eq!(behind(&kept, 1, 0), Some(vec![1, 2, 3]));
        assert_eq!(behind(&kept, 2, 1), Some(vec![]));
        assert_eq!(behind(&kept, 3, 0), Some(vec![]));
    }

    #[test]
    fn the_oldest_are_forgotten_and_nobody_resumes_over_a_gap() {
        let mut kept = kept(&[(1, 1, 40), (1, 2, 40), (2, 1, 40)], 100);
        assert_eq!(behind(&kept, 1, 0), None);
        assert_eq!(behind(&kept, 1, 1), Some(vec![2]));
        assert_eq!(behind(&kept, 2, 0), Some(vec![1]));
        kept.keep(
            EventId {
                stream: 3,
                number: 1,
            },
            Bytes::from(vec![b'x'; 1000]),
        );
        assert_eq!((behind(&kept, 2, 0), behind(&kept, 3, 0)), (None, None));
        kept.forget(1);
        kept.forget(3);
        assert_eq!(kept.bytes, 0);
    }
}
