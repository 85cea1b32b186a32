//! The calls that run by a key, and its use. A meter outlives every change of its key, so that neither
//! another limit nor a rotation gives a quota twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::SystemTime;

use llamapool_identity::{Day, KeyId, QuotaError, Quotas, RateCell, RateLimit, Usage, UsageLedger};
use parking_lot::Mutex;

/// The calls that one rate has let in, and those that run.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    rate: RateCell,
    running: AtomicU32,
}

/// The meter of a key.
#[derive(Debug, Default)]
pub(crate) struct KeyMeter {
    /// Its rate, and the calls that run.
    pub(crate) calls: Arc<Meter>,
    /// The number of the key in this run. 0 is no key's.
    number: u32,
    usage: Mutex<UsageLedger>,
    ended: EndedCalls,
}

/// The calls of a key that have ended since the start, for the metrics: they only grow.
#[derive(Debug, Default)]
struct EndedCalls {
    calls: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// The meters of all keys that were valid in this run.
#[derive(Debug, Default)]
pub(crate) struct KeyMeters(Mutex<HashMap<KeyId, Arc<KeyMeter>>>);

/// A call that runs. Dropping it ends it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place(Arc<Meter>);

impl Meter {
    /// Lets a call in at a time of the rate's clock, or returns how long it must wait.
    pub(crate) fn take(&self, limit: RateLimit, now: u64) -> Result<(), std::time::Duration> {
        self.rate.take(limit, now)
    }

    /// Begins a call. `None` if as many run as may.
    pub(crate) fn begin(self: &Arc<Self>, most: Option<u32>) -> Option<Place> {
        let most = most.unwrap_or(u32::MAX);
        let more = |running: u32| (running < most).then(|| running + 1);
        let begun = self
            .running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.ok().map(|_| Place(self.clone()))
    }

    /// Returns the number of calls that run.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Returns whether the meter is as a new one.
    pub(crate) fn is_at_rest(&self, now: u64) -> bool {
        self.running() == 0 && self.rate.is_at_rest(now)
    }
}

impl KeyMeter {
    /// Returns the number of the key in this run, of which no other key has the same.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Counts a call that the quotas let in.
    pub(crate) fn begin_call(&self, quotas: &Quotas, now: SystemTime) -> Result<(), QuotaError> {
        self.usage.lock().begin_call(quotas, now)
    }

    /// Takes a call back that another limit refused.
    pub(crate) fn take_back_call(&self) {
        self.usage.lock().take_back_call();
    }

    /// Counts what a call has used.
    pub(crate) fn count(&self, usage: Usage, now: SystemTime) {
        self.usage.lock().add(usage, now);
        let EndedCalls {
            calls,
            bytes_in,
            bytes_out,
        } = &self.ended;
        calls.fetch_add(1, Ordering::Relaxed);
        bytes_in.fetch_add(usage.bytes_in, Ordering::Relaxed);
        bytes_out.fetch_add(usage.bytes_out, Ordering::Relaxed);
    }

    /// Returns what was used today and in this month.
    pub(crate) fn used(&self, now: SystemTime) -> [Usage; 2] {
        self.usage.lock().used(now)
    }
}

impl KeyMeters {
    /// Returns the meters of keys that have used this in the current month.
    pub(crate) fn new(stored: Vec<(KeyId, Day, Usage)>, now: SystemTime) -> Self {
        let mut of_keys: HashMap<KeyId, Vec<(Day, Usage)>> = HashMap::new();
        for (id, day, usage) in stored {
            of_keys.entry(id).or_default().push((day, usage));
        }
        let meters = of_keys.into_iter().zip(1..).map(|((id, stored), number)| {
            let meter = KeyMeter {
                number,
                usage: Mutex::new(UsageLedger::new(stored, now)),
                ..KeyMeter::default()
            };
            (id, Arc::new(meter))
        });
        Self(Mutex::new(meters.collect()))
    }

    /// Returns the meter of a key.
    pub(crate) fn of(&self, id: &KeyId) -> Arc<KeyMeter> {
        let mut meters = self.0.lock();
        if let Some(meter) = meters.get(id) {
            return meter.clone();
        }
        // None is ever removed.
        let number = u32::try_from(meters.len() + 1).unwrap_or(u32::MAX);
        let meter = Arc::new(KeyMeter {
            number,
            ..KeyMeter::default()
        });
        meters.insert(id.clone(), meter.clone());
        meter
    }

    /// Returns what a key has used today and in this month.
    pub(crate) fn used(&self, id: &KeyId, now: SystemTime) -> [Usage; 2] {
        let meter = self.0.lock().get(id).cloned();
        meter.map_or_else(Default::default, |meter| meter.used(now))
    }

    /// Returns the calls of each key that have ended since the start, with their bytes.
    pub(crate) fn ended(&self) -> Vec<(KeyId, Usage)> {
        let meters = self.0.lock();
        let ended = meters.iter().map(|(id, meter)| {
            let EndedCalls {
                calls,
                bytes_in,
                bytes_out,
            } = &meter.ended;
            let ended = Usage {
                calls: calls.load(Ordering::Relaxed),
                bytes_in: bytes_in.load(Ordering::Relaxed),
                bytes_out: bytes_out.load(Ordering::Relaxed),
                tokens: 0,
            };
            (id.clone(), ended)
        });
        ended.filter(|(_, ended)| ended.calls > 0).collect()
    }

    /// Takes out what is not stored yet.
    pub(crate) fn take_unstored(&self) -> Vec<(KeyId, Day, Usage)> {
        let meters = self.0.lock();
        let unstored = meters.iter().flat_map(|(id, meter)| {
            let days = meter.usage.lock().take_unstored();
            days.into_iter()
                .map(|(day, usage)| (id.clone(), day, usage))
        });
        unstored.collect()
    }

    /// Puts back what could not be stored.
    pub(crate) fn put_back(&self, unstored: Vec<(KeyId, Day, Usage)>) {
        for (id, day, usage) in unstored {
            self.of(&id).usage.lock().put_back(vec![(day, usage)]);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_calls_run_as_may() {
        let meter = Arc::new(Meter::default());

        let [one, two] = [meter.begin(Some(2)), meter.begin(Some(2))];
        assert!(one.is_some() && two.is_some());
        assert!(meter.begin(Some(2)).is_none());
        assert!(!meter.is_at_rest(0));

        drop(one);
        let three = meter.begin(Some(2));
        assert!(three.is_some());
        assert_eq!(meter.running(), 2);

        drop([two, three]);
        assert!(meter.is_at_rest(0));
    }

    #[test]
    fn what_could_not_be_stored_is_stored_later() {
        let now = SystemTime::now();
        let id: KeyId = "7k3x".parse().unwrap();
        let meters = KeyMeters::new(vec![(id.clone(), Day::of(now), Usage::CALL)], now);
        meters.of(&id).count(Usage::CALL, now);

        let unstored = meters.take_unstored();
        assert_eq!(unstored, [(id.clone(), Day::of(now), Usage::CALL)]);
        assert_eq!(meters.take_unstored(), []);
        meters.put_back(unstored.clone());

        assert_eq!(meters.take_unstored(), unstored);
        let [today, month] = meters.of(&id).used(now);
        assert_eq!((today.calls, month.calls), (2, 2));
    }
}
