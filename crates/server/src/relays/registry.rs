//! The registry: which relays hold which ids, and which have reserved one.
//!
//! It decides about claims, in the words of ARCHITECTURE.md ("Who holds an id"), and enters the
//! relays into the directory. Its lock is short and never held over an await; the directory's may
//! be taken under it, never the other way round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use llamapool_tunnel::CloseReason;
use llamapool_wire::{InstanceId, Refusal, RelayId};
use lru::LruCache;
use parking_lot::Mutex;

use super::registration::Reservation;
use crate::auth::{RelayIdentity, RelayRefusedError};
use crate::directory::{Directory, Member, RelayTag};

/// The most lost relays that are remembered, so that their sessions wait for them.
const REMEMBERED_RELAYS: usize = 4096;
/// The retries of a claim whose holders changed while they were being pinged.
const CLAIM_ATTEMPTS: usize = 3;

/// The registry. Clones are the same registry.
#[derive(Clone)]
pub(crate) struct Registry {
    state: Arc<Mutex<RegistryState>>,
    directory: Directory,
    max_relays: usize,
    started: Instant,
}

struct RegistryState {
    /// The relays that have reserved an id and are not registered yet.
    reserved: HashMap<RelayId, Vec<Arc<RelayIdentity>>>,
    /// The relays that have reserved an id or hold one, each counted once for each of its ids.
    relays: usize,
    /// The relays that were lost, with the moment of their loss.
    lost: LruCache<(RelayId, RelayTag), Instant>,
}

/// The decision about a claim.
enum Claim {
    Granted(Vec<Reservation>),
    HeldBy(Vec<Arc<Member>>),
}

impl Registry {
    /// Returns a registry that enters relays into a directory.
    pub(crate) fn new(directory: Directory, max_relays: usize) -> Self {
        let state = RegistryState {
            reserved: HashMap::new(),
            relays: 0,
            lost: LruCache::unbounded(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            directory,
            max_relays,
            started: Instant::now(),
        }
    }

    /// Reserves the ids that a relay wants, all of them or none, in its order, before its upgrade.
    /// A reservation lasts until it is dropped.
    pub(crate) async fn claim(
        &self,
        identity: RelayIdentity,
        takeover_wait: Duration,
    ) -> Result<Vec<Reservation>, RelayRefusedError> {
        let identity = Arc::new(identity);
        // With 128 random bits an assigned id is free.
        let ids: Vec<RelayId> = identity
            .ids
            .iter()
            .map(|id| id.clone().unwrap_or_else(RelayId::random))
            .collect();

        for _ in 0..CLAIM_ATTEMPTS {
            let strangers = match self.try_claim(&ids, &identity)? {
                Claim::Granted(reservations) => return Ok(reservations),
                Claim::HeldBy(strangers) => strangers,
            };

            // The first one that is alive decides. Until all have been silent, no holder loses
            // anything.
            let pings = strangers
                .iter()
                .map(|stranger| expect_silence(stranger, takeover_wait));
            try_join_all(pings).await?;

            for stranger in &strangers {
                tracing::info!(
                    id = %stranger.id,
                    "the relay that held this id is silent: another one takes over"
                );
                stranger.tunnel.end.close(CloseReason::Replaced);
                self.remove(&stranger.id, stranger.serial);
            }
        }

        let ids: Vec<_> = ids.iter().map(RelayId::as_str).collect();
        Err(taken(&ids.join(" or ")))
    }

    /// Returns whether a relay that is not there may come back with its sessions: it was lost not
    /// long ago, or before this server was started, which has not run for long.
    pub(crate) fn may_return(&self, id: &RelayId, tag: RelayTag, grace: Duration) -> bool {
        let was_lost = || {
            let state = self.state.lock();
            let lost_at = state.lost.peek(&(id.clone(), tag)).copied();
            lost_at.is_some_and(|at| at.elapsed() < grace)
        };
        self.started.elapsed() < grace || was_lost()
    }

    /// Closes every tunnel.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        for listing in self.directory.listings() {
            for member in &listing.members {
                member.tunnel.end.close(reason);
            }
        }
    }

    /// Enters a registered relay into the directory, in place of an older tunnel of the same
    /// process, which is closed.
    pub(super) fn enter(&self, member: Arc<Member>) {
        if let Some(older) = self.directory.enter(member) {
            older.tunnel.end.close(CloseReason::Replaced);
        }
    }

    /// Removes a relay from the directory. One that did not announce its leave is lost, and may
    /// come back.
    pub(super) fn remove(&self, id: &RelayId, serial: u64) {
        // Under the lock, so that a call that no longer finds the relay finds it among the lost.
        let mut state = self.state.lock();
        let removed = self.directory.remove(id, serial);
        if let Some(member) = removed.filter(|member| !member.is_draining()) {
            state.add_lost(id, member.tag);
        }
    }

    /// Ends a reservation.
    pub(super) fn release(&self, id: &RelayId, identity: &Arc<RelayIdentity>) {
        let mut state = self.state.lock();
        if let Some(reserved) = state.reserved.get_mut(id) {
            reserved.retain(|other| !Arc::ptr_eq(other, identity));
            if reserved.is_empty() {
                state.reserved.remove(id);
            }
        }
    }

    /// Counts one relay less.
    pub(super) fn release_count(&self) {
        self.state.lock().relays -= 1;
    }

    /// Reserves the ids, or returns the holders that must be pinged before.
    fn try_claim(
        &self,
        ids: &[RelayId],
        identity: &Arc<RelayIdentity>,
    ) -> Result<Claim, RelayRefusedError> {
        let mut state = self.state.lock();
        let mut strangers = Vec::new();
        let mut added_relays = ids.len();

        for id in ids {
            if state.is_reserved_by_a_stranger(id, identity) {
                return Err(taken(id.as_str()));
            }
            let Some(listing) = self.directory.find(id) else {
                continue;
            };

            // A relay that comes again gives up the place that it has: a full server must not keep
            // it out.
            let holds_it = listing
                .members
                .iter()
                .any(|member| member.identity.instance == identity.instance);
            if holds_it && !state.is_reserved_by(id, &identity.instance) {
                added_relays -= 1;
            }

            let is_stranger = |member: &Arc<Member>| !may_share(&member.identity, identity);
            strangers.extend(listing.members.into_iter().filter(is_stranger));
        }

        if !strangers.is_empty() {
            return Ok(Claim::HeldBy(strangers));
        }
        if added_relays > 0 && state.relays + added_relays > self.max_relays {
            return Err(self.too_many(state.relays, added_relays));
        }

        let reserve = |id| self.reserve(&mut state, id, identity);
        Ok(Claim::Granted(ids.iter().map(reserve).collect()))
    }

    fn reserve(
        &self,
        state: &mut RegistryState,
        id: &RelayId,
        identity: &Arc<RelayIdentity>,
    ) -> Reservation {
        state.relays += 1;
        let reserved = state.reserved.entry(id.clone()).or_default();
        reserved.push(identity.clone());
        Reservation::new(self.clone(), id.clone(), identity.clone())
    }

    fn too_many(&self, relays: usize, added: usize) -> RelayRefusedError {
        let message = match added {
            1 => format!("the server holds {relays} relays, as many as MAX_RELAYS allows"),
            ids => format!(
                "the server holds {relays} relays and this one has {ids} ids, each of which counts as one; MAX_RELAYS is {}",
                self.max_relays
            ),
        };
        RelayRefusedError::new(Refusal::TooManyRelays, message)
    }
}

impl RegistryState {
    fn is_reserved_by_a_stranger(&self, id: &RelayId, newcomer: &RelayIdentity) -> bool {
        self.reserved_by(id)
            .any(|holder| !may_share(holder, newcomer))
    }

    fn is_reserved_by(&self, id: &RelayId, instance: &InstanceId) -> bool {
        self.reserved_by(id)
            .any(|holder| holder.instance == *instance)
    }

    fn reserved_by(&self, id: &RelayId) -> impl Iterator<Item = &RelayIdentity> {
        let reserved = self.reserved.get(id).into_iter().flatten();
        reserved.map(|identity| &**identity)
    }

    fn add_lost(&mut self, id: &RelayId, tag: RelayTag) {
        self.lost.put((id.clone(), tag), Instant::now());
        if self.lost.len() > REMEMBERED_RELAYS {
            self.lost.pop_lru();
        }
    }
}

/// Returns whether two relays may hold an id together or after each other without a ping: the same
/// process again, or two with the same secret.
fn may_share(holder: &RelayIdentity, newcomer: &RelayIdentity) -> bool {
    let share_a_secret = match (&holder.secret, &newcomer.secret) {
        (Some(one), Some(other)) => one.matches(other.expose().as_bytes()),
        _ => false,
    };
    holder.instance == newcomer.instance || share_a_secret
}

/// Pings the holder of an id. Fails if it is alive.
async fn expect_silence(holder: &Member, patience: Duration) -> Result<(), RelayRefusedError> {
    if holder.tunnel.end.is_alive(patience).await {
        Err(taken(holder.id.as_str()))
    } else {
        Ok(())
    }
}

fn taken(id: &str) -> RelayRefusedError {
    let message = format!(
        "the id {id} is held by another relay that is alive; choose another CLIENT_ID, or give both the same CLIENT_SECRET to share it"
    );
    RelayRefusedError::new(Refusal::IdTaken, message)
}

#[cfg(test)]
mod tests;
