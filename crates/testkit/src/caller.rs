//! The public side of a server as its callers and its operator use it, wherever the server runs.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{API_KEY, Answer, PATIENCE, RawHead, RawHttp, soon, tools_call};

/// The `Accept` header of an MCP client.
const ACCEPT: &str = "application/json, text/event-stream";

/// Returns what a failed test should show of the server, such as its log.
type Diagnostics = Box<dyn Fn() -> String + Send + Sync>;

/// A caller of one server, who also has the key of its state API.
pub struct Caller {
    /// The server's URL: `http://127.0.0.1:<port>`.
    pub url: String,
    /// An HTTP client that follows no redirect.
    pub http: reqwest::Client,
    diagnostics: Diagnostics,
}

impl Caller {
    /// Creates a caller of the server with this URL. `diagnostics` is shown when a wait is in vain.
    pub fn new(url: String, diagnostics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self {
            url,
            http: client(),
            diagnostics: Box::new(diagnostics),
        }
    }

    /// Returns the public URL of an id.
    pub fn mcp(&self, id: &str) -> String {
        format!("{}/api/mcp/id/{id}", self.url)
    }

    /// Sends an MCP request without parameters and reads the whole answer.
    pub async fn call(&self, id: &str, method: &str) -> Answer {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
        Answer::read(self.post(id, &message).await).await
    }

    /// Sends a message as an MCP client does. The answer's body is still to be read.
    pub async fn post(&self, id: &str, message: &Value) -> reqwest::Response {
        let request = self.http.post(self.mcp(id)).header("accept", ACCEPT);
        let response = soon("the call is answered", request.json(message).send()).await;
        response.expect("an HTTP answer")
    }

    /// Sends the bytes of one call. Returns the head and the whole body of the answer, which must
    /// end well.
    pub async fn raw_call(&self, request: impl AsRef<[u8]>) -> (RawHead, Vec<u8>) {
        let request = request.as_ref();
        let mut caller = RawHttp::connect(&self.url).await;

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

    /// Starts a call that runs on its own. Dropping the value leaves the call.
    pub fn start_call(&self, id: &str) -> PendingCall {
        let request = self.http.post(self.mcp(id)).header("accept", ACCEPT);
        PendingCall::start(request.json(&tools_call(1, "scripted")))
    }

    /// Gets a path of the server with the API key and reads the whole answer.
    pub async fn get(&self, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.url));
        let response = soon("an answer", request.bearer_auth(API_KEY).send()).await;
        Answer::read(response.expect("an HTTP answer")).await
    }

    /// Reads the state API.
    pub async fn state(&self) -> Value {
        self.get("/api/state").await.json()
    }

    /// Reads the text of the metrics.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.text().to_owned()
    }

    /// Reads the state of one id; null if the state has none.
    pub async fn client(&self, id: &str) -> Value {
        client_of(&self.state().await, id)
    }

    /// Reads the state again and again until it satisfies a condition. Returns that state.
    pub async fn until(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let reads = async {
            loop {
                let state = self.state().await;
                if wanted(&state) {
                    return state;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, reads).await {
            Ok(state) => state,
            Err(_) => panic!(
                "the state never showed this: {what}\n{}\n{}",
                self.state().await,
                (self.diagnostics)()
            ),
        }
    }

    /// Waits until a relay of this id is connected. Returns its state.
    pub async fn connected(&self, id: &str) -> Value {
        self.until_client(id, "it is connected", |client| !client.is_null())
            .await
    }

    /// Waits until the state of one id satisfies a condition. Returns the state of that id.
    pub async fn until_client(
        &self,
        id: &str,
        what: &str,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        let state = self
            .until(what, |state| wanted(&client_of(state, id)))
            .await;
        client_of(&state, id)
    }

    /// Waits until a metric has a value. `series` is written as in the text of the metrics.
    pub async fn until_metric(&self, series: &str, value: u64) {
        let reads = async {
            while metric(&self.metrics().await, series) != Some(value as f64) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reads).await.is_err() {
            panic!(
                "{series} never was {value}\n{}\n{}",
                self.metrics().await,
                (self.diagnostics)()
            );
        }
    }
}

/// Returns the entry of one id in a state; null if there is none.
fn client_of(state: &Value, id: &str) -> Value {
    let clients = state["mcp"]["clients"].as_array().into_iter().flatten();
    let mut of_id = clients.filter(|client| client["id"] == id);
    of_id.next().cloned().unwrap_or(Value::Null)
}

/// Returns the value of one series in a text of metrics, `None` if it is not there.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(|value| value.parse().expect("a number"))
}

/// A call that runs on its own.
pub struct PendingCall(JoinSet<reqwest::Result<reqwest::Response>>);

impl PendingCall {
    /// Starts a call with any request.
    pub fn start(request: reqwest::RequestBuilder) -> Self {
        let mut task = JoinSet::new();
        task.spawn(async move { request.send().await });
        Self(task)
    }

    /// Waits for the head of the answer, or for the error that prevents one.
    pub async fn result(&mut self) -> reqwest::Result<reqwest::Response> {
        let joined = soon("the call is over", self.0.join_next()).await;
        joined.expect("a call").expect("no panic")
    }

    /// Waits for the head of the answer.
    pub async fn answer(&mut self) -> reqwest::Response {
        self.result().await.expect("an HTTP answer")
    }

    /// Waits for an answer that llamapool made itself. Returns its error word.
    pub async fn error(&mut self) -> String {
        error_word(self.answer().await).await
    }
}

/// Returns the word of an error that llamapool made. Panics unless header, JSON body and status
/// agree.
pub async fn error_word(answer: reqwest::Response) -> String {
    let status = answer.status().as_u16();
    let word = answer.headers().get("llamapool-error");
    let word = word.expect("an error of llamapool").to_str().expect("text");
    let word = word.to_owned();

    let body: Value = answer.json().await.expect("JSON");
    let error = &body["error"];
    let code = error["code"].as_u64().expect("a code");
    assert_eq!(code / 10, u64::from(status), "{body}");
    assert!(
        error["data"]["hop"].is_string() && error["data"]["req_id"].is_string(),
        "{body}"
    );

    word
}

/// Creates a client that follows no redirect: one that it followed would bypass the tunnel
/// unnoticed.
fn client() -> reqwest::Client {
    // Some servers close their idle connections after a few seconds: this client closes them first.
    let idle = Duration::from_secs(1);
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(idle);
    builder.build().expect("a client")
}
