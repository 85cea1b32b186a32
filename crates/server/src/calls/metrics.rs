//! The counts of one kind of calls over all ids, those forgotten by now included.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::Histogram;

use super::label::LabelSet;
use super::outcome::Outcome;
use crate::audit::Audit;
use crate::metrics::{Door, Metrics};

/// The counts of one kind of calls. Clones are the same counts.
pub(crate) struct CallMetrics<L>(Arc<CallCounts>, PhantomData<L>);

struct CallCounts {
    metrics: Metrics,
    door: Door,
    /// Gets every call, if it is to.
    audit: Audit,
    /// By the index of the label.
    durations: Vec<Histogram>,
    completed: AtomicU64,
    failed: AtomicU64,
}

impl<L: LabelSet> CallMetrics<L> {
    /// Adds the counts of the calls through a door to the metrics. The durations get a histogram of
    /// this name, with a label of the name `label_name`.
    pub(crate) fn new(metrics: &Metrics, door: Door, name: &str, label_name: &str) -> Self {
        let durations = metrics.durations(name, label_name);
        let durations = L::ALL
            .iter()
            .map(|label| durations.with_label_values(&[label.as_str()]))
            .collect();
        let counts = CallCounts {
            metrics: metrics.clone(),
            door,
            audit: Audit::default(),
            durations,
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        Self(Arc::new(counts), PhantomData)
    }

    /// Writes every call into a log. Only before there are clones.
    pub(crate) fn with_audit(mut self, audit: Audit) -> Self {
        if let Some(counts) = Arc::get_mut(&mut self.0) {
            counts.audit = audit;
        }
        self
    }

    /// Returns the log of every call.
    pub(super) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Counts a call that is over.
    pub(crate) fn observe(&self, label: L, outcome: Outcome, duration: Duration) {
        let total = if outcome.is_error() {
            &self.0.failed
        } else {
            &self.0.completed
        };
        total.fetch_add(1, Ordering::Relaxed);
        self.0.durations[usize::from(label.index())].observe(duration.as_secs_f64());
    }

    /// Counts an error of llamapool's own.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.0.metrics.refused(self.0.door, reason);
    }

    /// Returns the number of calls that went well or were left by their callers, and of those that
    /// failed.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (
            self.0.completed.load(Ordering::Relaxed),
            self.0.failed.load(Ordering::Relaxed),
        )
    }
}

impl<L> Clone for CallMetrics<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}
