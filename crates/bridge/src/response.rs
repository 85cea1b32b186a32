//! The responses of an MCP server over HTTP: one JSON object, an event stream, an error (MCP
//! 2025-11-25 and 2026-07-28, streamable HTTP).

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use llamapool_http::{json_response, sse};
use llamapool_mcp::{RpcError, error_code};
use llamapool_wire::CallError;

use crate::error::{ServeError, ServeResult};
use crate::event_queue::{EventReceiver, ResponsePart};
use crate::event_stream::EventStreamBody;
use crate::response_body::ResponseBody;

/// How long a response may take to be one JSON object.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(100);

/// Waits up to `patience` for the first part of a response, which decides its form: a whole
/// response becomes what `whole` makes of its text and its error code, any other part an event
/// stream.
///
/// Without a part in time the response is an event stream, and `on_late` is called. `guard` lives
/// as long as the event stream.
pub(crate) async fn json_or_stream<G: Send + Unpin + 'static>(
    mut receiver: EventReceiver,
    guard: G,
    patience: Duration,
    on_late: impl FnOnce(),
    whole: impl FnOnce(Bytes, Option<i64>) -> Response<ResponseBody>,
) -> ServeResult {
    let in_time = tokio::time::timeout(patience, receiver.ready()).await;
    if in_time.is_err() {
        on_late();
        return Ok(event_stream(receiver, guard));
    }

    match receiver.next().await.map_err(|broken| broken.failure)? {
        Some(ResponsePart::Whole(message, error)) => Ok(whole(message, error)),
        Some(first) => Ok(event_stream(receiver.unread(first), guard)),
        None => Ok(event_stream(receiver, guard)),
    }
}

/// Turns a refusal into its response. `Err` is a failure, which the bridge's owner reports.
pub(crate) fn refusal_to_response(
    result: ServeResult,
) -> Result<Response<ResponseBody>, CallError> {
    result.or_else(|error| match error {
        ServeError::Refused(refusal) => Ok(rpc_error(&refusal)),
        ServeError::Failed(failure) => Err(failure),
    })
}

/// Returns an event stream of what `receiver` yields. `guard` lives as long as its body.
pub(crate) fn event_stream<G: Send + Unpin + 'static>(
    receiver: EventReceiver,
    guard: G,
) -> Response<ResponseBody> {
    let body = EventStreamBody::new(receiver, guard).boxed_unsync();
    let mut response = Response::new(body);
    sse::set_headers(response.headers_mut());
    response
}

/// Returns a response with a JSON body.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<ResponseBody> {
    let length = HeaderValue::from(body.len());
    let body = Full::new(body).map_err(|never| match never {});

    let mut response = json_response(status, body.boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length);
    response
}

/// Returns a response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let body = Empty::new().map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Returns an error response.
pub(crate) fn rpc_error(error: &RpcError) -> Response<ResponseBody> {
    json(error.status(), error.to_json().into())
}

/// Returns the response to an HTTP method that an MCP endpoint does not have.
pub(crate) fn method_not_allowed() -> Response<ResponseBody> {
    let error = RpcError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        error_code::BAD_REQUEST,
        "expected GET, POST or DELETE",
    );
    let mut response = rpc_error(&error);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    response
}
