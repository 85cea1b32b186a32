//! What operators hold back from calls: ids, and relays.
//!
//! A hold is about the id or the process of the relay, not about a connection: it outlives a reconnect. It ends
//! with the server.

use std::collections::HashSet;

use llamapool_wire::RelayId;

use super::member::Member;
use super::relay_tag::RelayTag;

/// The most ids, and the most relays, that are held back at once.
const MAX_HELD: usize = 4096;

/// What an operator holds back, or does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HoldTarget {
    /// An id, with all relays that it has.
    Id(RelayId),
    /// A relay, under all its ids.
    Relay(RelayTag),
}

/// Why something cannot be held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldError {
    /// There is no such id or relay.
    Unknown,
    /// As many are held back as may be.
    TooMany,
}

/// What is held back.
#[derive(Debug, Default)]
pub(super) struct Holds {
    ids: HashSet<RelayId>,
    relays: HashSet<RelayTag>,
}

impl HoldTarget {
    /// Returns whether a member is of it.
    pub(super) fn covers(&self, member: &Member) -> bool {
        match self {
            Self::Id(id) => member.id == *id,
            Self::Relay(tag) => member.tag == *tag,
        }
    }
}

impl Holds {
    /// Returns whether this is held back.
    pub(super) fn contains(&self, target: &HoldTarget) -> bool {
        match target {
            HoldTarget::Id(id) => self.ids.contains(id),
            HoldTarget::Relay(tag) => self.relays.contains(tag),
        }
    }

    /// Returns whether a member is held back, by its id or its relay.
    pub(super) fn cover(&self, member: &Member) -> bool {
        self.ids.contains(&member.id) || self.relays.contains(&member.tag)
    }

    /// Holds something back. What is held back already stays so.
    pub(super) fn hold(&mut self, target: &HoldTarget) -> Result<(), HoldError> {
        if self.contains(target) {
            return Ok(());
        }
        if self.ids.len().max(self.relays.len()) >= MAX_HELD {
            return Err(HoldError::TooMany);
        }
        match target {
            HoldTarget::Id(id) => self.ids.insert(id.clone()),
            HoldTarget::Relay(tag) => self.relays.insert(*tag),
        };
        Ok(())
    }

    /// Lets something take calls again.
    pub(super) fn release(&mut self, target: &HoldTarget) {
        match target {
            HoldTarget::Id(id) => self.ids.remove(id),
            HoldTarget::Relay(tag) => self.relays.remove(tag),
        };
    }
}
