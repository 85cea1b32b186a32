//! The HTTP provider: an MCP server with sessions and event streams that can be resumed, as a
//! process.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::plant::Plant;
use crate::tool;
use crate::work::{Executed, Work};

/// The longest time for which the events of a stream can be resumed after its end.
const KEPT: Duration = Duration::from_secs(60);

/// The provider.
struct Provider {
    work: Work,
    sessions: Mutex<HashMap<String, ()>>,
    streams: Mutex<HashMap<String, Arc<Stream>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// The messages of one call that have been sent so far.
#[derive(Default)]
struct Stream {
    messages: watch::Sender<Vec<Value>>,
    count: usize,
}

/// Serves a port until the process ends.
pub(crate) async fn run(port: u16, journal: &Path, plant: Plant) -> anyhow::Result<()> {
    let provider = Arc::new(Provider {
        work: Work::new(journal, plant)?,
        sessions: Mutex::default(),
        streams: Mutex::default(),
        tasks: Mutex::default(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| format!("the provider's port {port}"))?;

    let service = axum::routing::any(answer);
    let router = Router::new().fallback(service).with_state(provider);
    axum::serve(listener, router).await.context("the provider")
}

async fn answer(State(provider): State<Arc<Provider>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        // The body broke off: nothing is executed.
        return status(StatusCode::BAD_REQUEST);
    };

    let session = session_of(&head.headers);
    let is_known = |id: &String| provider.sessions.lock().contains_key(id);
    if session.as_ref().is_some_and(|id| !is_known(id)) {
        return status(StatusCode::NOT_FOUND);
    }
    match head.method {
        Method::POST => provider.post(&body).await,
        Method::GET => provider.resume(&head.headers),
        Method::DELETE => {
            if let Some(id) = session {
                provider.sessions.lock().remove(&id);
            }
            status(StatusCode::NO_CONTENT)
        }
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn session_of(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("mcp-session-id")?.to_str().ok()?;
    Some(id.to_owned())
}

impl Provider {
    async fn post(self: &Arc<Self>, body: &[u8]) -> Response {
        let Ok(message) = serde_json::from_slice::<Value>(body) else {
            return status(StatusCode::BAD_REQUEST);
        };
        match message["method"].as_str() {
            Some("initialize") => self.initialize(&message),
            Some("tools/call") => match self.work.execute(&message) {
                Ok(executed) => self.call(executed).await,
                Err(error) => {
                    let error = tool::error(&message["id"], -32603, &error.to_string());
                    json_answer(StatusCode::OK, &error)
                }
            },
            Some(_) if message["id"].is_null() => status(StatusCode::ACCEPTED),
            _ => {
                let error = tool::error(&message["id"], -32601, "no such method");
                json_answer(StatusCode::OK, &error)
            }
        }
    }

    fn initialize(&self, message: &Value) -> Response {
        let id = format!("{:032x}", rand::random::<u128>());
        self.sessions.lock().insert(id.clone(), ());

        let result = json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "soak", "version": "0" },
        });
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        let mut answer = json_answer(StatusCode::OK, &answer);
        if let Ok(id) = id.parse() {
            answer.headers_mut().insert("mcp-session-id", id);
        }
        answer
    }

    /// Answers a call: with JSON, or with an event stream that can be resumed.
    async fn call(self: &Arc<Self>, executed: Executed) -> Response {
        let messages = executed.messages();
        if executed.arguments.events == 0 {
            let message = messages.into_iter().next_back().unwrap_or_default();
            executed.wait().await;
            return json_answer(StatusCode::OK, &message);
        }

        let name = executed.arguments.nonce.clone();
        let stream = Arc::new(Stream {
            messages: watch::Sender::default(),
            count: messages.len(),
        });
        self.streams.lock().insert(name.clone(), stream.clone());
        let task = self
            .clone()
            .work_off(name.clone(), stream.clone(), executed, messages);
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
        event_stream(&name, &stream, 0)
    }

    /// Adds one message after the other to a stream, and forgets the stream after a while.
    async fn work_off(
        self: Arc<Self>,
        name: String,
        stream: Arc<Stream>,
        executed: Executed,
        messages: Vec<Value>,
    ) {
        for message in messages {
            executed.wait().await;
            stream.messages.send_modify(|sent| sent.push(message));
        }
        tokio::time::sleep(KEPT).await;
        self.streams.lock().remove(&name);
    }

    /// Goes on with a stream behind the event that the request names: `<nonce>/<number>`.
    fn resume(&self, headers: &HeaderMap) -> Response {
        let last = headers.get("last-event-id");
        let last = last.and_then(|id| id.to_str().ok());
        let Some((name, number)) = last.and_then(|id| id.split_once('/')) else {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        };
        let stream = self.streams.lock().get(name).cloned();
        match (stream, number.parse::<usize>()) {
            (Some(stream), Ok(number)) => event_stream(name, &stream, number + 1),
            _ => status(StatusCode::BAD_REQUEST),
        }
    }
}

/// Returns the messages of a stream from a number on as server-sent events.
fn event_stream(name: &str, stream: &Stream, from: usize) -> Response {
    let messages = stream.messages.subscribe();
    let count = stream.count;
    let name = name.to_owned();

    let events = futures_util::stream::unfold((messages, from), move |(mut messages, number)| {
        let name = name.clone();
        async move {
            if number >= count {
                return None;
            }
            let message = {
                let sent = messages.wait_for(|sent| sent.len() > number).await;
                sent.ok()?[number].clone()
            };
            let event = format!("id: {name}/{number}\ndata: {message}\n\n");
            Some((Ok::<_, Infallible>(event), (messages, number + 1)))
        }
    });
    answer_of("text/event-stream", Body::from_stream(events))
}

fn status(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

fn json_answer(status: StatusCode, message: &Value) -> Response {
    let mut answer = answer_of("application/json", Body::from(message.to_string()));
    *answer.status_mut() = status;
    answer
}

fn answer_of(content_type: &'static str, body: Body) -> Response {
    let mut answer = Response::new(body);
    let content_type = http::HeaderValue::from_static(content_type);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}
