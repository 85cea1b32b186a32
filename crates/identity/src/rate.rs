//! Rates: so many calls in a time, and the cell that measures a call against one.
//!
//! The cell is the generic cell rate algorithm (ITU-T I.371, annex A): one number, the time at which
//! all that was let in would have come in at the rate alone. It is one atomic without a lock, needs no
//! sweep, and has no window at whose edge twice the rate fits.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most calls of a rate. With it the time between two calls of a second is a microsecond.
const MAX_COUNT: u32 = 1_000_000;
/// How far the times of two threads may be apart that take from one cell, in nanoseconds.
const SKEW: u64 = 1_000_000_000;

/// So many calls in a time, such as `120/min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    count: u32,
    per: RateUnit,
}

/// The time of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum RateUnit {
    Second,
    Minute,
    Hour,
    Day,
}

/// A rate, and how many calls may come at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The rate.
    pub rate: Rate,
    /// The most calls at once, at least 1.
    pub burst: u32,
}

/// The calls that one rate has let in. The time is a number of nanoseconds since any moment that does not
/// change.
#[derive(Debug, Default)]
pub struct RateCell {
    /// The time at which everything that was let in is paid for.
    paid_at: AtomicU64,
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no rate, expected a count of 1 to {MAX_COUNT} and s, min, h or d, such as 120/min"
)]
pub struct RateError(String);

impl Rate {
    /// Returns so many calls a minute, at least 1.
    pub fn per_minute(count: u32) -> Self {
        Self {
            count: count.clamp(1, MAX_COUNT),
            per: RateUnit::Minute,
        }
    }

    /// Returns the number of calls.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns the time that they may come in.
    pub fn window(self) -> Duration {
        Duration::from_secs(match self.per {
            RateUnit::Second => 1,
            RateUnit::Minute => 60,
            RateUnit::Hour => 3600,
            RateUnit::Day => 86_400,
        })
    }

    /// Returns the time between two calls, in nanoseconds.
    fn interval(self) -> u64 {
        nanoseconds(self.window()) / u64::from(self.count)
    }
}

impl RateLimit {
    /// Returns a rate with a burst; without one, all calls of its time may come at once.
    pub fn new(rate: Rate, burst: Option<u32>) -> Self {
        let burst = burst.unwrap_or(rate.count).max(1);
        Self { rate, burst }
    }
}

impl RateCell {
    /// Lets a call in at a time, or returns how long it must wait. A refused call costs nothing.
    ///
    /// A clock that is set back makes a call wait for one burst at most, and one that is set forward
    /// lets one burst in.
    ///
    /// # Errors
    ///
    /// The time after which a call is let in, if none else comes.
    pub fn take(&self, limit: RateLimit, now: u64) -> Result<(), Duration> {
        let interval = limit.rate.interval();
        let burst = interval.saturating_mul(limit.burst.into());
        let furthest = now.saturating_add(burst);
        if self.paid_at.load(Ordering::Relaxed) > furthest.saturating_add(SKEW) {
            // The clock was set back, or the limit was another one.
            self.paid_at.store(furthest, Ordering::Relaxed);
        }
        let next = |paid_at: u64| {
            let then = paid_at.max(now).saturating_add(interval);
            (then <= furthest).then_some(then)
        };
        let taken = self
            .paid_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(drop).map_err(|paid_at| {
            let admits_at = paid_at.saturating_add(interval).saturating_sub(burst);
            Duration::from_nanos(admits_at.saturating_sub(now))
        })
    }

    /// Returns whether the cell is as if nothing had ever come in.
    pub fn is_at_rest(&self, now: u64) -> bool {
        self.paid_at.load(Ordering::Relaxed) <= now
    }
}

impl RateUnit {
    /// All units, each with its word.
    const ALL: [(Self, &'static str); 4] = [
        (Self::Second, "s"),
        (Self::Minute, "min"),
        (Self::Hour, "h"),
        (Self::Day, "d"),
    ];
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = || RateError(text.chars().take(40).collect());
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse::<u32>().ok();
        let count = count.filter(|count| (1..=MAX_COUNT).contains(count));
        let unit = unit.trim();
        let units = RateUnit::ALL.into_iter();
        let per = units.clone().find(|(_, word)| *word == unit);
        Ok(Self {
            count: count.ok_or_else(wrong)?,
            per: per.ok_or_else(wrong)?.0,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = RateUnit::ALL.into_iter();
        let unit = units.find(|(unit, _)| *unit == self.per);
        write!(f, "{}/{}", self.count, unit.map_or("", |(_, word)| word))
    }
}

impl TryFrom<String> for Rate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Self, RateError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(rate: &str, burst: u32) -> RateLimit {
        RateLimit::new(rate.parse().unwrap(), Some(burst))
    }

    fn admitted(cell: &RateCell, limit: RateLimit, now: u64) -> u32 {
        (0..1000)
            .map_while(|_| cell.take(limit, now).ok())
            .fold(0, |count, ()| count + 1)
    }

    #[test]
    fn a_rate_survives_its_text_and_another_text_is_named() {
        for text in ["1/s", "120/min", "5000/h", "1000000/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for wrong in ["", "120", "0/min", "1000001/s", "-1/s", "1.5/s", "1/week"] {
            let error = wrong.parse::<Rate>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{wrong:?} is no rate")));
        }
    }

    #[test]
    fn a_burst_and_its_refill_are_exact() {
        let cell = RateCell::default();
        let limit = limit("60/min", 5);

        assert_eq!(admitted(&cell, limit, 0), 5);
        assert_eq!(cell.take(limit, 0), Err(Duration::from_secs(1)));
        assert_eq!(cell.take(limit, SECOND - 1), Err(Duration::from_nanos(1)));
        assert_eq!(cell.take(limit, SECOND), Ok(()));
        assert_eq!(admitted(&cell, limit, SECOND), 0);
        assert_eq!(admitted(&cell, limit, 4 * SECOND), 3);
        assert!(!cell.is_at_rest(4 * SECOND));
        assert!(cell.is_at_rest(9 * SECOND));
        assert_eq!(admitted(&cell, limit, 1000 * SECOND), 5);
    }

    #[test]
    fn a_rate_without_a_burst_lets_its_calls_come_at_once() {
        let cell = RateCell::default();
        let limit = RateLimit::new("120/min".parse().unwrap(), None);

        assert_eq!(admitted(&cell, limit, 7), 120);
        assert_eq!(cell.take(limit, 7), Err(Duration::from_millis(500)));
    }

    #[test]
    fn a_clock_jump_gives_and_takes_one_burst_at_most() {
        let cell = RateCell::default();
        let limit = limit("60/min", 5);
        let late = 1_000_000 * SECOND;
        assert_eq!(admitted(&cell, limit, late), 5);

        let back = 10 * SECOND;
        assert_eq!(cell.take(limit, back), Err(Duration::from_secs(1)));
        assert_eq!(cell.take(limit, back + SECOND), Ok(()));
        assert_eq!(admitted(&cell, limit, back + 6 * SECOND), 5);

        assert_eq!(admitted(&cell, limit, u64::MAX / 2), 5);
    }

    #[test]
    fn a_wider_limit_acts_at_once() {
        let cell = RateCell::default();
        assert_eq!(admitted(&cell, limit("1/h", 1), 0), 1);

        let wait = cell.take(limit("60/min", 2), 0).unwrap_err();

        assert_eq!(wait, Duration::from_secs(1));
    }

    #[test]
    fn threads_together_get_one_burst() {
        let cell = RateCell::default();
        let limit = limit("1/d", 100);

        let total: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| admitted(&cell, limit, SECOND)))
                .collect();
            let counts = threads.into_iter().map(|thread| thread.join().unwrap());
            counts.sum()
        });

        assert_eq!(total, 100);
    }

    proptest! {
        /// Of calls at any times, those of any stretch are at most a burst and the rate in it; and a
        /// call after the named wait is let in.
        #[test]
        fn no_stretch_has_more_than_burst_and_rate(
            count in 1_u32..1000,
            burst in 1_u32..20,
            steps in prop::collection::vec(0_u64..3 * SECOND, 1..200),
        ) {
            let limit = limit(&format!("{count}/min"), burst);
            let interval = limit.rate.interval();
            let cell = RateCell::default();
            let mut now = 0;
            let mut times = Vec::new();
            for step in steps {
                now += step;
                match cell.take(limit, now) {
                    Ok(()) => times.push(now),
                    Err(wait) => {
                        let wait = nanoseconds(wait);
                        prop_assert!(wait > 0);
                        let at_last = RateCell { paid_at: cell.paid_at.load(Ordering::Relaxed).into() };
                        prop_assert!(at_last.take(limit, now + wait - 1).is_err());
                        prop_assert!(at_last.take(limit, now + wait).is_ok());
                    }
                }
            }

            for (first, start) in times.iter().enumerate() {
                for (index, end) in times.iter().enumerate().skip(first) {
                    let most = u64::from(burst) + (end - start) / interval;
                    prop_assert!((index - first + 1) as u64 <= most);
                }
            }
        }

        #[test]
        fn any_text_is_a_rate_or_an_error(text in ".{0,30}") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            }
        }
    }
}
