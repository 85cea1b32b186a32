//! The envelope of a JSON-RPC message, as far as both sides of llamapool look at it.

use serde::Deserialize;
use serde_json::value::RawValue;

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
pub fn is_response(message: &[u8]) -> bool {
    match serde_json::from_slice::<ResponseEnvelope<'_>>(message) {
        Ok(message) => message.is_response(),
        Err(_) => serde_json::from_slice::<Vec<ResponseEnvelope<'_>>>(message)
            .is_ok_and(|batch| batch.iter().any(ResponseEnvelope::is_response)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_errors_and_batches_of_them_are_responses() {
        assert!(is_response(br#"{"id":1,"result":{}}"#));
        assert!(is_response(br#"{"id":1,"error":{"code":1}}"#));
        assert!(is_response(br#"[{"id":1,"result":1},{"id":2,"result":2}]"#));
    }

    #[test]
    fn requests_and_other_text_are_not_responses() {
        let request = br#"{"id":1,"method":"sampling/createMessage","params":{"result":1}}"#;

        assert!(!is_response(request));
        assert!(!is_response(b"nonsense"));
        assert!(!is_response(b"[]"));
    }
}
