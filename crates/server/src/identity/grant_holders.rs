//! The holders of grants by which something runs, or has run. They are made when a token is presented:
//! a store may have many more grants than are in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use llamapool_identity::{AuthenticatedToken, GrantId, GrantUse, Key, Snapshot};
use parking_lot::Mutex;

use super::holder::KeyHolder;

/// The holders of grants. There are never more than the store may have grants.
#[derive(Default)]
pub(super) struct GrantHolders(Mutex<HashMap<GrantId, Entry>>);

struct Entry {
    holder: Arc<KeyHolder>,
    /// The key that allowed the grant, with its rights then; `None`: the owner did.
    key: Option<Arc<Key>>,
}

impl GrantHolders {
    /// Returns the holder of the grant of a token. `None` if the snapshot that has proved the token is
    /// no longer the present one: what it ends may have been looked for already.
    pub(super) fn of_token(
        &self,
        token: &AuthenticatedToken,
        client_name: &str,
        key: Option<&Arc<KeyHolder>>,
        is_current: impl FnOnce() -> bool,
    ) -> Option<Arc<KeyHolder>> {
        let mut holders = self.0.lock();
        if !is_current() {
            return None;
        }
        let entry = holders.entry(token.grant.id).or_insert_with(|| Entry {
            holder: KeyHolder::of_grant(&token.grant, key, client_name),
            key: token.key.clone(),
        });
        entry.holder.note_turn(token.turn);
        Some(entry.holder.clone())
    }

    /// Ends what runs by grants that a snapshot does not have any more. Returns the number.
    pub(super) fn end_gone(&self, snapshot: &Snapshot, now: SystemTime) -> usize {
        let mut ended = 0;
        self.0.lock().retain(|id, entry| {
            let is_there = entry.is_in(id, snapshot, now);
            if !is_there {
                ended += entry.holder.end();
            }
            is_there
        });
        ended
    }

    /// Returns whether a holder is there whose grant has ended.
    pub(super) fn has_expired(&self, snapshot: &Snapshot, now: SystemTime) -> bool {
        let holders = self.0.lock();
        holders
            .iter()
            .any(|(id, entry)| !entry.is_in(id, snapshot, now))
    }

    /// Returns when grants were used in this run.
    pub(super) fn uses(&self) -> Vec<GrantUse> {
        let holders = self.0.lock();
        let uses = holders.iter().filter_map(|(id, entry)| {
            Some(GrantUse {
                grant: *id,
                turn: entry.holder.last_turn(),
                at: entry.holder.last_use()?,
            })
        });
        uses.collect()
    }
}

impl Entry {
    /// Returns whether the grant is active, and what stands behind it is as it was.
    fn is_in(&self, id: &GrantId, snapshot: &Snapshot, now: SystemTime) -> bool {
        let Some(grant) = snapshot.grant(id).filter(|grant| grant.is_active(now)) else {
            return false;
        };
        match (snapshot.check_grant(grant, now), &self.key) {
            (Ok(None), None) => true,
            (Ok(Some(key)), Some(own)) => own.rights.continue_as(&key.rights),
            _ => false,
        }
    }
}
