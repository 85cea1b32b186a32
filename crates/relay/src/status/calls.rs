//! The counters of one provider's calls, and the guard that keeps them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use llamapool_http::{BodyEnd, BodyObserver};
use tokio::sync::Notify;

/// The calls of one provider.
#[derive(Debug, Default)]
pub(crate) struct CallCounters {
    running: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    caller_left: AtomicU64,
    call_ended: Notify,
}

impl CallCounters {
    /// Returns how many calls run now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Returns how many calls have ended, by their outcome.
    pub(crate) fn totals(&self) -> [(&'static str, u64); 3] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("completed", read(&self.completed)),
            ("failed", read(&self.failed)),
            ("caller_left", read(&self.caller_left)),
        ]
    }

    /// Waits until no call runs.
    pub(crate) async fn until_idle(&self) {
        loop {
            let call_ended = self.call_ended.notified();
            tokio::pin!(call_ended);
            call_ended.as_mut().enable();
            if self.running() == 0 {
                return;
            }
            call_ended.await;
        }
    }
}

/// One running call, counted until it is dropped. It is the observer of the response's body; a call
/// that is dropped before the end of its body was left by its caller.
#[must_use]
pub(crate) struct CallGuard {
    counters: Arc<CallCounters>,
    end: Option<BodyEnd>,
}

impl CallGuard {
    /// Counts a call that begins.
    pub(crate) fn begin(counters: &Arc<CallCounters>) -> Self {
        counters.running.fetch_add(1, Ordering::SeqCst);
        Self {
            counters: counters.clone(),
            end: None,
        }
    }

    /// Notes that the response is complete, where it has no body that reports it.
    pub(crate) fn complete(&mut self) {
        self.end = Some(BodyEnd::Complete);
    }

    /// Notes that llamapool responds with an error of its own.
    pub(crate) fn fail(&mut self) {
        self.end = Some(BodyEnd::Broken);
    }
}

impl BodyObserver for CallGuard {
    fn on_data(&mut self, _: usize) {}

    fn on_end(&mut self, end: BodyEnd) {
        self.end.get_or_insert(end);
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let total = match self.end {
            Some(BodyEnd::Complete) => &self.counters.completed,
            Some(BodyEnd::Broken | BodyEnd::TimedOut) => &self.counters.failed,
            None => &self.counters.caller_left,
        };
        total.fetch_add(1, Ordering::Relaxed);
        self.counters.running.fetch_sub(1, Ordering::SeqCst);
        self.counters.call_ended.notify_waiters();
    }
}
