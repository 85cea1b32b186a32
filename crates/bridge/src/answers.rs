//! The answers that an MCP server gives over HTTP and a program on standard input cannot: statuses, headers, and refusals of
//! what it is never shown (MCP 2025-11-25 and 2026-07-28, streamable HTTP).
//!
//! They are the provider's, not llamapool's: a client must understand them as protocol. Failures of llamapool's own are made
//! in `error.rs`.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use llamapool_http::{json_response, sse};
use llamapool_wire::CallError;

pub(crate) use llamapool_mcp::error_code as code;

use crate::body::InnerBody;
use crate::message::{Kind, Message};

/// An answer as the bridge gives it.
pub(crate) type Answer = Result<Response<InnerBody>, NoAnswer>;

/// Why the program is not asked, or has not answered.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// An MCP server would refuse it.
    Refusal(Refusal),
    /// Something has failed.
    CallError(CallError),
}

/// A refusal: its status, its JSON-RPC code, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: i64,
    message: String,
    /// The JSON text of the id of the request that is refused.
    id: Option<Bytes>,
    /// What a client can go on with.
    data: Option<serde_json::Value>,
}

impl Refusal {
    /// A refusal of a request that is not known by id.
    pub(crate) fn new(status: StatusCode, code: i64, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            id: None,
            data: None,
        }
    }

    /// The same for the request among these messages.
    pub(crate) fn of(mut self, message: &Message) -> Self {
        if let (Kind::Request, Some(id)) = (message.kind, &message.id) {
            self.id = Some(Bytes::copy_from_slice(id.raw(&message.text)));
        }
        self
    }

    /// A revision that the server does not know (MCP 2026-07-28, versioning).
    pub(crate) fn unsupported_version(requested: &str, supported: &[String]) -> Self {
        let message = format!("Unsupported protocol version: {requested}");
        let data = serde_json::json!({ "supported": supported, "requested": requested });
        Self {
            data: Some(data),
            ..Self::bad_request(code::UNSUPPORTED_VERSION, message)
        }
    }

    pub(crate) fn bad_request(code: i64, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A session that is not there, which makes a client initialize again.
    pub(crate) fn session_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::SESSION_NOT_FOUND,
            "Session not found",
        )
    }

    /// The answer.
    pub(crate) fn answer(&self) -> Response<InnerBody> {
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
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
        json(self.status, body.into())
    }
}

impl From<Refusal> for NoAnswer {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<CallError> for NoAnswer {
    fn from(failure: CallError) -> Self {
        Self::CallError(failure)
    }
}

impl NoAnswer {
    /// A refusal is an answer too.
    pub(crate) fn or_refusal(answer: Answer) -> Result<Response<InnerBody>, CallError> {
        answer.or_else(|reason| match reason {
            Self::Refusal(refusal) => Ok(refusal.answer()),
            Self::CallError(failure) => Err(failure),
        })
    }
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<InnerBody> {
    let length = HeaderValue::from(body.len());
    let body = Full::new(body).map_err(|never| match never {});
    let mut answer = json_response(status, body.boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_LENGTH, length);
    answer
}

/// The answer to a method that an MCP endpoint does not have.
pub(crate) fn method_not_allowed() -> Response<InnerBody> {
    let refusal = Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        code::BAD_REQUEST,
        "expected GET, POST or DELETE",
    );
    let mut answer = refusal.answer();
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    answer
}

/// An answer that is an event stream.
pub(crate) fn event_stream(body: InnerBody) -> Response<InnerBody> {
    let mut answer = Response::new(body);
    sse::set_headers(answer.headers_mut());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(answer: Response<InnerBody>) -> (u16, String) {
        let status = answer.status().as_u16();
        (
            status,
            String::from_utf8(
                answer
                    .into_body()
                    .collect()
                    .await
                    .unwrap()
                    .to_bytes()
                    .to_vec(),
            )
            .unwrap(),
        )
    }

    #[tokio::test]
    async fn a_refusal_is_a_json_rpc_error_with_the_id_of_its_request_as_it_came() {
        let request = Message::read(Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":"\u0061","method":"x"}"#,
        ))
        .unwrap();
        let refusal = Refusal::bad_request(code::PARSE, "not \"good\"");
        assert_eq!(
            text(refusal.clone().of(&request).answer()).await,
            (400, r#"{"jsonrpc":"2.0","id":"\u0061","error":{"code":-32700,"message":"not \"good\""}}"#.into())
        );
        assert_eq!(
            text(refusal.answer()).await,
            (
                400,
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not \"good\""}}"#
                    .into()
            )
        );
        assert_eq!(text(Refusal::session_not_found().answer()).await.0, 404);
    }
}
