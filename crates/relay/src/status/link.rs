//! The state of the connection to the server.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

/// The state of the connection to the server.
#[derive(Debug, Clone)]
pub enum LinkState {
    /// The relay is connecting.
    Connecting,
    /// The tunnel is up.
    Connected {
        /// When the tunnel came up.
        since: Instant,
    },
    /// The last attempt failed or the tunnel was lost; the next attempt follows.
    Waiting {
        /// The error of the last attempt.
        error: String,
    },
}

/// The state of the connection and its losses. All providers share it.
pub(crate) struct LinkStatus {
    state: watch::Sender<LinkState>,
    losses: AtomicU64,
}

impl LinkStatus {
    pub(crate) fn new() -> Self {
        Self {
            state: watch::Sender::new(LinkState::Connecting),
            losses: AtomicU64::new(0),
        }
    }

    /// Returns the state, now and at every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Returns whether the tunnel is up.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Connected { .. })
    }

    /// Changes the state, and counts a loss if the relay waits for the next attempt.
    pub(crate) fn set(&self, state: LinkState) {
        if matches!(state, LinkState::Waiting { .. }) {
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
        self.state.send_replace(state);
    }

    /// Returns how many connections were refused or lost.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }
}
