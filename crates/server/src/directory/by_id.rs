//! The directory by id: the relays that take calls under each id, and the statistics of its calls.
//!
//! Calls get shared handles and never the map. The lock is short and never held over an await.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use llamapool_limits::FairShare;
use llamapool_mcp::MethodLabel;
use llamapool_wire::RelayId;
use lru::LruCache;
use parking_lot::Mutex;

use super::absent::{Absence, AbsentIds};
use super::holds::{HoldError, HoldTarget, Holds};
use super::member::Member;
use crate::auth::RelayKind;
use crate::calls::CallStats;

/// The most ids without a relay whose statistics are kept. Those that were left first are forgotten
/// first.
const REMEMBERED_IDS: usize = 1024;

/// The statistics of the calls to one MCP provider's id.
pub(crate) type McpCallStats = CallStats<MethodLabel>;

/// The directory. Clones are the same directory.
#[derive(Clone)]
pub(crate) struct Directory {
    ids: Arc<Mutex<Ids>>,
}

struct Ids {
    /// The most calls at once to one id; 0: as many as its relays take.
    max_calls_per_id: usize,
    /// Every id that has members.
    entries: HashMap<RelayId, IdEntry>,
    /// The statistics of ids that have had calls and have no members now.
    left: LruCache<RelayId, Arc<McpCallStats>>,
    /// The ids that had members and have none now.
    absent: AbsentIds,
    /// The ids and relays that operators hold back from calls.
    holds: Holds,
    /// The statistics of all ids that were forgotten, so that no total goes back.
    forgotten: Arc<McpCallStats>,
}

struct IdEntry {
    /// The newest first; never empty.
    /// Replaced when one comes or leaves: every call takes them along.
    members: Arc<[Arc<Member>]>,
    stats: Arc<McpCallStats>,
    calls: Option<FairShare>,
}

/// One id with its members, the newest first, at one moment.
pub(crate) struct Listing {
    pub(crate) id: RelayId,
    pub(crate) members: Arc<[Arc<Member>]>,
    pub(crate) stats: Arc<McpCallStats>,
    /// The calls that it may have at once. `None`: as many as its relays take.
    pub(crate) calls: Option<FairShare>,
}

impl Listing {
    /// Returns whether the id is that of an LLM runtime, which is called by the LLM API alone.
    pub(crate) fn is_of_workers(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.identity.kind == RelayKind::Worker)
    }
}

impl Directory {
    /// Returns an empty directory of ids with at most `max_calls_per_id` calls at once each; 0: as
    /// many as their relays take.
    pub(crate) fn new(max_calls_per_id: usize) -> Self {
        let ids = Ids {
            max_calls_per_id,
            entries: HashMap::new(),
            left: LruCache::unbounded(),
            absent: AbsentIds::new(),
            holds: Holds::default(),
            forgotten: Arc::default(),
        };
        Self {
            ids: Arc::new(Mutex::new(ids)),
        }
    }

    /// Returns the members of an id and its statistics. `None` if it has no members.
    pub(crate) fn find(&self, id: &RelayId) -> Option<Listing> {
        let ids = self.ids.lock();
        let entry = ids.entries.get(id)?;
        Some(entry.listing(id))
    }

    /// Returns every id that has members, sorted.
    pub(crate) fn listings(&self) -> Vec<Listing> {
        let ids = self.ids.lock();
        let mut listings: Vec<_> = ids
            .entries
            .iter()
            .map(|(id, entry)| entry.listing(id))
            .collect();
        drop(ids);

        listings.sort_by(|one, other| one.id.cmp(&other.id));
        listings
    }

    /// Returns the statistics of every id, sorted: also of those that their relays have left.
    pub(crate) fn all_stats(&self) -> Vec<(RelayId, Arc<McpCallStats>)> {
        let ids = self.ids.lock();
        let connected = ids.entries.iter().map(|(id, entry)| (id, &entry.stats));
        let mut stats: Vec<_> = connected
            .chain(ids.left.iter())
            .map(|(id, stats)| (id.clone(), stats.clone()))
            .collect();
        drop(ids);

        stats.sort_by(|one, other| one.0.cmp(&other.0));
        stats
    }

    /// Returns the statistics of the ids that were forgotten, all together.
    pub(crate) fn forgotten_stats(&self) -> Arc<McpCallStats> {
        self.ids.lock().forgotten.clone()
    }

    /// Returns every id that had a relay and has none now, sorted.
    pub(crate) fn absences(&self) -> Vec<(RelayId, Absence)> {
        self.ids.lock().absent.list(SystemTime::now())
    }

    /// Counts a call to an id without a relay.
    pub(crate) fn count_refused(&self, id: &RelayId) {
        self.ids.lock().absent.count_refused(id);
    }

    /// Holds an id or a relay back from calls, or does not any more. Returns its members.
    pub(crate) fn hold(
        &self,
        target: &HoldTarget,
        is_held: bool,
    ) -> Result<Vec<Arc<Member>>, HoldError> {
        let mut ids = self.ids.lock();
        let members = ids.members_of(target);
        if members.is_empty() && !ids.holds.contains(target) {
            return Err(HoldError::Unknown);
        }

        if is_held {
            ids.holds.hold(target)?;
        } else {
            ids.holds.release(target);
        }
        for member in &members {
            // The other hold, of its relay or its id, may stay.
            member.set_held(ids.holds.cover(member));
        }
        Ok(members)
    }

    /// Returns the members of an id or of a relay, and whether an operator holds it back. `None` if
    /// there are none and it is not held back.
    pub(crate) fn held(&self, target: &HoldTarget) -> Option<(Vec<Arc<Member>>, bool)> {
        let ids = self.ids.lock();
        let is_held = ids.holds.contains(target);
        let members = ids.members_of(target);
        (is_held || !members.is_empty()).then_some((members, is_held))
    }

    /// Enters a member: it takes calls from now on, in place of an older one of the same relay
    /// process, which is returned.
    pub(crate) fn enter(&self, member: Arc<Member>) -> Option<Arc<Member>> {
        let mut ids = self.ids.lock();
        let Ids {
            max_calls_per_id,
            entries,
            left,
            absent,
            holds,
            ..
        } = &mut *ids;
        member.set_held(holds.cover(&member));
        absent.remove(&member.id);
        let entry = entries.entry(member.id.clone()).or_insert_with(|| IdEntry {
            members: Arc::default(),
            stats: left.pop(&member.id).unwrap_or_default(),
            calls: (*max_calls_per_id > 0).then(|| FairShare::new(*max_calls_per_id)),
        });

        let older = entry.place_of(|other| other.is_same_relay(&member));
        let older = older.and_then(|index| entry.take_member(index));
        let members = std::iter::once(&member).chain(entry.members.iter());
        entry.members = members.cloned().collect();
        older
    }

    /// Removes the member of an id with this serial number, and returns it. `None` if it was
    /// removed before.
    pub(crate) fn remove(&self, id: &RelayId, serial: u64) -> Option<Arc<Member>> {
        let mut ids = self.ids.lock();
        let entry = ids.entries.get_mut(id)?;
        let index = entry.place_of(|member| member.serial == serial)?;
        let removed = entry.take_member(index)?;

        if entry.members.is_empty() {
            ids.leave(id);
            if removed.identity.kind == RelayKind::Mcp {
                ids.absent.add(&removed);
            }
        }
        Some(removed)
    }
}

impl Ids {
    fn members_of(&self, target: &HoldTarget) -> Vec<Arc<Member>> {
        let entries: Vec<&IdEntry> = match target {
            HoldTarget::Id(id) => self.entries.get(id).into_iter().collect(),
            HoldTarget::Relay(_) => self.entries.values().collect(),
        };
        let members = entries.into_iter().flat_map(|entry| entry.members.iter());
        members.filter(|it| target.covers(it)).cloned().collect()
    }

    /// Removes an id without members; its statistics are kept, if it has had calls.
    fn leave(&mut self, id: &RelayId) {
        let stats = self.entries.remove(id).map(|entry| entry.stats);
        let Some(stats) = stats.filter(|stats| !stats.is_empty()) else {
            return;
        };

        self.left.put(id.clone(), stats);
        if self.left.len() <= REMEMBERED_IDS {
            return;
        }
        let Some((id, stats)) = self.left.pop_lru() else {
            return;
        };
        if stats.in_flight() > 0 {
            // Its calls are still to be counted.
            self.left.put(id, stats);
        } else {
            self.forgotten.absorb(&stats);
        }
    }
}

impl IdEntry {
    /// Removes the member at a place, and returns it.
    fn take_member(&mut self, index: usize) -> Option<Arc<Member>> {
        let taken = self.members.get(index)?.clone();
        let others = self.members.iter().enumerate();
        let others = others.filter(|(other, _)| *other != index);
        self.members = others.map(|(_, member)| member.clone()).collect();
        Some(taken)
    }

    fn listing(&self, id: &RelayId) -> Listing {
        Listing {
            id: id.clone(),
            members: self.members.clone(),
            stats: self.stats.clone(),
            calls: self.calls.clone(),
        }
    }

    fn place_of(&self, is_wanted: impl Fn(&Member) -> bool) -> Option<usize> {
        self.members.iter().position(|member| is_wanted(member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Outcome;

    #[test]
    fn totals_do_not_go_back_when_ids_are_forgotten() {
        let directory = Directory::new(0);
        let label = MethodLabel::from_name("tools/call");
        let many = 2 * REMEMBERED_IDS;

        for n in 0..many {
            let stats = McpCallStats::default();
            stats.add_many(label, Outcome::Ok, 3);
            let id: RelayId = format!("id-{n}").parse().unwrap();
            let entry = IdEntry {
                members: Arc::default(),
                stats: Arc::new(stats),
                calls: None,
            };
            let mut ids = directory.ids.lock();
            ids.entries.insert(id.clone(), entry);
            ids.leave(&id);
        }

        let kept = directory.all_stats();
        assert_eq!(kept.len(), REMEMBERED_IDS);
        let kept: u64 = kept.iter().map(|(_, stats)| stats.count_of(label)).sum();
        let forgotten = directory.forgotten_stats().count_of(label);
        assert_eq!(kept + forgotten, 3 * many as u64);
    }
}
