//! One attempt of a call at one worker, up to the first content of its answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::Full;
use llamapool_dialect::LlmErrorKind;
use llamapool_http::collect;
use llamapool_limits::MemoryAccount;
use llamapool_tunnel::{IncomingBody, StreamLease};
use llamapool_wire::llm::ResponseForm;
use llamapool_wire::{header as wire, path};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::context::LlmDoor;
use super::error::LlmError;
use super::failed_attempt::FailedAttempt;
use crate::pool::PoolWorker;
use crate::scheduler::Pass;

/// The largest body of an error that is passed on, in bytes.
const MAX_ERROR_BYTES: usize = 256 * 1024;
/// How many times the timeout of first content a worker may take: its clock stands still while it
/// sees the runtime load or read, and a worker that never ends is given up here.
const FIRST_CONTENT_SLACK: u32 = 6;
/// What is encoded in the name of a model: everything that a header value cannot have, and `%`.
const MODEL_NAME: &AsciiSet = &CONTROLS.add(b'%');

/// A request for one worker.
pub(super) struct WorkerRequest {
    pub(super) method: Method,
    /// The path at the runtime, with its query.
    pub(super) at_runtime: String,
    /// The caller's headers, as far as they go there.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) attempt: u64,
    /// The worker's own name of the model.
    pub(super) model: Option<Arc<str>>,
    pub(super) form: ResponseForm,
}

/// The answer of a worker with first content, and the passage through its gate.
pub(super) struct WorkerAnswer {
    pub(super) response: Response<IncomingBody>,
    pub(super) pass: Pass,
}

/// Sends a request to a worker, and waits for first content.
pub(super) async fn send(
    door: &LlmDoor,
    worker: &PoolWorker,
    request: WorkerRequest,
    memory: &MemoryAccount,
) -> Result<WorkerAnswer, FailedAttempt> {
    let left = || LlmError::new(LlmErrorKind::WorkerOffline, "the worker is leaving");
    let pass = worker.member.enter();
    let pass = pass.ok_or_else(|| FailedAttempt::own(left()))?;
    let request = tunnel_request(door, worker, request)
        .map_err(|error| FailedAttempt::own(malformed().because(error)))?;

    let lease = StreamLease {
        place: None,
        memory: Some(memory.clone()),
    };
    let patience = door.config.first_token_timeout * FIRST_CONTENT_SLACK;
    let sending = worker.member.tunnel.end.send_with(lease, request);
    let response = match tokio::time::timeout(unless_zero(patience), sending).await {
        Ok(response) => response.map_err(FailedAttempt::unsent)?,
        Err(_) => return Err(FailedAttempt::own(no_first_content(patience))),
    };
    if let Some(kind) = kind_of_worker(&response) {
        return Err(failed_at_worker(kind, response, memory).await);
    }
    if response.status().is_success() {
        return Ok(WorkerAnswer { response, pass });
    }

    let (head, body) = response.into_parts();
    match collect(body, MAX_ERROR_BYTES, memory).await {
        Ok(body) => Err(FailedAttempt::of_runtime(Response::from_parts(head, body))),
        Err(error) => {
            let message = format!("the runtime answered {} and broke off", head.status);
            let error = LlmError::new(LlmErrorKind::RuntimeClosed, message).because(error);
            Err(FailedAttempt::own(error))
        }
    }
}

fn tunnel_request(
    door: &LlmDoor,
    worker: &PoolWorker,
    request: WorkerRequest,
) -> Result<Request<Full<Bytes>>, axum::http::Error> {
    let uri = path::llm_call(&worker.member.id, &request.at_runtime);
    let mut sent = Request::new(Full::new(request.body));
    *sent.method_mut() = request.method;
    *sent.uri_mut() = Uri::from_maybe_shared(uri.into_bytes())?;

    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let model = request.model.as_deref().unwrap_or_default();
    let model: Cow<'_, str> = utf8_percent_encode(model, MODEL_NAME).into();
    let fields: [(HeaderName, HeaderValue); 5] = [
        (wire::ATTEMPT, request.attempt.into()),
        (wire::MODEL, HeaderValue::from_str(&model)?),
        (
            wire::RESPONSE_FORM,
            HeaderValue::from_static(request.form.as_str()),
        ),
        (
            wire::FIRST_CONTENT_TIMEOUT,
            millis(door.config.first_token_timeout).into(),
        ),
        (
            wire::IDLE_TIMEOUT,
            millis(door.config.token_idle_timeout).into(),
        ),
    ];
    let headers = sent.headers_mut();
    *headers = request.headers;
    for (name, value) in fields {
        headers.insert(name, value);
    }
    Ok(sent)
}

/// Returns the kind of an error that the worker itself answers with.
fn kind_of_worker(response: &Response<IncomingBody>) -> Option<LlmErrorKind> {
    let word = response.headers().get(wire::ERROR)?.to_str().ok()?;
    // A word that only a newer worker has is still no answer of a runtime.
    Some(LlmErrorKind::from_word(word).unwrap_or(LlmErrorKind::RuntimeGarbage))
}

/// Returns the failure of an attempt that the worker itself answered. Its sentence is shown: it is
/// this pool's own worker, and the sentence names what to change there.
async fn failed_at_worker(
    kind: LlmErrorKind,
    response: Response<IncomingBody>,
    memory: &MemoryAccount,
) -> FailedAttempt {
    let body = collect(response.into_body(), MAX_ERROR_BYTES, memory).await;
    let message = body.ok().and_then(|body| message_of(&body));
    let message = message.unwrap_or_else(|| format!("the worker reports {}", kind.word()));
    FailedAttempt::own(LlmError::new(kind, message))
}

/// Returns the sentence of an error body of any dialect.
pub(super) fn message_of(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error")?;
    let message = error.get("message").unwrap_or(error).as_str()?;
    Some(message.to_owned())
}

fn malformed() -> LlmError {
    LlmError::new(
        LlmErrorKind::InvalidRequest,
        "the request cannot be sent to a worker",
    )
}

fn no_first_content(patience: Duration) -> LlmError {
    let message = format!(
        "the worker sent no content within {patience:?}, {FIRST_CONTENT_SLACK} times LLM_FIRST_TOKEN_TIMEOUT"
    );
    LlmError::new(LlmErrorKind::FirstTokenTimeout, message)
}

/// Returns a span, or a very long one for zero, which is no limit.
fn unless_zero(span: Duration) -> Duration {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    if span.is_zero() { NEVER } else { span }
}
