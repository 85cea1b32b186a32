//! Makes one JSON answer of an event stream, for a caller who did not ask for a stream (plain curl).
//!
//! The one place on the server where an answer is collected; what it may hold has a bound. The stream is read up to
//! the JSON-RPC response; what precedes it (progress, log messages) is for callers who take streams.

use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use bytes::Bytes;
use http_body::Frame;
use llamapool_wire::{CallError, Cause};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a caller who takes anything is asked for at the provider: a provider may refuse less (MCP 2025-03-26,
/// streamable-http: the client MUST list both).
pub(crate) const BOTH_TYPES: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");

/// How long an event stream may go on behind the response that was looked for.
const TO_THE_END: Duration = Duration::from_millis(50);

/// Whether the caller takes anything, and so did not ask for an event stream.
pub(crate) fn takes_anything(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).into_iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.as_bytes().trim_ascii() == b"*/*",
        (Some(_), Some(_)) => false,
    }
}

/// Reads the stream up to the response, and answers with that.
pub(crate) async fn single_answer<B>(
    answer: Response<B>,
    max_bytes: usize,
) -> Result<Response<Body>, CallError>
where
    B: http_body::Body<Data = Bytes>,
{
    let (mut head, body) = answer.into_parts();
    let mut body = pin!(body);
    let mut events = Events::new(max_bytes);
    while let Some(frame) = next_frame(body.as_mut()).await {
        let Ok(frame) = frame else { break };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if let Some(response) = events.feed(&data)? {
            // The stream ends here as a rule. To leave it earlier would look like a caller who hangs up.
            let rest = async {
                while next_frame(body.as_mut())
                    .await
                    .is_some_and(|frame| frame.is_ok())
                {}
            };
            let _ = tokio::time::timeout(TO_THE_END, rest).await;
            head.headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            head.headers.remove(header::CONTENT_LENGTH);
            return Ok(Response::from_parts(head, Body::from(response)));
        }
    }
    Err(CallError::new(
        Cause::NoResponse,
        "the provider's event stream ended without the response",
    ))
}

async fn next_frame<B: http_body::Body>(
    mut body: Pin<&mut B>,
) -> Option<Result<Frame<B::Data>, B::Error>> {
    std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await
}

/// Takes an event stream apart, as far as that is needed to find the response in it.
struct Events {
    max_bytes: usize,
    /// The line that has begun.
    line: Vec<u8>,
    /// The data of the event that has begun.
    data: Vec<u8>,
    /// A carriage return ended the last line: a line feed behind it belongs to it.
    after_return: bool,
}

impl Events {
    fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            line: Vec::new(),
            data: Vec::new(),
            after_return: false,
        }
    }

    /// Takes the next piece; the response, if it is complete now.
    fn feed(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>, CallError> {
        for &byte in piece {
            let is_second_half =
                std::mem::replace(&mut self.after_return, byte == b'\r') && byte == b'\n';
            if is_second_half {
                continue;
            }
            if byte != b'\n' && byte != b'\r' {
                self.line.push(byte);
            } else if let Some(data) = self.end_line().filter(|data| is_response(data)) {
                return Ok(Some(data));
            }
            if self.line.len() + self.data.len() > self.max_bytes {
                let message = format!(
                    "the response exceeds {} bytes, see MAX_ANSWER_BYTES",
                    self.max_bytes
                );
                return Err(CallError::new(Cause::AnswerTooLarge, message));
            }
        }
        Ok(None)
    }

    /// A line has ended; the event's data, if that ended the event.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then_some(data);
        }
        if let Some(value) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        None
    }
}

/// Whether a message is a JSON-RPC response, or a batch of them (MCP 2025-03-26).
fn is_response(message: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        method: Option<&'a RawValue>,
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let answers = |message: &Message<'_>| {
        message.method.is_none() && (message.result.is_some() || message.error.is_some())
    };
    match serde_json::from_slice::<Message<'_>>(message) {
        Ok(message) => answers(&message),
        Err(_) => serde_json::from_slice::<Vec<Message<'_>>>(message)
            .is_ok_and(|batch| batch.iter().any(answers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: &str = ": hello\nid: 1\ndata:\n\nevent: message\ndata: {\"method\":\"notifications/progress\"}\n\n";

    fn found(stream: &str, piece: usize) -> Option<String> {
        let mut events = Events::new(1000);
        let pieces = stream.as_bytes().chunks(piece);
        let found = pieces
            .map(|piece| events.feed(piece).unwrap())
            .find_map(|found| found);
        found.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_response_is_found_behind_what_precedes_it_however_it_is_cut() {
        let stream = format!(
            "{NOISE}event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":9007199254740993,\"result\":{{}}}}\n\n"
        );
        for ends in ["\n", "\r\n", "\r"] {
            let stream = stream.replace('\n', ends);
            for piece in [1, 2, 3, 7, 1000] {
                let response = r#"{"jsonrpc":"2.0","id":9007199254740993,"result":{}}"#;
                assert_eq!(
                    found(&stream, piece).as_deref(),
                    Some(response),
                    "{ends:?} {piece}"
                );
            }
        }
    }

    #[test]
    fn errors_and_batches_are_responses_and_requests_are_not() {
        assert!(is_response(br#"{"id":1,"error":{"code":1}}"#));
        assert!(is_response(br#"[{"id":1,"result":1},{"id":2,"result":2}]"#));
        assert!(!is_response(
            br#"{"id":1,"method":"sampling/createMessage","params":{"result":1}}"#
        ));
        assert!(!is_response(b"nonsense"));
    }

    #[test]
    fn data_over_several_lines_is_one_message_and_an_unfinished_event_is_none() {
        assert_eq!(
            found("data: {\"id\":1,\ndata:\"result\":1}\n\n", 5).as_deref(),
            Some("{\"id\":1,\n\"result\":1}")
        );
        assert_eq!(found("data: {\"id\":1,\"result\":1}\n", 5), None);
    }

    #[test]
    fn what_exceeds_the_bound_is_an_error_and_not_a_cut_answer() {
        let failure = Events::new(1000).feed(&[b'x'; 1001]).unwrap_err();
        assert_eq!(failure.cause, Cause::AnswerTooLarge);
    }

    #[test]
    fn only_callers_who_take_anything_get_the_single_answer() {
        let accept = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            takes_anything(&headers)
        };
        assert!(accept(&[]));
        assert!(accept(&[" */*"]));
        assert!(!accept(&["application/json"]));
        assert!(!accept(&["application/json, text/event-stream"]));
        assert!(!accept(&["*/*", "text/event-stream"]));
    }
}
