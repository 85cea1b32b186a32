//! Why the bridge answers a request itself.

use http::Response;
use llamapool_mcp::RpcError;
use llamapool_wire::CallError;

use crate::response_body::ResponseBody;

/// The outcome of a request inside the bridge.
pub(crate) type ServeResult = Result<Response<ResponseBody>, ServeError>;

/// Why a request has no response of the program.
#[derive(Debug)]
pub(crate) enum ServeError {
    /// An MCP server would refuse the request.
    Refused(RpcError),
    /// The program, or the bridge, failed.
    Failed(CallError),
}

impl From<RpcError> for ServeError {
    fn from(refusal: RpcError) -> Self {
        Self::Refused(refusal)
    }
}

impl From<CallError> for ServeError {
    fn from(failure: CallError) -> Self {
        Self::Failed(failure)
    }
}
