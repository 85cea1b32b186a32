//! One connected relay.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use llamapool_tunnel::ServerEnd;
use llamapool_wire::{Offer, ProviderHealth, RelayId};

use crate::auth::RelayIdentity;
use crate::drain::Gate;
use crate::scheduler::Candidate;
use crate::sessions::RelayTag;

/// One connected relay: its tunnel, and what it offers.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Tells this tunnel from an older or newer one of the same relay.
    pub(super) serial: u64,
    pub(crate) id: RelayId,
    pub(crate) identity: Arc<RelayIdentity>,
    /// Tells its sessions from those of the other relays of the id.
    pub(crate) tag: RelayTag,
    pub(crate) remote: SocketAddr,
    pub(crate) connected_at: SystemTime,
    pub(crate) tunnel: ServerEnd,
    /// How many calls it runs; permits count it.
    pub(crate) slots: Arc<AtomicUsize>,
    /// Closed when it has said goodbye; permits go through it.
    pub(crate) gate: Arc<Gate>,
    offer: Mutex<Offered>,
}

/// The last offer, and since when its provider has been as it says.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) offer: Offer,
    pub(crate) provider_since: SystemTime,
}

impl Relay {
    pub(super) fn new(serial: u64, id: RelayId, identity: Arc<RelayIdentity>, arrival: Arrival) -> Self {
        Self {
            serial,
            id,
            tag: RelayTag::of(&identity.instance),
            identity,
            remote: arrival.remote,
            connected_at: SystemTime::now(),
            tunnel: arrival.tunnel,
            slots: Arc::default(),
            gate: Arc::default(),
            offer: Mutex::new(Offered::now(arrival.offer)),
        }
    }

    /// What it offers now.
    pub(crate) fn offered(&self) -> Offered {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It offers something else from now on.
    pub(crate) fn offers(&self, offer: Offer) {
        *self.offer.lock().unwrap_or_else(PoisonError::into_inner) = Offered::now(offer);
    }

    /// It has said goodbye: nothing new comes, and this waits for what runs.
    pub(crate) async fn leaves(&self) {
        self.gate.close();
        self.gate.empty().await;
    }

    /// Whether it takes nothing new.
    pub(crate) fn is_draining(&self) -> bool {
        self.gate.is_closed() || self.offered().offer.draining
    }

    /// How many calls it runs.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.load(Ordering::Acquire)
    }

    /// How many calls its tunnel carries.
    pub(crate) fn room(&self) -> usize {
        // One stream is taken for good, by the events.
        self.tunnel.max_streams().saturating_sub(1)
    }

    /// When it was last heard.
    pub(crate) fn last_seen(&self) -> SystemTime {
        SystemTime::now() - self.tunnel.quiet()
    }

    /// Whether its provider did not take the last connection.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self.offered().offer.provider, ProviderHealth::Unreachable { .. })
    }

    /// What the scheduler must know of it for a call of this caller.
    pub(crate) fn candidate(&self, caller: u64) -> Candidate {
        Candidate {
            draining: self.is_draining(),
            unreachable: self.is_unreachable(),
            in_flight: self.in_flight(),
            room: self.room(),
            suits: self.tag.suits(caller),
        }
    }
}

/// What a relay brings when it has said hello.
pub(crate) struct Arrival {
    pub(crate) remote: SocketAddr,
    pub(crate) tunnel: ServerEnd,
    pub(crate) offer: Offer,
}

impl Offered {
    fn now(offer: Offer) -> Self {
        let for_ms = match offer.provider {
            ProviderHealth::Reachable { for_ms } | ProviderHealth::Unreachable { for_ms, .. } => for_ms,
            ProviderHealth::Unknown => 0,
        };
        let now = SystemTime::now();
        let provider_since = now.checked_sub(Duration::from_millis(for_ms)).unwrap_or(now);
        Self { offer, provider_since }
    }
}
