//! The failures of calls to MCP providers: llamapool's own, and the one that is protocol.

use axum::body::Body;
use axum::http::Response;
use llamapool_wire::{CallError, RelayId};

use crate::calls::failure::offline;
use crate::error::{JsonRpc, failed_call, session_gone};
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
}

impl McpError {
    /// The word for a session that is gone, in metrics and in the log.
    pub(super) const SESSION_GONE: &'static str = "session_gone";

    /// Returns the answer to the call.
    pub(super) fn into_response(self, req_id: &RequestId) -> Response<Body> {
        match self {
            Self::Failed(failure) => failed_call::<JsonRpc>(&failure, req_id.as_str()),
            Self::SessionGone => session_gone(),
        }
    }

    /// Returns the failure of a request that is no call of an MCP client.
    pub(crate) fn into_failure(self, id: &RelayId) -> CallError {
        match self {
            Self::Failed(failure) => failure,
            Self::SessionGone => offline(id),
        }
    }
}

impl From<CallError> for McpError {
    fn from(failure: CallError) -> Self {
        Self::Failed(failure)
    }
}
