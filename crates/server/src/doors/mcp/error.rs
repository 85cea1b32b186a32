//! The failures of calls to MCP providers: llamapool's own, and the two that are protocol.

use axum::body::Body;
use axum::http::Response;
use llamapool_wire::{CallError, Cause, RelayId};
use serde_json::value::RawValue;

use crate::calls::failure::offline;
use crate::error::{JsonRpc, failed_call, header_mismatch, refused_message, session_gone};
use crate::listen::RequestId;

/// The failure of a call to an MCP provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum McpError {
    /// llamapool's own failure.
    #[error("{}", .0.message)]
    Failed(CallError),
    /// The session's relay is gone for good: the client must initialize again.
    #[error("the session is gone")]
    SessionGone,
    /// A message is refused.
    #[error("{}", failure.message)]
    Refused {
        /// The reason.
        failure: CallError,
        /// The id of its request, if that is unambiguous.
        id: Option<Box<RawValue>>,
    },
    /// A header does not repeat the message: what reads the message must answer so (MCP 2026-07-28,
    /// streamable HTTP).
    #[error("{message}")]
    HeaderMismatch {
        /// The header, and what is wrong with it.
        message: String,
        /// The id of the request, if that is unambiguous.
        id: Option<Box<RawValue>>,
    },
}

impl McpError {
    /// The word for a header that does not repeat the message, in metrics and in the log.
    pub(super) const HEADER_MISMATCH: &'static str = "header_mismatch";
    /// The word for a session that is gone, in metrics and in the log.
    pub(super) const SESSION_GONE: &'static str = "session_gone";

    /// Returns the answer to the call.
    pub(super) fn into_response(self, req_id: &RequestId) -> Response<Body> {
        match self {
            Self::Failed(failure) => failed_call::<JsonRpc>(&failure, req_id.as_str()),
            Self::SessionGone => session_gone(),
            Self::Refused { failure, id } => {
                refused_message(&failure, id.as_deref(), req_id.as_str())
            }
            Self::HeaderMismatch { message, id } => header_mismatch(&message, id.as_deref()),
        }
    }

    /// Returns the failure of a request that is no call of an MCP client.
    pub(crate) fn into_failure(self, id: &RelayId) -> CallError {
        match self {
            Self::Failed(failure) | Self::Refused { failure, .. } => failure,
            Self::SessionGone => offline(id),
            Self::HeaderMismatch { message, .. } => {
                CallError::new(Cause::MessageUnreadable, message)
            }
        }
    }
}

impl From<CallError> for McpError {
    fn from(failure: CallError) -> Self {
        Self::Failed(failure)
    }
}
