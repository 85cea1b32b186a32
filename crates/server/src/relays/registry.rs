//! The registry: which relays hold which ids, and which have reserved one.
//!
//! It decides about claims, in the words of ARCHITECTURE.md ("Who holds an id"), and enters the
//! relays into the directory. Its lock is short and never held over an await; the directory's may
//! be taken under it, never the other way round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use llamapool_limits::{Claim as ShareClaim, FairShare, Network, Owner, ShareError};
use llamapool_tunnel::CloseReason;
use llamapool_wire::{IdAnswer, IdStanding, InstanceId, Mark, Refusal, RelayId, people_line};
use lru::LruCache;
use parking_lot::Mutex;

use super::holder_records::{HolderChange, HolderRecords, KeptForAnother};
use super::pending::PendingClaims;
use super::registration::{Reservation, Reservations, Seat};
use crate::auth::{RelayIdentity, RelayRefusedError};
use crate::directory::{Directory, Member, RelayTag};
use crate::metrics::Metrics;

/// The most lost relays that are remembered, so that their sessions wait for them.
const REMEMBERED_RELAYS: usize = 4096;
/// The retries of a claim whose holders changed while they were being pinged.
const CLAIM_ATTEMPTS: usize = 3;
/// The places that one network may have: so many times those that are free. One network with all
/// relays, such as that of a proxy, gets eight ninths.
const NETWORK_FACTOR: usize = 8;

/// The registry. Clones are the same registry.
#[derive(Clone)]
pub(crate) struct Registry {
    state: Arc<Mutex<RegistryState>>,
    directory: Directory,
    /// The relays that have reserved an id or hold one, each counted once for each of its ids.
    places: FairShare,
    pending: PendingClaims,
    records: HolderRecords,
    metrics: Metrics,
    started: Instant,
}

struct RegistryState {
    /// The relays that have reserved an id and are not registered yet.
    reserved: HashMap<RelayId, Vec<Arc<RelayIdentity>>>,
    /// The places of the registered relays, by the serial numbers of the members.
    seats: HashMap<u64, Seat>,
    /// The relays that were lost, with the moment of their loss.
    lost: LruCache<(RelayId, RelayTag), Instant>,
}

/// The decision about a claim.
enum Claim {
    Granted(Reservations),
    HeldBy(Vec<Arc<Member>>),
    /// Too few places are free, or too few for this network.
    NoPlace(ShareError),
}

impl Registry {
    /// Returns a registry that enters relays into a directory.
    pub(crate) fn new(
        directory: Directory,
        max_relays: usize,
        records: HolderRecords,
        metrics: Metrics,
    ) -> Self {
        let state = RegistryState {
            reserved: HashMap::new(),
            seats: HashMap::new(),
            lost: LruCache::unbounded(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            directory,
            places: FairShare::new(max_relays),
            pending: PendingClaims::default(),
            records,
            metrics,
            started: Instant::now(),
        }
    }

    /// Keeps the records of the holders of ids written. Never returns.
    pub(crate) async fn keep_records(&self) {
        let held = || {
            let listings = self.directory.listings();
            listings.into_iter().map(|listing| listing.id).collect()
        };
        let count_failure = || self.metrics.data_not_written();
        self.records.keep_written(held, count_failure).await;
    }

    /// Writes the records of the holders of ids, at the end of the server.
    pub(crate) async fn write_records(&self) {
        self.records.write().await;
    }

    /// Reserves the ids that a relay wants, all of them or none, in its order, before its upgrade.
    /// A reservation lasts until it is dropped.
    pub(crate) async fn claim(
        &self,
        identity: RelayIdentity,
        takeover_wait: Duration,
    ) -> Result<Reservations, RelayRefusedError> {
        let identity = Arc::new(identity);
        // With 128 random bits an assigned id is free.
        let ids: Vec<RelayId> = identity
            .ids
            .iter()
            .map(|id| id.clone().unwrap_or_else(RelayId::random))
            .collect();

        let mut no_place = None;
        for _ in 0..CLAIM_ATTEMPTS {
            match self.try_claim(&ids, &identity)? {
                Claim::Granted(reservations) => return Ok(reservations),
                Claim::HeldBy(strangers) => self.take_over(&strangers, takeover_wait).await?,
                Claim::NoPlace(error) => {
                    no_place = Some(error);
                    if !self.revoke_pending(error, identity.network).await {
                        break;
                    }
                }
            }
        }

        if let Some(error) = no_place {
            return Err(self.too_many(error, identity.network, ids.len()));
        }
        let ids: Vec<_> = ids.iter().map(RelayId::as_str).collect();
        Err(taken(&ids.join(" or ")))
    }

    /// Returns what would become of a claim of each id that a relay wants. Claims nothing, and pings
    /// nobody: a holder that is silent counts as one that is alive.
    pub(crate) fn standings(&self, identity: &RelayIdentity) -> Vec<IdAnswer> {
        let state = self.state.lock();
        let wanted = identity.ids.iter();
        wanted
            .map(|id| {
                let (standing, holder) = match id {
                    None => (IdStanding::Free, None),
                    Some(id) => self.standing(&state, id, identity),
                };
                IdAnswer {
                    id: id.as_ref().map(RelayId::to_string),
                    standing,
                    holder,
                }
            })
            .collect()
    }

    /// Returns what would become of a claim of an id, and the name of the relay that has it.
    fn standing(
        &self,
        state: &RegistryState,
        id: &RelayId,
        identity: &RelayIdentity,
    ) -> (IdStanding, Option<String>) {
        if self.records.check(id, identity).is_err() {
            return (IdStanding::Kept, None);
        }
        let members = self.directory.find(id).map(|listing| listing.members);
        let members = members.unwrap_or_default();
        let held = members.iter().map(|member| &*member.identity);
        let mut holders = held.chain(state.reserved_by(id)).peekable();
        if holders.peek().is_none() {
            return (IdStanding::Free, None);
        }
        let mut name = None;
        for holder in holders {
            name.get_or_insert_with(|| holder.name.as_str().to_owned());
            if !may_share(holder, identity) {
                return (IdStanding::Taken, Some(holder.name.as_str().to_owned()));
            }
        }
        (IdStanding::Shared, name)
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
            for member in listing.members.iter() {
                member.tunnel.end.close(reason);
            }
        }
    }

    /// Enters a registered relay into the directory, in place of an older tunnel of the same
    /// process, which is closed.
    pub(super) fn enter(&self, member: Arc<Member>, seat: Seat) {
        self.state.lock().seats.insert(member.serial, seat);
        self.record(&member);

        if let Some(older) = self.directory.enter(member) {
            self.state.lock().seats.remove(&older.serial);
            older.tunnel.end.close(CloseReason::Replaced);
        }
    }

    /// Removes a relay from the directory. One that did not announce its leave is lost, and may
    /// come back.
    pub(super) fn remove(&self, id: &RelayId, serial: u64) {
        // Under the lock, so that a call that no longer finds the relay finds it among the lost.
        let mut state = self.state.lock();
        let removed = self.directory.remove(id, serial);
        state.seats.remove(&serial);
        if let Some(member) = &removed {
            self.records.refresh([&member.id]);
        }
        if let Some(member) = removed.filter(|member| !member.has_announced_leave()) {
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

    /// Removes holders of ids that are strangers to a relay that claims them.
    ///
    /// # Errors
    ///
    /// If one of them is alive: until all have been silent, none loses anything.
    async fn take_over(
        &self,
        strangers: &[Arc<Member>],
        takeover_wait: Duration,
    ) -> Result<(), RelayRefusedError> {
        // The first one that is alive decides.
        let pings = strangers
            .iter()
            .map(|stranger| expect_silence(stranger, takeover_wait));
        try_join_all(pings).await?;

        for stranger in strangers {
            stranger.tunnel.end.close(CloseReason::Replaced);
            self.remove(&stranger.id, stranger.serial);
            tracing::info!(
                id = %stranger.id,
                people = %people_line(
                    Mark::Gone,
                    &stranger.id,
                    "its relay is silent: another one takes over",
                ),
                "the relay that held this id is silent: another one takes over"
            );
        }
        Ok(())
    }

    /// Frees the places of a relay that has not sent its first offers yet, if there is such a one:
    /// one of the same network, where that has used up its share.
    async fn revoke_pending(&self, error: ShareError, network: Network) -> bool {
        let network = matches!(error, ShareError::Owner(_)).then_some(network);
        self.pending.revoke_one(network).await
    }

    /// Records that a relay holds an id, and logs and counts if another one did before.
    fn record(&self, member: &Member) {
        let remote = member.tunnel.remote;
        let Some(change) = self.records.record(&member.id, &member.identity) else {
            return;
        };

        self.metrics.holder_changed(change);
        match change {
            HolderChange::SameNetwork => tracing::info!(
                id = %member.id, %remote,
                "another relay process holds this id now; no CLIENT_SECRET shows that it is the same relay"
            ),
            HolderChange::OtherNetwork => tracing::warn!(
                id = %member.id, %remote,
                "a relay from another address holds this id now, and no CLIENT_SECRET shows that it is the same relay"
            ),
        }
    }

    /// Reserves the ids, or returns the holders that must be pinged before.
    fn try_claim(
        &self,
        ids: &[RelayId],
        identity: &Arc<RelayIdentity>,
    ) -> Result<Claim, RelayRefusedError> {
        let mut state = self.state.lock();
        let mut strangers = Vec::new();
        let mut seats = Vec::new();

        for id in ids {
            if state.is_reserved_by_a_stranger(id, identity) {
                return Err(taken(id.as_str()));
            }
            self.records
                .check(id, identity)
                .map_err(|kept| kept_for_another(id, kept))?;
            let Some(listing) = self.directory.find(id) else {
                seats.push(None);
                continue;
            };

            seats.push(state.own_seat(id, &listing.members, identity));

            let is_stranger = |member: &Arc<Member>| !may_share(&member.identity, identity);
            let members = listing.members.iter().cloned();
            strangers.extend(members.filter(is_stranger));
        }

        if !strangers.is_empty() {
            return Ok(Claim::HeldBy(strangers));
        }
        let seats = match self.take_seats(seats, identity.network) {
            Ok(seats) => seats,
            Err(error) => return Ok(Claim::NoPlace(error)),
        };

        let reservations = ids
            .iter()
            .zip(seats)
            .map(|(id, seat)| self.reserve(&mut state, id, identity, seat))
            .collect();
        let claim = self.pending.add(identity.network);
        Ok(Claim::Granted(Reservations::new(reservations, claim)))
    }

    /// Takes the places that are missing, all of them or none.
    fn take_seats(
        &self,
        seats: Vec<Option<Seat>>,
        network: Network,
    ) -> Result<Vec<Seat>, ShareError> {
        let claim = ShareClaim {
            owner: owner(network),
            factor: NETWORK_FACTOR,
        };
        let take = |seat: Option<Seat>| match seat {
            Some(seat) => Ok(seat),
            None => self.places.take([claim], 1).map(Seat::new),
        };
        seats.into_iter().map(take).collect()
    }

    fn reserve(
        &self,
        state: &mut RegistryState,
        id: &RelayId,
        identity: &Arc<RelayIdentity>,
        seat: Seat,
    ) -> Reservation {
        let reserved = state.reserved.entry(id.clone()).or_default();
        reserved.push(identity.clone());
        Reservation::new(self.clone(), id.clone(), identity.clone(), seat)
    }

    fn too_many(&self, error: ShareError, network: Network, ids: usize) -> RelayRefusedError {
        let max = self.places.capacity();
        let relays = self.places.used();
        let message = match (error, ids) {
            (ShareError::Owner(_), _) => format!(
                "{} relays are connected from this address, which is its share of MAX_RELAYS ({max}); end some of them, or raise MAX_RELAYS",
                self.places.held_by(owner(network)),
            ),
            (ShareError::Full, 1) => {
                format!("the server holds {relays} relays, as many as MAX_RELAYS allows")
            }
            (ShareError::Full, ids) => format!(
                "the server holds {relays} relays and this one has {ids} ids, each of which counts as one; MAX_RELAYS is {max}"
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

    /// Returns the place that a relay which comes again has: a full server must not keep it out. A
    /// second claim at the same time needs another one.
    fn own_seat(
        &self,
        id: &RelayId,
        members: &[Arc<Member>],
        identity: &RelayIdentity,
    ) -> Option<Seat> {
        let is_own = |member: &&Arc<Member>| member.identity.instance == identity.instance;
        let own = members.iter().find(is_own);
        let own = own.filter(|_| !self.is_reserved_by(id, &identity.instance));
        own.and_then(|member| self.seats.get(&member.serial).cloned())
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
/// process again, or two of one kind with the same secret.
fn may_share(holder: &RelayIdentity, newcomer: &RelayIdentity) -> bool {
    if holder.kind != newcomer.kind {
        return false;
    }
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

fn owner(network: Network) -> Owner {
    Owner::of(&("relays of", network))
}

fn kept_for_another(id: &RelayId, kept: KeptForAnother) -> RelayRefusedError {
    // To the minute: it is a matter of days.
    let remaining = Duration::from_secs(kept.remaining.as_secs().div_ceil(60) * 60);
    let message = format!(
        "the id {id} is kept for relays with the CLIENT_SECRET that it was held with last, for another {}; give this relay that CLIENT_SECRET, or choose another CLIENT_ID",
        humantime::format_duration(remaining)
    );
    RelayRefusedError::new(Refusal::IdKept, message)
}

fn taken(id: &str) -> RelayRefusedError {
    let message = format!(
        "the id {id} is held by another relay that is alive; choose another CLIENT_ID, or give both the same CLIENT_SECRET to share it"
    );
    RelayRefusedError::new(Refusal::IdTaken, message)
}

#[cfg(test)]
mod tests;
