//! The limits of calls: how fast, how many at once, how much. The limits of a key are asked before
//! those of the id, so that a key beyond its own takes nothing from the others.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use llamapool_identity::{AccessLimits, QuotaError, Quotas, Rate, RateCell, RateLimit, Usage};
use llamapool_limits::Owner;
use llamapool_wire::RelayId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::identity::{KeyHolder, KeyMeter, Meter, Place};
use crate::listen::CallerAddress;

/// The most ids, and the most pairs of a key and an id, that are counted apart. Beyond them, which
/// takes as many that are all busy, they are counted together. A hundred bytes each.
const MAX_METERS: usize = 100_000;
/// The shortest time between two looks for meters that are at rest, in nanoseconds: a look takes some
/// milliseconds.
const SWEEPS: u64 = 1_000_000_000;
/// The cells of addresses with wrong keys, 512 KiB in all, however many addresses there are. Two of
/// them that fall together share what each would have had.
const FAILURE_CELLS: usize = 1 << 16;
/// The wrong keys that an address may present at once, and in a minute.
const FAILURE_BURST: u32 = 20;
const FAILURES_A_MINUTE: u32 = 10;

/// Everything that is counted of calls while the server runs, except what is of a key alone.
#[derive(Default)]
pub(super) struct Limiter {
    clock: RateClock,
    /// The calls to each id.
    ids: MeterTable,
    /// The calls of each key to each id.
    pairs: MeterTable,
    /// The event streams of each key at each id.
    streams: MeterTable,
    failures: Failures,
}

/// A call that asks to be let in.
pub(super) struct LimitedRequest<'a> {
    /// The id; `None` at the LLM API.
    pub(super) id: Option<&'a RelayId>,
    /// The holder of the key.
    pub(super) key: Option<&'a KeyHolder>,
    /// The limits of the id.
    pub(super) limits: Option<&'a AccessLimits>,
    /// Whether it opens an event stream that only listens.
    pub(super) only_listens: bool,
    /// The time of quotas.
    pub(super) now: SystemTime,
}

/// A call that its limits let in. Dropping it ends it.
#[derive(Debug)]
#[must_use]
pub(crate) struct LimitedCall {
    _of_key: Option<Place>,
    _of_id: Option<Place>,
    /// Counts what it uses.
    meter: Option<Arc<KeyMeter>>,
}

/// The party whose limit a call exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitOf {
    /// The key, at all ids.
    Key,
    /// The key, at this id.
    KeyAtId,
    /// All callers of the id.
    Id,
}

/// The limit that a call exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitError {
    /// It comes too fast.
    Rate {
        of: LimitOf,
        rate: Rate,
        wait: Duration,
    },
    /// As many run as may.
    Running { of: LimitOf, most: u32 },
    /// As many event streams are open as may be.
    Streams { most: u32 },
    /// A quota is used up.
    Quota(QuotaError),
}

/// The time of rates: it does not jump.
struct RateClock(Instant);

/// Meters by owner.
#[derive(Default)]
struct MeterTable {
    meters: Mutex<Meters>,
    /// Counts those together that have no place.
    rest: Arc<Meter>,
}

#[derive(Default)]
struct Meters {
    by_owner: HashMap<Owner, Arc<Meter>>,
    swept_at: u64,
}

/// The wrong keys of addresses.
#[derive(Default)]
struct Failures {
    hasher: RandomState,
    /// Made with the first wrong key.
    cells: OnceLock<Box<[RateCell]>>,
}

impl Limiter {
    /// Lets a call in, or returns the limit that it exceeds.
    pub(super) fn begin(&self, request: &LimitedRequest<'_>) -> Result<LimitedCall, LimitError> {
        let of_key = match request.key {
            Some(key) => Some(self.begin_of_key(key, request)?),
            None => None,
        };
        let meter = request.key.map(|key| key.meter().clone());
        let of_id = match (request.id, request.limits) {
            (Some(id), Some(limits)) => self.begin_of_id(id, limits, request),
            _ => Ok(None),
        };
        let of_id = of_id.inspect_err(|_| {
            if let Some(meter) = &meter {
                meter.take_back_call();
            }
        });
        Ok(LimitedCall {
            _of_key: of_key,
            _of_id: of_id?,
            meter,
        })
    }

    /// Counts a wrong key from an address. Returns the time after which that may happen again, if it
    /// happens too often.
    pub(super) fn failed(&self, address: CallerAddress<'_>) -> Option<Duration> {
        self.failures.count(address, self.clock.now())
    }

    fn begin_of_key(
        &self,
        key: &KeyHolder,
        request: &LimitedRequest<'_>,
    ) -> Result<Place, LimitError> {
        let limits = key.limits();
        let calls = &key.meter().calls;
        self.check_rate(calls, LimitOf::Key, limits.rate())?;

        let place = match request.id.filter(|_| request.only_listens) {
            Some(id) => {
                let most = limits.streams();
                let streams = self.streams.of(pair(key, id), self.clock.now());
                let stream = streams.begin(Some(most));
                stream.ok_or(LimitError::Streams { most })?
            }
            None => begin(calls, LimitOf::Key, limits.concurrency)?,
        };
        self.count(key.meter(), &limits.quotas, request.now)?;
        Ok(place)
    }

    fn begin_of_id(
        &self,
        id: &RelayId,
        limits: &AccessLimits,
        request: &LimitedRequest<'_>,
    ) -> Result<Option<Place>, LimitError> {
        if let (Some(key), Some(limit)) = (request.key, limits.rate_per_key()) {
            let calls = self.pairs.of(pair(key, id), self.clock.now());
            self.check_rate(&calls, LimitOf::KeyAtId, Some(limit))?;
        }
        if limits.rate.is_none() && limits.concurrency.is_none() {
            return Ok(None);
        }

        let owner = Owner::of(&("limited id", id.as_str()));
        let calls = self.ids.of(owner, self.clock.now());
        self.check_rate(&calls, LimitOf::Id, limits.rate())?;
        if request.only_listens {
            return Ok(None);
        }
        begin(&calls, LimitOf::Id, limits.concurrency).map(Some)
    }

    fn check_rate(
        &self,
        calls: &Meter,
        of: LimitOf,
        limit: Option<RateLimit>,
    ) -> Result<(), LimitError> {
        let Some(limit) = limit else {
            return Ok(());
        };
        let taken = calls.take(limit, self.clock.now());
        taken.map_err(|wait| LimitError::Rate {
            of,
            rate: limit.rate,
            wait,
        })
    }

    fn count(&self, meter: &KeyMeter, quotas: &Quotas, now: SystemTime) -> Result<(), LimitError> {
        meter.begin_call(quotas, now).map_err(LimitError::Quota)
    }
}

impl LimitedCall {
    /// Ends the call, which has used this.
    pub(crate) fn end(self, usage: Usage) {
        if let Some(meter) = &self.meter {
            meter.count(usage, SystemTime::now());
        }
    }
}

impl RateClock {
    /// Returns the nanoseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for RateClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl MeterTable {
    /// Returns the meter of an owner.
    fn of(&self, owner: Owner, now: u64) -> Arc<Meter> {
        let mut meters = self.meters.lock();
        if let Some(meter) = meters.by_owner.get(&owner) {
            return meter.clone();
        }
        if meters.by_owner.len() >= MAX_METERS && !meters.sweep(now) {
            return self.rest.clone();
        }
        meters.by_owner.entry(owner).or_default().clone()
    }
}

impl Meters {
    /// Removes the meters that are at rest, which are as new ones. Returns whether there is a place.
    fn sweep(&mut self, now: u64) -> bool {
        if now < self.swept_at.saturating_add(SWEEPS) {
            return false;
        }
        self.swept_at = now;
        // One that is in a call's hands may be about to count it.
        let is_busy = |meter: &Arc<Meter>| Arc::strong_count(meter) > 1 || !meter.is_at_rest(now);
        self.by_owner.retain(|_, meter| is_busy(meter));
        self.by_owner.len() < MAX_METERS
    }
}

impl Failures {
    fn count(&self, address: CallerAddress<'_>, now: u64) -> Option<Duration> {
        let make = || (0..FAILURE_CELLS).map(|_| RateCell::default()).collect();
        let cells = self.cells.get_or_init(make);
        // The hash has a key of this run: no caller can choose an address that falls together with
        // another one.
        let place = self.hasher.hash_one(address) as usize % FAILURE_CELLS;
        let limit = RateLimit::new(Rate::per_minute(FAILURES_A_MINUTE), Some(FAILURE_BURST));
        cells.get(place)?.take(limit, now).err()
    }
}

fn begin(calls: &Arc<Meter>, of: LimitOf, most: Option<u32>) -> Result<Place, LimitError> {
    calls.begin(most).ok_or(LimitError::Running {
        of,
        most: most.unwrap_or(u32::MAX),
    })
}

fn pair(key: &KeyHolder, id: &RelayId) -> Owner {
    Owner::of(&("key at id", key.account(), id.as_str()))
}

#[cfg(test)]
mod tests;
