//! The counters of calls to one runtime, for its metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts};

/// The bounds of the durations in seconds: from an embedding to a long answer.
const BUCKETS: [f64; 12] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0,
];

/// The counters of calls to one runtime.
pub(crate) struct JobStats {
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// `None` if its definition in this file is not valid.
    pub(crate) durations: Option<Histogram>,
}

impl JobStats {
    /// Counters of no call yet, of the provider with this name in the metrics.
    pub(super) fn new(provider: &str) -> Self {
        let options = HistogramOpts::new(
            "llamapool_worker_job_duration_seconds",
            "Time from the request to the runtime to the end of its answer, of calls that ended.",
        );
        let options = options
            .buckets(BUCKETS.to_vec())
            .const_label("provider", provider);
        Self {
            started: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            durations: Histogram::with_opts(options).ok(),
        }
    }

    /// Counts a call that is sent to the runtime.
    pub(super) fn start(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a call.
    pub(super) fn end(&self, has_succeeded: bool, duration: Duration) {
        let total = if has_succeeded {
            &self.succeeded
        } else {
            &self.failed
        };
        total.fetch_add(1, Ordering::Relaxed);
        if let Some(durations) = &self.durations {
            durations.observe(duration.as_secs_f64());
        }
    }

    /// Returns how many calls were started, how many succeeded, and how many did not.
    pub(crate) fn totals(&self) -> [u64; 3] {
        [&self.started, &self.succeeded, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }
}
