//! Whether a provider keeps its connections open after a response, learned from how they end.
//!
//! HTTP/1.1 connections persist unless their end is announced (RFC 9112, section 9.3). Some servers
//! hang up after each response without a word: a request that is sent meanwhile is lost, as it must
//! not be sent twice. So a provider is trusted with the next request on a kept connection only after
//! one such connection has outlived a moment; and after a loss, or a kept connection that was closed
//! young, for a while with none at all.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long one connection must have been idle and open to show that the provider keeps it. A server
/// that hangs up does so within a few milliseconds.
pub(super) const PROOF: Duration = Duration::from_millis(25);
/// A connection that the provider closed after less than this was closed with the response, not for
/// having been idle: servers wait for seconds.
const YOUNG: Duration = Duration::from_secs(1);
/// The shortest and the longest time without kept connections. It doubles from one to the other.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What is known of a provider's connections.
#[derive(Debug)]
pub(super) struct KeepAlive(Mutex<State>);

#[derive(Debug)]
struct State {
    trust: Trust,
    /// The next time without kept connections.
    pause: Duration,
}

/// How the provider's connections may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// One connection is kept to see what becomes of it; all other requests get fresh ones.
    Trial,
    /// Connections are kept, and used again at once.
    Kept {
        /// Since when.
        since: Instant,
    },
    /// No connection is kept.
    Fresh {
        /// Until when.
        until: Instant,
    },
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self(Mutex::new(State {
            trust: Trust::Trial,
            pause: MIN_PAUSE,
        }))
    }
}

impl KeepAlive {
    /// Returns how connections may be used now.
    pub(super) fn trust(&self) -> Trust {
        let mut state = self.0.lock();
        if matches!(state.trust, Trust::Fresh { until } if until <= Instant::now()) {
            state.trust = Trust::Trial;
        }
        state.trust
    }

    /// Notes that the provider has kept a connection open while it was idle for [`PROOF`].
    pub(super) fn proved(&self) {
        let mut state = self.0.lock();
        if state.trust == Trust::Trial {
            let since = Instant::now();
            state.trust = Trust::Kept { since };
        }
    }

    /// Notes that the provider has closed a kept connection that was idle for this long.
    pub(super) fn closed_after(&self, idle: Duration) {
        if idle < YOUNG {
            self.distrust();
        }
    }

    /// Notes that a request was lost on a kept connection, or would have been.
    pub(super) fn distrust(&self) {
        let mut state = self.0.lock();
        let now = Instant::now();
        match state.trust {
            // One cause loses several requests at once, and counts once.
            Trust::Fresh { .. } => return,
            Trust::Kept { since } if now - since > MAX_PAUSE => state.pause = MIN_PAUSE,
            Trust::Kept { .. } | Trust::Trial => {}
        }
        state.trust = Trust::Fresh {
            until: now + state.pause,
        };
        state.pause = (state.pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_each_loss_fresh_connections_are_used_for_longer() {
        let keep_alive = KeepAlive::default();

        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            keep_alive.proved();
            keep_alive.distrust();
            keep_alive.distrust();
            tokio::time::advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(
                matches!(keep_alive.trust(), Trust::Fresh { .. }),
                "{seconds}"
            );

            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(keep_alive.trust(), Trust::Trial, "{seconds}");
        }

        keep_alive.proved();
        tokio::time::advance(MAX_PAUSE + MIN_PAUSE).await;
        keep_alive.distrust();
        tokio::time::advance(MIN_PAUSE).await;

        assert_eq!(keep_alive.trust(), Trust::Trial, "it was well for long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_idle_for_long_may_be_closed() {
        let keep_alive = KeepAlive::default();
        keep_alive.proved();

        keep_alive.closed_after(YOUNG);
        assert!(matches!(keep_alive.trust(), Trust::Kept { .. }));

        keep_alive.closed_after(YOUNG / 2);
        assert!(matches!(keep_alive.trust(), Trust::Fresh { .. }));
    }
}
