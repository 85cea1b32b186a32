//! The envelope of a JSON-RPC message, as far as both sides of llamapool look at it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json_rpc::{MessageKind, parse_messages_tolerant};

/// The members by which a response differs from a request.
#[derive(Deserialize)]
struct ResponseEnvelope<'a> {
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl ResponseEnvelope<'_> {
    fn is_response(&self) -> bool {
        self.method.is_none() && (self.result.is_some() || self.error.is_some())
    }
}

/// Returns whether `message` is a JSON-RPC response, or a batch that contains one (MCP 2025-03-26).
/// Text that is no message is no response.
///
/// What SDKs accept is accepted, too: `NaN`, and a name that stands twice.
pub fn is_response(message: &[u8]) -> bool {
    if let Ok(message) = serde_json::from_slice::<ResponseEnvelope<'_>>(message) {
        return message.is_response();
    }
    if let Ok(batch) = serde_json::from_slice::<Vec<ResponseEnvelope<'_>>>(message) {
        return batch.iter().any(ResponseEnvelope::is_response);
    }
    let messages = parse_messages_tolerant(&Bytes::copy_from_slice(message)).unwrap_or_default();
    messages
        .iter()
        .any(|message| message.kind == MessageKind::Response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_errors_and_batches_of_them_are_responses() {
        assert!(is_response(br#"{"id":1,"result":{}}"#));
        assert!(is_response(br#"{"id":1,"error":{"code":1}}"#));
        assert!(is_response(br#"[{"id":1,"result":1},{"method":"x"}]"#));
    }

    #[test]
    fn what_sdks_accept_as_a_response_is_one() {
        assert!(is_response(
            br#"{"jsonrpc":"2.0","id":1,"result":{"v":NaN}}"#
        ));
        assert!(is_response(
            br#"{"jsonrpc":"2.0","id":1,"result":1,"result":2}"#
        ));
        assert!(is_response(
            br#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1}}"#
        ));
    }

    #[test]
    fn requests_and_other_text_are_not_responses() {
        let request = br#"{"id":1,"method":"sampling/createMessage","params":{"result":1}}"#;

        assert!(!is_response(request));
        assert!(!is_response(b"nonsense"));
        assert!(!is_response(b"[]"));
    }
}
