//! The two guards of a relay under one of its ids: a reservation before its first offer, a
//! registration after it. Either ends with its guard, on every path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llamapool_wire::{Offer, RelayId};

use super::registry::Registry;
use crate::auth::RelayIdentity;
use crate::directory::{Member, RelayTunnel};

/// The reservation of an id for a relay that has not sent its first offer there yet. It keeps
/// strangers from the id.
#[must_use]
pub(crate) struct Reservation {
    claim: ReservedId,
    count: RelayCount,
}

/// The registration of a relay that takes calls under one of its ids. Dropping it removes the relay
/// there.
#[must_use]
pub(crate) struct Registration {
    registry: Registry,
    member: Arc<Member>,
    _count: RelayCount,
}

/// Keeps strangers from the id until the relay is registered or has given up.
struct ReservedId {
    registry: Registry,
    id: RelayId,
    identity: Arc<RelayIdentity>,
}

/// Counts towards the most relays that may be connected, from the claim to the end of the tunnel.
struct RelayCount(Registry);

impl Reservation {
    pub(super) fn new(registry: Registry, id: RelayId, identity: Arc<RelayIdentity>) -> Self {
        let count = RelayCount(registry.clone());
        Self {
            claim: ReservedId {
                registry,
                id,
                identity,
            },
            count,
        }
    }

    /// Returns the id that the relay got.
    pub(crate) fn id(&self) -> &RelayId {
        &self.claim.id
    }

    /// Registers the relay, which has sent its first offer for the id.
    pub(super) fn register(self, tunnel: Arc<RelayTunnel>, offer: Offer) -> Registration {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);

        // The reservation ends after the relay is entered: in between, the id is held by both.
        let Self { claim, count } = self;
        let member = Arc::new(Member::new(
            serial,
            claim.id.clone(),
            claim.identity.clone(),
            tunnel,
            offer,
        ));
        claim.registry.enter(member.clone());

        Registration {
            registry: claim.registry.clone(),
            member,
            _count: count,
        }
    }
}

impl Registration {
    /// Returns the relay under this id.
    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.remove(&self.member.id, self.member.serial);
    }
}

impl Drop for ReservedId {
    fn drop(&mut self) {
        self.registry.release(&self.id, &self.identity);
    }
}

impl Drop for RelayCount {
    fn drop(&mut self) {
        self.0.release_count();
    }
}
