//! The responses that the relay gives in the provider's place, and their log.

use bytes::Bytes;
use llamapool_head::{FieldLookup, ResponseHead};
use llamapool_tunnel::OutgoingBody;
pub(crate) use llamapool_wire::error_chain;
use llamapool_wire::{CallError, header as wire};

use crate::call::CallResponse;

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
pub(crate) fn error_response(error: &CallError, req_id: &str) -> CallResponse {
    let response = error.to_response::<Bytes>(req_id);
    CallResponse {
        head: ResponseHead::of(&response),
        body: OutgoingBody::Whole(response.into_body()),
    }
}

/// Returns the request id that the server gave to a call, empty if there is none.
pub(crate) fn request_id(headers: &impl FieldLookup) -> &str {
    headers.text_of(&wire::REQUEST_ID).unwrap_or_default()
}
