//! Moments at which something is due though nothing happens.

use std::collections::BTreeSet;

use crate::CallId;

/// Something that is due at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The deadline of a waiting call.
    Deadline(CallId),
    /// The front call of a line rises by a class.
    Age(usize),
    /// The front call of a queue stops waiting for a worker with the model loaded.
    Warm(usize),
    /// The breaker of a worker, by its serial, admits a trial.
    Trial(u32),
    /// Models that a worker was loading, by its serial, are tried again.
    Loading(u32),
    /// The calls of an entry have waited too long for a worker.
    Absent(usize, u64),
}

/// The timers, in the order in which they are due. Few kinds are taken out when they become needless; the
/// others are checked when they are due.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(u64, Timer)>);

impl Timers {
    pub(crate) fn set(&mut self, at: u64, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(crate) fn clear(&mut self, at: u64, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// Returns the next timer that is due.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Timer> {
        let first = *self.0.first()?;
        if first.0 > now {
            return None;
        }
        self.0.remove(&first);
        Some(first.1)
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.0.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
