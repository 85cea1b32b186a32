//! The error responses of an MCP server over HTTP: a status and a JSON-RPC error.
//!
//! They are part of the protocol, unlike the failures of llamapool itself
//! (`llamapool_wire::CallError`), whose JSON-RPC codes are positive.

use bytes::Bytes;
use http::StatusCode;

use crate::error_code;
use crate::json_rpc::{Message, MessageKind};

/// An error response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    status: StatusCode,
    code: i64,
    message: String,
    /// The JSON text of the id of the request.
    id: Option<Bytes>,
    /// A value with which a client can continue.
    data: Option<serde_json::Value>,
}

impl RpcError {
    /// Creates an error whose id is null. `code` is one of [`error_code`].
    pub fn new(status: StatusCode, code: i64, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            id: None,
            data: None,
        }
    }

    /// Creates an error with status 400 whose id is null.
    pub fn bad_request(code: i64, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Creates the error for a session that does not exist. A client that reads it initializes
    /// again.
    pub fn session_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            error_code::SESSION_NOT_FOUND,
            "Session not found",
        )
    }

    /// Creates the error for a revision that the server does not support (MCP 2026-07-28,
    /// versioning).
    pub fn unsupported_version(requested: &str, supported: &[String]) -> Self {
        let message = format!("Unsupported protocol version: {requested}");
        let data = serde_json::json!({ "supported": supported, "requested": requested });
        Self {
            data: Some(data),
            ..Self::bad_request(error_code::UNSUPPORTED_VERSION, message)
        }
    }

    /// Adds what helps people, where clients show the protocol's own text: they read `message`, and
    /// some compare it.
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.data = Some(serde_json::json!({ "hint": hint }));
        self
    }

    /// Sets the id to that of `message`, if `message` is a request.
    pub fn for_message(mut self, message: &Message) -> Self {
        if let (MessageKind::Request, Some(id)) = (message.kind, &message.id) {
            self.id = Some(Bytes::copy_from_slice(id.raw(&message.text)));
        }
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the JSON-RPC response.
    pub fn to_json(&self) -> String {
        let id = self
            .id
            .as_deref()
            .and_then(|id| std::str::from_utf8(id).ok())
            .unwrap_or("null");
        let message = serde_json::Value::from(self.message.as_str());
        let data = self
            .data
            .as_ref()
            .map(|data| format!(r#","data":{data}"#))
            .unwrap_or_default();

        let error = format!(r#"{{"code":{},"message":{message}{data}}}"#, self.code);
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id is repeated byte for byte, and null where it is unknown.
    #[test]
    fn an_error_has_the_id_of_its_request() {
        let text = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"\u0061","method":"x"}"#);
        let request = Message::parse(text).unwrap();
        let error = RpcError::bad_request(error_code::PARSE, "not \"good\"");

        assert_eq!(
            error.to_json(),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not \"good\""}}"#
        );
        assert_eq!(
            error.for_message(&request).to_json(),
            r#"{"jsonrpc":"2.0","id":"\u0061","error":{"code":-32700,"message":"not \"good\""}}"#
        );
    }

    #[test]
    fn a_session_that_does_not_exist_is_not_found() {
        assert_eq!(RpcError::session_not_found().status(), 404);
    }
}
