//! The statistics of the calls to one id: totals by label and outcome, times, the calls that run
//! now. State and metrics read nothing else, so they cannot disagree.
//!
//! They outlive the relays, so that totals survive a reconnect.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use slab::Slab;

use super::active_call::ActiveCall;
use super::label::LabelSet;
use super::outcome::Outcome;
use super::recent::{FailureReason, RecentCalls, RecentCounts};

/// The longest call time that is measured, in microseconds; longer ones count as this.
const LONGEST_MICROS: u64 = 3_600_000_000;

type CountsByOutcome = [AtomicU64; Outcome::ALL.len()];

/// The statistics of the calls to one id. Those of an id without calls are small: the tables are
/// made by the first call.
pub(crate) struct CallStats<L> {
    /// By the index of the label.
    counts: OnceLock<Box<[CountsByOutcome]>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    current: Mutex<Current<L>>,
    times: Mutex<Option<Box<Histogram<u32>>>>,
    last_error: Mutex<Option<LastError>>,
}

/// The calls that run now, and those of the last minute: a call that ends leaves the ones for the others,
/// under one lock.
struct Current<L> {
    active: Slab<Arc<ActiveCall<L>>>,
    /// Boxed, as most ids have no calls.
    recent: Option<Box<RecentCalls>>,
}

/// The last failure of an id's calls.
#[derive(Debug, Clone)]
pub(crate) struct LastError {
    pub(crate) at: SystemTime,
    pub(crate) error: &'static str,
    pub(crate) message: String,
}

/// A call that is over, as far as it is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndedCall {
    pub(super) outcome: Outcome,
    /// When it was over.
    pub(super) at: Instant,
    pub(super) duration: Duration,
    /// Why it failed, if it failed and the caller could not have caused that at will.
    pub(super) failure: Option<FailureReason>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl<L: LabelSet> CallStats<L> {
    /// Returns the number of calls with this label that ended so.
    pub(crate) fn count(&self, label: L, outcome: Outcome) -> u64 {
        let counts = self.counts.get();
        counts.map_or(0, |counts| {
            counts[usize::from(label.index())][outcome as usize].load(Ordering::Relaxed)
        })
    }

    /// Returns the number of calls with this label that have ended.
    pub(crate) fn count_of(&self, label: L) -> u64 {
        Outcome::ALL
            .iter()
            .map(|&outcome| self.count(label, outcome))
            .sum()
    }

    /// Returns the number of calls with an outcome that `is_counted`.
    pub(crate) fn total(&self, is_counted: impl Fn(Outcome) -> bool) -> u64 {
        let outcomes = Outcome::ALL
            .into_iter()
            .filter(|&outcome| is_counted(outcome));
        outcomes
            .flat_map(|outcome| L::ALL.iter().map(move |&label| self.count(label, outcome)))
            .sum()
    }

    /// Returns whether there has never been a call.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.get().is_none() && self.in_flight() == 0
    }

    /// Returns the bytes of the bodies of requests and of answers.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (
            self.bytes_in.load(Ordering::Relaxed),
            self.bytes_out.load(Ordering::Relaxed),
        )
    }

    /// Returns the calls that run now, the oldest first.
    pub(crate) fn active(&self) -> Vec<Arc<ActiveCall<L>>> {
        let mut active: Vec<_> = self
            .current
            .lock()
            .active
            .iter()
            .map(|(_, call)| call.clone())
            .collect();
        active.sort_by_key(|call| call.started);
        active
    }

    /// Returns the number of calls that run now.
    pub(crate) fn in_flight(&self) -> usize {
        self.current.lock().active.len()
    }

    /// Returns the calls of the last minute.
    pub(crate) fn recent(&self) -> RecentCounts {
        let now = Instant::now();
        let current = self.current.lock();
        let recent = current.recent.as_ref();
        recent.map(|recent| recent.counts(now)).unwrap_or_default()
    }

    /// Returns the time within which a share of the calls was over, in milliseconds. `None` if no
    /// call was timed.
    pub(crate) fn call_ms(&self, quantile: f64) -> Option<f64> {
        let times = self.times.lock();
        times
            .as_ref()
            .map(|times| times.value_at_quantile(quantile) as f64 / 1000.0)
    }

    /// Returns the last failure of the id's calls.
    pub(crate) fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().clone()
    }

    /// Adds the counts and bytes of an id that is forgotten.
    pub(crate) fn absorb(&self, other: &Self) {
        for &label in L::ALL {
            for outcome in Outcome::ALL {
                let count = other.count(label, outcome);
                if count > 0 {
                    self.add_many(label, outcome, count);
                }
            }
        }
        let (bytes_in, bytes_out) = other.bytes();
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }

    /// Adds a call that runs now. Returns its key for [`CallStats::end`].
    pub(super) fn begin(&self, call: Arc<ActiveCall<L>>) -> usize {
        self.current.lock().active.insert(call)
    }

    /// Counts a call that is over, and removes it from those that run.
    pub(super) fn end(&self, key: usize, call: &ActiveCall<L>, ended: EndedCall) {
        let label = call.label();
        self.bytes_in.fetch_add(ended.bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(ended.bytes_out, Ordering::Relaxed);
        self.add(label, ended.outcome);
        if ended.outcome == Outcome::Ok && label.is_timed() {
            self.add_time(ended.duration);
        }

        let mut current = self.current.lock();
        if counts_as_recent(&ended) {
            let recent = current.recent.get_or_insert_with(|| new_recent(ended.at));
            recent.add(ended.at, ended.failure);
        }
        let removed = current.active.try_remove(key);
        drop(current);
        drop(removed);
    }

    /// Replaces the last failure.
    pub(super) fn set_last_error(&self, error: &'static str, message: String) {
        *self.last_error.lock() = Some(LastError {
            at: SystemTime::now(),
            error,
            message,
        });
    }

    fn add(&self, label: L, outcome: Outcome) {
        self.add_many(label, outcome, 1);
    }

    /// Adds calls with this label that ended so.
    pub(crate) fn add_many(&self, label: L, outcome: Outcome, number: u64) {
        let counts = self
            .counts
            .get_or_init(|| L::ALL.iter().map(|_| CountsByOutcome::default()).collect());
        counts[usize::from(label.index())][outcome as usize].fetch_add(number, Ordering::Relaxed);
    }

    fn add_time(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros())
            .unwrap_or(u64::MAX)
            .clamp(1, LONGEST_MICROS);

        let mut times = self.times.lock();
        if times.is_none() {
            *times = Histogram::new_with_bounds(1, LONGEST_MICROS, 1)
                .ok()
                .map(Box::new);
        }
        if let Some(times) = times.as_mut() {
            times.saturating_record(micros);
        }
    }
}

impl<L> Default for CallStats<L> {
    fn default() -> Self {
        Self {
            counts: OnceLock::new(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            current: Mutex::new(Current {
                active: Slab::new(),
                recent: None,
            }),
            times: Mutex::default(),
            last_error: Mutex::default(),
        }
    }
}

/// Returns whether a call counts for the last minute of its id: the caller neither left, nor lost its key, nor was at
/// fault.
fn counts_as_recent(ended: &EndedCall) -> bool {
    ended.outcome == Outcome::Ok || ended.failure.is_some()
}

#[cold]
fn new_recent(now: Instant) -> Box<RecentCalls> {
    Box::new(RecentCalls::new(now))
}
