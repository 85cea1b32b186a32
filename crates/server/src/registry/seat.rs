//! Being let in, and being in: both end with their guard, on every path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llamapool_wire::RelayId;

use super::Registry;
use super::relay::{Arrival, Relay};
use crate::auth::RelayIdentity;

/// The place of a relay under one of its ids, while it was let in and has not said hello there yet.
#[must_use]
pub(crate) struct Seat {
    arriving: Arriving,
    count: SeatCount,
}

/// The place of a relay that takes calls under one of its ids. Dropping it takes the relay out there.
#[must_use]
pub(crate) struct Membership {
    registry: Registry,
    relay: Arc<Relay>,
    _count: SeatCount,
}

/// Keeps strangers from the id until the relay has said hello or has given up.
struct Arriving {
    registry: Registry,
    id: RelayId,
    identity: Arc<RelayIdentity>,
}

/// Counts towards the most relays that may be connected, from the claim to the end of the tunnel.
struct SeatCount(Registry);

impl Seat {
    pub(super) fn new(registry: Registry, id: RelayId, identity: Arc<RelayIdentity>) -> Self {
        let count = SeatCount(registry.clone());
        Self {
            arriving: Arriving {
                registry,
                id,
                identity,
            },
            count,
        }
    }

    /// The id that the relay got.
    pub(crate) fn id(&self) -> &RelayId {
        &self.arriving.id
    }

    /// The relay has said hello.
    pub(crate) fn occupy(self, arrival: Arrival) -> Membership {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let Self { arriving, count } = self;
        let relay = Arc::new(Relay::new(
            serial,
            arriving.id.clone(),
            arriving.identity.clone(),
            arrival,
        ));
        arriving.registry.enter(relay.clone());
        Membership {
            registry: arriving.registry.clone(),
            relay,
            _count: count,
        }
    }
}

impl Membership {
    /// The relay.
    pub(crate) fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.registry.remove(&self.relay.id, self.relay.serial);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.registry.give_up_seat(&self.id, &self.identity);
    }
}

impl Drop for SeatCount {
    fn drop(&mut self) {
        self.0.free_seat();
    }
}
