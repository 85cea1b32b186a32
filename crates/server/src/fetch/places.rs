//! How many fetches there may be: at once, of one caller, and to one host.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;

use llamapool_identity::{Rate, RateCell, RateLimit};
use llamapool_limits::Owner;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The most fetches at once, in all and of one caller. A fetch takes 5 s at most.
const MAX_AT_ONCE: usize = 8;
const MAX_AT_ONCE_OF_CALLER: usize = 2;
/// The most fetches to one host: one a second, and some at once, as a host has several clients.
const OF_HOST_A_MINUTE: u32 = 60;
const OF_HOST_AT_ONCE: u32 = 4;
/// The most fetches that one address causes. What is remembered costs none.
const OF_CALLER_A_MINUTE: u32 = 6;
const OF_CALLER_AT_ONCE: u32 = 20;
/// The hosts and callers that are remembered, each.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// The fetches that run, and those of late. Clones are the same.
#[derive(Clone)]
pub(crate) struct FetchPlaces(Arc<Mutex<Table>>);

/// The right to one fetch.
#[must_use]
pub(crate) struct FetchPlace {
    places: FetchPlaces,
    caller: Owner,
}

/// The reasons why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchLimitError {
    /// Too many run.
    #[error("too many documents are being fetched")]
    Busy,
    /// There were too many to the host, or of the caller.
    #[error("too many documents were fetched of late, from that host or for this address")]
    TooOften,
}

struct Table {
    started: Instant,
    /// The callers of the fetches that run.
    running: Vec<Owner>,
    hosts: LruCache<Owner, RateCell>,
    callers: LruCache<Owner, RateCell>,
}

impl FetchPlaces {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Table {
            started: Instant::now(),
            running: Vec::with_capacity(MAX_AT_ONCE),
            hosts: LruCache::new(MAX_REMEMBERED),
            callers: LruCache::new(MAX_REMEMBERED),
        })))
    }

    /// Takes a place for a fetch.
    pub(crate) fn take(&self, host: &str, caller: Owner) -> Result<FetchPlace, FetchLimitError> {
        self.0.lock().take(host, caller)?;
        Ok(FetchPlace {
            places: self.clone(),
            caller,
        })
    }
}

impl Table {
    fn take(&mut self, host: &str, caller: Owner) -> Result<(), FetchLimitError> {
        let own = self.running.iter().filter(|owner| **owner == caller);
        if self.running.len() >= MAX_AT_ONCE || own.count() >= MAX_AT_ONCE_OF_CALLER {
            return Err(FetchLimitError::Busy);
        }

        let since = self.started.elapsed().as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX);
        // The caller first: one beyond its own rate takes nothing from that of a host.
        let of_caller = limit(OF_CALLER_A_MINUTE, OF_CALLER_AT_ONCE);
        counted(&mut self.callers, caller, of_caller, now)?;
        let of_host = limit(OF_HOST_A_MINUTE, OF_HOST_AT_ONCE);
        counted(&mut self.hosts, Owner::of(&host), of_host, now)?;

        self.running.push(caller);
        Ok(())
    }
}

impl Drop for FetchPlace {
    fn drop(&mut self) {
        let mut table = self.places.0.lock();
        let at = table.running.iter().position(|owner| *owner == self.caller);
        at.map(|at| table.running.swap_remove(at));
    }
}

fn limit(a_minute: u32, at_once: u32) -> RateLimit {
    RateLimit::new(Rate::per_minute(a_minute), Some(at_once))
}

fn counted<K: Hash + Eq>(
    cells: &mut LruCache<K, RateCell>,
    key: K,
    limit: RateLimit,
    now: u64,
) -> Result<(), FetchLimitError> {
    let cell = cells.get_or_insert(key, RateCell::default);
    cell.take(limit, now).map_err(|_| FetchLimitError::TooOften)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn caller(number: usize) -> Owner {
        Owner::of(&("caller", number))
    }

    #[tokio::test(start_paused = true)]
    async fn fetches_at_once_have_a_bound_in_all_and_for_a_caller() {
        let places = FetchPlaces::new();
        let take = |number: usize, host: &str| places.take(host, caller(number));

        let mut taken: Vec<_> = (0..MAX_AT_ONCE)
            .map(|number| take(number / 2, &format!("{number}.example")).unwrap())
            .collect();

        assert_eq!(take(9, "other.example").err(), Some(FetchLimitError::Busy));
        taken.pop();
        assert_eq!(take(0, "other.example").err(), Some(FetchLimitError::Busy));
        assert!(take(9, "other.example").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_asked_once_a_second() {
        let places = FetchPlaces::new();
        let take = |number: usize| places.take("a.example", caller(number)).map(drop);

        for number in 0..OF_HOST_AT_ONCE as usize {
            take(number).unwrap();
        }
        assert_eq!(take(10), Err(FetchLimitError::TooOften));
        assert_eq!(places.take("b.example", caller(10)).map(drop), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(take(10), Ok(()));
        assert_eq!(take(11), Err(FetchLimitError::TooOften));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_with_ten_thousand_hosts_is_refused_within_bounds() {
        let places = FetchPlaces::new();

        let got = (0..10_000)
            .filter(|number| places.take(&format!("{number}.example"), caller(0)).is_ok())
            .count();

        assert_eq!(got, OF_CALLER_AT_ONCE as usize);
        assert!(places.take("a.example", caller(1)).is_ok());
        for number in 0..10_000 {
            let _ = places.take(&format!("{number}.example"), caller(number));
        }
        let table = places.0.lock();
        assert!(table.hosts.len() <= 4096 && table.callers.len() <= 4096);
        assert!(table.running.is_empty());
    }
}
