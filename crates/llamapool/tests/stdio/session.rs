//! A client of the older revisions, with a session; and what is in answers.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::harness::soon;
use crate::stream::Events;

/// A session.
pub(crate) struct Session {
    /// Its `Mcp-Session-Id`.
    pub(crate) id: String,
    pub(crate) url: String,
    revision: &'static str,
    http: reqwest::Client,
    requests: AtomicU64,
}

impl Session {
    /// Begins one.
    pub(crate) async fn begin(http: &reqwest::Client, url: &str, revision: &'static str) -> Self {
        let (http, url) = (http.clone(), url.to_owned());
        let mut session = Self {
            id: String::new(),
            url,
            revision,
            http,
            requests: AtomicU64::new(1),
        };
        let answer = sent(session.post(initialize(revision))).await;
        let id = answer
            .headers()
            .get("mcp-session-id")
            .map(|id| id.to_str().unwrap().to_owned());
        let status = answer.status();
        let Some(id) = id else {
            panic!("{status}: {}", body(answer).await)
        };
        assert_eq!(message(answer).await["result"]["protocolVersion"], revision);
        session.id = id;
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(sent(session.post(initialized)).await.status(), 202);
        session
    }

    /// A post of any text.
    pub(crate) fn post(&self, text: impl Into<String>) -> RequestBuilder {
        let types = "application/json, text/event-stream";
        let request = self
            .http
            .post(&self.url)
            .header("accept", types)
            .header("content-type", "application/json");
        self.named(request).body(text.into())
    }

    /// A `GET`, which listens.
    pub(crate) fn get(&self) -> RequestBuilder {
        self.named(
            self.http
                .get(&self.url)
                .header("accept", "text/event-stream"),
        )
    }

    /// A `DELETE`, which ends it.
    pub(crate) fn delete(&self) -> RequestBuilder {
        self.named(self.http.delete(&self.url))
    }

    fn named(&self, request: RequestBuilder) -> RequestBuilder {
        if self.id.is_empty() {
            return request;
        }
        request
            .header("mcp-session-id", &self.id)
            .header("mcp-protocol-version", self.revision)
    }

    /// The head of the answer to the call of a tool.
    pub(crate) async fn calling(&self, tool: &str, arguments: Value) -> Response {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        sent(self.post(call(&json!(id), tool, &arguments))).await
    }

    /// The result of the call of a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        let message = message(self.calling(tool, arguments).await).await;
        assert!(message["result"].is_object(), "{message}");
        message["result"].clone()
    }

    /// What the program answers when it writes these bytes.
    pub(crate) async fn say(&self, bytes: impl AsRef<[u8]>) -> Response {
        self.calling("say", said(bytes)).await
    }

    /// Every line that the program has heard.
    pub(crate) async fn heard(&self) -> Vec<String> {
        let heard = self.call("what_you_heard", json!({})).await["heard"].clone();
        serde_json::from_value(heard).unwrap()
    }

    /// Listens for whatever comes.
    pub(crate) async fn listen(&self) -> Events {
        let answer = sent(self.get()).await;
        assert_eq!(answer.status(), 200);
        Events::of(answer)
    }

    /// Goes on behind an event.
    pub(crate) async fn resume(&self, last: &str) -> Events {
        let answer = sent(self.get().header("last-event-id", last)).await;
        assert_eq!(answer.status(), 200, "{}", body(answer).await);
        Events::of(answer)
    }
}

/// The request with which a session begins.
pub(crate) fn initialize(revision: &str) -> String {
    let client = json!({ "name": "test", "version": "0" });
    let params = json!({ "protocolVersion": revision, "capabilities": { "sampling": {} }, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string()
}

/// A call of a tool.
pub(crate) fn call(id: &Value, tool: &str, arguments: &Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
}

/// The arguments with which the program writes these bytes.
pub(crate) fn said(bytes: impl AsRef<[u8]>) -> Value {
    json!({ "bytes": bytes.as_ref().iter().copied().map(char::from).collect::<String>() })
}

/// The head of an answer.
pub(crate) async fn sent(request: RequestBuilder) -> Response {
    soon("the call is answered", request.send())
        .await
        .expect("an HTTP answer")
}

/// The whole body of an answer.
pub(crate) async fn body(answer: Response) -> String {
    soon("the body arrives", answer.text()).await.unwrap()
}

/// The JSON-RPC response in an answer, be it one object or a stream of events.
pub(crate) async fn message(answer: Response) -> Value {
    let text = text(answer).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The same as it stands there.
pub(crate) async fn text(answer: Response) -> String {
    assert_eq!(answer.status(), 200, "{}", body(answer).await);
    if answer.headers()["content-type"] == "application/json" {
        return body(answer).await;
    }
    let mut events = Events::of(answer);
    loop {
        let data = events
            .next()
            .await
            .unwrap()
            .expect("the response, not the end of the stream")
            .data;
        if !data.is_empty() && !data.contains(r#""method""#) {
            return data;
        }
    }
}

/// An error that llamapool made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) status: u16,
    pub(crate) word: String,
    pub(crate) hop: String,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u64>,
}

/// What llamapool says in its error.
pub(crate) async fn failed(answer: Response) -> Failed {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body: Value = serde_json::from_str(&body(answer).await).unwrap();
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let word = header("llamapool-error")
        .unwrap_or_else(|| panic!("no error of llamapool: {status} {body}"));
    let (hop, message) = (
        body["error"]["data"]["hop"].as_str().unwrap(),
        body["error"]["message"].as_str().unwrap(),
    );
    let retry_after = header("retry-after").map(|seconds| seconds.parse().unwrap());
    Failed {
        status,
        word,
        hop: hop.to_owned(),
        message: message.to_owned(),
        retry_after,
    }
}

/// The status, code and message of an error of an MCP server.
pub(crate) async fn refused(answer: Response) -> (u16, i64, String) {
    let status = answer.status().as_u16();
    assert!(!answer.headers().contains_key("llamapool-error"));
    let body: Value = serde_json::from_str(&body(answer).await).unwrap();
    (
        status,
        body["error"]["code"].as_i64().unwrap(),
        body["error"]["message"].as_str().unwrap().to_owned(),
    )
}

/// How an answer ends that is not the one that was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With an error of llamapool instead of it.
    Failed(Failed),
    /// With the same in the stream, which breaks off behind it, because the head was sent when it failed.
    Told(Told),
    /// With a stream that only breaks off.
    BrokenOff,
    /// As if all was well.
    Clean,
}

/// What a stream says of the request that it was to answer, before it breaks off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: Value,
    pub(crate) code: u64,
    pub(crate) hop: String,
    pub(crate) message: String,
}

impl Told {
    fn of(message: &Value) -> Option<Self> {
        let error = &message["error"];
        let (hop, text) = (
            error["data"]["hop"].as_str()?.to_owned(),
            error["message"].as_str()?.to_owned(),
        );
        assert_eq!(
            error["data"]["req_id"].as_str().map(str::is_empty),
            Some(false),
            "{message}"
        );
        Some(Self {
            id: message["id"].clone(),
            code: error["code"].as_u64()?,
            hop,
            message: text,
        })
    }
}

impl End {
    /// The word of the cause and the message, in the head's place or in the stream.
    pub(crate) fn reason(self) -> (String, String) {
        match self {
            Self::Failed(failed) => {
                assert_eq!(
                    (failed.status, &*failed.hop),
                    (502, "provider"),
                    "{failed:?}"
                );
                (failed.word, failed.message)
            }
            Self::Told(told) => {
                assert_eq!(told.hop, "provider", "{told:?}");
                let words = [(5024, "provider_garbage"), (5029, "provider_exited")];
                let word = words
                    .iter()
                    .find(|(code, _)| *code == told.code)
                    .expect("a code of the provider");
                (word.1.to_owned(), told.message)
            }
            Self::BrokenOff | Self::Clean => panic!("no reason: {self:?}"),
        }
    }
}

/// How an answer ends.
pub(crate) async fn end_of(answer: Response) -> End {
    if answer.headers().contains_key("llamapool-error") {
        return End::Failed(failed(answer).await);
    }
    let mut events = Events::of(answer);
    let mut told = None;
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                let message = serde_json::from_str(&event.data).unwrap_or_default();
                told = Told::of(&message).or(told);
            }
            Ok(None) => return End::Clean,
            Err(_) => return told.map_or(End::BrokenOff, End::Told),
        }
    }
}
