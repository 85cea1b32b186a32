//! The guard of a running call: its end is the call's end.
//!
//! Each call has exactly one, from its admission until its last byte left or its caller did. The
//! statistics are counted when it is dropped, so no number can be forgotten on some path. The place
//! at the relay is given to the stream of the tunnel, and is free as soon as that is over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use llamapool_http::{BodyEnd, BodyObserver, RequestMeter};
use llamapool_identity::Usage;
use llamapool_limits::MemoryAccount;
use llamapool_tunnel::StreamLease;
use llamapool_wire::CallError;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::active_call::ActiveCall;
use super::label::LabelSet;
use super::log::{self, Failure};
use super::metrics::CallMetrics;
use super::outcome::Outcome;
use super::recent::FailureReason;
use super::stats::{CallStats, EndedCall};
use crate::audit::EndedCallLine;
use crate::auth::LimitedCall;
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
    /// The status of the provider's answer, if it is 500 or more.
    error_status: Option<u16>,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
    /// The place at the relay, until the call is sent there.
    place: Option<Box<Place>>,
    memory: MemoryAccount,
    /// The end of the caller's key. Boxed, as few calls have one.
    key_ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Its entry in the limits of key and id; `None` without any.
    limited: Option<LimitedCall>,
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
        let key_ended = call.principal.key_use().map(|key| Box::pin(key.ended()));
        let key = stats.begin(call.clone());
        Self {
            stats,
            call,
            key,
            metrics,
            meter: Arc::default(),
            bytes_out: 0,
            error_status: None,
            outcome: None,
            failure: None,
            place: Some(place),
            memory,
            key_ended,
            limited: None,
            _server: server,
        }
    }

    /// Lets the call count for its limits until its end.
    pub(crate) fn set_limited(&mut self, limited: Option<LimitedCall>) {
        self.limited = limited;
    }

    /// Returns the place at the relay, for the stream of the call.
    pub(super) fn take_lease(&mut self) -> StreamLease {
        let place = self.place.take();
        StreamLease {
            place: place.map(|place| place as _),
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
        self.error_status = (status >= 500).then_some(status);
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

    /// Returns why the call failed, `None` if it did not, or if any caller can cause that at will.
    fn failure_reason(&self, outcome: Outcome) -> Option<FailureReason> {
        if !outcome.is_error() {
            return None;
        }
        match &self.failure {
            Some(failure) if failure.is_client_error => None,
            Some(failure) => Some(FailureReason::Word(failure.cause)),
            None => self.error_status.map(FailureReason::Status),
        }
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
            BodyEnd::Complete if self.error_status.is_some() => Outcome::ProviderError,
            BodyEnd::Complete => Outcome::Ok,
            BodyEnd::Broken => Outcome::Broken,
            BodyEnd::TimedOut => Outcome::TimedOut,
            BodyEnd::Aborted => Outcome::Revoked,
        };

        match outcome {
            Outcome::Broken => self.break_off("broken", "the answer broke off after its head"),
            Outcome::TimedOut => self.break_off("timed_out", "a timeout broke the answer off"),
            _ => {}
        }
        self.outcome.get_or_insert(outcome);
    }

    fn poll_abort(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.key_ended {
            None => Poll::Pending,
            Some(ended) => ended.as_mut().poll(cx),
        }
    }
}

impl<L: LabelSet> Drop for CallGuard<L> {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or_else(|| {
            if self.call.principal.has_ended() {
                Outcome::Revoked
            } else {
                Outcome::CallerLeft
            }
        });
        let duration = self.call.duration();

        self.metrics.observe(self.call.label(), outcome, duration);
        let ended = EndedCall {
            outcome,
            at: self.call.moment_after(duration),
            duration,
            failure: self.failure_reason(outcome),
            bytes_in: self.meter.bytes(),
            bytes_out: self.bytes_out,
        };
        if let Some(limited) = self.limited.take() {
            limited.end(Usage {
                bytes_in: ended.bytes_in,
                bytes_out: ended.bytes_out,
                ..Usage::default()
            });
        }
        let bytes = [ended.bytes_in, ended.bytes_out];
        self.stats.end(self.key, &self.call, ended);

        let call = &self.call;
        log::ended(call, outcome, duration, self.failure.as_ref());
        let line = || EndedCallLine {
            id: &call.id,
            req_id: &call.req_id,
            principal: &call.principal,
            method: call.label().as_str(),
            outcome: outcome.label(),
            duration,
            bytes,
        };
        self.metrics.audit().write(|| line().event());
    }
}
