//! Makes one JSON answer of an event stream, for a caller that did not ask for a stream (plain
//! curl).
//!
//! The one place on the server where an answer is collected, within a bound. The stream is read up
//! to the JSON-RPC response; the events before it (progress, log messages) are for callers that
//! take streams.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use llamapool_head::{FieldLookup, Fields};
use llamapool_http::JSON_TYPE;
use llamapool_http::sse::{self, FirstEventError};
use llamapool_limits::MemoryAccount;
use llamapool_mcp::is_response;
use llamapool_wire::{CallError, Cause};

/// The types that a provider is asked for on behalf of a caller that takes anything: a provider may
/// refuse less (MCP 2025-03-26, streamable-http: the client MUST list both).
pub(super) const BOTH_TYPES: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");

/// Returns whether the caller takes anything, and so did not ask for an event stream.
pub(super) fn accepts_anything(headers: &Fields) -> bool {
    let mut values = headers.all_values(&header::ACCEPT);
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.as_bytes().trim_ascii() == b"*/*",
        (Some(_), Some(_)) => false,
    }
}

/// Reads the stream up to the response, and returns an answer with that alone.
pub(super) async fn single_answer<B>(
    answer: Response<B>,
    max_bytes: usize,
    memory: &MemoryAccount,
) -> Result<Response<Body>, CallError>
where
    B: http_body::Body<Data = Bytes>,
{
    match sse::first_event(answer, max_bytes, memory, is_response).await {
        Ok(mut answer) => {
            answer.headers_mut().insert(header::CONTENT_TYPE, JSON_TYPE);
            Ok(answer.map(Body::from))
        }
        Err(FirstEventError::TooLarge(_)) => {
            let message = format!("the response exceeds {max_bytes} bytes, see MAX_ANSWER_BYTES");
            Err(CallError::new(Cause::AnswerTooLarge, message))
        }
        // The provider has executed the call: it must not look as if it could be sent again.
        Err(FirstEventError::OutOfMemory(_)) => Err(CallError::new(
            Cause::AnswerTooLarge,
            "the response needs more memory than is left for its caller, see MAX_MEMORY",
        )),
        Err(FirstEventError::Missing) => Err(CallError::new(
            Cause::NoResponse,
            "the provider's event stream ended without the response",
        )),
    }
}

#[cfg(test)]
mod tests {
    use llamapool_limits::{Claim, MemoryBudget, Owner};

    use super::*;

    fn account(bytes: usize) -> MemoryAccount {
        let claims = ["caller", "address", "id"].map(|name| Claim {
            owner: Owner::of(&name),
            factor: usize::MAX,
        });
        MemoryBudget::new(bytes).account(claims)
    }

    const NOISE: &str = ": hello\nid: 1\ndata:\n\nevent: message\ndata: {\"method\":\"notifications/progress\"}\n\n";

    async fn answer_of(stream: String, max_bytes: usize) -> Result<Response<Body>, CallError> {
        single_answer(
            Response::new(http_body_util::Full::<Bytes>::from(stream)),
            max_bytes,
            &account(1 << 30),
        )
        .await
    }

    #[tokio::test]
    async fn the_response_is_found_behind_what_precedes_it() {
        let response = r#"{"jsonrpc":"2.0","id":9007199254740993,"result":{}}"#;
        let stream = format!("{NOISE}event: message\ndata: {response}\n\n");

        let answer = answer_of(stream, 1000).await.unwrap();

        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        let body = axum::body::to_bytes(answer.into_body(), 1000)
            .await
            .unwrap();
        assert_eq!(body, response);
    }

    #[tokio::test]
    async fn a_missing_response_and_one_too_large_have_their_causes() {
        let unfinished = answer_of("data: {\"id\":1,\"result\":1}\n".to_owned(), 1000).await;
        let too_large = answer_of("x".repeat(1001), 1000).await;

        assert_eq!(unfinished.unwrap_err().cause, Cause::NoResponse);
        assert_eq!(too_large.unwrap_err().cause, Cause::AnswerTooLarge);
    }

    #[test]
    fn only_callers_that_take_anything_get_the_single_answer() {
        let accept = |values: &[&'static str]| {
            let value = |value: &&'static str| (header::ACCEPT, HeaderValue::from_static(value));
            accepts_anything(&values.iter().map(value).collect())
        };

        assert!(accept(&[]));
        assert!(accept(&[" */*"]));
        assert!(!accept(&["application/json"]));
        assert!(!accept(&["application/json, text/event-stream"]));
        assert!(!accept(&["*/*", "text/event-stream"]));
    }
}
