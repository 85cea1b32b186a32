//! The state of the connection to the server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use llamapool_wire::PublicBase;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// The state of the connection to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The state of the relay's tunnels as one, and their losses. All providers share it.
pub(crate) struct LinkStatus {
    /// The state of each tunnel, by its number.
    tunnels: Mutex<BTreeMap<usize, LinkState>>,
    state: watch::Sender<LinkState>,
    losses: AtomicU64,
    /// The base of the callers' URLs; `None` before the first connection.
    public_base: Mutex<Option<PublicBase>>,
    has_been_up: AtomicBool,
}

impl LinkStatus {
    pub(crate) fn new() -> Self {
        Self {
            tunnels: Mutex::default(),
            state: watch::Sender::new(LinkState::Connecting),
            losses: AtomicU64::new(0),
            public_base: Mutex::default(),
            has_been_up: AtomicBool::new(false),
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

    /// Notes that a tunnel is up, and where callers reach the server. Returns whether it is the
    /// first time.
    pub(crate) fn connect(&self, tunnel: usize, public_base: Option<PublicBase>) -> bool {
        *self.public_base.lock() = public_base;
        let since = Instant::now();
        self.set(tunnel, LinkState::Connected { since });
        !self.has_been_up.swap(true, Ordering::Relaxed)
    }

    /// Returns the base of the callers' URLs, `None` before the first connection.
    pub(crate) fn public_base(&self) -> Option<PublicBase> {
        self.public_base.lock().clone()
    }

    /// Changes the state of a tunnel, and counts a loss if it waits for the next attempt.
    pub(crate) fn set(&self, tunnel: usize, state: LinkState) {
        if matches!(state, LinkState::Waiting { .. }) {
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
        let mut tunnels = self.tunnels.lock();
        tunnels.insert(tunnel, state);
        self.publish(&tunnels);
    }

    /// Forgets a tunnel that is over.
    pub(crate) fn remove(&self, tunnel: usize) {
        let mut tunnels = self.tunnels.lock();
        tunnels.remove(&tunnel);
        self.publish(&tunnels);
    }

    /// Publishes the state of all tunnels as one: waiting if any of them waits, else connected if any
    /// of them is: a tunnel that a reload adds makes no difference while it connects.
    fn publish(&self, tunnels: &BTreeMap<usize, LinkState>) {
        let find = |is_it: fn(&LinkState) -> bool| tunnels.values().find(|state| is_it(state));
        let state = find(|state| matches!(state, LinkState::Waiting { .. }))
            .or_else(|| find(|state| matches!(state, LinkState::Connected { .. })))
            .or_else(|| tunnels.values().next());
        // After the last tunnel the process ends with the state that it had.
        let Some(state) = state else { return };
        self.state.send_if_modified(|published| {
            let is_new = *published != *state;
            published.clone_from(state);
            is_new
        });
    }

    /// Returns how many connections were refused or lost.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> LinkState {
        LinkState::Connected {
            since: Instant::now(),
        }
    }

    fn waiting() -> LinkState {
        LinkState::Waiting {
            error: String::new(),
        }
    }

    #[test]
    fn a_tunnel_that_waits_counts_and_one_that_connects_does_not() {
        let link = LinkStatus::new();
        assert!(!link.is_connected());

        link.set(0, connected());
        link.set(1, LinkState::Connecting);
        assert!(link.is_connected());

        link.set(1, waiting());
        assert!(!link.is_connected());
        link.set(1, connected());
        link.set(0, waiting());
        assert!(!link.is_connected());

        link.remove(0);
        assert!(link.is_connected());
        assert_eq!(link.losses(), 2);
    }
}
