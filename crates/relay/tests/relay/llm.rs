//! A worker in front of played LLM runtimes, behind a server that the test plays.

mod answers;
mod cancelling;
mod detection;
mod events;
mod faults;
mod requests;
mod router;
mod status;
mod translating;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use llamapool_testkit::{
    LlmRuntime, Relay, RelayConfig, RelayTunnel, TunnelServer, soon, worker_config,
};
use llamapool_wire::Event;
use llamapool_wire::llm::{CallReport, Load, Models};
use serde_json::Value;
use tokio::task::JoinSet;

/// The id of the worker of every test.
const ID: &str = "w1";

/// A worker, and its tunnel.
pub(super) struct Worker {
    pub(super) tunnel: Arc<RelayTunnel>,
    pub(super) relay: Relay,
    pub(super) events: Events,
}

/// The events of a worker's id.
pub(super) struct Events {
    body: llamapool_testkit::AnswerBody,
    unread: Vec<u8>,
}

/// A response of a worker.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: llamapool_testkit::AnswerBody,
}

/// A call whose response has not begun. Dropping it cancels it.
pub(super) struct Pending(JoinSet<Response>);

/// A call, and the demands that the server has of it.
#[derive(Clone)]
pub(super) struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Worker {
    /// Starts a worker of a runtime, and waits until it has reported its models and load.
    pub(super) async fn start(runtime: &LlmRuntime) -> Self {
        Self::with(runtime, |_| {}).await
    }

    /// Starts a worker whose configuration is changed by `configure` first.
    pub(super) async fn with(
        runtime: &LlmRuntime,
        configure: impl FnOnce(&mut RelayConfig),
    ) -> Self {
        let mut this = Self::unready(&runtime.url, configure).await;
        this.events.models().await;
        this.events.load().await;
        this
    }

    /// Starts a worker of whatever is at a URL.
    pub(super) async fn unready(url: &str, configure: impl FnOnce(&mut RelayConfig)) -> Self {
        let server = TunnelServer::bind().await;
        let mut config = worker_config(&server.url, ID, url);
        configure(&mut config);
        let relay = Relay::start(config).await;
        let tunnel = Arc::new(server.relay(ID).await);
        let events = Events::of(&tunnel).await;
        Self {
            tunnel,
            relay,
            events,
        }
    }

    /// Sends a call and waits for the head of its response.
    pub(super) async fn send(&self, call: Call) -> Response {
        respond(&self.tunnel, call).await
    }

    /// Sends a call in a task of its own.
    pub(super) fn begin(&self, call: Call) -> Pending {
        let tunnel = self.tunnel.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { respond(&tunnel, call).await });
        Pending(task)
    }
}

impl Pending {
    /// Returns whether there is no head yet.
    pub(super) fn has_no_head(&mut self) -> bool {
        self.0.try_join_next().is_none()
    }

    /// Waits for the head.
    pub(super) async fn head(mut self) -> Response {
        let head = soon("the head", self.0.join_next()).await;
        head.expect("a task").unwrap()
    }

    /// Cancels the call.
    pub(super) fn cancel(self) {
        drop(self);
    }
}

async fn respond(tunnel: &RelayTunnel, call: Call) -> Response {
    let mut request = Request::builder()
        .method(call.method)
        .uri(format!("/llm/{ID}{}", call.path));
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let response = tunnel.send(request.body(call.body).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    Response {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    }
}

impl Call {
    /// A call with a JSON body, number 7.
    pub(super) fn post(path: &str, body: &str) -> Self {
        Self {
            method: "POST",
            path: path.to_owned(),
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("llamapool-attempt", "7".to_owned()),
                ("llamapool-model", "m".to_owned()),
            ],
            body: body.to_owned(),
        }
    }

    /// A call to chat with model `m`, whose answer comes as a stream.
    pub(super) fn chat_stream() -> Self {
        Self::post(
            "/v1/chat/completions",
            r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        )
        .with("llamapool-response", "stream")
    }

    /// A call to chat with model `m`, whose answer comes whole.
    pub(super) fn chat() -> Self {
        Self::post(
            "/v1/chat/completions",
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#,
        )
        .with("llamapool-response", "whole")
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sets another method.
    pub(super) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }
}

impl Response {
    /// Returns the word of llamapool's own error, empty without one.
    pub(super) fn error(&self) -> String {
        let error = self.headers.get("llamapool-error");
        error.map_or_else(String::new, |error| error.to_str().unwrap().to_owned())
    }

    /// Reads the whole body.
    pub(super) async fn text(self) -> String {
        let body = soon("the body ends", self.body.collect()).await;
        String::from_utf8(body.expect("a whole body").to_bytes().to_vec()).unwrap()
    }

    /// Reads the whole body, which is JSON.
    pub(super) async fn json(self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Reads the next piece of the body, `None` at its end, an error if it broke off.
    pub(super) async fn piece(&mut self) -> Option<Result<String, ()>> {
        let frame = soon("a piece of the body", self.body.frame()).await?;
        let piece = frame.map(|frame| frame.into_data().unwrap_or_default());
        Some(
            piece
                .map_err(drop)
                .map(|piece| String::from_utf8(piece.to_vec()).unwrap()),
        )
    }

    /// Reads the body up to a break.
    pub(super) async fn broken_text(mut self) -> String {
        let mut text = String::new();
        loop {
            match self.piece().await {
                Some(Ok(piece)) => text.push_str(&piece),
                Some(Err(())) => return text,
                None => panic!("the body ended as it should: {text}"),
            }
        }
    }
}

impl Events {
    async fn of(tunnel: &RelayTunnel) -> Self {
        let request = Request::get(format!("/llamapool/events/{ID}"));
        let response = tunnel.send(request.body(String::new()).unwrap()).await;
        Self {
            body: response.unwrap().into_body(),
            unread: Vec::new(),
        }
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Event::from_line(&line).unwrap();
            }
            let frame = soon("an event", self.body.frame()).await;
            let frame = frame.expect("the stream goes on").unwrap();
            self.unread.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// Waits for the next event of a kind.
    pub(super) async fn find<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    /// Waits for the next list of models.
    pub(super) async fn models(&mut self) -> Models {
        self.find(|event| match event {
            Event::Models(models) => Some(models),
            _ => None,
        })
        .await
    }

    /// Waits for the next load.
    pub(super) async fn load(&mut self) -> Load {
        self.find(|event| match event {
            Event::Load(load) => Some(load),
            _ => None,
        })
        .await
    }

    /// Waits for the report of a call.
    pub(super) async fn report(&mut self) -> CallReport {
        self.find(|event| match event {
            Event::Call(report) => Some(report),
            _ => None,
        })
        .await
    }
}

/// A span in which nothing may happen that would, if the code were wrong.
pub(super) const MOMENT: Duration = Duration::from_millis(100);
