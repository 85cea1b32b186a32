//! The errors that a worker answers calls with, in the format of the dialect that was asked.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use llamapool_dialect::{Dialect, Endpoint, LlmErrorKind, StreamPosition, error_body, late_error};
use llamapool_wire::header as wire;

use crate::response_body::ResponseBody;

/// A call to a runtime has failed, with the sentence that its caller gets to see.
#[derive(Debug)]
pub(super) struct LlmError {
    pub(super) kind: LlmErrorKind,
    message: String,
    param: Option<&'static str>,
    /// The error behind it, for the log alone.
    source: Option<String>,
}

impl LlmError {
    /// An error with its sentence.
    pub(super) fn new(kind: LlmErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            source: None,
        }
    }

    /// Names the member of the request that is wrong.
    pub(super) fn with_param(self, param: Option<&'static str>) -> Self {
        Self { param, ..self }
    }

    /// Adds the error behind it, for the log alone.
    pub(super) fn with_source(self, source: impl Into<String>) -> Self {
        let source = Some(source.into());
        Self { source, ..self }
    }

    /// Returns the last event of a stream that fails after its head. Not for a response, whose last event
    /// depends on what the server knows of the call.
    pub(super) fn late_event(&self, endpoint: Endpoint, position: &StreamPosition) -> Bytes {
        late_error(endpoint, self.kind, &self.message, position, true)
    }

    /// Returns the text for the log.
    pub(super) fn log_message(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.clone(),
        }
    }

    /// Logs the error. Callers can cause some at will, and others mean that a runtime is busy.
    pub(super) fn log(&self, provider: &str, req_id: &str) {
        let cause = self.kind.word();
        let error = self.log_message();
        let is_harmless = self.kind.status(Dialect::OpenAi).is_client_error()
            || self.kind == LlmErrorKind::RuntimeBusy;
        if is_harmless {
            tracing::debug!(req_id, provider, cause, error, "call failed");
        } else {
            tracing::warn!(req_id, provider, cause, error, "call failed");
        }
    }

    /// Returns the response in a dialect.
    pub(super) fn to_response(&self, dialect: Dialect, req_id: &str) -> Response<ResponseBody> {
        let body = error_body(dialect, self.kind, &self.message, self.param, req_id);
        let mut response = Response::new(whole_body(body.into()));
        *response.status_mut() = self.kind.status(dialect);
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(wire::ERROR, HeaderValue::from_static(self.kind.word()));
        response
    }
}

/// Returns a body of bytes that are there.
pub(super) fn whole_body(bytes: Bytes) -> ResponseBody {
    Full::from(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}
