//! The right to run one call on one relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::gate::Pass;

/// The right to run one call on one relay, held until the last byte of the answer. `Drop` alone
/// gives it back, so it is neither forgotten nor given back twice.
#[must_use]
pub(crate) struct Permit {
    _place: Place,
    _server: Pass,
}

/// The place of one call on one relay: a slot of its tunnel, behind the relay's own gate.
#[must_use]
pub(crate) struct Place {
    _slot: Slot,
    _relay: Pass,
}

/// One of the calls that a tunnel carries at once.
#[derive(Debug)]
#[must_use]
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Permit {
    /// Returns the permit of a call that has passed the server's gate and has its place.
    pub(crate) fn new(place: Place, server: Pass) -> Self {
        Self {
            _place: place,
            _server: server,
        }
    }
}

impl Place {
    /// Returns the place of a call that has passed the relay's gate and has its slot.
    pub(crate) fn new(slot: Slot, relay: Pass) -> Self {
        Self {
            _slot: slot,
            _relay: relay,
        }
    }
}

impl Slot {
    /// Takes one of `room` slots, of which `used` counts those that are taken. Returns `None` if
    /// all are.
    pub(crate) fn take(used: &Arc<AtomicUsize>, room: usize) -> Option<Self> {
        let taken = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < room).then_some(count + 1)
        });
        taken.ok().map(|_| Self(used.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
