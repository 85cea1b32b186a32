//! The guard of a running call: its end is the call's end.
//!
//! Each call has exactly one, from its admission until its last byte left or its caller did. The
//! statistics are counted when it is dropped, so no number can be forgotten on some path. The place
//! at the relay is given to the stream of the tunnel, and is free as soon as that is over.

use std::sync::Arc;

use llamapool_http::{BodyEnd, BodyObserver, RequestMeter};
use llamapool_limits::MemoryAccount;
use llamapool_tunnel::StreamLease;
use llamapool_wire::CallError;

use super::active_call::ActiveCall;
use super::label::LabelSet;
use super::log::{self, Failure};
use super::metrics::CallMetrics;
use super::outcome::Outcome;
use super::stats::{CallStats, EndedCall};
use crate::scheduler::{Pass, Permit, Place};

/// The guard of a running call. Dropping it counts and logs the call, and leaves the server's gate.
#[must_use]
pub(crate) struct CallGuard<L: LabelSet> {
    stats: Arc<CallStats<L>>,
    call: Arc<ActiveCall<L>>,
    key: usize,
    metrics: CallMetrics<L>,
    meter: Arc<RequestMeter>,
    bytes_out: u64,
    has_error_status: bool,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
    /// The place at the relay, until the call is sent there.
    place: Option<Place>,
    memory: MemoryAccount,
    _server: Pass,
}

impl<L: LabelSet> CallGuard<L> {
    /// Begins a call that has its permit. Its unread and collected bytes count for `memory`.
    pub(crate) fn begin(
        stats: Arc<CallStats<L>>,
        permit: Permit,
        memory: MemoryAccount,
        metrics: CallMetrics<L>,
        call: ActiveCall<L>,
    ) -> Self {
        let Permit { place, server } = permit;
        let call = Arc::new(call);
        let key = stats.begin(call.clone());
        Self {
            stats,
            call,
            key,
            metrics,
            meter: Arc::default(),
            bytes_out: 0,
            has_error_status: false,
            outcome: None,
            failure: None,
            place: Some(place),
            memory,
            _server: server,
        }
    }

    /// Returns the place at the relay, for the stream of the call.
    pub(super) fn take_lease(&mut self) -> StreamLease {
        let place = self.place.take();
        StreamLease {
            place: place.map(|place| Box::new(place) as _),
            memory: Some(self.memory.clone()),
        }
    }

    /// Frees the place at the relay of a call that is not sent there.
    pub(super) fn release_place(&mut self) {
        self.place = None;
    }

    /// Returns the account of the memory that the call needs.
    pub(crate) fn memory(&self) -> &MemoryAccount {
        &self.memory
    }

    /// Returns the call, as others see it.
    pub(crate) fn call(&self) -> &Arc<ActiveCall<L>> {
        &self.call
    }

    /// Returns the meter of the request's body.
    pub(super) fn meter(&self) -> &Arc<RequestMeter> {
        &self.meter
    }

    /// Counts a request body by its meter.
    pub(super) fn set_meter(&mut self, meter: Arc<RequestMeter>) {
        self.meter = meter;
    }

    /// Records the status of the provider's answer.
    pub(super) fn record_status(&mut self, status: u16) {
        self.has_error_status = status >= 500;
    }

    /// Records that llamapool, here or at the relay, answers with an error of its own.
    pub(crate) fn fail(&mut self, failure: &CallError) {
        self.outcome = Some(Outcome::Failed);
        let word = failure.cause.word();
        self.stats.set_last_error(word, failure.message.clone());
        self.metrics.refused(word);
        self.record_failure(failure);
    }

    /// Records a failure that is the consequence of the caller's leaving: the outcome stays what
    /// it is.
    pub(super) fn record_failure(&mut self, failure: &CallError) {
        self.failure = Some(Failure {
            cause: failure.cause.word(),
            error: failure.log_message(),
            is_client_error: failure.cause.is_client_error(),
        });
    }

    fn break_off(&mut self, cause: &'static str, error: &str) {
        self.stats.set_last_error(cause, error.to_owned());
        self.failure = Some(Failure {
            cause,
            error: error.to_owned(),
            is_client_error: false,
        });
    }
}

impl<L: LabelSet> BodyObserver for CallGuard<L> {
    fn on_data(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    fn on_end(&mut self, end: BodyEnd) {
        let outcome = match end {
            BodyEnd::Complete if self.has_error_status => Outcome::ProviderError,
            BodyEnd::Complete => Outcome::Ok,
            BodyEnd::Broken => Outcome::Broken,
            BodyEnd::TimedOut => Outcome::TimedOut,
        };

        match outcome {
            Outcome::Broken => self.break_off("broken", "the answer broke off after its head"),
            Outcome::TimedOut => self.break_off("timed_out", "a timeout broke the answer off"),
            _ => {}
        }
        self.outcome.get_or_insert(outcome);
    }
}

impl<L: LabelSet> Drop for CallGuard<L> {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(Outcome::CallerLeft);
        let duration = self.call.duration();

        self.metrics.observe(self.call.label(), outcome, duration);
        let ended = EndedCall {
            outcome,
            duration,
            bytes_in: self.meter.bytes(),
            bytes_out: self.bytes_out,
        };
        self.stats.end(self.key, &self.call, ended);

        log::ended(&self.call, outcome, duration, self.failure.as_ref());
    }
}
