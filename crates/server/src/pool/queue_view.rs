//! The waiting calls as they are shown: in the state, in metrics, and to their callers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llamapool_pool::{CallId, QueueEntry};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The longest time for which the queue is shown as it was once computed.
const MAX_AGE: Duration = Duration::from_secs(2);
/// How many times the time that it took to compute the queue it is shown so: with a few waiting
/// calls it is always new, and with thousands two hundredths of a core go there at most.
const AGE_PER_COST: u32 = 50;

/// The waiting calls in the order in which they would run, model by model.
#[derive(Debug, Default)]
pub(crate) struct QueueView {
    calls: Vec<QueuedCall>,
    /// The place of each call in `calls`.
    places: HashMap<CallId, usize>,
}

/// One waiting call.
#[derive(Debug)]
pub(crate) struct QueuedCall {
    pub(crate) entry: QueueEntry,
    /// The id of its request, as its caller and the logs have it.
    pub(crate) request_id: Arc<str>,
}

/// The view that was computed last.
#[derive(Debug, Default)]
pub(super) struct CachedView(Mutex<Option<Cached>>);

#[derive(Debug)]
struct Cached {
    view: Arc<QueueView>,
    until: Instant,
}

impl QueueView {
    /// Returns the view of these calls.
    pub(super) fn new(calls: Vec<QueuedCall>) -> Self {
        let places = calls.iter().map(|call| call.entry.call).zip(0..);
        Self {
            places: places.collect(),
            calls,
        }
    }

    /// Returns the calls, in their order.
    pub(crate) fn calls(&self) -> &[QueuedCall] {
        &self.calls
    }

    /// Returns a waiting call, `None` if it does not wait, or waits behind those that are shown.
    pub(crate) fn find(&self, call: CallId) -> Option<&QueueEntry> {
        let place = self.places.get(&call)?;
        self.calls.get(*place).map(|found| &found.entry)
    }
}

impl CachedView {
    /// Returns the view, computed anew if it is old.
    pub(super) fn get(&self, compute: impl FnOnce() -> QueueView) -> Arc<QueueView> {
        let mut cached = self.0.lock();
        if let Some(cached) = &*cached
            && Instant::now() < cached.until
        {
            return cached.view.clone();
        }
        let started = std::time::Instant::now();
        let view = Arc::new(compute());
        *cached = Some(Cached {
            view: view.clone(),
            until: Instant::now() + age(started.elapsed()),
        });
        view
    }
}

/// Returns for how long a view is shown that took so long to compute.
fn age(cost: Duration) -> Duration {
    cost.saturating_mul(AGE_PER_COST).min(MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes a view in two milliseconds of real time.
    fn slowly() -> QueueView {
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        QueueView::default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_is_shown_for_a_time_that_grows_with_its_cost() {
        let cached = CachedView::default();

        let first = cached.get(slowly);
        tokio::time::advance(Duration::from_millis(90)).await;
        let same = cached.get(slowly);
        tokio::time::advance(MAX_AGE).await;
        let other = cached.get(slowly);

        assert!(Arc::ptr_eq(&first, &same));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(age(Duration::from_micros(10)), Duration::from_micros(500));
        assert_eq!(age(Duration::from_secs(1)), MAX_AGE);
    }
}
