//! The places of a listener's connections.
//!
//! A place is taken in fair shares: one network cannot have all. An idle connection costs its peer
//! nothing to lose, so where places are missing, those give way that are idle longest, of the
//! network that has most. A connection with a running request never does.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use llamapool_limits::{Claim, FairShare, Owner, Share, ShareError, network_of};
use parking_lot::Mutex;
use slab::Slab;
use tokio_util::sync::CancellationToken;

use super::Overload;

/// The places that one network may have: so many times those that are free, which is eight ninths
/// of all.
const NETWORK_FACTOR: usize = 8;
/// The spare places that one network may have: half of them.
const SPARE_FACTOR: usize = 1;
/// The spare places: for probes, metrics and relays, which take milliseconds each. So they serve
/// thousands of such requests in a second, and more of them would not help: they are no room for
/// callers, for which there is `MAX_CONNECTIONS`. They are few, because each is an open file beyond
/// that number.
const SPARE_PLACES: usize = 32;
/// The part of all places that is made free at once, so that the search for idle connections is
/// rare: one of so many.
const EVICTED_PART: usize = 64;

/// The places of one listener. Clones are the same places.
#[derive(Clone)]
pub(super) struct Places(Arc<Table>);

struct Table {
    places: FairShare,
    spare: FairShare,
    open: Mutex<HashMap<Owner, Slab<Arc<Activity>>>>,
    started: Instant,
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    table: Arc<Table>,
    owner: Owner,
    kind: PlaceKind,
    activity: Arc<Activity>,
}

enum PlaceKind {
    /// An ordinary place, with its key in the table of the owner.
    Ordinary(usize),
    Spare(Overload),
}

/// The activity of one connection, which its requests and the table share.
pub(super) struct Activity {
    /// Taken by the one who evicts the connection.
    share: Mutex<Option<Share<1>>>,
    running: AtomicUsize,
    /// In milliseconds since the listener's start.
    idle_since: AtomicU64,
    started: Instant,
    evicted: CancellationToken,
}

/// A running request of a connection. Dropping it ends it.
pub(super) struct RunningRequest(Arc<Activity>);

impl Places {
    pub(super) fn new(max_connections: usize) -> Self {
        Self(Arc::new(Table {
            places: FairShare::new(max_connections),
            spare: FairShare::new(SPARE_PLACES),
            open: Mutex::default(),
            started: Instant::now(),
        }))
    }

    /// Takes a place for a connection from an address, a spare one if there is no other. Returns
    /// `None` if not even such a one is left.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let owner = Owner::of(&network_of(address));
        let claim = Claim {
            owner,
            factor: NETWORK_FACTOR,
        };
        let error = match self.0.places.take([claim], 1) {
            Ok(share) => return Some(self.ordinary(owner, share)),
            Err(error) => error,
        };

        let from = matches!(error, ShareError::Owner(_)).then_some(owner);
        if self.0.evict(from) > 0
            && let Ok(share) = self.0.places.take([claim], 1)
        {
            return Some(self.ordinary(owner, share));
        }
        self.spare(owner, error)
    }

    /// Closes those connections that are idle longest.
    pub(super) fn evict_idle(&self) {
        self.0.evict(None);
    }

    fn ordinary(&self, owner: Owner, share: Share<1>) -> Place {
        let activity = self.0.activity(share);
        let key = self
            .0
            .open
            .lock()
            .entry(owner)
            .or_default()
            .insert(activity.clone());
        self.place(owner, PlaceKind::Ordinary(key), activity)
    }

    fn spare(&self, owner: Owner, error: ShareError) -> Option<Place> {
        let claim = Claim {
            owner,
            factor: SPARE_FACTOR,
        };
        let share = self.0.spare.take([claim], 1).ok()?;
        let overload = match error {
            ShareError::Full => Overload::All,
            ShareError::Owner(_) => Overload::Network,
        };
        let activity = self.0.activity(share);
        Some(self.place(owner, PlaceKind::Spare(overload), activity))
    }

    fn place(&self, owner: Owner, kind: PlaceKind, activity: Arc<Activity>) -> Place {
        Place {
            table: self.0.clone(),
            owner,
            kind,
            activity,
        }
    }
}

impl Table {
    fn activity(&self, share: Share<1>) -> Arc<Activity> {
        let activity = Activity {
            share: Mutex::new(Some(share)),
            running: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            started: self.started,
            evicted: CancellationToken::new(),
        };
        activity.set_idle();
        Arc::new(activity)
    }

    fn remove(&self, owner: Owner, key: usize) {
        let mut open = self.open.lock();
        if let Some(connections) = open.get_mut(&owner) {
            connections.try_remove(key);
            if connections.is_empty() {
                open.remove(&owner);
            }
        }
    }

    /// Ends some of the connections that are idle longest, of one owner or of the one that has
    /// most. Their places are free at once. Returns their number.
    fn evict(&self, from: Option<Owner>) -> usize {
        let open = self.open.lock();
        let mut owners: Vec<_> = open
            .iter()
            .filter(|(owner, _)| from.is_none_or(|from| from == **owner))
            .map(|(_, connections)| connections)
            .collect();
        owners.sort_by_key(|connections| Reverse(connections.len()));

        let idle = owners.into_iter().map(idle_connections);
        let mut idle = idle.into_iter().find(|idle| !idle.is_empty());
        let Some(idle) = &mut idle else {
            return 0;
        };

        idle.sort_by_key(|activity| activity.idle_since.load(Ordering::Relaxed));
        let many = self.places.capacity().div_ceil(EVICTED_PART);
        let evicted = idle.iter().take(many);
        evicted.map(|activity| activity.evict()).count()
    }
}

/// Returns the connections that are idle and not evicted yet.
fn idle_connections(connections: &Slab<Arc<Activity>>) -> Vec<&Arc<Activity>> {
    connections
        .iter()
        .map(|(_, activity)| activity)
        .filter(|activity| activity.is_idle() && !activity.evicted.is_cancelled())
        .collect()
}

impl Place {
    /// Returns the activity of the connection.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Returns why the connection has a spare place only, `None` if it has an ordinary one.
    pub(super) fn overload(&self) -> Option<Overload> {
        match &self.kind {
            PlaceKind::Ordinary(_) => None,
            PlaceKind::Spare(overload) => Some(*overload),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let PlaceKind::Ordinary(key) = self.kind {
            self.table.remove(self.owner, key);
        }
        // A request that was answered may keep the activity a little longer.
        self.activity.share.lock().take();
    }
}

impl Activity {
    /// Counts a request that begins.
    pub(super) fn begin(self: &Arc<Self>) -> RunningRequest {
        self.running.fetch_add(1, Ordering::SeqCst);
        RunningRequest(self.clone())
    }

    /// Returns whether no request runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    /// Waits until no request has run for so long.
    pub(super) async fn idle_for(&self, span: Duration) {
        loop {
            let idle = if self.is_idle() {
                self.now()
                    .saturating_sub(self.idle_since.load(Ordering::Relaxed))
            } else {
                0
            };
            let left = span.saturating_sub(Duration::from_millis(idle));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Waits until the connection is to end.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    fn evict(&self) {
        self.share.lock().take();
        self.evicted.cancel();
    }

    fn set_idle(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.set_idle();
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn ordinary(places: &Places, last: u8) -> Place {
        let place = places.take(address(last)).unwrap();
        assert_eq!(place.overload(), None);
        place
    }

    #[test]
    fn idle_connections_of_the_greediest_give_way() {
        let places = Places::new(9);
        let mut greedy: Vec<_> = (0..8).map(|_| ordinary(&places, 1)).collect();
        let busy = greedy[0].activity().begin();
        let other = ordinary(&places, 2);
        let evicted = |place: &Place| place.activity().evicted.is_cancelled();

        let third = ordinary(&places, 3);

        let gave_way: Vec<_> = greedy.iter().map(evicted).collect();
        assert!(!gave_way[0], "it has a running request");
        assert_eq!(gave_way.iter().filter(|gave_way| **gave_way).count(), 1);
        assert!(!evicted(&other) && !evicted(&third));

        drop(busy);
        greedy.clear();
        assert_eq!(places.0.places.used(), 2);
    }

    /// Nothing is idle, so the others keep what is left.
    #[test]
    fn a_network_with_busy_connections_gets_its_share() {
        let places = Places::new(9);
        let mut busy = Vec::new();
        for _ in 0..8 {
            let place = ordinary(&places, 1);
            busy.push((place.activity().begin(), place));
        }

        let spare = places.take(address(1)).unwrap();
        assert_eq!(spare.overload(), Some(Overload::Network));
        let _other = ordinary(&places, 2);
    }

    #[test]
    fn spare_places_are_shared_and_run_out() {
        let places = Places::new(1);
        let place = ordinary(&places, 1);
        let _busy = place.activity().begin();

        let of_one: Vec<_> = (0..SPARE_PLACES)
            .map_while(|_| places.take(address(2)))
            .collect();

        assert_eq!(of_one.len(), SPARE_PLACES / 2);
        let of_other = places.take(address(3)).unwrap();
        assert_eq!(of_other.overload(), Some(Overload::All));
    }
}
