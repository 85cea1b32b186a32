//! The checks of the fuzz targets in `fuzz/` that concern headers and tools of the revisions
//! without sessions.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use http::HeaderMap;
use llamapool_mcp::{Message, RpcError};

use super::headers;
use super::tools::header_parameters;

/// Checks the headers of a request.
pub(crate) fn check_headers(sent: &HeaderMap, message: &Message) -> Result<(), RpcError> {
    headers::check(sent, message)?;
    headers::check_arguments(sent, message.params().arguments(), &[])
}

/// Checks that each header of a schema leads to a property, however the schema is nested.
pub fn tool_schema(schema: &[u8], sent: &HeaderMap) {
    let Ok(schema) = serde_json::from_slice::<serde_json::Value>(schema) else {
        return;
    };

    let parameters = header_parameters(&schema);
    for parameter in &parameters {
        assert!(!parameter.path.is_empty());
        assert!(parameter.header.starts_with("mcp-param-"));
    }
    let _ = headers::check_arguments(sent, Some(&schema.to_string()), &parameters);
}
