//! The answer as it goes to the caller: a stream as it comes, anything else whole, with its length.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header, response};
use bytes::Bytes;
use llamapool_dialect::{Dialect, Endpoint, LlmErrorKind};
use llamapool_http::{CollectError, collect};
use llamapool_limits::MemoryAccount;

use super::call::Call;
use super::dispatch::{CallAnswer, LiveAnswer, ReadyCall};
use super::embeddings::JoinedAnswer;
use super::error::LlmError;
use super::headers;
use super::live_body::LiveBody;
use super::stored_responses::ResponseOwner;
use super::stream::{self, EarlyStream};
use crate::error::failed_llm_call;

/// The bytes of a whole answer for each token of it, where no count was reported.
const BYTES_PER_TOKEN: u64 = 4;

/// Runs a call that is not answered as a stream, and makes its answer.
pub(super) async fn whole(ready: ReadyCall) -> Response<Body> {
    let answering = Answering::of(&ready);
    let (call, answer) = ready.run().await;
    answering.finish(call, answer).await
}

/// Runs a call that is answered as a stream. Its head is held back for a while, so that a failure
/// has a status of its own.
pub(super) async fn streamed(ready: ReadyCall) -> Response<Body> {
    let answering = Answering::of(&ready);
    let early = EarlyStream::of(&ready);
    let dialect = ready.call.dialect();
    let patience = if ready.prepared.party.wishes.shows_place {
        Duration::ZERO
    } else {
        ready.call.door.config.head_patience
    };

    let mut run = Box::pin(ready.run());
    // Biased, so that an answer that is here has its own head.
    tokio::select! {
        biased;
        (call, answer) = &mut run => return answering.finish(call, answer).await,
        () = tokio::time::sleep(patience) => {}
    }

    let mut response = Response::new(early.into_body(run));
    let content_type = match dialect {
        Dialect::Ollama => "application/x-ndjson",
        Dialect::OpenAi | Dialect::Anthropic => "text/event-stream",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers::mark_stream(headers);
    response
}

/// The parts of a call that its answer needs.
pub(super) struct Answering {
    pub(super) memory: MemoryAccount,
    pub(super) owner: ResponseOwner,
    pub(super) is_codex: bool,
}

impl Answering {
    fn of(ready: &ReadyCall) -> Self {
        Self {
            memory: ready.prepared.party.memory.clone(),
            owner: ready.response_owner(),
            is_codex: ready.prepared.is_codex,
        }
    }

    /// Makes the answer of a call whose first content, or whose failure, is here.
    pub(super) async fn finish(
        self,
        mut call: Call,
        answer: Result<CallAnswer, LlmError>,
    ) -> Response<Body> {
        match answer {
            Err(error) => failed(&mut call, &error),
            Ok(CallAnswer::OfRuntime(answer)) => of_runtime(&mut call, answer),
            Ok(CallAnswer::Live(live)) => self.live(call, *live).await,
            Ok(CallAnswer::Joined(joined)) => {
                let JoinedAnswer {
                    mut head,
                    body,
                    route,
                } = *joined;
                prepare_head(&call, &mut head, Some(&route));
                call.complete(head.status.as_u16());
                whole_response(head, body)
            }
        }
    }

    async fn live(self, mut call: Call, live: LiveAnswer) -> Response<Body> {
        let route = live.route.clone();
        let (mut head, body) = LiveBody::of(live, call.endpoint, self.owner);
        prepare_head(&call, &mut head, route.as_ref());
        if body.framing().is_some() {
            headers::mark_stream(&mut head.headers);
            return Response::from_parts(head, stream::live(call, body, self.is_codex));
        }
        if !is_collected(call.endpoint, &content_type(&head.headers)) {
            return Response::from_parts(head, stream::live(call, body, self.is_codex));
        }

        let most = call.door.bounds.max_answer_bytes;
        let (body, mut slot, owner) = body.into_parts();
        match collect(body, most, &self.memory).await {
            Ok(body) => {
                slot.count_output(body.len() as u64 / BYTES_PER_TOKEN);
                if let Some(worker) = slot
                    .worker()
                    .filter(|_| call.endpoint == Endpoint::Responses)
                {
                    owner.remember_answer(&body, worker);
                }
                call.complete(head.status.as_u16());
                whole_response(head, body)
            }
            Err(error) => failed(&mut call, &broken_answer(&error)),
        }
    }
}

/// Returns the answer to a call that fails before any of its answer was sent.
fn failed(call: &mut Call, error: &LlmError) -> Response<Body> {
    call.fail(error);
    failed_llm_call(error, call.dialect(), &call.req_id)
}

/// Returns a runtime's own error, as it is.
fn of_runtime(call: &mut Call, answer: Response<Bytes>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    prepare_head(call, &mut head, None);
    let retry = match head.status.as_u16() {
        429 | 503 | 529 => Some("true"),
        500.. => Some("false"),
        _ => None,
    };
    if let Some(retry) = retry {
        let name = axum::http::HeaderName::from_static("x-should-retry");
        head.headers.insert(name, HeaderValue::from_static(retry));
    }
    call.complete(head.status.as_u16());
    whole_response(head, body)
}

fn prepare_head(call: &Call, head: &mut response::Parts, route: Option<&headers::RouteOfCall>) {
    headers::to_caller(&mut head.headers);
    let route = route.filter(|_| call.door.config.route_header);
    let route = route.and_then(headers::RouteOfCall::to_header);
    head.headers
        .extend(route.map(|route| (headers::ROUTE, route)));
    headers::add_limits(&mut head.headers, &call.door, call.key, call.dialect());
}

fn whole_response(mut head: response::Parts, body: Bytes) -> Response<Body> {
    head.headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    head.headers.remove(header::TRANSFER_ENCODING);
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    Response::from_parts(head, Body::from(body))
}

/// Returns whether an answer is collected: what may be large and is useful in parts is not.
fn is_collected(endpoint: Endpoint, content_type: &str) -> bool {
    endpoint != Endpoint::Speech || content_type.starts_with("application/json")
}

pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// Returns the failure of an answer that broke off after first content: it is never made again.
pub(super) fn broken_answer(error: &CollectError) -> LlmError {
    let (kind, message) = match error {
        CollectError::TooLarge(most) => (
            LlmErrorKind::AnswerTooLarge,
            format!("the answer has more than {most} bytes, see MAX_ANSWER_BYTES"),
        ),
        CollectError::OutOfMemory(_) => (
            LlmErrorKind::AnswerTooLarge,
            "there is no memory for the answer, see MAX_MEMORY".to_owned(),
        ),
        CollectError::Broken => (
            LlmErrorKind::RuntimeClosed,
            "the answer broke off after its first content".to_owned(),
        ),
    };
    LlmError::new(kind, message).because(error)
}
