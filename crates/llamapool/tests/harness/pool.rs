//! A server with its keys, the relays that connect to it, and a caller.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::process::Process;
use super::raw::{RawHead, RawHttp};
use super::{PATIENCE, soon};

/// The key that opens the state API of every [`Pool`].
pub const API_KEY: &str = "test123";
/// The key that lets relays connect to every [`Pool`].
pub const WORKER_KEY: &str = "secret";

/// A server, as a process, on loopback and a free port.
pub struct Pool {
    pub server: Process,
    /// `http://127.0.0.1:<port>`
    pub url: String,
    pub http: reqwest::Client,
}

impl Pool {
    /// A server with its default settings, except that its event streams show no signs of life.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A server with these settings besides.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on_port("0", settings).await
    }

    /// A server on a certain port, such as one that comes back.
    pub async fn on_port(port: &str, settings: &[(&str, &str)]) -> Self {
        // Signs of life come by the clock: only tests that are about them want them among a provider's pieces. And where
        // one thread would serve, what only several can do wrong would not be seen.
        let own = [("STREAM_KEEPALIVE", "0"), ("THREADS", "2")];
        let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        Self::start_on(port, &settings).await
    }

    /// A server as it is shipped, but for these settings: its event streams show signs of life.
    pub async fn as_shipped(settings: &[(&str, &str)]) -> Self {
        Self::start_on("0", settings).await
    }

    async fn start_on(port: &str, settings: &[(&str, &str)]) -> Self {
        let own = [
            ("PORT", port),
            ("BIND_ADDR", "127.0.0.1"),
            ("API_KEY", API_KEY),
            ("WORKER_KEY", WORKER_KEY),
        ];
        let environment: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        let mut server = Process::llamapool(&["server"], &environment);
        let listens = server.event("the server listens").await;
        let address = listens["address"]
            .as_str()
            .expect("the address is logged")
            .to_owned();
        Self {
            server,
            url: format!("http://{address}"),
            http: client(),
        }
    }

    /// The port of the server.
    pub fn port(&self) -> &str {
        self.url.rsplit(':').next().expect("a URL with a port")
    }

    /// A relay that keeps trying, once the server knows it.
    pub async fn relay(&self, id: &str, provider_url: &str) -> Process {
        self.relay_with(id, provider_url, &[]).await
    }

    /// The same with these settings besides.
    pub async fn relay_with(
        &self,
        id: &str,
        provider_url: &str,
        settings: &[(&str, &str)],
    ) -> Process {
        let relay = Self::relay_towards(&self.url, id, provider_url, settings);
        self.connected(id).await;
        relay
    }

    /// A relay that dials any address, connected or not.
    pub fn relay_towards(
        server_url: &str,
        id: &str,
        provider_url: &str,
        settings: &[(&str, &str)],
    ) -> Process {
        let own = [
            ("SERVER_URL", server_url),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", id),
            ("PROVIDER_URL", provider_url),
            ("STATUS_ADDR", "off"),
            ("RECONNECT_MIN", "50ms"),
        ];
        let environment: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        Process::llamapool(&["mcp", "--reconnect"], &environment)
    }

    /// A relay that ends when its connection is refused or lost, and logs as if nobody had asked for anything.
    pub fn relay_once(server_url: &str, provider_url: &str, settings: &[(&str, &str)]) -> Process {
        let own = [
            ("SERVER_URL", server_url),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", "once"),
            ("PROVIDER_URL", provider_url),
            ("STATUS_ADDR", "off"),
            ("LOG_LEVEL", "info"),
            ("LOG_FORMAT", "text"),
        ];
        let environment: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        Process::llamapool(&["mcp"], &environment)
    }

    /// The public URL of an id.
    pub fn mcp(&self, id: &str) -> String {
        format!("{}/api/mcp/id/{id}", self.url)
    }

    /// Sends a message as an MCP client does.
    pub async fn post(&self, id: &str, message: &Value) -> reqwest::Response {
        let request = self
            .http
            .post(self.mcp(id))
            .header("accept", "application/json, text/event-stream");
        soon("the call is answered", request.json(message).send())
            .await
            .expect("an HTTP answer")
    }

    /// Sends the bytes of one call; the head and the whole body of the answer, which must end well.
    pub async fn raw_call(&self, request: impl AsRef<[u8]>) -> (RawHead, Vec<u8>) {
        let request = request.as_ref();
        let mut caller = RawHttp::to(&self.url).await;
        caller.send(request).await;
        let head = caller.head().await;
        let has_body = !request.starts_with(b"HEAD ") && ![204, 304].contains(&head.status());
        let body = if has_body {
            caller.body(&head).await
        } else {
            Vec::new()
        };
        (head, body)
    }

    /// A call that runs on its own; it is left when this is dropped.
    pub fn calling(&self, id: &str) -> Calling {
        let message = super::tools_call(1, "scripted");
        let request = self
            .http
            .post(self.mcp(id))
            .header("accept", "application/json, text/event-stream");
        let request = request.json(&message);
        let mut task = JoinSet::new();
        task.spawn(async move { request.send().await });
        Calling(task)
    }

    /// The state API's answer.
    pub async fn state(&self) -> Value {
        let answer = self
            .http
            .get(format!("{}/api/state", self.url))
            .bearer_auth(API_KEY)
            .send()
            .await;
        answer.expect("the state").json().await.expect("JSON")
    }

    /// What the state says of one id; null if nothing.
    pub async fn client(&self, id: &str) -> Value {
        let state = self.state().await;
        let clients = state["mcp"]["clients"].as_array().expect("a list").clone();
        clients
            .into_iter()
            .find(|client| client["id"] == id)
            .unwrap_or(Value::Null)
    }

    /// Follows the state stream until it shows what a test waits for; that state.
    pub async fn until(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let state = self.state().await;
                if wanted(&state) {
                    return state;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(state) => state,
            Err(_) => {
                panic!(
                    "the state never showed this: {what}\n{}\n{}",
                    self.state().await,
                    self.server.whole_log()
                )
            }
        }
    }

    /// Waits until the server knows a relay of this id.
    pub async fn connected(&self, id: &str) -> Value {
        self.until_client(id, "it is connected", |client| !client.is_null())
            .await
    }

    /// Waits until the state shows something of one id.
    pub async fn until_client(
        &self,
        id: &str,
        what: &str,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        let of = |state: &Value| {
            let clients = state["mcp"]["clients"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            clients
                .into_iter()
                .find(|client| client["id"] == id)
                .unwrap_or(Value::Null)
        };
        of(&self.until(what, |state| wanted(&of(state))).await)
    }

    /// Waits until a metric has a value.
    pub async fn until_metric(&self, series: &str, value: u64) {
        let look = async {
            while metric(&self.metrics().await, series) != Some(value as f64) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, look).await.is_err() {
            panic!(
                "{series} never was {value}\n{}\n{}",
                self.metrics().await,
                self.server.whole_log()
            );
        }
    }

    /// The text of the metrics.
    pub async fn metrics(&self) -> String {
        let answer = self
            .http
            .get(format!("{}/metrics", self.url))
            .bearer_auth(API_KEY)
            .send()
            .await
            .expect("the metrics");
        answer.text().await.expect("text")
    }
}

/// What a text of metrics says of one series, written as it stands there.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

/// A call that runs on its own.
pub struct Calling(JoinSet<reqwest::Result<reqwest::Response>>);

impl Calling {
    /// The answer, or why there is none.
    pub async fn result(&mut self) -> reqwest::Result<reqwest::Response> {
        soon("the call is over", self.0.join_next())
            .await
            .expect("a call")
            .expect("no panic")
    }

    /// The answer.
    pub async fn answer(&mut self) -> reqwest::Response {
        self.result().await.expect("an HTTP answer")
    }

    /// The word of the error with which llamapool answers.
    pub async fn error(&mut self) -> String {
        error_of(self.answer().await).await
    }
}

/// The word of an error that llamapool made, if it is well made: the header, the JSON body and the status agree.
pub async fn error_of(answer: reqwest::Response) -> String {
    let status = answer.status().as_u16();
    let word = answer
        .headers()
        .get("llamapool-error")
        .expect("an error of llamapool")
        .to_str()
        .expect("text")
        .to_owned();
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(
        body["error"]["code"].as_u64().expect("a code") / 10,
        u64::from(status),
        "{body}"
    );
    assert!(
        body["error"]["data"]["hop"].is_string() && body["error"]["data"]["req_id"].is_string(),
        "{body}"
    );
    word
}

/// A client that follows no redirect: one that it followed would lead past the tunnel, and nobody would notice.
fn client() -> reqwest::Client {
    // Servers of others close their idle connections after some seconds: this client never meets the closing.
    let idle = Duration::from_secs(1);
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(idle);
    builder.build().expect("a client")
}
