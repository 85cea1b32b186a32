//! Workers that follow a script: they have no runtime, and a test answers each of their calls.
//!
//! They speak the tunnel's protocol by the product's own code, so that a test is about calls and
//! events alone.

use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, header};
use bytes::Bytes;
use llamapool_tunnel::{IncomingBody, TunnelConfig, serve_relay_end};
use llamapool_wire::llm::{CallReport, Load, ModelInfo, Models, RuntimeInfo};
use llamapool_wire::{Event, Offer, ProviderHealth, header as wire};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Caller, Upgrade, soon};

/// The pieces of a body. An `Err` aborts it, dropping the sender ends it.
type Pieces = mpsc::Sender<Result<Bytes, io::Error>>;

/// What a worker reports when it connects.
#[derive(Debug, Clone)]
pub struct WorkerSetup {
    /// The runtime.
    pub runtime: RuntimeInfo,
    /// The models, all of them loaded.
    pub models: Vec<ModelInfo>,
}

/// A worker whose calls a test answers. Dropping it ends its connection.
pub struct ScriptedWorker {
    events: Pieces,
    calls: mpsc::Receiver<WorkerCall>,
    _tasks: JoinSet<()>,
}

/// A call that the server sent to a worker. Dropping it without an answer is the end of its stream.
pub struct WorkerCall {
    /// The path inside the tunnel, with its query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    reply: oneshot::Sender<Response<Body>>,
}

impl WorkerSetup {
    /// A runtime with these models, which has so many slots and all APIs.
    pub fn new(models: &[&str], slots: u32) -> Self {
        const APIS: [&str; 6] = [
            "chat",
            "completions",
            "responses",
            "messages",
            "embeddings",
            "rerank",
        ];
        let model = |name: &&str| ModelInfo {
            name: (*name).to_owned(),
            context: 32_768,
            apis: APIS.map(str::to_owned).to_vec(),
            ..ModelInfo::default()
        };
        Self {
            runtime: RuntimeInfo {
                runtime: "openai".to_owned(),
                max_concurrency: slots,
                weight: 1000,
                ..RuntimeInfo::default()
            },
            models: models.iter().map(model).collect(),
        }
    }
}

impl ScriptedWorker {
    /// Connects a worker to a server, which then has its models.
    pub async fn connect(server: &Caller, id: &str, setup: WorkerSetup) -> Self {
        let answer = Upgrade::for_worker(id).answer(server).await;
        assert_eq!(answer.status, 101, "{}", answer.head);

        let (events, lines) = mpsc::channel(64);
        let (sender, calls) = mpsc::channel(64);
        let lines = parking_lot::Mutex::new(Some(lines));
        let handler = move |request: Request<IncomingBody>| {
            let is_call = request.uri().path().starts_with("/llm/");
            let lines = (!is_call).then(|| lines.lock().take()).flatten();
            answer_request(request, sender.clone(), lines)
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let config = TunnelConfig::default();
            serve_relay_end(answer.stream, config, handler, std::future::pending()).await;
        });

        let worker = Self {
            events,
            calls,
            _tasks: tasks,
        };
        worker.send(&offer(setup.runtime, false)).await;
        let resident = (0..).take(setup.models.len()).collect();
        let names: Vec<_> = setup
            .models
            .iter()
            .map(|model| model.name.clone())
            .collect();
        let models = Models {
            models: setup.models,
        };
        worker.send(&Event::Models(models)).await;
        let load = Load {
            resident,
            ..Load::default()
        };
        worker.send(&Event::Load(load)).await;
        let what = "the models of the worker are known";
        server
            .until(what, |state| has_models(state, id, &names))
            .await;
        worker
    }

    /// Sends an event.
    pub async fn send(&self, event: &Event) {
        let line = Bytes::from(event.to_line());
        let sent = self.events.send(Ok(line)).await;
        sent.expect("the server reads events");
    }

    /// Sends bytes in the place of a line. Returns `false` once the server reads no more.
    pub async fn send_raw(&self, bytes: Vec<u8>) -> bool {
        self.events.send(Ok(bytes.into())).await.is_ok()
    }

    /// Reports an attempt.
    pub async fn report(&self, report: CallReport) {
        self.send(&Event::Call(report)).await;
    }

    /// Offers that it takes no new calls.
    pub async fn offer_draining(&self, runtime: RuntimeInfo) {
        self.send(&offer(runtime, true)).await;
    }

    /// Waits for the next call.
    pub async fn next_call(&mut self) -> WorkerCall {
        let call = soon("a call reaches the worker", self.calls.recv()).await;
        call.expect("a tunnel")
    }

    /// Returns whether a call is here.
    pub fn has_call(&mut self) -> bool {
        !self.calls.is_empty()
    }
}

impl WorkerCall {
    /// Returns the number of the attempt.
    pub fn attempt(&self) -> u64 {
        let value = self.headers.get(wire::ATTEMPT).expect("an attempt");
        let value = value.to_str().expect("ASCII");
        value.parse().expect("a number")
    }

    /// Parses the body.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Answers with a whole body.
    pub fn answer(self, status: u16, content_type: &str, body: &str) {
        let response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body.to_owned()));
        // It fails if the server has cancelled the call.
        drop(self.reply.send(response.expect("a response")));
    }

    /// Answers with JSON.
    pub fn answer_json(self, status: u16, body: &str) {
        self.answer(status, "application/json", body);
    }

    /// Answers with an error of the worker's own.
    pub fn fail(self, word: &str) {
        let response = Response::builder()
            .status(502)
            .header(wire::ERROR, word)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(r#"{"error":{"message":"the worker's words"}}"#));
        drop(self.reply.send(response.expect("a response")));
    }

    /// Answers with the head of a stream. Returns the sender of its pieces: dropping it ends the
    /// stream, an `Err` aborts it, and it is closed when the server cancels the call.
    pub fn stream(self, content_type: &str) -> Pieces {
        let (sender, receiver) = mpsc::channel(8);
        let response = Response::builder()
            .header(header::CONTENT_TYPE, content_type)
            .body(pieces(receiver));
        drop(self.reply.send(response.expect("a response")));
        sender
    }

    /// Waits until the server cancels the call, which has no answer.
    pub async fn cancelled(mut self) {
        soon("the server cancels the call", self.reply.closed()).await;
    }
}

async fn answer_request(
    request: Request<IncomingBody>,
    calls: mpsc::Sender<WorkerCall>,
    lines: Option<mpsc::Receiver<Result<Bytes, io::Error>>>,
) -> Response<Body> {
    if let Some(lines) = lines {
        return Response::new(pieces(lines));
    }
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await;
    let (reply, answer) = oneshot::channel();
    let path = head.uri.path_and_query();
    let call = WorkerCall {
        path: path.map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body: body.unwrap_or_default(),
        reply,
    };
    if calls.send(call).await.is_err() {
        std::future::pending::<()>().await;
    }
    match answer.await {
        Ok(answer) => answer,
        // A call that the test dropped: its answer breaks off at once.
        Err(_) => Response::new(Body::from_stream(futures_util::stream::iter([Err::<
            Bytes,
            _,
        >(
            io::Error::other("dropped"),
        )]))),
    }
}

fn pieces(receiver: mpsc::Receiver<Result<Bytes, io::Error>>) -> Body {
    Body::from_stream(futures_util::stream::unfold(
        receiver,
        |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) },
    ))
}

fn offer(runtime: RuntimeInfo, draining: bool) -> Event {
    Event::Offer(Offer {
        draining,
        provider: ProviderHealth::Reachable { for_ms: 0 },
        llm: Some(runtime),
        ..Offer::default()
    })
}

/// Returns whether a state has all these models as those of a worker, loaded.
fn has_models(state: &serde_json::Value, id: &str, names: &[String]) -> bool {
    let workers = state["workers"].as_array().into_iter().flatten();
    let mut of_id = workers.filter(|worker| worker["id"] == id);
    of_id.any(|worker| {
        let resident = worker["resident"].as_array();
        resident.is_some_and(|resident| resident.len() == names.len())
    })
}
