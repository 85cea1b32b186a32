//! The ids that had a relay and have none now: since when, why, and how many calls missed them.
//!
//! Bounded, and in memory alone: a restart of the server forgets them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use llamapool_wire::RelayId;
use lru::LruCache;

use super::member::Member;

/// The most ids that are remembered. Those that were left first are forgotten first.
const MAX_ABSENT: usize = 1024;
/// How long an id is remembered that no relay serves again.
const ABSENT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The end of a tunnel, in words. It is set after the ids of the tunnel are left.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndNote(Arc<OnceLock<Box<str>>>);

/// The ids without a relay.
pub(super) struct AbsentIds(LruCache<RelayId, Absence>);

/// The absence of the last relay of an id.
#[derive(Debug, Clone)]
pub(crate) struct Absence {
    pub(crate) since: SystemTime,
    /// The name of the relay that was there last.
    pub(crate) relay: String,
    /// Whether it had announced that it leaves.
    pub(crate) was_announced: bool,
    /// Calls that were refused since, for lack of a relay.
    pub(crate) refused: u64,
    end: EndNote,
}

impl EndNote {
    /// Notes how the tunnel ended.
    pub(crate) fn set(&self, end: &impl ToString) {
        // One tunnel has one end.
        let _ = self.0.set(end.to_string().into());
    }
}

impl Absence {
    /// Returns why the relay is not there.
    pub(crate) fn reason(&self) -> &str {
        let end = self.end.0.get().map(|end| &**end);
        end.unwrap_or("its tunnel is being closed")
    }
}

impl AbsentIds {
    pub(super) fn new() -> Self {
        Self(LruCache::unbounded())
    }

    /// Notes that the last relay of an id has left it. Nobody misses one that only looked.
    pub(super) fn add(&mut self, last: &Member) {
        if last.id.is_of_doctor() {
            return;
        }
        let absence = Absence {
            since: SystemTime::now(),
            relay: last.identity.name.as_str().to_owned(),
            was_announced: last.has_announced_leave(),
            refused: 0,
            end: last.tunnel.end_note.clone(),
        };
        self.0.put(last.id.clone(), absence);
        if self.0.len() > MAX_ABSENT {
            self.0.pop_lru();
        }
    }

    /// Forgets an id that has a relay again.
    pub(super) fn remove(&mut self, id: &RelayId) {
        self.0.pop(id);
    }

    /// Counts a call that was refused, if the id is one that had a relay.
    pub(super) fn count_refused(&mut self, id: &RelayId) {
        if let Some(absence) = self.0.peek_mut(id) {
            absence.refused += 1;
        }
    }

    /// Returns the ids, sorted, with their absences.
    pub(super) fn list(&self, now: SystemTime) -> Vec<(RelayId, Absence)> {
        let is_of_today = |absence: &Absence| {
            let age = now.duration_since(absence.since).unwrap_or_default();
            age < ABSENT_FOR
        };
        let listed = self.0.iter().filter(|(_, absence)| is_of_today(absence));
        let mut listed: Vec<_> = listed
            .map(|(id, absence)| (id.clone(), absence.clone()))
            .collect();
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        listed
    }
}
