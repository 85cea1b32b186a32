//! A client of the revisions with sessions, and the readers of answers and errors that all tests
//! use.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::event_stream::EventStream;
use crate::harness::soon;

/// A session of an MCP client.
pub(crate) struct Session {
    /// Its `Mcp-Session-Id`; empty until the session is initialized.
    pub(crate) id: String,
    pub(crate) url: String,
    revision: &'static str,
    http: reqwest::Client,
    /// The id of the next request.
    next_id: AtomicU64,
}

impl Session {
    /// Initializes a session of this revision; panics if it is refused.
    pub(crate) async fn begin(http: &reqwest::Client, url: &str, revision: &'static str) -> Self {
        let mut session = Self {
            id: String::new(),
            url: url.to_owned(),
            revision,
            http: http.clone(),
            next_id: AtomicU64::new(1),
        };

        let answer = send(session.post(initialize_request(revision))).await;
        let id = answer
            .headers()
            .get("mcp-session-id")
            .map(|id| id.to_str().unwrap().to_owned());
        let status = answer.status();
        let Some(id) = id else {
            panic!("{status}: {}", read_body(answer).await)
        };
        let result = read_message(answer).await["result"].clone();
        assert_eq!(result["protocolVersion"], revision);

        session.id = id;
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(send(session.post(initialized)).await.status(), 202);

        session
    }

    /// Returns a `POST` of any text.
    pub(crate) fn post(&self, text: impl Into<String>) -> RequestBuilder {
        let types = "application/json, text/event-stream";
        let request = self
            .http
            .post(&self.url)
            .header("accept", types)
            .header("content-type", "application/json");
        self.with_session_headers(request).body(text.into())
    }

    /// Returns a `GET`, which opens a stream for messages that belong to no call.
    pub(crate) fn get(&self) -> RequestBuilder {
        let request = self.http.get(&self.url);
        self.with_session_headers(request.header("accept", "text/event-stream"))
    }

    /// Returns a `DELETE`, which ends the session.
    pub(crate) fn delete(&self) -> RequestBuilder {
        self.with_session_headers(self.http.delete(&self.url))
    }

    fn with_session_headers(&self, request: RequestBuilder) -> RequestBuilder {
        if self.id.is_empty() {
            return request;
        }
        request
            .header("mcp-session-id", &self.id)
            .header("mcp-protocol-version", self.revision)
    }

    /// Calls a tool and returns the answer as soon as its head has arrived.
    pub(crate) async fn send_call(&self, tool: &str, arguments: Value) -> Response {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        send(self.post(call_request(&json!(id), tool, &arguments))).await
    }

    /// Calls a tool and returns its result.
    pub(crate) async fn call_tool(&self, tool: &str, arguments: Value) -> Value {
        let message = read_message(self.send_call(tool, arguments).await).await;
        assert!(message["result"].is_object(), "{message}");
        message["result"].clone()
    }

    /// Makes the program write these bytes to its standard output.
    pub(crate) async fn send_write(&self, bytes: impl AsRef<[u8]>) -> Response {
        self.send_call("write", write_arguments(bytes)).await
    }

    /// Returns every line that the program has received.
    pub(crate) async fn received_lines(&self) -> Vec<String> {
        let lines = self.call_tool("received_lines", json!({})).await["lines"].clone();
        serde_json::from_value(lines).unwrap()
    }

    /// Opens a stream with `GET`.
    pub(crate) async fn listen(&self) -> EventStream {
        let answer = send(self.get()).await;
        assert_eq!(answer.status(), 200);
        EventStream::of(answer)
    }

    /// Resumes a stream after this event id.
    pub(crate) async fn resume(&self, last_event_id: &str) -> EventStream {
        let answer = send(self.get().header("last-event-id", last_event_id)).await;
        assert_eq!(answer.status(), 200, "{}", read_body(answer).await);
        EventStream::of(answer)
    }
}

/// Returns the text of an `initialize` request.
pub(crate) fn initialize_request(revision: &str) -> String {
    let client = json!({ "name": "test", "version": "0" });
    let params = json!({ "protocolVersion": revision, "capabilities": { "sampling": {} }, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string()
}

/// Returns the text of a `tools/call` request.
pub(crate) fn call_request(id: &Value, tool: &str, arguments: &Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
}

/// Returns the arguments of the tool `write`, which carries each byte as one character.
pub(crate) fn write_arguments(bytes: impl AsRef<[u8]>) -> Value {
    json!({ "bytes": bytes.as_ref().iter().copied().map(char::from).collect::<String>() })
}

/// Sends a request and returns the answer as soon as its head has arrived.
pub(crate) async fn send(request: RequestBuilder) -> Response {
    soon("the call is answered", request.send())
        .await
        .expect("an HTTP answer")
}

/// Reads the whole body of an answer.
pub(crate) async fn read_body(answer: Response) -> String {
    soon("the body arrives", answer.text()).await.unwrap()
}

/// Reads the JSON-RPC response of an answer, whether it is one object or an event stream.
pub(crate) async fn read_message(answer: Response) -> Value {
    let text = read_message_text(answer).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Reads the JSON-RPC response of an answer as its unparsed text.
pub(crate) async fn read_message_text(answer: Response) -> String {
    assert_eq!(answer.status(), 200, "{}", read_body(answer).await);
    if answer.headers()["content-type"] == "application/json" {
        return read_body(answer).await;
    }

    let mut events = EventStream::of(answer);
    loop {
        let event = events.next().await.unwrap();
        let data = event.expect("the response, not the end of the stream").data;
        if !data.is_empty() && !data.contains(r#""method""#) {
            return data;
        }
    }
}

/// An error that llamapool answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LlamapoolError {
    pub(crate) status: u16,
    /// The value of `Llamapool-Error`.
    pub(crate) word: String,
    pub(crate) hop: String,
    pub(crate) message: String,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u64>,
}

/// Reads the error of an answer that llamapool made.
pub(crate) async fn llamapool_error(answer: Response) -> LlamapoolError {
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let body: Value = serde_json::from_str(&read_body(answer).await).unwrap();
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };

    let word = header("llamapool-error")
        .unwrap_or_else(|| panic!("no error of llamapool: {status} {body}"));
    let hop = body["error"]["data"]["hop"].as_str().unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    let retry_after = header("retry-after").map(|seconds| seconds.parse().unwrap());

    LlamapoolError {
        status,
        word,
        hop: hop.to_owned(),
        message: message.to_owned(),
        retry_after,
    }
}

/// Reads the status, code and message of an error in the way of an MCP server.
pub(crate) async fn mcp_error(answer: Response) -> (u16, i64, String) {
    let status = answer.status().as_u16();
    assert!(!answer.headers().contains_key("llamapool-error"));

    let body: Value = serde_json::from_str(&read_body(answer).await).unwrap();
    let code = body["error"]["code"].as_i64().unwrap();
    let message = body["error"]["message"].as_str().unwrap().to_owned();
    (status, code, message)
}

/// How the answer to a call ended whose program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The answer is an error of llamapool.
    Error(LlamapoolError),
    /// The head was already sent: an error event, behind which the stream breaks off.
    ErrorEvent(ErrorEvent),
    /// The stream breaks off without an error event.
    BrokenOff,
    /// The stream ends cleanly.
    Clean,
}

/// The JSON-RPC error in a stream that breaks off behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorEvent {
    pub(crate) id: Value,
    pub(crate) code: u64,
    pub(crate) hop: String,
    pub(crate) message: String,
}

impl ErrorEvent {
    /// Returns `None` for a message that is not an error of llamapool.
    fn of(message: &Value) -> Option<Self> {
        let error = &message["error"];
        let hop = error["data"]["hop"].as_str()?.to_owned();
        let text = error["message"].as_str()?.to_owned();
        let request_id = error["data"]["req_id"].as_str();
        assert_eq!(request_id.map(str::is_empty), Some(false), "{message}");

        Some(Self {
            id: message["id"].clone(),
            code: error["code"].as_u64()?,
            hop,
            message: text,
        })
    }
}

impl End {
    /// Returns the word and the message of the error; panics if there is none, or if its hop is not
    /// the provider.
    pub(crate) fn reason(self) -> (String, String) {
        match self {
            Self::Error(error) => {
                assert_eq!((error.status, &*error.hop), (502, "provider"), "{error:?}");
                (error.word, error.message)
            }
            Self::ErrorEvent(event) => {
                assert_eq!(event.hop, "provider", "{event:?}");
                let words = [(5024, "provider_garbage"), (5029, "provider_exited")];
                let (_, word) = words
                    .iter()
                    .find(|(code, _)| *code == event.code)
                    .expect("a code of the provider");
                ((*word).to_owned(), event.message)
            }
            Self::BrokenOff | Self::Clean => panic!("no reason: {self:?}"),
        }
    }
}

/// Reads an answer to its end.
pub(crate) async fn end_of(answer: Response) -> End {
    if answer.headers().contains_key("llamapool-error") {
        return End::Error(llamapool_error(answer).await);
    }

    let mut events = EventStream::of(answer);
    let mut error_event = None;
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                let message = serde_json::from_str(&event.data).unwrap_or_default();
                error_event = ErrorEvent::of(&message).or(error_event);
            }
            Ok(None) => return End::Clean,
            Err(_) => return error_event.map_or(End::BrokenOff, End::ErrorEvent),
        }
    }
}
