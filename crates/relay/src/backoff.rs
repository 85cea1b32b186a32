//! The waits between attempts: random times of up to a span that doubles (full jitter), so that ten
//! thousand relays of a server that restarts do not come back at the same moment.

use std::time::Duration;

/// The waits of one run of failures.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    span: Duration,
}

impl Backoff {
    /// Waits with spans from `min` to `max`; a `max` below `min` counts as `min`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max: max.max(min),
            span: min,
        }
    }

    /// Returns the next wait and doubles the span. `share` is a random number from 0 up to 1.
    pub(crate) fn next(&mut self, share: f64) -> Duration {
        let wait = self.span.mul_f64(share.clamp(0.0, 1.0));
        self.span = self.span.saturating_mul(2).min(self.max);
        wait
    }

    /// Starts over with the shortest span.
    pub(crate) fn reset(&mut self) {
        self.span = self.min;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

        let spans: Vec<_> = (0..7).map(|_| backoff.next(1.0).as_secs()).collect();
        backoff.reset();

        assert_eq!(spans, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn no_wait_exceeds_its_span_or_the_longest(
            min in 1u64..100_000, max in 1u64..100_000, shares in prop::collection::vec(0.0f64..1.0, 1..40),
        ) {
            let longest = Duration::from_millis(max.max(min));
            let mut backoff = Backoff::new(Duration::from_millis(min), Duration::from_millis(max));
            let mut span = Duration::from_millis(min);
            for share in shares {
                let wait = backoff.next(share);
                prop_assert!(wait <= span && wait <= longest);
                span = (span * 2).min(longest);
            }
        }
    }
}
