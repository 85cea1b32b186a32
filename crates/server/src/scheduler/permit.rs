//! The right to run one call on one relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::drain::Gate;

/// The right to run one call on one relay. It is held until the last byte of the answer, and given back by `Drop`
/// alone: nobody can forget it, and nobody can give it back twice.
#[must_use]
pub(crate) struct Permit {
    slots: Arc<AtomicUsize>,
    relay: Arc<Gate>,
    server: Arc<Gate>,
}

impl Permit {
    /// Takes one of the slots of a relay's tunnel, for a call that has gone through the server's gate; nothing if all are
    /// taken by now, or if the relay has left.
    pub(crate) fn take(
        slots: &Arc<AtomicUsize>,
        room: usize,
        relay: &Arc<Gate>,
        server: &Arc<Gate>,
    ) -> Option<Self> {
        if !relay.enter() {
            return None;
        }
        let taken = slots.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            (used < room).then_some(used + 1)
        });
        if taken.is_err() {
            relay.leave();
            return None;
        }
        Some(Self {
            slots: slots.clone(),
            relay: relay.clone(),
            server: server.clone(),
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slots.fetch_sub(1, Ordering::AcqRel);
        self.relay.leave();
        self.server.leave();
    }
}
