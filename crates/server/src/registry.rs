//! Which relays are connected, and under which id: the only owner of connection state.
//!
//! Callers get relays out of here as shared handles and never see the map. The lock is short and never held over an
//! await. Who may hold an id is decided in [`Registry::claim`], in the words of ARCHITECTURE.md ("Who holds an id").

mod relay;
mod seat;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use llamapool_tunnel::CloseReason;
use llamapool_wire::{InstanceId, Refusal, RelayId};

use crate::auth::{NotARelay, RelayIdentity};
use crate::books::Books;
use crate::sessions::RelayTag;

pub(crate) use relay::{Arrival, Relay, RelayTunnel};
pub(crate) use seat::{Membership, Seat};

/// How many ids without a relay keep their totals. The one that was left first is forgotten first.
const REMEMBERED_IDS: usize = 1024;
/// How many relays that were lost are remembered, so that their sessions wait for them.
const REMEMBERED_RELAYS: usize = 4096;
/// How often a claim is decided anew because the holders changed while one of them was asked for a sign of life.
const CLAIM_ATTEMPTS: usize = 3;

/// The registry. Clones are the same registry.
#[derive(Clone)]
pub(crate) struct Registry {
    state: Arc<Mutex<State>>,
    max_relays: usize,
    started: Instant,
}

#[derive(Default)]
struct State {
    ids: HashMap<RelayId, Entry>,
    /// Relays that are connected or connecting, each counted once for each of its ids.
    seats: usize,
    /// Ids that have books and no relay, by the number of the moment at which they were left.
    left: BTreeMap<u64, RelayId>,
    clock: u64,
    /// Relays that were lost, the newest last.
    lost: VecDeque<(RelayId, RelayTag, Instant)>,
}

#[derive(Default)]
struct Entry {
    relays: Vec<Arc<Relay>>,
    /// Relays that were let in and have not said hello yet.
    arriving: Vec<Arc<RelayIdentity>>,
    books: Arc<Books>,
    left_at: u64,
}

/// One id with its relays, the newest first, at one moment.
pub(crate) struct Client {
    pub(crate) id: RelayId,
    pub(crate) relays: Vec<Arc<Relay>>,
    pub(crate) books: Arc<Books>,
}

impl Registry {
    pub(crate) fn new(max_relays: usize) -> Self {
        Self {
            state: Arc::default(),
            max_relays,
            started: Instant::now(),
        }
    }

    /// The relays of an id, and its books.
    pub(crate) fn find(&self, id: &RelayId) -> Option<Client> {
        let state = self.state();
        let entry = state.ids.get(id).filter(|entry| !entry.relays.is_empty())?;
        Some(entry.client(id))
    }

    /// Every id that has relays, sorted.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let state = self.state();
        let connected = state
            .ids
            .iter()
            .filter(|(_, entry)| !entry.relays.is_empty());
        let mut clients: Vec<_> = connected.map(|(id, entry)| entry.client(id)).collect();
        drop(state);
        clients.sort_by(|one, other| one.id.cmp(&other.id));
        clients
    }

    /// Every id that has books, sorted: also those whose relays have left.
    pub(crate) fn all_books(&self) -> Vec<(RelayId, Arc<Books>)> {
        let state = self.state();
        let mut books: Vec<_> = state
            .ids
            .iter()
            .map(|(id, entry)| (id.clone(), entry.books.clone()))
            .collect();
        drop(state);
        books.sort_by(|one, other| one.0.cmp(&other.0));
        books
    }

    /// Closes every tunnel.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        for client in self.clients() {
            client
                .relays
                .iter()
                .for_each(|relay| relay.tunnel.end.close(reason));
        }
    }

    /// Decides whether a relay gets the ids it wants, all of them or none, before its upgrade: a seat for each, in its
    /// order. A seat is the relay's until it is dropped.
    pub(crate) async fn claim(
        &self,
        identity: RelayIdentity,
        patience: Duration,
    ) -> Result<Vec<Seat>, NotARelay> {
        let identity = Arc::new(identity);
        // With 128 random bits an assigned id is free.
        let ids = identity
            .ids
            .iter()
            .map(|id| id.clone().unwrap_or_else(RelayId::random));
        let ids: Vec<RelayId> = ids.collect();
        for _ in 0..CLAIM_ATTEMPTS {
            let strangers = match self.try_claim(&ids, &identity)? {
                Claim::Granted(seats) => return Ok(seats),
                Claim::HeldBy(strangers) => strangers,
            };
            // The first one that is alive decides. Until all have been silent, nothing is taken from anybody.
            try_join_all(
                strangers
                    .iter()
                    .map(|stranger| is_silent(stranger, patience)),
            )
            .await?;
            for Relay {
                id, serial, tunnel, ..
            } in strangers.iter().map(|stranger| &**stranger)
            {
                tracing::info!(%id, "the relay that held this id is silent: another one takes over");
                tunnel.end.close(CloseReason::Replaced);
                self.remove(id, *serial);
            }
        }
        Err(taken(
            &ids.iter()
                .map(RelayId::as_str)
                .collect::<Vec<_>>()
                .join(" or "),
        ))
    }

    /// Grants the ids, or says who must be asked for a sign of life before.
    fn try_claim(
        &self,
        ids: &[RelayId],
        identity: &Arc<RelayIdentity>,
    ) -> Result<Claim, NotARelay> {
        let mut state = self.state();
        let (mut strangers, mut more) = (Vec::new(), ids.len());
        for (id, entry) in ids.iter().filter_map(|id| Some((id, state.ids.get(id)?))) {
            let is_stranger = |holder: &RelayIdentity| !belong_together(holder, identity);
            if entry.arriving.iter().any(|holder| is_stranger(holder)) {
                return Err(taken(id.as_str()));
            }
            strangers.extend(
                entry
                    .relays
                    .iter()
                    .filter(|relay| is_stranger(&relay.identity))
                    .cloned(),
            );
            // Whoever comes again gives up the seat that it has: a full server must not keep it out.
            more -= usize::from(entry.is_held_by(&identity.instance));
        }
        if !strangers.is_empty() {
            return Ok(Claim::HeldBy(strangers));
        }
        if more > 0 && state.seats + more > self.max_relays {
            return Err(self.too_many(state.seats, more));
        }
        Ok(Claim::Granted(
            ids.iter()
                .map(|id| self.take_seat(&mut state, id, identity))
                .collect(),
        ))
    }

    fn take_seat(&self, state: &mut State, id: &RelayId, identity: &Arc<RelayIdentity>) -> Seat {
        state.seats += 1;
        let entry = state.ids.entry(id.clone()).or_default();
        entry.arriving.push(identity.clone());
        let left_at = entry.left_at;
        state.left.remove(&left_at);
        Seat::new(self.clone(), id.clone(), identity.clone())
    }

    fn too_many(&self, seats: usize, more: usize) -> NotARelay {
        let message = match more {
            1 => format!("the server holds {seats} relays, as many as MAX_RELAYS allows"),
            ids => format!(
                "the server holds {seats} relays and this one has {ids} ids, each of which counts as one; MAX_RELAYS is {}",
                self.max_relays
            ),
        };
        (Refusal::TooManyRelays, message)
    }

    /// A relay has said hello: it takes calls from now on, in place of an older tunnel of the same instance.
    fn enter(&self, relay: Arc<Relay>) {
        let mut state = self.state();
        let entry = state.ids.entry(relay.id.clone()).or_default();
        let older = entry
            .relays
            .iter()
            .position(|other| other.identity.instance == relay.identity.instance);
        let older = older.map(|index| entry.relays.remove(index));
        entry.relays.insert(0, relay);
        drop(state);
        if let Some(older) = older {
            older.tunnel.end.close(CloseReason::Replaced);
        }
    }

    fn remove(&self, id: &RelayId, serial: u64) {
        let mut state = self.state();
        let place = |entry: &Entry| entry.relays.iter().position(|relay| relay.serial == serial);
        let removed = state
            .ids
            .get_mut(id)
            .and_then(|entry| place(entry).map(|place| entry.relays.remove(place)));
        if let Some(relay) = removed.filter(|relay| !relay.is_draining()) {
            state.note_lost(id, relay.tag);
        }
        state.note_left(id);
    }

    /// Whether a relay that is not there may come back with its sessions: it was lost not long ago, or this server
    /// has not run for long enough to know.
    pub(crate) fn may_return(&self, id: &RelayId, tag: RelayTag, grace: Duration) -> bool {
        let was_lost = |(lost_id, lost_tag, at): &(RelayId, RelayTag, Instant)| {
            lost_id == id && *lost_tag == tag && at.elapsed() < grace
        };
        self.started.elapsed() < grace || self.state().lost.iter().any(was_lost)
    }

    fn give_up_seat(&self, id: &RelayId, identity: &Arc<RelayIdentity>) {
        let mut state = self.state();
        if let Some(entry) = state.ids.get_mut(id) {
            entry.arriving.retain(|other| !Arc::ptr_eq(other, identity));
        }
        state.note_left(id);
    }

    fn free_seat(&self) {
        self.state().seats -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Claim {
    Granted(Vec<Seat>),
    HeldBy(Vec<Arc<Relay>>),
}

impl Entry {
    fn client(&self, id: &RelayId) -> Client {
        Client {
            id: id.clone(),
            relays: self.relays.clone(),
            books: self.books.clone(),
        }
    }

    /// Whether this instance takes calls here, and is not about to take its own place already.
    fn is_held_by(&self, instance: &InstanceId) -> bool {
        let is_it = |identity: &RelayIdentity| identity.instance == *instance;
        self.relays.iter().any(|relay| is_it(&relay.identity))
            && !self.arriving.iter().any(|other| is_it(other))
    }

    fn is_left(&self) -> bool {
        self.relays.is_empty() && self.arriving.is_empty()
    }
}

impl State {
    /// Notes that an id was left, if it was, and forgets the one that was left first if too many are remembered.
    fn note_left(&mut self, id: &RelayId) {
        let Some(entry) = self.ids.get_mut(id).filter(|entry| entry.is_left()) else {
            return;
        };
        if entry.books.is_empty() {
            self.ids.remove(id);
            return;
        }
        if self.left.contains_key(&entry.left_at) {
            return;
        }
        self.clock += 1;
        entry.left_at = self.clock;
        self.left.insert(self.clock, id.clone());
        if self.left.len() > REMEMBERED_IDS
            && let Some((_, oldest)) = self.left.pop_first()
        {
            self.ids.remove(&oldest);
        }
    }

    /// Notes that a relay went without a word, and may come back.
    fn note_lost(&mut self, id: &RelayId, tag: RelayTag) {
        if self.lost.len() >= REMEMBERED_RELAYS {
            self.lost.pop_front();
        }
        self.lost.push_back((id.clone(), tag, Instant::now()));
    }
}

/// Whether two relays may hold an id together or after each other without asking: the same process again, or two that
/// know the same secret.
fn belong_together(holder: &RelayIdentity, newcomer: &RelayIdentity) -> bool {
    let share_a_secret = match (&holder.secret, &newcomer.secret) {
        (Some(one), Some(other)) => one.matches(other.expose().as_bytes()),
        _ => false,
    };
    holder.instance == newcomer.instance || share_a_secret
}

/// Asks the holder of an id for a sign of life.
async fn is_silent(holder: &Relay, patience: Duration) -> Result<(), NotARelay> {
    if holder.tunnel.end.is_alive(patience).await {
        Err(taken(holder.id.as_str()))
    } else {
        Ok(())
    }
}

fn taken(id: &str) -> NotARelay {
    let message = format!(
        "the id {id} is held by another relay that is alive; choose another CLIENT_ID, or give both the same CLIENT_SECRET to share it"
    );
    (Refusal::IdTaken, message)
}

#[cfg(test)]
mod tests;
