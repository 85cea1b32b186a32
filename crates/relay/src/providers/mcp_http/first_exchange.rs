//! The first exchange with a provider of HTTP: who it is, and how many tools it has. It is what every
//! client does first, through the relay's own connections, redirects and headers, and it ends the
//! session that it begins.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use llamapool_head::{FieldValue, Fields, ResponseHead};
use llamapool_http::http1::RequestBody;
use llamapool_http::{collect, sse};
use llamapool_mcp::{Revision, ServerFacts, header as mcp};
use serde_json::{Value, json};

use super::headers::add_extra;
use super::pool::ProviderBody;
use super::upstream::{ProviderRequest, ProviderUpstream, Redirects};

/// The longest time of the whole exchange. A provider that takes longer is not asked again: its
/// callers wait for as long as they want.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of an answer. A list of tools has a few hundred for each of them.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// What the answers may be.
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Asks a provider. `None` if it does not answer, as one that wants a credential first.
pub(super) async fn ask(upstream: &ProviderUpstream) -> Option<ServerFacts> {
    tokio::time::timeout(PATIENCE, Exchange::new(upstream).facts())
        .await
        .ok()?
}

/// The answer to one request.
struct Answer {
    head: ResponseHead,
    body: ProviderBody,
}

struct Exchange<'a> {
    upstream: &'a ProviderUpstream,
    /// The headers of every further request: session and revision.
    headers: HeaderMap,
}

impl<'a> Exchange<'a> {
    fn new(upstream: &'a ProviderUpstream) -> Self {
        Self {
            upstream,
            headers: HeaderMap::new(),
        }
    }

    async fn facts(mut self) -> Option<ServerFacts> {
        match self.of_session().await {
            Some(facts) => Some(facts),
            None => self.without_session().await,
        }
    }

    /// Asks in a session, as all revisions before 2026-07-28 have them.
    async fn of_session(&mut self) -> Option<ServerFacts> {
        let params = json!({
            "protocolVersion": Revision::LAST_WITH_SESSIONS.name(),
            "capabilities": {},
            "clientInfo": client(),
        });
        let response = self.post(&request("initialize", &params)).await?;
        let session = response.head.fields.get(&mcp::SESSION_ID);
        let session = session.and_then(FieldValue::to_http);
        self.headers
            .extend(session.map(|session| (mcp::SESSION_ID, session)));
        let facts = ServerFacts::of_initialize(&self.result(response).await?);
        let revision = HeaderValue::from_str(&facts.revision).ok();
        self.headers
            .extend(revision.map(|revision| (mcp::PROTOCOL_VERSION, revision)));

        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let _ = self.post(&initialized).await?;
        let facts = self.with_tools(facts, &json!({})).await;
        if self.headers.contains_key(mcp::SESSION_ID) {
            // A provider that does not take it keeps the session for as long as it keeps any.
            let _ = self.send(&Method::DELETE, Bytes::new()).await;
        }
        Some(facts)
    }

    /// Asks as revision 2026-07-28 does, where each request contains everything.
    async fn without_session(&mut self) -> Option<ServerFacts> {
        let revision = HeaderValue::from_static(Revision::V2026_07_28.name());
        self.headers = HeaderMap::from_iter([(mcp::PROTOCOL_VERSION, revision)]);
        let params = json!({ "_meta": {
            "io.modelcontextprotocol/protocolVersion": Revision::V2026_07_28.name(),
            "io.modelcontextprotocol/clientInfo": client(),
            "io.modelcontextprotocol/clientCapabilities": {},
        }});

        self.set_method("server/discover");
        let response = self.post(&request("server/discover", &params)).await?;
        let facts = ServerFacts::of_discovery(&self.result(response).await?);
        self.set_method("tools/list");
        Some(self.with_tools(facts, &params).await)
    }

    fn set_method(&mut self, method: &'static str) {
        let value = HeaderValue::from_static(method);
        self.headers.insert(mcp::METHOD, value);
    }

    async fn with_tools(&self, facts: ServerFacts, params: &Value) -> ServerFacts {
        let result = match self.post(&request("tools/list", params)).await {
            Some(response) => self.result(response).await,
            None => None,
        };
        match result {
            Some(result) => facts.with_tools(&result),
            None => facts,
        }
    }

    async fn post(&self, message: &Value) -> Option<Answer> {
        let answer = self.send(&Method::POST, message.to_string().into()).await?;
        answer.head.status.is_success().then_some(answer)
    }

    async fn send(&self, method: &Method, body: Bytes) -> Option<Answer> {
        let mut fields = Fields::from(&self.headers);
        let json = HeaderValue::from_static("application/json");
        fields.append(&header::CONTENT_TYPE, &json);
        fields.append(&header::ACCEPT, &ACCEPTED);
        add_extra(&mut fields, self.upstream.extra_headers());
        let request = ProviderRequest {
            method,
            url: self.upstream.route().target("", None),
            fields: &fields,
            body: RequestBody::Whole(body),
        };
        let sent = self.upstream.forward(Redirects::Follow, None, request);
        let response = sent.await.ok()?;
        Some(Answer {
            head: response.head,
            body: response.body,
        })
    }

    /// Returns the result of an answer, which is one JSON object or the event of a stream. `None` if
    /// it is an error.
    async fn result(&self, answer: Answer) -> Option<Value> {
        let mut message = if sse::is_event_stream(&answer.head.fields) {
            first_response(answer.body).await?
        } else {
            let memory = self.upstream.memory();
            let body = collect(answer.body, MAX_ANSWER_BYTES, memory).await;
            serde_json::from_slice::<Value>(&body.ok()?).ok()?
        };
        let result = message.get_mut("result")?.take();
        result.is_object().then_some(result)
    }
}

/// Returns the first message of a stream that is a response.
async fn first_response(mut body: ProviderBody) -> Option<Value> {
    let mut reader = sse::EventReader::new(MAX_ANSWER_BYTES);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        let mut piece = &data[..];
        while let Some(event) = reader.next_event(&mut piece).ok()? {
            let message: Option<Value> = serde_json::from_slice(&event).ok();
            let is_response =
                |message: &Value| !message["id"].is_null() && message["method"].is_null();
            if let Some(message) = message.filter(is_response) {
                return Some(message);
            }
        }
    }
    None
}

fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params })
}

fn client() -> Value {
    json!({ "name": "llamapool", "version": env!("CARGO_PKG_VERSION") })
}
