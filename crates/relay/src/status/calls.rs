//! The counters of one provider's calls, and the guard that keeps them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use llamapool_http::{BodyEnd, BodyObserver};
use llamapool_wire::CallError;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// For how long the failure of the newest call is held against a provider that gets no other calls.
const FAILING_FOR: Duration = Duration::from_secs(60);

use crate::shown_calls::ShownCall;

/// The calls of one provider.
#[derive(Debug, Default)]
pub(crate) struct CallCounters {
    running: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    caller_left: AtomicU64,
    /// Calls that failed since the last one that went well. Those that a caller left or could make fail at
    /// will are neither.
    failed_in_a_row: AtomicU64,
    last_failure: Mutex<Option<Instant>>,
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

    /// Returns how many calls have failed since the last one that went well; 0 if the last failure is more
    /// than a minute ago, or before `since`.
    pub(crate) fn failing(&self, since: Instant) -> u64 {
        let last = *self.last_failure.lock();
        let is_recent = last.is_some_and(|at| at >= since && at.elapsed() < FAILING_FOR);
        let failed = self.failed_in_a_row.load(Ordering::Relaxed);
        if is_recent { failed } else { 0 }
    }

    fn went_well(&self) {
        // A write only where there is something to forget: all calls share this.
        if self.failed_in_a_row.load(Ordering::Relaxed) > 0 {
            self.failed_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    fn went_wrong(&self) {
        *self.last_failure.lock() = Some(Instant::now());
        self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
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
    /// Set where calls are shown.
    shown: Option<ShownCall>,
    /// Whether the answer of the provider has a status of 500 or more.
    has_error_status: bool,
    /// Whether the end is no fault and no merit of the provider, such as a failure that callers can cause at will.
    is_neutral: bool,
}

impl CallGuard {
    /// Counts a call that begins.
    pub(crate) fn begin(counters: &Arc<CallCounters>) -> Self {
        counters.running.fetch_add(1, Ordering::SeqCst);
        Self {
            counters: counters.clone(),
            end: None,
            has_error_status: false,
            is_neutral: false,
            shown: None,
        }
    }

    /// Shows the call once it is over.
    pub(crate) fn show(&mut self, shown: ShownCall) {
        self.shown = Some(shown);
    }

    /// Notes that the response is complete, where it has no body that reports it. The provider may not have
    /// been asked.
    pub(crate) fn complete(&mut self) {
        self.end = Some(BodyEnd::Complete);
        self.is_neutral = true;
    }

    /// Notes that llamapool responds with an error of its own, for which the provider is not to blame.
    pub(crate) fn fail(&mut self) {
        self.end = Some(BodyEnd::Broken);
        self.is_neutral = true;
    }

    /// Notes that llamapool responds with this error.
    pub(crate) fn fail_with(&mut self, error: &CallError) {
        self.end = Some(BodyEnd::Broken);
        self.is_neutral = error.cause.is_client_error();
    }

    /// Notes the status of the provider's answer.
    pub(crate) fn record_status(&mut self, status: StatusCode) {
        self.has_error_status = status.is_server_error();
    }

    /// Counts the end of the call for or against its provider.
    fn judge(&self) {
        if self.is_neutral {
            return;
        }
        match self.end {
            Some(BodyEnd::Complete) if !self.has_error_status => self.counters.went_well(),
            Some(BodyEnd::Aborted) | None => {}
            Some(_) => self.counters.went_wrong(),
        }
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
        if let Some(shown) = &self.shown {
            shown.note_end(self.end.as_ref());
        }
        let total = match self.end {
            Some(BodyEnd::Complete) => &self.counters.completed,
            Some(BodyEnd::Broken | BodyEnd::TimedOut | BodyEnd::Aborted) => &self.counters.failed,
            None => &self.counters.caller_left,
        };
        total.fetch_add(1, Ordering::Relaxed);
        self.judge();
        self.counters.running.fetch_sub(1, Ordering::SeqCst);
        self.counters.call_ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llamapool_wire::Cause;

    fn end(counters: &Arc<CallCounters>, how: impl FnOnce(&mut CallGuard)) -> u64 {
        let mut call = CallGuard::begin(counters);
        how(&mut call);
        drop(call);
        counters.failing(Instant::now())
    }

    fn fail(cause: Cause) -> impl FnOnce(&mut CallGuard) {
        move |call| call.fail_with(&CallError::new(cause, "it failed"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_fails_until_a_call_goes_well_or_a_minute_is_over() {
        let counters = Arc::new(CallCounters::default());
        let ok = |call: &mut CallGuard| call.on_end(BodyEnd::Complete);

        assert_eq!(end(&counters, ok), 0);
        assert_eq!(end(&counters, fail(Cause::ProviderClosed)), 1);
        let status = |call: &mut CallGuard| {
            call.record_status(StatusCode::BAD_GATEWAY);
            call.on_end(BodyEnd::Complete);
        };
        assert_eq!(end(&counters, status), 2);
        assert_eq!(end(&counters, |_| {}), 2, "its caller left");
        assert_eq!(end(&counters, ok), 0);

        assert_eq!(end(&counters, fail(Cause::ProviderExited)), 1);
        let now = Instant::now();
        assert_eq!(
            counters.failing(now + Duration::from_secs(1)),
            0,
            "it was before"
        );
        tokio::time::advance(FAILING_FOR).await;
        assert_eq!(counters.failing(now), 0);
    }

    /// Whoever knows the URL could make the relay unready otherwise.
    #[tokio::test(start_paused = true)]
    async fn failures_that_callers_cause_at_will_do_not_count() {
        let counters = Arc::new(CallCounters::default());

        assert_eq!(end(&counters, fail(Cause::WrongToken)), 0);
        assert_eq!(end(&counters, fail(Cause::MessageTooLarge)), 0);
    }
}
