//! A real Ollama behind a worker: it is recognized, its models are listed, and callers receive what it answers itself.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{API_KEY, Process, soon};
use crate::parts::{PATH, file, root};
use crate::runtimes::Runtime;
use crate::workers::{LlmPool, Whole, worker_of};

/// The part with Ollama.
const OLLAMA: &str = "ollama-0.17.4";
/// The longest that anything of these tests may take: with one thread, on a machine that has much else to do.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);
/// The name of the model, as Ollama completes it.
pub(crate) const MODEL: &str = "smollm2:latest";
/// The members whose values differ between two answers to the same request.
const VOLATILE: &[&str] = &[
    "id",
    "item_id",
    "created",
    "created_at",
    "completed_at",
    "request_id",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
    "expires_at",
];

/// A real Ollama behind a worker.
pub(crate) struct Ollama {
    pub(crate) runtime: Runtime,
    pub(crate) pool: LlmPool,
    _worker: Process,
}

impl Ollama {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts it with settings of the server.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let runtime = start_runtime().await;
        let pool = LlmPool::with(settings).await;
        let worker = pool.worker("alpha", &runtime).await;
        Self {
            runtime,
            pool,
            _worker: worker,
        }
    }

    /// Sends a request to the runtime itself.
    pub(crate) async fn direct(&self, path: &str, body: &Value) -> Whole {
        ask(&self.runtime.url, API_KEY, path, body).await
    }

    /// Sends a request through the pool.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Whole {
        ask(&self.pool.url, API_KEY, path, body).await
    }

    /// Waits until the worker's entry in the state satisfies a condition.
    pub(crate) async fn until_worker(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let reached = async {
            while !wanted(&worker_of(&self.pool.state().await, "alpha")) {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(LONGEST, reached).await;
        reached.unwrap_or_else(|_| panic!("this did not happen: {what}"));
    }

    /// Gets a path through the pool.
    async fn get(&self, path: &str) -> Value {
        let request = self.pool.http.get(format!("{}{path}", self.pool.url));
        let request = request.bearer_auth(API_KEY);
        let answer = soon("the pool answers", request.send()).await.unwrap();
        answer.json().await.unwrap()
    }

    /// Asks for the same of the runtime itself and through the pool, when both find the prompt in the cache.
    async fn both(&self, path: &str, body: &Value) -> [Whole; 2] {
        self.direct(path, body).await;
        let direct = self.direct(path, body).await;
        let through = self.ask(path, body).await;
        assert_eq!(direct.status, through.status, "{path} {body}: {through:?}");
        [direct, through]
    }

    /// Returns the contexts of the loaded models, in tokens.
    pub(crate) async fn contexts(&self) -> Vec<u64> {
        let list = self.runtime.get("/api/ps").await;
        let models = list["models"].as_array().unwrap();
        let contexts = models.iter().map(|model| model["context_length"].as_u64());
        contexts.map(Option::unwrap).collect()
    }
}

/// Sends a request with a key, and reads the whole answer.
pub(crate) async fn ask(url: &str, key: &str, path: &str, body: &Value) -> Whole {
    let request = reqwest::Client::new()
        .post(format!("{url}{path}"))
        .bearer_auth(key)
        .timeout(LONGEST)
        .json(body);
    let response = request.send().await.expect("an answer");
    Whole {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.expect("a whole answer"),
    }
}

/// Starts a real Ollama.
async fn start_runtime() -> Runtime {
    let program = file(OLLAMA, "ollama");
    let parts = program.parent().and_then(|folder| folder.parent()).unwrap();
    let mut command = Command::new("python3");
    command
        .arg(root().join("tests/parts/ollama.py"))
        .env_clear()
        .env("PATH", PATH)
        .env("LLAMAPOOL_PARTS", parts)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1");
    Runtime::started(command).await
}

/// Returns a text with `*` for the values that differ every time: texts and numbers.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some((member, start)) = next_volatile(rest) {
        masked.push_str(&rest[..start]);
        masked.push('*');
        let value = &rest[start..];
        let length = match value.strip_prefix('"') {
            Some(inside) => inside.find('"').expect("the end of a text") + 2,
            None => value
                .find([',', '}', ']', '\n'])
                .unwrap_or_else(|| panic!("no end of {member}: {value}")),
        };
        rest = &value[length..];
    }
    masked + rest
}

/// Finds the first value that differs every time. Returns its member and where it begins.
fn next_volatile(text: &str) -> Option<(&'static str, usize)> {
    let places = VOLATILE.iter().filter_map(|member| {
        let name = format!("\"{member}\":");
        text.find(&name).map(|start| (*member, start + name.len()))
    });
    places.min_by_key(|(_, start)| *start)
}

fn chat_members() -> Value {
    json!([{ "role": "user", "content": "Name a colour." }])
}

/// Returns requests with answers that are always the same, each with its path.
fn requests() -> Vec<(&'static str, Value)> {
    let messages = chat_members();
    let options = json!({ "temperature": 0, "seed": 7, "num_predict": 8 });
    vec![
        (
            "/api/chat",
            json!({ "model": MODEL, "messages": messages, "options": options }),
        ),
        (
            "/api/generate",
            json!({ "model": MODEL, "prompt": "The sky is", "options": options }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": MODEL, "messages": messages, "max_tokens": 8, "temperature": 0, "seed": 7 }),
        ),
        (
            "/v1/completions",
            json!({ "model": MODEL, "prompt": "The sky is", "max_tokens": 8, "temperature": 0, "seed": 7 }),
        ),
        (
            "/v1/messages",
            json!({ "model": MODEL, "messages": messages, "max_tokens": 8, "temperature": 0 }),
        ),
        (
            "/v1/responses",
            json!({ "model": MODEL, "input": "Name a colour.", "max_output_tokens": 8, "temperature": 0 }),
        ),
    ]
}

fn with(request: &Value, name: &str, value: Value) -> Value {
    let mut request = request.clone();
    request[name] = value;
    request
}

#[tokio::test]
async fn an_ollama_is_recognized_and_its_models_are_listed() {
    let ollama = Ollama::start().await;

    let state = ollama.pool.state().await;
    assert_eq!(worker_of(&state, "alpha")["runtime"], "ollama", "{state}");
    let listed = ollama.get("/v1/models").await;
    assert_eq!(listed["data"][0]["id"], MODEL, "{listed}");
    assert_eq!(listed["data"][0]["quantization"], "Q4_1", "{listed}");
    let named = ollama.get(&format!("/v1/models/{MODEL}")).await;
    assert_eq!(named["id"], MODEL, "{named}");

    let direct = &ollama.runtime.get("/api/tags").await["models"][0];
    let listed = &ollama.get("/api/tags").await["models"][0];
    for member in ["name", "model", "digest", "size"] {
        assert_eq!(listed[member], direct[member], "{listed}");
    }
    let [direct, shown] = ollama.both("/api/show", &json!({ "model": MODEL })).await;
    assert_eq!(direct.json()["model_info"], shown.json()["model_info"]);
}

/// Whole answers are the bytes of the runtime, but for ids, times and durations.
#[tokio::test]
async fn whole_answers_of_an_ollama_are_its_bytes() {
    let ollama = Ollama::start().await;

    for (path, request) in requests() {
        let request = with(&request, "stream", json!(false));
        let [direct, through] = ollama.both(path, &request).await;

        assert_eq!(direct.status, 200, "{path}: {direct:?}");
        assert_eq!(masked(&direct.body), masked(&through.body), "{path}");
    }
    for (path, request) in [
        (
            "/v1/embeddings",
            json!({ "model": MODEL, "input": ["a llama", "a pool"] }),
        ),
        (
            "/v1/embeddings",
            json!({ "model": MODEL, "input": "a llama", "encoding_format": "base64" }),
        ),
        ("/api/embed", json!({ "model": MODEL, "input": "a llama" })),
        (
            "/api/embeddings",
            json!({ "model": MODEL, "prompt": "a llama" }),
        ),
    ] {
        let [direct, through] = ollama.both(path, &request).await;

        assert_eq!(direct.status, 200, "{path}: {direct:?}");
        assert_eq!(masked(&direct.body), masked(&through.body), "{path}");
    }
}

#[tokio::test]
async fn streams_of_an_ollama_are_its_bytes() {
    let ollama = Ollama::start().await;

    for (path, request) in requests() {
        let request = with(&request, "stream", json!(true));
        let [direct, through] = ollama.both(path, &request).await;

        assert_eq!(direct.status, 200, "{path}: {direct:?}");
        assert_eq!(masked(&direct.body), masked(&through.body), "{path}");
    }
}

#[tokio::test]
async fn refusals_of_an_ollama_are_its_own() {
    let ollama = Ollama::start().await;
    let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);

    for (path, request) in [
        (
            "/v1/chat/completions",
            json!({ "model": MODEL, "messages": chat_members(), "tools": tool }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": MODEL, "messages": 5 }),
        ),
        ("/v1/messages", json!({ "model": MODEL, "messages": [] })),
    ] {
        let [direct, through] = ollama.both(path, &request).await;

        assert!(direct.status >= 400, "{path}: {direct:?}");
        assert_eq!(masked(&direct.body), masked(&through.body), "{path}");
    }
    let count = json!({ "model": MODEL, "messages": chat_members() });
    let count = ollama.ask("/v1/messages/count_tokens", &count).await;
    assert_eq!(count.status, 404, "{count:?}");
    assert_eq!(count.header("llamapool-error"), "unsupported_endpoint");
}

/// A caller that does not ask for the counts does not get them, and they are counted all the same.
#[tokio::test]
async fn tokens_of_an_ollama_are_counted_in_every_api() {
    let ollama = Ollama::start().await;
    let mut expected = [0, 0];

    for (path, request) in requests() {
        for stream in [false, true] {
            let request = with(&request, "stream", json!(false));
            let direct = ollama.both(path, &request).await[0].json();
            let [read, written] = counts(&direct);
            // `both` has asked the pool once.
            expected[0] += read;
            expected[1] += written;
            if stream {
                let streamed = with(&request, "stream", json!(true));
                ollama.ask(path, &streamed).await;
                expected[0] += read;
                expected[1] += written;
            }
        }
    }

    assert!(expected[1] > 0);
    ollama
        .until_worker(&format!("{expected:?} tokens are counted"), |worker| {
            worker["tokens_in_total"] == expected[0] && worker["tokens_out_total"] == expected[1]
        })
        .await;
}

/// Returns the tokens that were read and written, in the terms of any API.
fn counts(answer: &Value) -> [u64; 2] {
    let usage = match &answer["usage"] {
        Value::Null => answer,
        usage => usage,
    };
    let first = |names: [&str; 3]| names.iter().find_map(|name| usage[*name].as_u64());
    let read = first(["prompt_tokens", "input_tokens", "prompt_eval_count"]);
    let written = first(["completion_tokens", "output_tokens", "eval_count"]);
    [read, written].map(|count| count.unwrap_or_else(|| panic!("no counts: {answer}")))
}

/// A caller that could unload a model would take it from the others. Loading it is a call like any other.
#[tokio::test]
async fn only_the_operator_unloads_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("server.toml");
    std::fs::write(
        &keys,
        "[[key]]\nname = \"laptop\"\nkey = \"of-the-laptop\"\n",
    )
    .unwrap();
    let ollama = Ollama::with(&[("CONFIG_FILE", keys.to_str().unwrap())]).await;
    let url = &ollama.pool.url;
    let load = json!({ "model": MODEL });
    let unload = json!({ "model": MODEL, "keep_alive": 0 });
    assert_eq!(ollama.contexts().await, Vec::<u64>::new());

    let loaded = ask(url, "of-the-laptop", "/api/generate", &load).await;
    assert_eq!(loaded.json()["done_reason"], "load", "{loaded:?}");
    assert_eq!(ollama.contexts().await, [2048]);
    ollama
        .pool
        .until("the context is known", |state| {
            state["models"][0]["context_length"] == 2048
        })
        .await;
    let resident = ollama.get("/api/ps").await;
    assert_eq!(resident["models"][0]["context_length"], 2048, "{resident}");

    let refused = ask(url, "of-the-laptop", "/api/generate", &unload).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(ollama.contexts().await, [2048]);

    let unloaded = ollama.ask("/api/generate", &unload).await;
    assert_eq!(unloaded.json()["done_reason"], "unload", "{unloaded:?}");
    ollama
        .until_worker("the model is cold", |worker| {
            worker["resident"] == json!([])
        })
        .await;
    assert_eq!(ollama.contexts().await, Vec::<u64>::new());
}

/// Another context makes Ollama load the model anew, which the route says.
#[tokio::test]
async fn another_context_is_a_reload() {
    let ollama = Ollama::start().await;
    let ask = |context: u64| {
        json!({
            "model": MODEL, "stream": false, "messages": chat_members(),
            "options": { "num_ctx": context, "num_predict": 2 },
        })
    };

    for (context, reasons) in [
        (2048, &["cold"][..]),
        (2048, &["warm", "prefix"]),
        (1024, &["reload"]),
        (1024, &["warm", "prefix"]),
    ] {
        let answer = ollama.ask("/api/chat", &ask(context)).await;

        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(ollama.contexts().await, [context]);
        let route = answer.header("llamapool-route");
        let is_expected = |reason: &&str| route.contains(&format!("reason={reason},"));
        assert!(reasons.iter().any(is_expected), "{context}: {route}");
        // The next call is placed by what the worker has reported.
        ollama
            .pool
            .until("the context is known", |state| {
                state["models"][0]["context_length"] == context
            })
            .await;
    }
}
