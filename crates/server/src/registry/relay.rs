//! One connected relay, as far as one of its ids goes, and the tunnel that all its ids share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use llamapool_tunnel::ServerEnd;
use llamapool_wire::{Offer, ProviderHealth, RelayId};

use crate::auth::RelayIdentity;
use crate::drain::Gate;
use crate::scheduler::Candidate;
use crate::sessions::RelayTag;

/// One connected relay under one of its ids: its tunnel, and what it offers there.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Tells this place from an older or newer one of the same relay.
    pub(super) serial: u64,
    pub(crate) id: RelayId,
    pub(crate) identity: Arc<RelayIdentity>,
    /// Tells its sessions from those of the other relays of the id.
    pub(crate) tag: RelayTag,
    pub(crate) connected_at: SystemTime,
    pub(crate) tunnel: Arc<RelayTunnel>,
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
    pub(super) fn new(
        serial: u64,
        id: RelayId,
        identity: Arc<RelayIdentity>,
        arrival: Arrival,
    ) -> Self {
        Self {
            serial,
            id,
            tag: RelayTag::of(&identity.instance),
            identity,
            connected_at: SystemTime::now(),
            tunnel: arrival.tunnel,
            gate: Arc::default(),
            offer: Mutex::new(Offered::now(arrival.offer)),
        }
    }

    /// What it offers now.
    pub(crate) fn offered(&self) -> Offered {
        self.offer().clone()
    }

    fn offer(&self) -> MutexGuard<'_, Offered> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It offers something else from now on.
    pub(crate) fn offers(&self, offer: Offer) {
        *self.offer() = Offered::now(offer);
    }

    /// It has said goodbye: nothing new comes, and this waits for what runs.
    pub(crate) async fn leaves(&self) {
        self.gate.close();
        self.gate.empty().await;
    }

    /// Whether it takes nothing new.
    pub(crate) fn is_draining(&self) -> bool {
        self.gate.is_closed() || self.offer().offer.draining
    }

    /// When it was last heard.
    pub(crate) fn last_seen(&self) -> SystemTime {
        SystemTime::now() - self.tunnel.end.silence()
    }

    /// Whether its provider did not take the last connection.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self.offer().offer.provider,
            ProviderHealth::Unreachable { .. }
        )
    }

    /// What the scheduler must know of it for a call of this caller.
    pub(crate) fn candidate(&self, caller: u64) -> Candidate {
        Candidate {
            draining: self.is_draining(),
            unreachable: self.is_unreachable(),
            in_flight: self.tunnel.in_flight(),
            room: self.tunnel.room(),
            suits: self.tag.suits(caller),
        }
    }
}

/// What a relay brings when it has said hello for an id.
pub(crate) struct Arrival {
    pub(crate) tunnel: Arc<RelayTunnel>,
    pub(crate) offer: Offer,
}

/// The tunnel of a relay, which all its ids share.
#[derive(Debug)]
pub(crate) struct RelayTunnel {
    pub(crate) end: ServerEnd,
    pub(crate) remote: SocketAddr,
    ids: usize,
    slots: Arc<AtomicUsize>,
}

impl RelayTunnel {
    /// The tunnel of a relay with so many ids.
    pub(crate) fn new(end: ServerEnd, remote: SocketAddr, ids: usize) -> Self {
        Self {
            end,
            remote,
            ids,
            slots: Arc::default(),
        }
    }

    /// How many calls it carries now, of all its ids.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.load(Ordering::Acquire)
    }

    /// How many calls it can carry, of all its ids.
    pub(crate) fn room(&self) -> usize {
        // Each id's events take one stream for good.
        self.end.max_streams().saturating_sub(self.ids)
    }

    /// The count of its calls; permits count it.
    pub(crate) fn slots(&self) -> &Arc<AtomicUsize> {
        &self.slots
    }
}

impl Offered {
    fn now(offer: Offer) -> Self {
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
        }
    }
}
