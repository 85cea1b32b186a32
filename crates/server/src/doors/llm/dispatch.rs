//! Finds a worker for a call, and another one if that fails before its first content.

use std::ops::Range;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, Response};
use bytes::Bytes;
use llamapool_dialect::{InputList, LlmErrorKind};
use llamapool_pool::{Ask, Class, Reason};
use llamapool_wire::header as wire;
use tokio::time::Instant;

use super::attempt::{self, WorkerAnswer, WorkerRequest};
use super::call::{Call, Stage};
use super::embeddings::{Division, JoinedAnswer};
use super::error::LlmError;
use super::failed_attempt::{Attempts, FailedAnswer, FailedAttempt};
use super::headers::RouteOfCall;
use super::prepare::{Party, ReadRequest};
use super::stored_responses::ResponseOwner;
use crate::pool::{AnswerTimes, Estimate, RunningCall, Spending};

/// What a call is placed by.
pub(super) struct Prepared {
    pub(super) request: ReadRequest,
    pub(super) party: Party,
    /// The caller's headers, as far as they go to a worker.
    pub(super) headers: HeaderMap,
    pub(super) ask: Ask,
    pub(super) spending: Spending,
    /// Whether the caller is Codex, which passes over some signs of life.
    pub(super) is_codex: bool,
}

/// A call that is ready to be placed.
pub(super) struct ReadyCall {
    pub(super) call: Call,
    /// Boxed, as each future on the way would carry its size along, and move it.
    pub(super) prepared: Box<Prepared>,
}

impl Prepared {
    /// Returns the call with this.
    pub(super) fn with(self: Box<Self>, mut call: Call) -> ReadyCall {
        call.is_repeatable = self.request.is_repeatable_anywhere();
        ReadyCall {
            call,
            prepared: self,
        }
    }
}

/// An answer that goes to the caller.
pub(super) enum CallAnswer {
    /// Of a worker, from its first content on.
    Live(Box<LiveAnswer>),
    /// Of several workers, to a call that was divided.
    Joined(Box<JoinedAnswer>),
    /// A runtime's own error, as it is.
    OfRuntime(Response<Bytes>),
}

/// An answer of a worker, of which first content is here.
pub(super) struct LiveAnswer {
    pub(super) answer: WorkerAnswer,
    /// Its slot. `None` for a call that was sent without one.
    pub(super) running: Option<RunningCall>,
    pub(super) route: Option<RouteOfCall>,
}

impl ReadyCall {
    /// Returns the caller, as far as a response that a runtime keeps is its.
    pub(super) fn response_owner(&self) -> ResponseOwner {
        ResponseOwner {
            responses: self.call.door.responses.clone(),
            key: self.call.key,
            stores: self.prepared.request.info.stores,
        }
    }

    /// Runs the call up to the first content of its answer. The call comes back with the result:
    /// it ends with the answer's body.
    pub(super) async fn run(self) -> (Call, Result<CallAnswer, LlmError>) {
        let timeout = self.call.door.bounds.call_timeout;
        let Self { mut call, prepared } = self;
        let Prepared {
            request,
            party,
            headers,
            ask,
            spending,
            is_codex: _,
        } = *prepared;
        let running = Box::new(Running {
            request,
            party,
            headers,
            spending: Some(spending),
            estimate: Estimate {
                prompt: ask.prompt_tokens,
                completion: 0,
            },
            class: ask.class.map_or("key", Class::as_str),
        });
        if timeout.is_zero() {
            let answer = running.run(&mut call, ask).await;
            return (call, answer);
        }
        let answer = tokio::time::timeout(timeout, running.run(&mut call, ask)).await;
        let late = || {
            let message = format!("the call took longer than {timeout:?}, see CALL_TIMEOUT");
            Err(LlmError::new(LlmErrorKind::CallTimeout, message))
        };
        let answer = answer.unwrap_or_else(|_| late());
        (call, answer)
    }
}

/// A call between its placement and its answer.
pub(super) struct Running {
    request: ReadRequest,
    pub(super) party: Party,
    headers: HeaderMap,
    pub(super) spending: Option<Spending>,
    pub(super) estimate: Estimate,
    /// The class that the caller asked for; `key`: that of its key.
    pub(super) class: &'static str,
}

impl Running {
    async fn run(self: Box<Self>, call: &mut Call, ask: Ask) -> Result<CallAnswer, LlmError> {
        let door = call.door.clone();
        let queued = Stage::Queued {
            call: ask.call,
            model: ask.model.name.clone(),
            since: Instant::now(),
        };
        call.progress().set(queued.clone());
        let divisible = self.request.divisible_inputs();
        let divisible = divisible.map(|inputs| (inputs, ask.clone()));
        let free = door.pool.free_workers(&ask.model);
        let mut running = door.pool.place(ask, &call.req_id).await?;
        let division = divisible.and_then(|one| Division::of(&door, &running, one, free));
        if let Some(division) = division {
            call.set_worker(&running.worker, &running.run.model_name);
            return self.run_divided(call, running, division).await;
        }

        let mut attempts = Attempts::default();
        loop {
            call.set_worker(&running.worker, &running.run.model_name);
            let sent = Instant::now();
            let failed = match self.attempt(call, &mut running, None).await {
                Ok(answer) => {
                    let first_content = sent.elapsed();
                    let made = attempts.count + 1;
                    return Ok(self.answered(call, running, answer, (first_content, made)));
                }
                Err(failed) => failed,
            };

            call.progress().set(queued.clone());
            match self.after(call, running, &failed, &mut attempts).await {
                Some(next) => {
                    running = next;
                    attempts.remember(failed);
                }
                None => return attempts.answer(failed).into(),
            }
        }
    }

    /// Sends the call to the worker that it has, with some of its inputs or with all.
    pub(super) async fn attempt(
        &self,
        call: &Call,
        running: &mut RunningCall,
        part: Option<(&InputList, &Range<usize>)>,
    ) -> Result<WorkerAnswer, FailedAttempt> {
        let door = &call.door;
        let model = running.run.model_name.clone();
        let at_runtime = match &self.request.query {
            Some(query) => format!("{}?{query}", self.request.route.at_runtime),
            None => self.request.route.at_runtime.to_string(),
        };
        let mut headers = self.headers.clone();
        if let Ok(req_id) = HeaderValue::from_str(&call.req_id) {
            headers.insert(wire::REQUEST_ID, req_id);
        }
        let attempt = running.begin_attempt(call.model(), call.endpoint, call.meter());
        call.progress().set(stage_of(running, attempt));
        let request = WorkerRequest {
            method: Method::POST,
            at_runtime,
            headers,
            body: self.request.body_for(door, self.party.party, &model, part),
            attempt,
            model: Some(model.clone()),
            form: self.request.form,
        };
        attempt::send(door, &running.worker, request, &self.party.memory).await
    }

    /// Finds a worker after a failed attempt. `None` if the failure is the end of the call.
    pub(super) async fn after(
        &self,
        call: &Call,
        running: RunningCall,
        failed: &FailedAttempt,
        attempts: &mut Attempts,
    ) -> Option<RunningCall> {
        let worker = &running.worker;
        let cause = failed.cause;
        tracing::debug!(
            req_id = call.req_id,
            worker = worker.name(),
            cause,
            "an attempt failed"
        );
        if failed.is_evidence {
            running.worker_failed();
        }
        if let FailedAnswer::Own(error) = &failed.answer {
            worker
                .totals
                .count_failure(&call.model(), error.log_message());
        }

        let is_repeatable = self.request.is_repeatable(worker);
        let why = attempts.after(failed, is_repeatable)?;
        call.door.pool.metrics().failed_over(cause);
        running.retry(why, &call.req_id).await.ok()
    }

    /// Takes an answer: from here on the call is never sent again.
    fn answered(
        mut self,
        call: &Call,
        mut running: RunningCall,
        answer: WorkerAnswer,
        (first_content, attempts): (Duration, u32),
    ) -> CallAnswer {
        let run = running.run.clone();
        let queued = Duration::from_micros(run.waited);
        if let Some(spending) = self.spending.take() {
            running.answered(spending, self.estimate);
        }
        call.door.pool.metrics().answered(
            &call.model(),
            self.class,
            AnswerTimes {
                queued,
                first_content,
                predicted_prefix: run.predicted_prefix,
            },
        );
        let route = RouteOfCall {
            worker: running.worker.name().to_owned(),
            model: run.model_name.as_ref().to_owned(),
            reason: run.reason.as_str(),
            waited: queued,
            attempts,
            prefix: run.predicted_prefix,
        };
        CallAnswer::Live(Box::new(LiveAnswer {
            answer,
            running: Some(running),
            route: Some(route),
        }))
    }
}

impl From<FailedAnswer> for Result<CallAnswer, LlmError> {
    fn from(answer: FailedAnswer) -> Self {
        match answer {
            FailedAnswer::Own(error) => Err(error),
            FailedAnswer::OfRuntime(answer) => Ok(CallAnswer::OfRuntime(answer)),
        }
    }
}

/// Returns the stage of a call that was just placed.
fn stage_of(running: &RunningCall, attempt: u64) -> Stage {
    match running.run.reason {
        Reason::Cold | Reason::Loading | Reason::Reload => Stage::Loading {
            model: running.run.model_name.clone(),
            attempt,
        },
        Reason::Warm | Reason::Prefix | Reason::Only => Stage::Reading { attempt },
    }
}
