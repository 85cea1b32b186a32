//! The responses that the relay gives in the provider's place, and their log.

use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
pub(crate) use llamapool_wire::error_chain;
use llamapool_wire::{CallError, header as wire};

use crate::response_body::ResponseBody;

/// Logs an error. Errors that a caller can cause at will must not fill the log.
pub(crate) fn log_error(error: &CallError, id: Option<&str>, req_id: &str) {
    let cause = error.cause.word();
    let is_client_error = error.cause.is_client_error();
    let error = error.log_message();
    if is_client_error {
        tracing::debug!(req_id, id, cause, error, "call failed");
    } else {
        tracing::warn!(req_id, id, cause, error, "call failed");
    }
}

/// Returns the response to a call that has failed.
pub(crate) fn error_response(error: &CallError, req_id: &str) -> Response<ResponseBody> {
    error.to_response(req_id).map(|text: String| {
        Full::from(text)
            .map_err(|never| match never {})
            .boxed_unsync()
    })
}

/// Returns the request id that the server gave to a call, empty if there is none.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(wire::REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
