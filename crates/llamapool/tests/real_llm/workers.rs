//! A server, the workers that connect to it, and what a caller of its LLM API sees.

use std::ops::Deref;

use futures_util::StreamExt;
use serde_json::Value;

use crate::harness::{API_KEY, Pool, Process, Settings, WORKER_KEY, soon};
use crate::runtimes::Runtime;

/// A server and its workers. Dereferences to the [`Pool`] of the harness.
pub(crate) struct LlmPool {
    pool: Pool,
}

/// The answer to a call whose body is still to be read.
pub(crate) struct Streaming {
    response: reqwest::Response,
    text: String,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl LlmPool {
    /// Starts a server.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with these settings.
    pub(crate) async fn with(settings: Settings<'_>) -> Self {
        Self {
            pool: Pool::with(settings).await,
        }
    }

    /// Starts a worker beside a runtime, and waits until the server lists its models.
    pub(crate) async fn worker(&self, id: &str, runtime: &Runtime) -> Process {
        self.worker_with(id, runtime, &[]).await
    }

    /// Starts such a worker with these settings besides.
    pub(crate) async fn worker_with(
        &self,
        id: &str,
        runtime: &Runtime,
        settings: Settings<'_>,
    ) -> Process {
        worker(self, id, runtime, settings).await
    }

    /// Sends a request of the LLM API with the API key. The answer's body is still to be read.
    pub(crate) async fn send(&self, path: &str, body: &Value) -> reqwest::Response {
        send(&self.url, path, body).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Whole {
        Whole::read(self.send(path, body).await).await
    }

    /// Sends a request and waits until some text has arrived in the answer.
    pub(crate) async fn stream_until(&self, path: &str, body: &Value, text: &str) -> Streaming {
        let mut streaming = Streaming::of(self.send(path, body).await);
        streaming.until(text).await;
        streaming
    }
}

impl Deref for LlmPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl Streaming {
    /// Begins to read an answer.
    pub(crate) fn of(response: reqwest::Response) -> Self {
        Self {
            response,
            text: String::new(),
        }
    }

    /// Reads on until some text has arrived. Panics if the answer ends before.
    pub(crate) async fn until(&mut self, text: &str) {
        let arrived = async {
            while !self.text.contains(text) {
                let piece = self.response.chunk().await.expect("a whole piece");
                let piece =
                    piece.unwrap_or_else(|| panic!("it ended without {text}: {}", self.text));
                self.text.push_str(&String::from_utf8_lossy(&piece));
            }
        };
        soon("the text arrives", arrived).await;
    }

    /// Reads on until some text has arrived once more.
    pub(crate) async fn again(&mut self, text: &str) {
        self.text.clear();
        self.until(text).await;
    }

    /// Reads to the end. Returns what came and whether the answer ended well.
    pub(crate) async fn rest(mut self) -> (String, bool) {
        let mut pieces = self.response.bytes_stream();
        while let Some(piece) = soon("the answer goes on", pieces.next()).await {
            match piece {
                Ok(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => return (self.text, false),
            }
        }
        (self.text, true)
    }
}

impl Whole {
    /// Reads an answer to its end.
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = soon("the answer ends", response.text()).await;
        Self {
            status,
            headers,
            body: body.expect("a whole answer"),
        }
    }

    /// Parses the body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns a header, empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends a request to the server or to a runtime itself.
pub(crate) async fn send(url: &str, path: &str, body: &Value) -> reqwest::Response {
    let http = reqwest::Client::new();
    let request = http
        .post(format!("{url}{path}"))
        .bearer_auth(API_KEY)
        .json(body);
    soon("the call is answered", request.send())
        .await
        .expect("an HTTP answer")
}

/// Returns the entry of a worker in the state, null without one.
pub(crate) fn worker_of(state: &Value, id: &str) -> Value {
    let workers = state["workers"].as_array();
    let mut workers = workers.into_iter().flatten();
    workers
        .find(|worker| worker["id"] == id)
        .cloned()
        .unwrap_or_default()
}

/// Starts a worker beside a runtime, and waits until the server lists its models.
pub(crate) async fn worker(
    pool: &Pool,
    id: &str,
    runtime: &Runtime,
    settings: Settings<'_>,
) -> Process {
    let own = [
        ("SERVER_URL", &*pool.url),
        ("WORKER_KEY", WORKER_KEY),
        ("WORKER_ID", id),
        ("WORKER_NAME", id),
        ("COMPLETION_BASE_URL", &*runtime.url),
        ("STATUS_ADDR", "off"),
        ("RECONNECT_MIN", "50ms"),
    ];
    let all: Vec<_> = own.iter().chain(settings).copied().collect();
    let worker = Process::llamapool(&["worker", "--reconnect"], &all);
    pool.until("the worker's models are listed", |state| {
        worker_of(state, id)["models_supported"]
            .as_array()
            .is_some_and(|models| !models.is_empty())
    })
    .await;
    worker
}
