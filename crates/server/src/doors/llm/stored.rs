//! Calls about a response that a runtime keeps: they go to its worker, and take no slot there.

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use llamapool_dialect::{LlmErrorKind, Route};
use llamapool_pool::KeyId;
use llamapool_wire::llm::ResponseForm;

use std::sync::Arc;

use super::answer::Answering;
use super::attempt::{self, WorkerRequest};
use super::call::Call;
use super::context::LlmDoor;
use super::dispatch::{CallAnswer, LiveAnswer};
use super::error::LlmError;
use super::failed_attempt::FailedAnswer;
use super::signs_of_life::is_codex;
use super::stored_responses::ResponseOwner;
use super::{headers, intake};
use crate::auth::LlmCaller;
use crate::pool::PoolWorker;

/// Something that a runtime keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Response,
    Conversation,
}

impl Kept {
    /// Returns the word for it, and the member of a request that names one.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Response => ("response", "previous_response_id"),
            Self::Conversation => ("conversation", "conversation"),
        }
    }
}

/// Returns the worker that keeps a response or a conversation.
///
/// # Errors
///
/// It is not remembered, is another key's, or its worker is away.
pub(super) fn worker(
    door: &LlmDoor,
    (what, id): (Kept, &str),
    key: KeyId,
) -> Result<Arc<PoolWorker>, LlmError> {
    let (word, member) = what.words();
    let kept_by = door.responses.worker(id, key).ok_or_else(|| {
        let message = format!("no {word} with the id `{id}` is kept by a worker of this pool");
        LlmError::new(LlmErrorKind::PreviousResponseNotFound, message).about(member)
    })?;
    door.pool.worker_of_id(&kept_by).ok_or_else(|| {
        let message = format!("the worker that keeps the {word} `{id}` is away");
        LlmError::new(LlmErrorKind::WorkerOffline, message)
    })
}

/// Answers a call about a response that a runtime keeps.
pub(super) async fn answer(
    call: Call,
    caller: LlmCaller,
    route: Route,
    request: Request,
) -> Response<Body> {
    let door = call.door.clone();
    let answering = Answering {
        memory: door.account(&caller),
        owner: ResponseOwner {
            responses: door.responses.clone(),
            key: call.key,
            stores: false,
        },
        is_codex: is_codex(request.headers()),
    };
    let answer = send(&door, &call, &answering, (route, request)).await;
    answering.finish(call, answer).await
}

async fn send(
    door: &LlmDoor,
    call: &Call,
    answering: &Answering,
    (route, request): (Route, Request),
) -> Result<CallAnswer, LlmError> {
    let id = route.argument.as_deref().unwrap_or_default();
    let worker = worker(door, (Kept::Response, id), call.key)?;
    let (mut head, body) = request.into_parts();
    let body = intake::take(door, &head.headers, body, &answering.memory).await?;
    headers::to_worker(&mut head.headers, !body.is_empty());

    let at_runtime = match head.uri.query() {
        Some(query) => format!("{}?{query}", route.at_runtime),
        None => route.at_runtime.to_string(),
    };
    let streams = at_runtime.contains("stream=true");
    let request = WorkerRequest {
        method: head.method,
        at_runtime,
        headers: head.headers,
        body,
        attempt: door.pool.next_number(),
        model: None,
        form: if streams {
            ResponseForm::Stream
        } else {
            ResponseForm::Whole
        },
    };
    match attempt::send(door, &worker, request, &answering.memory).await {
        Ok(answer) => Ok(CallAnswer::Live(Box::new(LiveAnswer {
            answer,
            running: None,
            route: None,
        }))),
        Err(failed) => match failed.answer {
            FailedAnswer::Own(error) => Err(error),
            FailedAnswer::OfRuntime(answer) => Ok(CallAnswer::OfRuntime(answer)),
        },
    }
}
