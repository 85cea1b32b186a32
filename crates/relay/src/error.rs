//! Makes the answers that the relay gives in the provider's place: the only place on this side where an error gets
//! its status and its body.

use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt, Full};
use llamapool_http::json_response;
pub(crate) use llamapool_wire::error_chain;
use llamapool_wire::{CallError, Cause, RETRY_AFTER_SECONDS, header as wire};

use crate::answer_body::AnswerBody;

/// Logs a failure. Those that a caller can make at will must not fill the log.
pub(crate) fn log_failure(failure: &CallError, id: Option<&str>, req_id: &str) {
    let (cause, error) = (failure.cause.word(), failure.log_message());
    if failure.cause.is_client_error() {
        tracing::debug!(req_id, id, cause, error, "call failed");
    } else {
        tracing::warn!(req_id, id, cause, error, "call failed");
    }
}

/// The answer to a call that the provider does not answer.
pub(crate) fn failed_call(failure: &CallError, req_id: &str) -> Response<AnswerBody> {
    let body = Full::from(failure.to_json(None, req_id))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = json_response(failure.cause.status(), body);
    let headers = response.headers_mut();
    headers.insert(wire::ERROR, HeaderValue::from_static(failure.cause.word()));
    if failure.cause.is_retryable() {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    if failure.cause == Cause::WrongToken {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The id of a call, as the server gave it.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(wire::REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
