//! A client of MCP over Streamable HTTP: for the revision without sessions (2026-07-28), and for those with a session
//! (2025-11-25 and older). It declares no capabilities, so a server asks it nothing.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use llamapool_http::sse::{EventReader, is_event_stream};
use llamapool_wire::{Cause, RelayId};
use serde_json::{Map, Value, json};

use super::super::client::{Client, RemoteError};
use super::super::text::shown;
use super::super::{Finished, NO_PERMISSION, PROBLEM, UNAVAILABLE};
use super::param_headers::param_headers;

const STATELESS: &str = "2026-07-28";
const WITH_SESSIONS: &str = "2025-11-25";
/// The member with the name of a server of the revision without sessions.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Why llamapool itself answers.
const ERROR: HeaderName = HeaderName::from_static("llamapool-error");
/// The largest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The most pages of a list of tools.
const MAX_PAGES: usize = 100;
/// The most tools that an error names.
const MAX_NAMED: usize = 20;

/// A connection to an id, begun.
pub(super) struct Session<'a> {
    client: &'a Client,
    url: String,
    /// The revision that both speak.
    revision: String,
    session: Option<HeaderValue>,
    /// Name and version of the MCP server.
    server: String,
    next_id: u64,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// The call did not get there, or its answer not back.
    Transport(RemoteError),
    /// llamapool answers by itself.
    Llamapool {
        status: StatusCode,
        message: String,
        advice: String,
    },
    /// The MCP server, or something in front of it, answers so over HTTP.
    Http { status: StatusCode, message: String },
    /// The MCP server answers with an error, or there is no such tool.
    Tool(String),
}

impl From<RemoteError> for CallFailure {
    fn from(error: RemoteError) -> Self {
        Self::Transport(error)
    }
}

impl CallFailure {
    pub(super) fn no_tool(name: &str, tools: &[Value]) -> Self {
        let names = tools.iter().filter_map(|tool| tool["name"].as_str());
        let known: Vec<_> = names.collect();
        let suggestion = llamapool_settings::suggest(name, known.iter().copied());
        let hint = match suggestion {
            Some(suggestion) => format!("did you mean {suggestion}?"),
            None => format!(
                "expected one of {}",
                known[..known.len().min(MAX_NAMED)].join(", ")
            ),
        };
        Self::Tool(format!("there is no tool {name:?}; {hint}"))
    }

    pub(super) fn finished(&self) -> Finished {
        let advice = match self {
            Self::Llamapool { advice, .. } if !advice.is_empty() => format!("  → {advice}\n"),
            _ => String::new(),
        };
        let (message, code) = match self {
            Self::Transport(error) => (error.to_string(), error.code()),
            Self::Llamapool {
                status, message, ..
            }
            | Self::Http { status, message } => {
                let is_about_keys =
                    matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                let code = if is_about_keys {
                    NO_PERMISSION
                } else {
                    UNAVAILABLE
                };
                (message.clone(), code)
            }
            Self::Tool(message) => (message.clone(), PROBLEM),
        };
        Finished {
            notes: format!("llamapool: {}\n{advice}", shown(&message, 2000)),
            code,
            ..Finished::default()
        }
    }
}

impl<'a> Session<'a> {
    /// Begins to speak with an id, in the newest revision that its MCP server has.
    pub(super) async fn begin(client: &'a Client, id: &RelayId) -> Result<Self, CallFailure> {
        let mut session = Self {
            client,
            url: client.target().address.url_of(id),
            revision: STATELESS.to_owned(),
            session: None,
            server: String::new(),
            next_id: 0,
        };
        let discovered = session.request("server/discover", Map::new(), &[]).await;
        match discovered {
            Ok(result) if lists(&result["supportedVersions"], STATELESS) => {
                session.server = named(&result["_meta"][SERVER_INFO], STATELESS);
                Ok(session)
            }
            Err(error @ (CallFailure::Transport(_) | CallFailure::Llamapool { .. })) => Err(error),
            Err(CallFailure::Http { status, message }) if status == StatusCode::UNAUTHORIZED => {
                Err(CallFailure::Http { status, message })
            }
            // An MCP server of the older revisions answers this in many ways.
            _ => {
                session.initialize().await?;
                Ok(session)
            }
        }
    }

    /// Returns who answers, in which revision.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Returns whether headers repeat arguments that a tool declares so (MCP 2026-07-28, SEP-2243).
    pub(super) fn repeats_arguments(&self) -> bool {
        self.revision == STATELESS
    }

    /// Returns all tools.
    pub(super) async fn tools(&mut self) -> Result<Vec<Value>, CallFailure> {
        let mut tools = Vec::new();
        let mut params = Map::new();
        for _ in 0..MAX_PAGES {
            let mut result = self.request("tools/list", params.clone(), &[]).await?;
            if let Value::Array(page) = result["tools"].take() {
                tools.extend(page);
            }
            match result["nextCursor"].as_str() {
                Some(cursor) => params.insert("cursor".to_owned(), cursor.into()),
                None => return Ok(tools),
            };
        }
        Err(CallFailure::Tool(format!(
            "the list of tools has more than {MAX_PAGES} pages"
        )))
    }

    /// Calls a tool.
    pub(super) async fn call(
        &mut self,
        tool: &str,
        arguments: Map<String, Value>,
        schema: &Value,
    ) -> Result<Value, CallFailure> {
        let headers = if self.repeats_arguments() {
            param_headers(&arguments, schema)
        } else {
            Vec::new()
        };
        let params = [("name", tool.into()), ("arguments", arguments.into())];
        let params = params.map(|(name, value)| (name.to_owned(), value));
        let result = self
            .request("tools/call", Map::from_iter(params), &headers)
            .await?;
        if result["resultType"] == "input_required" {
            let message = "the tool asks for input, which this command cannot give";
            return Err(CallFailure::Tool(message.to_owned()));
        }
        Ok(result)
    }

    /// Ends the session, if there is one.
    pub(super) async fn end(&self) {
        if self.session.is_none() {
            return;
        }
        let headers = self.headers(&Value::Null, &[]);
        let request = self
            .client
            .request(Method::DELETE, &self.url, &headers, Bytes::new());
        let _ = request.await;
    }

    async fn initialize(&mut self) -> Result<(), CallFailure> {
        self.revision = WITH_SESSIONS.to_owned();
        let params = json!({
            "protocolVersion": WITH_SESSIONS,
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let Value::Object(params) = params else {
            return Ok(());
        };
        let result = self.request("initialize", params, &[]).await?;
        if let Some(revision) = result["protocolVersion"].as_str() {
            self.revision = revision.to_owned();
        }
        self.server = named(&result["serverInfo"], &self.revision);

        let message = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let headers = self.headers(&message, &[]);
        let body = Bytes::from(message.to_string());
        let answer = self
            .client
            .request(Method::POST, &self.url, &headers, body)
            .await?;
        if !answer.status.is_success() {
            return Err(failure_of(answer.status, &answer.headers, &answer.body));
        }
        Ok(())
    }

    /// Sends a request, and returns its result.
    async fn request(
        &mut self,
        method: &str,
        mut params: Map<String, Value>,
        more: &[(HeaderName, HeaderValue)],
    ) -> Result<Value, CallFailure> {
        self.next_id += 1;
        let id = self.next_id;
        if self.revision == STATELESS {
            let prefix = "io.modelcontextprotocol";
            let meta = json!({
                format!("{prefix}/protocolVersion"): STATELESS,
                format!("{prefix}/clientInfo"): client_info(),
                format!("{prefix}/clientCapabilities"): {},
            });
            params.insert("_meta".to_owned(), meta);
        }
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let headers = self.headers(&message, more);
        let body = Bytes::from(message.to_string());

        let exchange = async {
            let sent = self.client.send(Method::POST, &self.url, &headers, body);
            let (head, body) = sent.await?.into_parts();
            let session = head.headers.get(SESSION_ID).cloned();
            if head.status.is_success() && is_event_stream(&head.headers) {
                let answer = self.answer_in_stream(body, id).await?;
                return Ok((head.status, head.headers, answer, session));
            }
            let whole = Limited::new(body, MAX_MESSAGE_BYTES).collect().await;
            let whole = whole.map_err(|error| self.broken(error.to_string()))?;
            Ok((
                head.status,
                head.headers,
                whole.to_bytes().to_vec(),
                session,
            ))
        };
        let (status, headers, body, session) = self.client.within(&self.url, exchange).await?;
        if self.session.is_none() && method == "initialize" {
            self.session = session;
        }
        result_of(status, &headers, &body)
    }

    /// Reads an event stream up to the answer to a request. It may go on for ever.
    async fn answer_in_stream(&self, mut body: Incoming, id: u64) -> Result<Vec<u8>, RemoteError> {
        let mut events = EventReader::new(MAX_MESSAGE_BYTES);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(error.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let mut piece = &data[..];
            while let Some(event) = events
                .next_event(&mut piece)
                .map_err(|error| self.broken(error.to_string()))?
            {
                let message: Option<Value> = serde_json::from_slice(&event).ok();
                if message.is_some_and(|message| message["id"] == id && message["method"].is_null())
                {
                    return Ok(event);
                }
            }
        }
        Err(self.broken("the event stream ended without the answer".to_owned()))
    }

    fn broken(&self, why: String) -> RemoteError {
        RemoteError::Unreachable {
            url: self.url.clone(),
            why: format!("the answer broke off: {why}"),
        }
    }

    fn headers(
        &self,
        message: &Value,
        more: &[(HeaderName, HeaderValue)],
    ) -> Vec<(HeaderName, HeaderValue)> {
        let both = HeaderValue::from_static("application/json, text/event-stream");
        let json = HeaderValue::from_static("application/json");
        let mut headers = vec![(ACCEPT, both), (CONTENT_TYPE, json)];
        let method = message["method"].as_str().unwrap_or_default();
        if method != "initialize" {
            headers.extend(value(&self.revision).map(|it| (PROTOCOL_VERSION, it)));
        }
        headers.extend(self.session.clone().map(|it| (SESSION_ID, it)));
        if self.revision == STATELESS {
            headers.extend(value(method).map(|it| (METHOD, it)));
            let name = message["params"]["name"].as_str();
            headers.extend(
                name.and_then(super::param_headers::encoded)
                    .map(|it| (NAME, it)),
            );
        }
        headers.extend(more.iter().cloned());
        headers
    }
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn client_info() -> Value {
    json!({"name": "llamapool", "version": env!("CARGO_PKG_VERSION")})
}

fn lists(versions: &Value, version: &str) -> bool {
    let mut versions = versions.as_array().into_iter().flatten();
    versions.any(|it| it.as_str() == Some(version))
}

fn named(info: &Value, revision: &str) -> String {
    let name = info["name"].as_str().unwrap_or("an MCP server");
    let version = info["version"].as_str().unwrap_or_default();
    shown(format!("{name} {version}").trim(), 100) + &format!(", MCP {}", shown(revision, 20))
}

/// Returns the result of an answer.
fn result_of(
    status: StatusCode,
    headers: &http::HeaderMap,
    body: &[u8],
) -> Result<Value, CallFailure> {
    let message: Option<Value> = serde_json::from_slice(body).ok();
    if headers.contains_key(ERROR) || !status.is_success() {
        return Err(failure_of(status, headers, body));
    }
    let Some(mut message) = message else {
        let text = "the answer is no JSON: is there an MCP server behind the id?";
        return Err(CallFailure::Http {
            status,
            message: text.to_owned(),
        });
    };
    if let Some(error) = message.get("error") {
        let code = error["code"].as_i64().unwrap_or_default();
        let text = error["message"].as_str().unwrap_or("without a message");
        return Err(CallFailure::Tool(format!(
            "the MCP server answers: {text} ({code})"
        )));
    }
    Ok(message["result"].take())
}

/// Returns the failure that an answer is, with what to do about it where llamapool itself answers.
fn failure_of(status: StatusCode, headers: &http::HeaderMap, body: &[u8]) -> CallFailure {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = message["error"]["message"].as_str();
    let text = text
        .or_else(|| message["message"].as_str())
        .unwrap_or("no message");

    let word = headers.get(ERROR).and_then(|word| word.to_str().ok());
    match word {
        Some(word) => {
            let advice = Cause::from_word(word)
                .map_or("", Cause::advice)
                .replace('`', "");
            CallFailure::Llamapool {
                status,
                message: format!("{text} ({word})"),
                advice,
            }
        }
        None => CallFailure::Http {
            status,
            message: format!(
                "the MCP server answers with status {}: {text}",
                status.as_u16()
            ),
        },
    }
}
