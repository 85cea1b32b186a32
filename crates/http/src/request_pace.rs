//! The pace that is expected of the sender of a request body.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How slowly a request body may arrive. The default has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestPace {
    /// The longest pause between two pieces, and the grace of the least rate. `None`: no bound of
    /// either kind.
    pub idle: Option<Duration>,
    /// The least rate in bytes per second: the body is waited for as long as `idle` and the time
    /// that its bytes take at this rate, in all. 0: no least rate.
    pub min_rate: u64,
}

/// The body arrives too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the request body stopped or trickled")]
pub struct RequestTooSlowError;

/// Measures how long a body is waited for. The time in which the next hop takes nothing does not
/// count: its sender cannot go on then.
pub(crate) struct PaceClock {
    pace: RequestPace,
    /// The time that earlier waits have taken together.
    waited: Duration,
    waiting_since: Option<Instant>,
    /// Boxed, as few requests have one: most bodies arrive with their head.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl PaceClock {
    pub(crate) fn new(pace: RequestPace) -> Self {
        Self {
            pace,
            waited: Duration::ZERO,
            waiting_since: None,
            alarm: None,
        }
    }

    /// Notes that something of the body has arrived, or its end.
    pub(crate) fn note_arrival(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Waits, after `bytes` have arrived, for the moment at which the sender is too slow.
    pub(crate) fn poll_waiting(&mut self, cx: &mut Context<'_>, bytes: u64) -> Poll<()> {
        let Some(idle) = self.pace.idle else {
            return Poll::Pending;
        };
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            let alarm = now + self.patience(idle, bytes);
            match &mut self.alarm {
                Some(clock) => clock.as_mut().reset(alarm),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(alarm))),
            }
        }
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Returns how long the next piece may take.
    fn patience(&self, idle: Duration, bytes: u64) -> Duration {
        if self.pace.min_rate == 0 {
            return idle;
        }
        let earned = Duration::from_secs_f64(bytes as f64 / self.pace.min_rate as f64);
        idle.min((idle + earned).saturating_sub(self.waited))
    }
}
