//! The calls to one id in the last minute, and how many of them failed.
//!
//! A call that ends is added under a lock that its end takes anyway, by the time that was read for its
//! duration: some ten instructions, and no clock of its own.

use std::time::{Duration, Instant, SystemTime};

/// The seconds for which a call is recent.
pub(crate) const RECENT_SECONDS: u64 = 60;
/// The seconds that are counted together. Fewer would need more of them.
const PART_SECONDS: u64 = 5;
/// The counts that are kept: those of a minute, and the one that is being filled.
const PARTS: usize = (RECENT_SECONDS / PART_SECONDS) as usize + 1;

/// The calls of the last minute.
#[derive(Debug)]
pub(super) struct RecentCalls {
    /// The clock that parts are numbered by.
    epoch: Instant,
    parts: [Part; PARTS],
    failing: Option<Failing>,
}

/// The calls of some seconds. It is of no use once its number is old.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    number: u64,
    calls: u32,
    failed: u32,
}

/// Failures without a minute between two of them.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: SystemTime,
    last: Instant,
    reason: FailureReason,
}

/// The reason of a failure, as far as it is kept for each id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureReason {
    /// A word of the errors, `broken` or `timed_out`.
    Word(&'static str),
    /// The provider answered with this status.
    Status(u16),
}

/// The calls of the last minute, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RecentCounts {
    /// Calls that ended, without those whose caller left and those that failed by the caller's doing.
    pub(crate) calls: u64,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// The newest failure; `None` if none is recent.
    pub(crate) failure: Option<RecentFailure>,
}

/// The newest of the recent failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecentFailure {
    /// The first failure with no minute without one since.
    pub(crate) since: SystemTime,
    pub(crate) reason: FailureReason,
}

impl RecentCalls {
    /// Returns no calls.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            parts: [Part::default(); PARTS],
            failing: None,
        }
    }

    /// Adds a call that has ended now.
    pub(super) fn add(&mut self, now: Instant, failure: Option<FailureReason>) {
        let number = self.number(now);
        let part = &mut self.parts[place(number)];
        if part.number != number {
            *part = Part {
                number,
                ..Part::default()
            };
        }
        part.calls = part.calls.saturating_add(1);

        let Some(reason) = failure else { return };
        part.failed = part.failed.saturating_add(1);
        let goes_on = self.failing.filter(|failing| is_recent(failing.last, now));
        self.failing = Some(Failing {
            since: goes_on.map_or_else(SystemTime::now, |failing| failing.since),
            last: now,
            reason,
        });
    }

    /// Returns the calls of the last minute.
    pub(super) fn counts(&self, now: Instant) -> RecentCounts {
        let number = self.number(now);
        let oldest = number.saturating_sub(PARTS as u64 - 1);
        let recent = self.parts.iter().filter(|part| part.number >= oldest);
        let (calls, failed) = recent.fold((0, 0), |(calls, failed), part| {
            (
                calls + u64::from(part.calls),
                failed + u64::from(part.failed),
            )
        });

        let failing = self.failing.filter(|failing| is_recent(failing.last, now));
        let failure = failing.map(|Failing { since, reason, .. }| RecentFailure { since, reason });
        RecentCounts {
            calls,
            failed: if failure.is_some() { failed } else { 0 },
            failure,
        }
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs() / PART_SECONDS
    }
}

fn place(number: u64) -> usize {
    (number % PARTS as u64) as usize
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < Duration::from_secs(RECENT_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Option<FailureReason> = Some(FailureReason::Word("provider_exited"));

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn calls_are_counted_for_a_minute_and_then_forgotten() {
        let start = Instant::now();
        let mut recent = RecentCalls::new(start);
        for seconds in 0..20 {
            let failure = FAILED.filter(|_| seconds < 3);
            recent.add(after(start, seconds), failure);
        }

        let now = recent.counts(after(start, 20));
        assert_eq!((now.calls, now.failed), (20, 3));
        let later = recent.counts(after(start, 61));
        assert_eq!((later.calls, later.failed), (20, 3));
        let much_later = recent.counts(after(start, 90));
        assert_eq!(much_later, RecentCounts::default());
        recent.add(after(start, 1_000_000), None);
        assert_eq!(recent.counts(after(start, 1_000_000)).calls, 1);
    }

    #[test]
    fn failures_are_one_trouble_until_a_minute_is_without_them() {
        let start = Instant::now();
        let mut recent = RecentCalls::new(start);

        recent.add(start, FAILED);
        let first = recent.counts(start).failure.unwrap();
        recent.add(after(start, 59), Some(FailureReason::Status(500)));
        recent.add(after(start, 100), FAILED);
        let on = recent.counts(after(start, 101)).failure.unwrap();
        assert_eq!(on.since, first.since);
        assert_eq!(on.reason, FailureReason::Word("provider_exited"));

        recent.add(after(start, 200), FAILED);
        let next = recent.counts(after(start, 200)).failure.unwrap();
        assert!(next.since > first.since, "{next:?} {first:?}");
    }
}
