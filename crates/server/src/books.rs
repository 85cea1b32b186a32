//! The books of one id: what its calls were, how they ended, which run now. State and metrics read nothing else.
//!
//! Every call has exactly one entry, made when it is let in and closed when its last byte left or somebody gave up:
//! [`Call`] does both, so no number can be forgotten on some path. The books outlive the relays, so that totals
//! survive a reconnect.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use llamapool_http::{BodyEnd, BodyObserver, RequestMeter};
use llamapool_mcp::MethodLabel;
use llamapool_wire::{CallError, RelayId};
use slab::Slab;

use crate::metrics::Metrics;
use crate::scheduler::Permit;

/// The longest call time that is told apart, in microseconds; longer ones count as this.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The provider's answer was handed on whole, with a status below 500.
    Ok,
    /// The same, with a status of 500 or more.
    ProviderError,
    /// llamapool answered with an error of its own.
    Failed,
    /// The answer broke off after its head.
    Broken,
    /// The answer was broken off by a timeout.
    TimedOut,
    /// The caller left before the end.
    CallerLeft,
}

impl Outcome {
    /// Every outcome, in the order of its numbers.
    pub(crate) const ALL: [Self; 6] = [
        Self::Ok,
        Self::ProviderError,
        Self::Failed,
        Self::Broken,
        Self::TimedOut,
        Self::CallerLeft,
    ];

    /// The word for it in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ProviderError => "provider_error",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::CallerLeft => "caller_left",
        }
    }

    /// Whether it counts as an error. A caller who leaves is none.
    pub(crate) fn is_error(self) -> bool {
        !matches!(self, Self::Ok | Self::CallerLeft)
    }
}

type Counts = [[AtomicU64; Outcome::ALL.len()]; MethodLabel::COUNT];

/// The books of one id. An idle id's books are small: what only calls need is made by the first call.
#[derive(Default)]
pub(crate) struct Books {
    counts: OnceLock<Box<Counts>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    running: Mutex<Slab<Arc<Running>>>,
    times: Mutex<Option<Box<Histogram<u32>>>>,
    last_error: Mutex<Option<LastError>>,
}

/// A call that runs now.
#[derive(Debug)]
pub(crate) struct Running {
    /// The id that is called.
    id: RelayId,
    /// The id of the call in the logs of every hop.
    pub(crate) req_id: String,
    pub(crate) started: SystemTime,
    since: Instant,
    method: AtomicU8,
}

/// The last thing that went wrong with an id's calls.
#[derive(Debug, Clone)]
pub(crate) struct LastError {
    pub(crate) at: SystemTime,
    pub(crate) error: &'static str,
    pub(crate) message: String,
}

impl Running {
    /// A call to an id that begins now.
    pub(crate) fn new(id: RelayId, req_id: String) -> Self {
        let method = AtomicU8::new(MethodLabel::Other.index());
        Self {
            id,
            req_id,
            started: SystemTime::now(),
            since: Instant::now(),
            method,
        }
    }

    /// Notes which method the call is for, once that is known.
    pub(crate) fn set_method(&self, method: MethodLabel) {
        self.method.store(method.index(), Ordering::Relaxed);
    }

    pub(crate) fn method(&self) -> MethodLabel {
        MethodLabel::from_index(self.method.load(Ordering::Relaxed))
    }

    /// For how long it has been running.
    pub(crate) fn duration(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Books {
    /// How many calls of a method ended how.
    pub(crate) fn count(&self, method: MethodLabel, outcome: Outcome) -> u64 {
        let counts = self.counts.get();
        counts.map_or(0, |counts| {
            counts[usize::from(method.index())][outcome as usize].load(Ordering::Relaxed)
        })
    }

    /// How many calls of a method have ended.
    pub(crate) fn count_of(&self, method: MethodLabel) -> u64 {
        Outcome::ALL
            .iter()
            .map(|&outcome| self.count(method, outcome))
            .sum()
    }

    /// How many calls ended so.
    pub(crate) fn total(&self, counts: impl Fn(Outcome) -> bool) -> u64 {
        let outcomes = Outcome::ALL.into_iter().filter(|&outcome| counts(outcome));
        outcomes
            .flat_map(|outcome| methods().map(move |method| self.count(method, outcome)))
            .sum()
    }

    /// Whether there has never been a call.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.get().is_none() && self.in_flight() == 0
    }

    /// Bytes of requests and of answers.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (
            self.bytes_in.load(Ordering::Relaxed),
            self.bytes_out.load(Ordering::Relaxed),
        )
    }

    /// The calls that run now, the oldest first.
    pub(crate) fn running(&self) -> Vec<Arc<Running>> {
        let mut running: Vec<_> = lock(&self.running)
            .iter()
            .map(|(_, call)| call.clone())
            .collect();
        running.sort_by_key(|call| call.started);
        running
    }

    /// How many calls run now.
    pub(crate) fn in_flight(&self) -> usize {
        lock(&self.running).len()
    }

    /// The time within which a share of the calls was over, in milliseconds.
    pub(crate) fn call_ms(&self, quantile: f64) -> Option<f64> {
        let times = lock(&self.times);
        times
            .as_ref()
            .map(|times| times.value_at_quantile(quantile) as f64 / 1000.0)
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        lock(&self.last_error).clone()
    }

    fn note_error(&self, error: &'static str, message: String) {
        *lock(&self.last_error) = Some(LastError {
            at: SystemTime::now(),
            error,
            message,
        });
    }

    fn note_time(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros())
            .unwrap_or(u64::MAX)
            .clamp(1, LONGEST_MICROS);
        let mut times = lock(&self.times);
        if times.is_none() {
            *times = Histogram::new_with_bounds(1, LONGEST_MICROS, 1)
                .ok()
                .map(Box::new);
        }
        if let Some(times) = times.as_mut() {
            times.saturating_record(micros);
        }
    }

    fn add(&self, method: MethodLabel, outcome: Outcome) {
        let counts = self
            .counts
            .get_or_init(|| Box::new(std::array::from_fn(|_| Default::default())));
        counts[usize::from(method.index())][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Every method that is told apart.
pub(crate) fn methods() -> impl Iterator<Item = MethodLabel> {
    MethodLabel::ALL.iter().copied()
}

/// What went wrong with a call, for the log.
struct Trouble {
    cause: &'static str,
    error: String,
    is_client_error: bool,
}

/// One call: it holds the permit, and closes its entry in the books when it is dropped, whatever happened to it.
pub(crate) struct Call {
    books: Arc<Books>,
    running: Arc<Running>,
    key: usize,
    metrics: Metrics,
    meter: Arc<RequestMeter>,
    bytes_out: u64,
    provider_failed: bool,
    outcome: Option<Outcome>,
    trouble: Option<Trouble>,
    _permit: Permit,
}

impl Call {
    /// Opens the entry of a call that has its permit; nothing, if `limit` calls of the id run already (0: no limit).
    pub(crate) fn open(
        books: Arc<Books>,
        limit: usize,
        permit: Permit,
        metrics: Metrics,
        running: Running,
    ) -> Option<Self> {
        let running = Arc::new(running);
        let key = {
            let mut all = lock(&books.running);
            if limit > 0 && all.len() >= limit {
                return None;
            }
            all.insert(running.clone())
        };
        Some(Self {
            books,
            running,
            key,
            metrics,
            meter: Arc::default(),
            bytes_out: 0,
            provider_failed: false,
            outcome: None,
            trouble: None,
            _permit: permit,
        })
    }

    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// Counts a request body by its meter.
    pub(crate) fn set_meter(&mut self, meter: Arc<RequestMeter>) {
        self.meter = meter;
    }

    /// The head of the provider's answer is here.
    pub(crate) fn answered(&mut self, status: u16) {
        self.provider_failed = status >= 500;
    }

    /// llamapool, here or at the relay, answers with an error of its own.
    pub(crate) fn failed(&mut self, failure: &CallError) {
        self.outcome = Some(Outcome::Failed);
        self.books
            .note_error(failure.cause.word(), failure.message.clone());
        self.metrics.refused("mcp", failure.cause.word());
        self.noted(failure);
    }

    /// The caller left, and what it sees of that is this failure: the call's own outcome stays what it is.
    pub(crate) fn noted(&mut self, failure: &CallError) {
        let is_client_error = failure.cause.is_client_error();
        self.trouble = Some(Trouble {
            cause: failure.cause.word(),
            error: failure.log_message(),
            is_client_error,
        });
    }

    fn broke_off(&mut self, cause: &'static str, error: &str) {
        self.books.note_error(cause, error.to_owned());
        self.trouble = Some(Trouble {
            cause,
            error: error.to_owned(),
            is_client_error: false,
        });
    }

    /// The one line of the log that a call gets. Failures that no caller can make at will are warnings.
    fn log(&self, outcome: Outcome, duration: Duration) {
        let (id, req_id, method) = (
            self.running.id.as_str(),
            self.running.req_id.as_str(),
            self.running.method().as_str(),
        );
        let (outcome, ms) = (outcome.label(), duration.as_secs_f64() * 1000.0);
        match &self.trouble {
            None => tracing::debug!(req_id, id, method, outcome, ms, "call"),
            Some(Trouble {
                cause,
                error,
                is_client_error: true,
            }) => {
                tracing::debug!(req_id, id, method, outcome, ms, cause, error, "call failed");
            }
            Some(Trouble {
                cause,
                error,
                is_client_error: false,
            }) => {
                tracing::warn!(req_id, id, method, outcome, ms, cause, error, "call failed");
            }
        }
    }
}

impl BodyObserver for Call {
    fn on_data(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    fn on_end(&mut self, ending: BodyEnd) {
        let outcome = match ending {
            BodyEnd::Complete if self.provider_failed => Outcome::ProviderError,
            BodyEnd::Complete => Outcome::Ok,
            BodyEnd::Broken => Outcome::Broken,
            BodyEnd::TimedOut => Outcome::TimedOut,
        };
        match outcome {
            Outcome::Broken => self.broke_off("broken", "the answer broke off after its head"),
            Outcome::TimedOut => self.broke_off("timed_out", "a timeout broke the answer off"),
            _ => {}
        }
        self.outcome.get_or_insert(outcome);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(Outcome::CallerLeft);
        let (method, duration) = (self.running.method(), self.running.duration());
        self.books
            .bytes_in
            .fetch_add(self.meter.bytes(), Ordering::Relaxed);
        self.books
            .bytes_out
            .fetch_add(self.bytes_out, Ordering::Relaxed);
        self.books.add(method, outcome);
        if outcome == Outcome::Ok && !method.is_long_lived() {
            self.books.note_time(duration);
        }
        self.metrics.observe(method, outcome, duration);
        let _ = lock(&self.books.running).try_remove(self.key);
        self.log(outcome, duration);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
