//! One tunnel of the relay, and the ids on it.
//!
//! A relay starts with one tunnel for all its providers. The ids of a tunnel are agreed on in its
//! upgrade, so providers that a reload adds get a tunnel of their own, from another instance: one of
//! the same instance would replace a tunnel on which the id still drains, with all calls on it.

use std::sync::Arc;

use crate::dial::Dialer;
use crate::slot::Slot;

/// The number of the tunnel that a relay starts with.
const FIRST: usize = 0;

/// One tunnel of the relay.
pub(crate) struct RelayTunnel {
    /// The number of the tunnel in this process.
    pub(crate) number: usize,
    pub(crate) dialer: Dialer,
    slots: Vec<Arc<Slot>>,
}

impl RelayTunnel {
    /// The tunnel that a relay starts with.
    pub(crate) fn first(dialer: Dialer, slots: Vec<Arc<Slot>>) -> Self {
        Self {
            number: FIRST,
            dialer,
            slots,
        }
    }

    /// A tunnel for providers that were added later.
    pub(crate) fn added(number: usize, dialer: &Dialer, slots: Vec<Arc<Slot>>) -> Self {
        Self {
            number,
            dialer: dialer.of_another_instance(),
            slots,
        }
    }

    /// Returns whether the relay was started with this tunnel.
    pub(crate) fn is_first(&self) -> bool {
        self.number == FIRST
    }

    /// Returns the slots whose ids are wanted now.
    pub(crate) fn slots(&self) -> Arc<[Arc<Slot>]> {
        let slots = self.slots.iter().filter(|slot| !slot.has_left());
        slots.cloned().collect()
    }

    /// Returns whether the relay has left all ids of the tunnel.
    pub(crate) fn is_over(&self) -> bool {
        self.slots.iter().all(|slot| slot.has_left())
    }

    /// Waits until the relay has left all ids of the tunnel.
    pub(crate) async fn over(&self) {
        for slot in &self.slots {
            slot.left().await;
        }
    }
}
