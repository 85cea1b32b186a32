//! The two guards of a relay under one of its ids: a reservation before its first offer, a
//! registration after it. Either ends with its guard, on every path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llamapool_limits::Share;
use llamapool_wire::{Offer, RelayId};

use super::pending::PendingClaim;
use super::registry::Registry;
use crate::auth::RelayIdentity;
use crate::directory::{Member, RelayTunnel};
use crate::identity::KeyUse;

/// The reservations of one relay, one for each of its ids, in its order.
#[must_use]
pub(crate) struct Reservations {
    reservations: Vec<Reservation>,
    claim: PendingClaim,
}

/// The reservation of an id for a relay that has not sent its first offer there yet. It keeps
/// strangers from the id.
#[must_use]
pub(crate) struct Reservation {
    claim: ReservedId,
    seat: Seat,
}

/// The registration of a relay that takes calls under one of its ids. Dropping it removes the relay
/// there.
#[must_use]
pub(crate) struct Registration {
    registry: Registry,
    member: Arc<Member>,
    _seat: Seat,
}

/// Keeps strangers from the id until the relay is registered or has given up.
struct ReservedId {
    registry: Registry,
    id: RelayId,
    identity: Arc<RelayIdentity>,
}

/// The place of a relay under one id among those of `MAX_RELAYS`, from the claim to the end of the
/// tunnel. Two tunnels of one relay process have the same place while the newer replaces the older.
#[derive(Clone)]
pub(super) struct Seat {
    _share: Arc<Share<1>>,
}

impl Reservations {
    pub(super) fn new(reservations: Vec<Reservation>, claim: PendingClaim) -> Self {
        Self {
            reservations,
            claim,
        }
    }

    /// Returns the ids that the relay got, in its order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &RelayId> {
        self.reservations.iter().map(Reservation::id)
    }

    /// Returns the ids for the log, such as `a, b`.
    pub(crate) fn ids_for_log(&self) -> String {
        let ids: Vec<_> = self.ids().map(RelayId::as_str).collect();
        ids.join(", ")
    }

    /// Returns the worker key that the relay presented; `None` for the bootstrap key.
    pub(crate) fn key(&self) -> Option<KeyUse> {
        let first = self.reservations.first();
        first.and_then(|reservation| reservation.claim.identity.key.clone())
    }

    /// Returns the number of ids.
    pub(crate) fn len(&self) -> usize {
        self.reservations.len()
    }

    /// Waits until the places are needed for relays that do send their offers.
    pub(crate) async fn revoked(&self) {
        self.claim.revoked().await;
    }

    /// Registers the relay, which has sent its first offers for all ids, in their order.
    pub(super) fn register(
        self,
        tunnel: &Arc<RelayTunnel>,
        offers: impl IntoIterator<Item = Offer>,
    ) -> Vec<Registration> {
        self.reservations
            .into_iter()
            .zip(offers)
            .map(|(reservation, offer)| reservation.register(tunnel.clone(), offer))
            .collect()
    }
}

impl Reservation {
    pub(super) fn new(
        registry: Registry,
        id: RelayId,
        identity: Arc<RelayIdentity>,
        seat: Seat,
    ) -> Self {
        Self {
            claim: ReservedId {
                registry,
                id,
                identity,
            },
            seat,
        }
    }

    /// Returns the id that the relay got.
    pub(crate) fn id(&self) -> &RelayId {
        &self.claim.id
    }

    /// Registers the relay, which has sent its first offer for the id.
    fn register(self, tunnel: Arc<RelayTunnel>, offer: Offer) -> Registration {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);

        // The reservation ends after the relay is entered: in between, the id is held by both.
        let Self { claim, seat } = self;
        let member = Arc::new(Member::new(
            serial,
            claim.id.clone(),
            claim.identity.clone(),
            tunnel,
            offer,
        ));
        claim.registry.enter(member.clone(), seat.clone());

        Registration {
            registry: claim.registry.clone(),
            member,
            _seat: seat,
        }
    }
}

impl Registration {
    /// Returns the relay under this id.
    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Seat {
    pub(super) fn new(share: Share<1>) -> Self {
        Self {
            _share: Arc::new(share),
        }
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
