//! The breaker of a worker: closed to calls by evidence of several keys, opened by a trial.

use crate::settings::SECOND;
use crate::{BreakerState, KeyId};

/// Failures in a row that close a worker.
const FAILURES: u32 = 3;
/// The first time for which a worker is closed; it doubles to [`LONGEST`]. In microseconds.
const SHORTEST: u64 = SECOND;
/// The longest time for which a worker is closed, in microseconds.
const LONGEST: u64 = 60 * SECOND;

/// Evidence against a worker.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    /// The key of the first failure. One caller can break all its calls, and must not close a worker to
    /// the others.
    first_key: Option<KeyId>,
    /// Whether another key failed too.
    is_shared: bool,
    /// Set once the worker was closed, until it answers.
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    /// How long it was closed last, in microseconds.
    pause: u64,
    /// When a trial may go; `None` once it may.
    until: Option<u64>,
}

impl Breaker {
    /// Counts a failure. Returns the moment of the next trial if that closed the worker.
    pub(crate) fn fail(&mut self, key: KeyId, now: u64) -> Option<u64> {
        self.failures = self.failures.saturating_add(1);
        let first = *self.first_key.get_or_insert(key);
        self.is_shared |= first != key;

        let pause = match &self.closed {
            // A call that began before the worker was closed proves nothing new.
            Some(Closed { until: Some(_), .. }) => return None,
            Some(closed) => (closed.pause * 2).min(LONGEST),
            None if self.failures >= FAILURES && self.is_shared => SHORTEST,
            None => return None,
        };
        let until = now + pause;
        self.closed = Some(Closed {
            pause,
            until: Some(until),
        });
        Some(until)
    }

    /// Ends all evidence.
    pub(crate) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Admits a trial if the pause is over.
    pub(crate) fn elapse(&mut self, now: u64) {
        if let Some(closed) = &mut self.closed
            && closed.until.is_some_and(|until| until <= now)
        {
            closed.until = None;
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match &self.closed {
            None => BreakerState::Closed,
            Some(Closed { until: None, .. }) => BreakerState::Trial,
            Some(_) => BreakerState::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: KeyId = KeyId(1);
    const B: KeyId = KeyId(2);

    #[test]
    fn one_key_alone_never_closes_a_worker() {
        let mut breaker = Breaker::default();

        for now in 0..100 {
            assert_eq!(breaker.fail(A, now), None);
        }

        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.fail(B, 100), Some(100 + SHORTEST));
    }

    #[test]
    fn an_answer_ends_the_row_of_failures() {
        let mut breaker = Breaker::default();

        breaker.fail(A, 0);
        breaker.fail(B, 0);
        breaker.succeed();
        breaker.fail(A, 0);
        breaker.fail(B, 0);

        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.fail(B, 0).is_some());
    }

    #[test]
    fn failed_trials_double_the_pause_up_to_a_minute() {
        let mut breaker = Breaker::default();
        breaker.fail(A, 0);
        breaker.fail(A, 0);
        let mut now = breaker.fail(B, 0).unwrap();
        let mut pauses = vec![now];

        for _ in 0..8 {
            assert_eq!(breaker.state(), BreakerState::Open);
            assert_eq!(breaker.fail(A, now), None, "open: proves nothing new");
            breaker.elapse(now);
            assert_eq!(breaker.state(), BreakerState::Trial);
            let next = breaker.fail(A, now).unwrap();
            pauses.push(next - now);
            now = next;
        }

        let seconds: Vec<u64> = pauses.iter().map(|pause| pause / SECOND).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
