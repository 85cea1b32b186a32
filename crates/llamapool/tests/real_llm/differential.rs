//! What a caller receives is what the runtime would have answered itself: the same requests to a real llama.cpp,
//! directly and through the pool, in both forms.
//!
//! For a caller that does not stream, the worker streams from llama.cpp and assembles the answer, so that this is the
//! proof that assembling loses nothing.

use serde_json::{Map, Value, json};

use crate::runtimes::{E5, Runtime, SMOLLM2};
use crate::workers::{LlmPool, Whole, send};

/// Members that differ between two answers to the same request.
const VOLATILE: &[&str] = &[
    "id",
    "item_id",
    "response_id",
    "created",
    "created_at",
    "completed_at",
    "timings",
    "request_id",
];

const MESSAGES: &str = "/v1/messages";

/// Asks for the same in both ways. `stream` is the form that the caller wants.
async fn both(pool: &LlmPool, runtime: &Runtime, path: &str, body: &Value) -> [Whole; 2] {
    if path == MESSAGES {
        // It ignores `cache_prompt`, and counts what the cache had: the prompt is there from now on.
        Whole::read(send(&runtime.url, path, body).await).await;
    }
    let direct = Whole::read(send(&runtime.url, path, body).await).await;
    let through = pool.ask(path, body).await;

    assert_eq!(direct.status, through.status, "{path} {body}: {through:?}");
    [direct, through]
}

/// Whole answers are equal, and so are the events of streams.
async fn assert_same(path: &str, requests: &[Value]) {
    let runtime = Runtime::llama_cpp(&["slots=4"]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for request in requests {
        let request = deterministic(request);
        let [direct, through] = both(&pool, &runtime, path, &request).await;

        assert_eq!(direct.status, 200, "{request}: {direct:?}");
        assert_eq!(stable(direct.json()), stable(through.json()), "{request}");

        let streamed = with(&request, "stream", json!(true));
        let [direct, through] = both(&pool, &runtime, path, &streamed).await;

        assert_eq!(events(&direct.body), events(&through.body), "{streamed}");
    }
}

/// Returns the request with everything that makes its answer always the same.
fn deterministic(request: &Value) -> Value {
    let mut request = request.clone();
    for (name, value) in [
        ("model", json!(SMOLLM2)),
        ("temperature", json!(0)),
        ("seed", json!(7)),
        ("cache_prompt", json!(false)),
    ] {
        request[name] = value;
    }
    request
}

fn with(request: &Value, name: &str, value: Value) -> Value {
    let mut request = request.clone();
    request[name] = value;
    request
}

/// Returns an answer without what differs every time.
fn stable(answer: Value) -> Value {
    match answer {
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(name, _)| !VOLATILE.contains(&name.as_str()));
            let kept = kept.map(|(name, value)| (name, stable(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(stable).collect(),
        other => other,
    }
}

/// Returns the events of a stream: their names, and their data without what differs every time.
fn events(stream: &str) -> Vec<(String, Value)> {
    let events = stream.split("\n\n").filter(|event| !event.is_empty());
    let events: Vec<_> = events
        .map(|event| {
            let field = |name: &str| {
                let lines = event.lines().filter_map(|line| line.strip_prefix(name));
                lines.map(str::trim).collect::<String>()
            };
            let data = field("data:");
            let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
            (field("event:"), stable(data))
        })
        .collect();
    assert!(!events.is_empty(), "no events: {stream}");
    events
}

#[tokio::test]
async fn chats_are_assembled_as_the_runtime_answers() {
    let user = json!([{ "role": "user", "content": "Name a colour." }]);
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string", "enum": ["red", "blue"] } },
        "required": ["name"],
    });
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "colour", "schema": schema } });

    assert_same(
        "/v1/chat/completions",
        &[
            json!({ "messages": user, "max_tokens": 12 }),
            json!({ "messages": user, "max_tokens": 6, "logprobs": true, "top_logprobs": 2 }),
            json!({ "messages": user, "max_tokens": 6, "n": 2 }),
            json!({ "messages": user, "max_tokens": 24, "response_format": format }),
            json!({ "messages": user, "max_tokens": 12, "stop": ["a", "e", "o", "I"] }),
            json!({ "messages": user, "max_tokens": 6, "stream_options": { "include_usage": true } }),
        ],
    )
    .await;
}

#[tokio::test]
async fn completions_are_assembled_as_the_runtime_answers() {
    assert_same(
        "/v1/completions",
        &[
            json!({ "prompt": "The sky is", "max_tokens": 12 }),
            // Only streamed, llama.cpp leaves out a character that ends in mid-air.
            json!({ "prompt": "Grüße 🦙, says the", "max_tokens": 8, "logprobs": 2 }),
        ],
    )
    .await;
}

#[tokio::test]
async fn responses_are_assembled_as_the_runtime_answers() {
    assert_same(
        "/v1/responses",
        &[
            json!({ "input": "Name a colour.", "max_output_tokens": 12 }),
            json!({ "instructions": "Be brief.", "input": "Name a colour.", "max_output_tokens": 6 }),
        ],
    )
    .await;
}

#[tokio::test]
async fn messages_are_assembled_as_the_runtime_answers() {
    let user = json!([{ "role": "user", "content": "Name a colour." }]);

    assert_same(
        MESSAGES,
        &[
            json!({ "messages": user, "max_tokens": 12 }),
            json!({ "system": "Be brief.", "messages": user, "max_tokens": 6 }),
            json!({ "messages": user, "max_tokens": 12, "stop_sequences": ["a", "e", "o"] }),
        ],
    )
    .await;
}

/// The runtime's own refusals go down as they are, whatever form the caller wants.
#[tokio::test]
async fn refusals_of_the_runtime_are_its_own() {
    let runtime = Runtime::llama_cpp(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;
    let long = "word ".repeat(3000);

    for (path, request) in [
        ("/v1/chat/completions", json!({ "messages": 5 })),
        (
            "/v1/chat/completions",
            json!({ "messages": [], "grammar": "broken(" }),
        ),
        (MESSAGES, json!({ "max_tokens": 5 })),
        (
            "/v1/chat/completions",
            json!({ "messages": [{ "role": "user", "content": long }] }),
        ),
    ] {
        for stream in [false, true] {
            let request = with(&deterministic(&request), "stream", json!(stream));
            let [direct, through] = both(&pool, &runtime, path, &request).await;

            assert!(direct.status >= 400, "{direct:?}");
            assert_eq!(direct.body, through.body, "stream: {stream}");
        }
    }
}

#[tokio::test]
async fn embeddings_are_the_runtimes_bytes() {
    let runtime = Runtime::embeddings().await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for request in [
        json!({ "model": E5, "input": "a llama" }),
        json!({ "model": E5, "input": ["a llama", "a pool"], "encoding_format": "base64" }),
    ] {
        let [direct, through] = both(&pool, &runtime, "/v1/embeddings", &request).await;

        assert_eq!(direct.body, through.body, "{request}");
    }
}

#[tokio::test]
async fn a_prompt_is_counted_without_a_slot() {
    let runtime = Runtime::llama_cpp(&["slots=1"]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;
    let request = json!({ "model": SMOLLM2, "messages": [{ "role": "user", "content": "Hi" }] });

    let [direct, through] = both(&pool, &runtime, "/v1/messages/count_tokens", &request).await;

    assert_eq!(direct.body, through.body);
}
