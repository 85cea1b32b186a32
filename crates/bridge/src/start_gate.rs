//! The gate that programs pass while they start: so many at once, over all bridges of a process.
//!
//! Starting is when a program computes most. Ten package runners that start together take longer
//! than one after the other, and each of their callers waits for the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use llamapool_limits::{Claim, FairShare, Owner, Share};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::caller::BridgeCaller;

/// The fewest programs that start at once, where no number is set.
const FEWEST: usize = 4;
/// So many programs start at once for each core.
const PER_CORE: usize = 2;
/// The part of the places that one caller can hold: two thirds.
const CALLER_FACTOR: usize = 2;
/// The part that bridges can hold that start a program for no caller: half.
const BRIDGES_FACTOR: usize = 1;

/// The longest time for which a bridge gives way to callers: a program starts for as long.
const BRIDGES_GIVE_WAY: Duration = Duration::from_secs(10);

/// Lets so many programs start at once. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct StartGate {
    places: FairShare,
    left: Arc<Notify>,
    /// The callers that wait for a place, and those whose program starts.
    callers: Arc<AtomicUsize>,
}

/// A program that starts, until it is dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Starting {
    /// Taken out when it is dropped.
    place: Option<Share<2>>,
    left: Arc<Notify>,
    _caller: Option<GateCaller>,
}

/// A caller that waits for a place or whose program starts, until it is dropped.
#[derive(Debug)]
struct GateCaller {
    callers: Arc<AtomicUsize>,
    left: Arc<Notify>,
}

impl StartGate {
    /// Creates a gate that so many programs pass at once; `None`: as many as suit the machine.
    pub fn new(places: Option<usize>) -> Self {
        Self {
            places: FairShare::new(places.unwrap_or_else(suitable_places)),
            left: Arc::new(Notify::new()),
            callers: Arc::default(),
        }
    }

    /// Waits for a place, for a caller or, without one, for a bridge itself. A bridge gives way to
    /// callers for some time: what it finds out can wait, and each program that starts beside
    /// another delays it.
    pub(crate) async fn enter(&self, caller: Option<BridgeCaller>) -> Starting {
        let (owners, factor) = match caller {
            Some(caller) => ([caller.token, caller.network], CALLER_FACTOR),
            // Two owners, as an owner that stands twice counts twice.
            None => ([0, 1].map(|it| Owner::of(&("bridges", it))), BRIDGES_FACTOR),
        };
        let claims = owners.map(|owner| Claim { owner, factor });
        let mut counted = caller.map(|_| GateCaller::new(self));
        let gives_way_until = Instant::now() + BRIDGES_GIVE_WAY;

        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // A place that is left from now on wakes this task.
            left.as_mut().enable();
            let has_callers = self.callers.load(Ordering::SeqCst) > 0;
            if caller.is_none() && has_callers && Instant::now() < gives_way_until {
                // In either case it is looked at again.
                let _ = tokio::time::timeout_at(gives_way_until, left).await;
                continue;
            }
            if let Ok(place) = self.places.take(claims, 1) {
                return Starting {
                    place: Some(place),
                    left: self.left.clone(),
                    _caller: counted.take(),
                };
            }
            left.await;
        }
    }
}

impl GateCaller {
    fn new(gate: &StartGate) -> Self {
        gate.callers.fetch_add(1, Ordering::SeqCst);
        Self {
            callers: gate.callers.clone(),
            left: gate.left.clone(),
        }
    }
}

impl Drop for GateCaller {
    fn drop(&mut self) {
        self.callers.fetch_sub(1, Ordering::SeqCst);
        self.left.notify_waiters();
    }
}

fn suitable_places() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (PER_CORE * cores).max(FEWEST)
}

impl Drop for Starting {
    fn drop(&mut self) {
        drop(self.place.take());
        self.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn caller(network: u64) -> Option<BridgeCaller> {
        let tag = llamapool_wire::CallerTag::new(network, None);
        Some(BridgeCaller::of_tag(Some(tag)))
    }

    #[test]
    fn a_caller_with_many_starts_leaves_room_for_another() {
        let gate = StartGate::new(Some(4));
        let enter = |network| gate.enter(caller(network)).now_or_never();

        let many: Vec<_> = (0..10).map(|_| enter(1)).collect();

        assert_eq!(many.iter().flatten().count(), 3);
        assert!(enter(2).is_some());
    }

    #[test]
    fn bridges_leave_half_to_callers() {
        let gate = StartGate::new(Some(4));

        let own: Vec<_> = (0..10).map(|_| gate.enter(None).now_or_never()).collect();

        assert_eq!(own.iter().flatten().count(), 2);
        assert!(gate.enter(caller(1)).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn bridges_give_way_to_callers_for_some_time() {
        let gate = StartGate::new(Some(4));
        let first = gate.enter(caller(1)).await;
        let mut second = Box::pin(gate.enter(caller(2)));
        let second = second.as_mut().now_or_never().unwrap();
        let mut own = Box::pin(gate.enter(None));
        assert!(own.as_mut().now_or_never().is_none());

        drop(first);
        assert!(own.as_mut().now_or_never().is_none());
        drop(second);
        assert!(own.as_mut().now_or_never().is_some());

        let _long = gate.enter(caller(1)).await;
        let since = Instant::now();
        let _own = gate.enter(None).await;
        assert_eq!(since.elapsed(), BRIDGES_GIVE_WAY);
    }

    #[tokio::test]
    async fn a_place_that_is_left_is_taken_by_one_that_waits() {
        let gate = StartGate::new(Some(1));
        let first = gate.enter(caller(1)).await;
        let mut second = Box::pin(gate.enter(caller(2)));

        assert!(second.as_mut().now_or_never().is_none());

        drop(first);
        assert!(second.as_mut().now_or_never().is_some());
    }
}
