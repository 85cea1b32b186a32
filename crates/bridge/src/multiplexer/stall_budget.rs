//! How long callers that do not read may hold the others back, all of them together.
//!
//! The lines of a shared program are read one after the other. A bound for each slow caller alone
//! would let one with many calls stop the program for all.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The longest wait at once.
pub(super) const LONGEST: Duration = Duration::from_secs(2);
/// The part of the time that may be spent waiting in the long run: one in so many.
const ONE_IN: u32 = 10;

/// The waits that are left.
pub(super) struct StallBudget(Mutex<Left>);

struct Left {
    time: Duration,
    at: Instant,
}

impl StallBudget {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Left {
            time: LONGEST,
            at: Instant::now(),
        }))
    }

    /// Returns how long the next wait may be.
    pub(super) fn left(&self) -> Duration {
        let mut left = self.0.lock();
        let now = Instant::now();
        left.time = (left.time + (now - left.at) / ONE_IN).min(LONGEST);
        left.at = now;
        left.time
    }

    /// Records a wait that began at `start` and ends now.
    pub(super) fn spend_since(&self, start: Instant) {
        let mut left = self.0.lock();
        left.time = left.time.saturating_sub(start.elapsed());
        left.at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_are_bounded_in_the_long_run() {
        let budget = StallBudget::new();
        let start = Instant::now();
        let mut waited = Duration::ZERO;

        while start.elapsed() < Duration::from_secs(200) {
            let wait = budget.left();
            let began = Instant::now();
            tokio::time::sleep(wait).await;
            waited += began.elapsed();
            budget.spend_since(began);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }

        let allowed = LONGEST + start.elapsed() / ONE_IN;
        assert!(waited <= allowed, "{waited:?} of {allowed:?}");
        assert!(waited >= allowed / 2, "{waited:?} of {allowed:?}");

        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(budget.left(), LONGEST);
    }
}
