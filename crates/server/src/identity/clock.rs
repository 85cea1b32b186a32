//! The time by which keys end. It does not go back: a key that has expired stays expired when the
//! clock of the machine is set back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The steps in which the latest time is remembered, so that few calls write it.
const STEP_SECONDS: u64 = 1;

/// A clock that does not go back by more than a step.
#[derive(Debug, Default)]
pub(super) struct ForwardClock {
    /// The latest time, in seconds since the epoch.
    latest: AtomicU64,
}

impl ForwardClock {
    /// Returns the time, or the latest one that was returned if the clock was set back behind it.
    pub(super) fn now(&self) -> SystemTime {
        self.not_before(SystemTime::now())
    }

    fn not_before(&self, now: SystemTime) -> SystemTime {
        let seconds = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let latest = self.latest.load(Ordering::Relaxed);
        if seconds >= latest + STEP_SECONDS {
            self.latest.fetch_max(seconds, Ordering::Relaxed);
        }
        now.max(SystemTime::UNIX_EPOCH + Duration::from_secs(latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_stands_still() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let clock = ForwardClock::default();

        assert_eq!(clock.not_before(at(7200)), at(7200));
        assert_eq!(clock.not_before(at(3600)), at(7200), "an hour back");
        assert_eq!(clock.not_before(at(7201)), at(7201), "it goes on");
    }
}
