//! The members of an id: one connected relay as far as that id goes, and the tunnel that all ids of
//! the relay share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use llamapool_limits::{FairShare, Owner};
use llamapool_tunnel::ServerEnd;
use llamapool_wire::{Offer, ProviderHealth, RelayId};
use parking_lot::Mutex;
use tokio::runtime::{self, Handle};
use tokio::sync::Notify;

use super::absent::EndNote;
use super::relay_tag::RelayTag;
use crate::auth::RelayIdentity;
use crate::scheduler::{
    Candidate, DrainGate, IdClaim, Pass, Place, PlaceClaims, PlaceError, Runner,
};

/// One connected relay under one of its ids: its tunnel, and its offer there.
#[derive(Debug)]
pub(crate) struct Member {
    /// Distinguishes this member from an older or newer one of the same relay.
    pub(crate) serial: u64,
    pub(crate) id: RelayId,
    pub(crate) identity: Arc<RelayIdentity>,
    /// Distinguishes its sessions from those of the other members of the id.
    pub(crate) tag: RelayTag,
    pub(crate) connected_at: SystemTime,
    pub(crate) tunnel: Arc<RelayTunnel>,
    /// The id, as the party that shares of places and memory count for.
    pub(crate) owner: Owner,
    /// Closed when the relay leaves this id; permits go through it.
    gate: Arc<DrainGate>,
    /// Whether an operator holds it back from calls.
    held: AtomicBool,
    hold_changed: Notify,
    offer: Mutex<CurrentOffer>,
}

/// The last offer, and since when its provider has been in that state.
#[derive(Debug, Clone)]
pub(crate) struct CurrentOffer {
    pub(crate) offer: Offer,
    pub(crate) provider_since: SystemTime,
    /// When it arrived.
    pub(crate) at: SystemTime,
}

/// The tunnel of a relay, which all its ids share.
#[derive(Debug)]
pub(crate) struct RelayTunnel {
    pub(crate) end: ServerEnd,
    pub(crate) remote: SocketAddr,
    /// The runtime, and so the thread, that it lives on.
    pub(crate) runtime: runtime::Id,
    /// How it ended, once it has.
    pub(crate) end_note: EndNote,
    ids: usize,
    /// The calls that it can carry at once, of all its ids. Set with the first call: the relay has
    /// announced their number by then.
    places: OnceLock<FairShare>,
}

impl Member {
    /// Returns a member that takes calls through this tunnel.
    pub(crate) fn new(
        serial: u64,
        id: RelayId,
        identity: Arc<RelayIdentity>,
        tunnel: Arc<RelayTunnel>,
        offer: Offer,
    ) -> Self {
        Self {
            serial,
            owner: Owner::of(&("id", &id)),
            id,
            tag: RelayTag::of(&identity.instance),
            identity,
            connected_at: SystemTime::now(),
            tunnel,
            gate: Arc::default(),
            held: AtomicBool::new(false),
            hold_changed: Notify::new(),
            offer: Mutex::new(CurrentOffer::new(offer)),
        }
    }

    /// Returns the last offer.
    pub(crate) fn offer(&self) -> CurrentOffer {
        self.offer.lock().clone()
    }

    /// Replaces the offer, and returns the one of before.
    pub(crate) fn set_offer(&self, offer: Offer) -> Offer {
        std::mem::replace(&mut *self.offer.lock(), CurrentOffer::new(offer)).offer
    }

    /// Admits a call that does not take one of the places for MCP calls. `None` if it is leaving.
    pub(crate) fn enter(&self) -> Option<Pass> {
        self.gate.enter()
    }

    /// Takes no new calls from now on, and waits until those that run are over.
    pub(crate) async fn drain(&self) {
        self.gate.close();
        self.gate.empty().await;
    }

    /// Returns whether it takes no new calls.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_held() || self.has_announced_leave()
    }

    /// Returns whether its relay takes no new calls, or leaves this id.
    pub(crate) fn has_announced_leave(&self) -> bool {
        self.gate.is_closed() || self.offer.lock().offer.draining
    }

    /// Returns whether an operator holds it back from calls.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Holds it back from calls, or does not any more.
    pub(super) fn set_held(&self, is_held: bool) {
        if self.held.swap(is_held, Ordering::Relaxed) != is_held {
            // Stored for a task that does not wait yet.
            self.hold_changed.notify_one();
        }
    }

    /// Waits until it is held back, or is not any more.
    pub(crate) async fn hold_changed(&self) {
        self.hold_changed.notified().await;
    }

    /// Returns an offer of its relay as calls are to see it: one that is held back drains.
    pub(crate) fn as_held(&self, offer: Offer) -> Offer {
        Offer {
            draining: offer.draining || self.is_held(),
            ..offer
        }
    }

    /// Returns whether its provider did not take the last connection.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self.offer.lock().offer.provider,
            ProviderHealth::Unreachable { .. }
        )
    }

    /// Returns whether calls to it need the token of its relay.
    pub(crate) fn is_protected(&self) -> bool {
        self.offer.lock().offer.protected
    }

    /// Returns whether both are of the same relay process.
    pub(crate) fn is_same_relay(&self, other: &Self) -> bool {
        self.identity.instance == other.identity.instance
    }

    /// Returns the time at which the last bytes of the relay were received.
    pub(crate) fn last_seen(&self) -> SystemTime {
        SystemTime::now() - self.tunnel.end.silence()
    }
}

impl Runner for Member {
    fn candidate(&self, affinity: u64) -> Candidate {
        Candidate {
            is_draining: self.is_draining(),
            is_unreachable: self.is_unreachable(),
            in_flight: self.tunnel.places().used(),
            room: self.tunnel.places().capacity(),
            rank: self.tag.rank_for(affinity),
        }
    }

    fn take_place(&self, claims: PlaceClaims) -> Result<Place, PlaceError> {
        let pass = self.gate.enter().ok_or(PlaceError::Gone)?;
        let id = IdClaim {
            owner: self.owner,
            is_only: self.tunnel.ids == 1,
        };
        Place::take(self.tunnel.places(), pass, claims, id)
    }
}

impl RelayTunnel {
    /// Returns the tunnel of a relay with this number of ids.
    pub(crate) fn new(end: ServerEnd, remote: SocketAddr, ids: usize) -> Self {
        Self {
            end,
            remote,
            end_note: EndNote::default(),
            ids,
            places: OnceLock::new(),
            runtime: Handle::current().id(),
        }
    }

    /// Notes its end there.
    pub(crate) fn with_end_note(self, end_note: EndNote) -> Self {
        Self { end_note, ..self }
    }

    /// Returns the calls that it carries now, of all its ids.
    pub(crate) fn in_flight(&self) -> usize {
        self.places().used()
    }

    /// Returns the calls that it can carry, of all its ids.
    fn places(&self) -> &FairShare {
        // The events of each id take one stream for good.
        let room = || self.end.max_streams().saturating_sub(self.ids);
        self.places.get_or_init(|| FairShare::new(room()))
    }
}

impl CurrentOffer {
    fn new(offer: Offer) -> Self {
        let for_ms = match offer.provider {
            ProviderHealth::Reachable { for_ms } | ProviderHealth::Unreachable { for_ms, .. } => {
                for_ms
            }
            ProviderHealth::Unknown => 0,
        };

        let now = SystemTime::now();
        let provider_since = now
            .checked_sub(Duration::from_millis(for_ms))
            .unwrap_or(now);
        Self {
            offer,
            provider_since,
            at: now,
        }
    }
}
