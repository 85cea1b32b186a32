//! The facts that problems are computed of, borrowed from where they are kept.

use std::time::SystemTime;

use llamapool_wire::{ProviderHealth, RelayId};

use crate::calls::RecentCounts;
use crate::directory::{Absence, CurrentOffer, Listing, Member};

/// Everything that problems are computed of, at one moment.
pub(crate) struct Facts<'a> {
    pub(crate) ids: Vec<IdFacts<'a>>,
    pub(crate) absent: Vec<AbsentFacts<'a>>,
}

/// One id that has relays.
#[derive(Debug, Clone)]
pub(crate) struct IdFacts<'a> {
    pub(crate) id: &'a RelayId,
    /// Its relays, the newest first.
    pub(crate) members: Vec<MemberFacts<'a>>,
    pub(crate) recent: RecentCounts,
    /// The word and the message of the last failure that has some.
    pub(crate) last_error: Option<(&'static str, String)>,
    /// Whether the server asks its callers for nothing.
    pub(crate) is_open: bool,
}

/// One relay under an id.
#[derive(Debug, Clone)]
pub(crate) struct MemberFacts<'a> {
    pub(crate) relay: &'a str,
    pub(crate) is_draining: bool,
    pub(crate) is_held: bool,
    pub(crate) is_protected: bool,
    /// Whether its provider is a program.
    pub(crate) is_program: bool,
    pub(crate) health: &'a ProviderHealth,
    pub(crate) health_since: SystemTime,
    pub(crate) connected_at: SystemTime,
    /// The time of its last offer.
    pub(crate) offered_at: SystemTime,
}

/// An id that had a relay and has none now.
#[derive(Debug, Clone)]
pub(crate) struct AbsentFacts<'a> {
    pub(crate) id: &'a RelayId,
    pub(crate) relay: &'a str,
    pub(crate) since: SystemTime,
    pub(crate) was_announced: bool,
    pub(crate) reason: &'a str,
    pub(crate) refused: u64,
}

impl<'a> IdFacts<'a> {
    /// Reads the facts of an id, with the last offers of its members in their order.
    pub(crate) fn of(listing: &'a Listing, offers: &'a [CurrentOffer], is_open: bool) -> Self {
        let members = listing.members.iter().zip(offers);
        let last_error = listing.stats.last_error();
        Self {
            id: &listing.id,
            members: members
                .map(|(it, offer)| MemberFacts::of(it, offer))
                .collect(),
            recent: listing.stats.recent(),
            last_error: last_error.map(|last| (last.error, last.message)),
            is_open,
        }
    }
}

impl<'a> MemberFacts<'a> {
    fn of(member: &'a Member, current: &'a CurrentOffer) -> Self {
        Self {
            relay: member.identity.name.as_str(),
            is_draining: member.is_draining(),
            is_held: member.is_held(),
            is_protected: current.offer.protected,
            is_program: current.offer.bridge.is_some(),
            health: &current.offer.provider,
            health_since: current.provider_since,
            connected_at: member.connected_at,
            offered_at: current.at,
        }
    }

    pub(super) fn is_reachable(&self) -> bool {
        matches!(self.health, ProviderHealth::Reachable { .. })
    }

    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self.health, ProviderHealth::Unreachable { .. })
    }
}

impl<'a> AbsentFacts<'a> {
    pub(crate) fn of((id, absence): &'a (RelayId, Absence)) -> Self {
        Self {
            id,
            relay: &absence.relay,
            since: absence.since,
            was_announced: absence.was_announced,
            reason: absence.reason(),
            refused: absence.refused,
        }
    }
}
