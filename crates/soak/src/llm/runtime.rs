//! A scripted LLM runtime with OpenAI's API, as a process. It records each attempt and each word before
//! it writes it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::history::{AttemptRecord, word};
use super::script::{Failure, Script};
use crate::journal::Journal;

/// The only model.
pub(crate) const MODEL: &str = "scripted";
/// The largest request that is read, in bytes.
const MAX_REQUEST: usize = 1 << 20;
/// Events that wait for the connection.
const EVENTS: usize = 16;

struct Runtime {
    name: String,
    journal: Journal,
    /// The mark of this process, in the marks of its attempts.
    process: u32,
    attempts: AtomicU64,
    tasks: parking_lot::Mutex<JoinSet<()>>,
}

/// An attempt that was recorded.
#[derive(Clone)]
struct Attempt {
    runtime: Arc<Runtime>,
    mark: String,
    script: Script,
    failure: Option<Failure>,
}

/// A piece of an answer; `Err` breaks the connection off.
type Piece = Result<Bytes, std::io::Error>;

/// Serves a port until the process ends.
pub(crate) async fn run(name: &str, port: u16, journal: &Path) -> anyhow::Result<()> {
    let runtime = Arc::new(Runtime {
        name: name.to_owned(),
        journal: Journal::open(journal)?,
        process: rand::random(),
        attempts: AtomicU64::new(0),
        tasks: parking_lot::Mutex::default(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| format!("the runtime's port {port}"))?;

    let service = axum::routing::any(answer);
    let router = Router::new().fallback(service).with_state(runtime);
    axum::serve(listener, router).await.context("the runtime")
}

async fn answer(State(runtime): State<Arc<Runtime>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if head.method == Method::GET && path == "/v1/models" {
        let models = json!({ "object": "list", "data": [{ "id": MODEL, "object": "model" }] });
        return whole(StatusCode::OK, &models);
    }
    let body = axum::body::to_bytes(body, MAX_REQUEST).await;
    let request: Value = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    let script = serde_json::from_value::<Script>(request["script"].clone());
    let Ok(script) = script else {
        return failed(StatusCode::NOT_FOUND, "no script");
    };
    runtime.serve(script, request["stream"] == true).await
}

impl Runtime {
    async fn serve(self: Arc<Self>, script: Script, stream: bool) -> Response {
        let own = script.failure.as_ref();
        let failure = own.filter(|(at, _)| *at == self.name).map(|it| it.1);
        if failure == Some(Failure::Busy) {
            return failed(StatusCode::SERVICE_UNAVAILABLE, "busy");
        }
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        let attempt = Attempt {
            mark: format!("{:08x}-{number}", self.process),
            runtime: self.clone(),
            script,
            failure,
        };
        attempt.record(&AttemptRecord::Begin {
            attempt: attempt.mark.clone(),
            nonce: attempt.script.nonce.clone(),
        });
        if failure == Some(Failure::ExitBeforeHead) {
            exit();
        }
        if !stream {
            return attempt.whole().await;
        }

        let (pieces, received) = mpsc::channel::<Piece>(EVENTS);
        self.tasks.lock().spawn(attempt.stream(pieces));
        let body = futures_util::stream::unfold(received, async |mut received| {
            received.recv().await.map(|piece| (piece, received))
        });
        answered(StatusCode::OK, "text/event-stream", Body::from_stream(body))
    }
}

impl Attempt {
    fn record(&self, record: &AttemptRecord) {
        // What cannot be recorded must not be done: the checker would take it for an invention.
        if self.runtime.journal.record(record).is_err() {
            exit();
        }
    }

    /// Writes the answer as events.
    async fn stream(self, pieces: mpsc::Sender<Piece>) {
        let broken = || Err(std::io::ErrorKind::ConnectionAborted.into());
        tokio::time::sleep(Duration::from_millis(self.script.first_ms)).await;
        match self.failure {
            Some(Failure::ExitAfterHead) => exit(),
            Some(Failure::BreakAfterHead) => {
                let _ = pieces.send(broken()).await;
                return;
            }
            Some(Failure::ErrorBeforeContent) => {
                let error =
                    json!({ "error": { "message": "no", "type": "server_error", "code": 500 } });
                let _ = pieces.send(event(&error)).await;
                return;
            }
            _ => {}
        }
        for number in 0..self.script.words {
            if number == self.script.words / 2 {
                match self.failure {
                    Some(Failure::ExitAfterContent) => exit(),
                    Some(Failure::BreakAfterContent) => {
                        let _ = pieces.send(broken()).await;
                        return;
                    }
                    _ => {}
                }
            }
            self.record(&AttemptRecord::Word {
                attempt: self.mark.clone(),
                number,
            });
            let delta = json!({ "role": "assistant", "content": word(&self.mark, number) });
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": null });
            if pieces.send(event(&chunk(&choice))).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(self.script.gap_ms)).await;
        }
        self.record(&AttemptRecord::End {
            attempt: self.mark.clone(),
        });
        let choice = json!({ "index": 0, "delta": {}, "finish_reason": "stop" });
        let _ = pieces.send(event(&chunk(&choice))).await;
        let _ = pieces
            .send(Ok(Bytes::from_static(b"data: [DONE]\n\n")))
            .await;
    }

    /// Writes the answer in one piece.
    async fn whole(self) -> Response {
        let time = self.script.first_ms + self.script.gap_ms * u64::from(self.script.words);
        tokio::time::sleep(Duration::from_millis(time)).await;
        match self.failure {
            Some(Failure::ErrorBeforeContent) => {
                return failed(StatusCode::INTERNAL_SERVER_ERROR, "no");
            }
            Some(_) => exit(),
            None => {}
        }
        let mut text = String::new();
        for number in 0..self.script.words {
            self.record(&AttemptRecord::Word {
                attempt: self.mark.clone(),
                number,
            });
            text.push_str(&word(&self.mark, number));
        }
        self.record(&AttemptRecord::End {
            attempt: self.mark.clone(),
        });
        let message = json!({ "role": "assistant", "content": text });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        whole(StatusCode::OK, &answer_with(&choice, "chat.completion"))
    }
}

/// Ends the process at once, as a crash does.
fn exit() -> ! {
    std::process::exit(1)
}

fn event(data: &Value) -> Piece {
    Ok(Bytes::from(format!("data: {data}\n\n")))
}

fn chunk(choice: &Value) -> Value {
    answer_with(choice, "chat.completion.chunk")
}

fn answer_with(choice: &Value, object: &str) -> Value {
    json!({ "id": "1", "object": object, "created": 1, "model": MODEL, "choices": [choice] })
}

fn failed(status: StatusCode, message: &str) -> Response {
    whole(
        status,
        &json!({ "error": { "message": message, "type": "server_error", "code": null } }),
    )
}

fn whole(status: StatusCode, body: &Value) -> Response {
    answered(status, "application/json", Body::from(body.to_string()))
}

fn answered(status: StatusCode, content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}
