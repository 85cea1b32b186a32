//! A call to the LLM API while it runs: what others see of it, and its end. Its end is the end of
//! this value, however it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use llamapool_dialect::{Dialect, Endpoint, Executed, LlmErrorKind};
use llamapool_identity::Usage;
use llamapool_pool::{CallId, KeyId};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::context::LlmDoor;
use super::error::LlmError;
use crate::audit::EndedLlmCall;
use crate::auth::{LimitedCall, Principal};
use crate::calls::Outcome;
use crate::identity::KeyMeter;
use crate::pool::{EndedCall, PoolWorker};
use crate::scheduler::Pass;

/// A call to the LLM API. Dropping it counts and logs the call, and leaves the server's gate.
#[must_use]
pub(super) struct Call {
    pub(super) door: Arc<LlmDoor>,
    pub(super) req_id: String,
    pub(super) endpoint: Endpoint,
    pub(super) key: KeyId,
    pub(super) started: Instant,
    /// Whether it may be executed twice, wherever its second run would be.
    pub(super) is_repeatable: bool,
    /// The bytes of its request.
    pub(super) bytes_in: u64,
    principal: Principal,
    /// Its entry in the limits of its key; `None` without a key.
    limited: Option<LimitedCall>,
    /// The name that the caller asked for.
    requested: String,
    model: Option<Arc<str>>,
    /// The worker of the last attempt, and its own name of the model.
    worker: Option<(Arc<PoolWorker>, Arc<str>)>,
    outcome: Option<Outcome>,
    failure: Option<(LlmErrorKind, String)>,
    progress: Arc<CallProgress>,
    _server: Pass,
}

/// How far a call is, for the lines that its caller may see while it waits.
#[derive(Debug, Default)]
pub(super) struct CallProgress(Mutex<Stage>);

/// The stage of a call before its first content.
#[derive(Debug, Clone, Default)]
pub(super) enum Stage {
    /// It is being read.
    #[default]
    Begun,
    /// It may be waiting in the queue of a model, since then.
    Queued {
        call: CallId,
        model: Arc<str>,
        since: Instant,
    },
    /// The worker of this attempt loads the model.
    Loading { model: Arc<str>, attempt: u64 },
    /// The worker of this attempt reads the prompt.
    Reading { attempt: u64 },
}

/// The end of the key of a call.
pub(super) type KeyEnd = Pin<Box<WaitForCancellationFutureOwned>>;

/// What a call begins with.
pub(super) struct Begin {
    pub(super) req_id: String,
    pub(super) endpoint: Endpoint,
    pub(super) key: KeyId,
    pub(super) principal: Principal,
    pub(super) limited: Option<LimitedCall>,
    pub(super) pass: Pass,
}

impl Call {
    /// Begins a call.
    pub(super) fn begin(door: Arc<LlmDoor>, begin: Begin) -> Self {
        door.pool.metrics().began();
        Self {
            door,
            req_id: begin.req_id,
            endpoint: begin.endpoint,
            key: begin.key,
            started: Instant::now(),
            is_repeatable: false,
            bytes_in: 0,
            principal: begin.principal,
            limited: begin.limited,
            requested: String::new(),
            model: None,
            worker: None,
            outcome: None,
            failure: None,
            progress: Arc::default(),
            _server: begin.pass,
        }
    }

    /// Returns the end of its caller key.
    pub(super) fn key_end(&self) -> Option<KeyEnd> {
        let key = self.principal.key_use()?;
        Some(Box::pin(key.ended()))
    }

    /// Returns the meter of its caller key.
    pub(super) fn meter(&self) -> Option<Arc<KeyMeter>> {
        let key = self.principal.key_use()?;
        Some(key.holder().meter().clone())
    }

    /// Returns the dialect of its answers.
    pub(super) fn dialect(&self) -> Dialect {
        self.endpoint.dialect()
    }

    /// Returns how far it is, for as long as it has no content.
    pub(super) fn progress(&self) -> &Arc<CallProgress> {
        &self.progress
    }

    /// Sets the name of the model that the caller asks for.
    pub(super) fn set_requested_model(&mut self, name: Option<&str>) {
        self.requested = name.unwrap_or_default().to_owned();
    }

    /// Returns the name of the model that the caller asked for.
    pub(super) fn requested_model(&self) -> &str {
        &self.requested
    }

    /// Sets the model, once it is found.
    pub(super) fn set_model(&mut self, model: Arc<str>) {
        self.model = Some(model);
    }

    /// Returns the model in the catalogue.
    pub(super) fn model(&self) -> Arc<str> {
        self.model.clone().unwrap_or_else(|| "".into())
    }

    /// Sets the worker of the current attempt, with the worker's own name of the model.
    pub(super) fn set_worker(&mut self, worker: &Arc<PoolWorker>, own_name: &Arc<str>) {
        self.worker = Some((worker.clone(), own_name.clone()));
    }

    /// Records the outcome of an answer that went down whole.
    pub(super) fn complete(&mut self, status: u16) {
        let outcome = if status >= 500 {
            Outcome::ProviderError
        } else {
            Outcome::Ok
        };
        self.outcome.get_or_insert(outcome);
    }

    /// Records that the answer broke off after its head.
    pub(super) fn broke_off(&mut self, error: &LlmError) {
        self.outcome = Some(Outcome::Broken);
        self.failure = Some((error.kind, error.log_message()));
        self.door.pool.metrics().refused(error.kind.word());
    }

    /// Records that the answer was broken off because its key has ended.
    pub(super) fn end_with_key(&mut self, error: &LlmError) {
        self.outcome = Some(Outcome::Revoked);
        self.failure = Some((error.kind, error.log_message()));
        self.door.pool.metrics().refused(error.kind.word());
    }

    /// Records that llamapool answers with an error of its own.
    pub(super) fn fail(&mut self, error: &LlmError) {
        self.outcome = Some(Outcome::Failed);
        self.failure = Some((error.kind, error.log_message()));
        self.door.pool.metrics().refused(error.kind.word());
    }
}

impl Call {
    /// Logs the call. One that failed although it may have been executed is a warning: no caller
    /// can cause that at will.
    fn log(&self, outcome: &'static str, duration: Duration) {
        let req_id = self.req_id.as_str();
        let principal = self.principal.label();
        let endpoint = self.endpoint.api();
        let model = self.model.as_deref();
        let worker = self.worker.as_ref().map(|(worker, _)| worker.name());
        let ms = duration.as_secs_f64() * 1000.0;
        let cause = self.failure.as_ref().map(|(kind, _)| kind.word());
        let error = self.failure.as_ref().map(|(_, error)| error.as_str());
        let is_serious = self
            .failure
            .as_ref()
            .is_some_and(|(kind, _)| kind.executed() == Executed::Perhaps);
        if is_serious {
            tracing::warn!(
                req_id,
                principal,
                endpoint,
                model,
                worker,
                outcome,
                ms,
                cause,
                error,
                "LLM call failed"
            );
        } else {
            tracing::debug!(
                req_id, principal, endpoint, model, worker, outcome, ms, cause, error, "LLM call"
            );
        }
    }
}

impl CallProgress {
    /// Sets the stage.
    pub(super) fn set(&self, stage: Stage) {
        *self.0.lock() = stage;
    }

    /// Returns the stage.
    pub(super) fn get(&self) -> Stage {
        self.0.lock().clone()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or_else(|| {
            if self.principal.has_ended() {
                Outcome::Revoked
            } else {
                Outcome::CallerLeft
            }
        });
        let duration = self.started.elapsed();
        self.door.pool.metrics().ended(EndedCall {
            model: self.model.as_ref(),
            worker: self.worker.as_ref().map(|(worker, name)| (&**worker, name)),
            endpoint: self.endpoint,
            failure: self.failure.as_ref().map(|(kind, _)| kind.word()),
            key: self.key,
            outcome,
            duration,
        });

        if let Some(limited) = self.limited.take() {
            limited.end(Usage {
                bytes_in: self.bytes_in,
                ..Usage::default()
            });
        }
        self.log(outcome.label(), duration);
        let line = || EndedLlmCall {
            req_id: &self.req_id,
            principal: &self.principal,
            endpoint: self.endpoint.api(),
            model: self.model.as_deref(),
            outcome: outcome.label(),
            duration,
            bytes_in: self.bytes_in,
        };
        self.door.audit.write(|| line().event());
    }
}
