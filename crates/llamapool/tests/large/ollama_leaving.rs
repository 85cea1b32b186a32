//! A caller that leaves a real Ollama: while its answer is written, and while its prompt is read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::API_KEY;
use crate::ollama::{MODEL, Ollama, ask};
use crate::workers::Whole;

/// The longest from the caller's leave to the next answer, besides the time of that answer.
const LIMIT: Duration = Duration::from_secs(2);
/// More tokens than are written before the test is over.
const MANY: u32 = 1500;

fn story(path: &str) -> Value {
    let messages = json!([{ "role": "user", "content": "Tell a long story." }]);
    match path {
        "/api/chat" => json!({
            "model": MODEL, "messages": messages, "stream": true, "options": { "num_predict": MANY },
        }),
        _ => json!({ "model": MODEL, "messages": messages, "stream": true, "max_tokens": MANY }),
    }
}

/// A chat with a short answer.
fn short() -> Value {
    prompt("Hi.")
}

/// A chat with this prompt and a short answer.
fn prompt(text: &str) -> Value {
    json!({
        "model": MODEL, "stream": false, "messages": [{ "role": "user", "content": text }],
        "options": { "num_predict": 1 },
    })
}

/// Returns a prompt of so many sentences that no cache has.
fn sentences(topic: &str, count: u32) -> String {
    let sentences = (0..count).map(|number| format!("The {topic} {number} crosses the pool. "));
    sentences.collect()
}

/// Sends a call by a task of its own. Dropping the task is the caller's leave.
fn start(ollama: &Ollama, path: &'static str, body: Value) -> JoinSet<Whole> {
    let url = ollama.pool.url.clone();
    let mut call = JoinSet::new();
    call.spawn(async move { ask(&url, API_KEY, path, &body).await });
    call
}

/// Waits until so many calls run at the worker.
async fn until_inflight(ollama: &Ollama, number: u64) {
    ollama
        .until_worker("so many calls run", |worker| worker["inflight"] == number)
        .await;
}

/// Returns how long the runtime takes to answer.
async fn answer_time(ollama: &Ollama) -> Duration {
    let began = Instant::now();
    let answer = ollama.direct("/api/chat", &short()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    began.elapsed()
}

/// The runtime computes one call at a time, so that the next answer comes when the one that was left is over.
#[tokio::test]
async fn an_ollama_is_free_when_its_caller_leaves_while_it_writes() {
    let ollama = Ollama::start().await;
    answer_time(&ollama).await;
    let usual = answer_time(&ollama).await;

    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
        let text = if path == "/api/chat" {
            "\"content\":\""
        } else {
            "delta"
        };
        let streaming = ollama.pool.stream_until(path, &story(path), text).await;
        drop(streaming);
        let took = answer_time(&ollama).await;
        assert!(
            took < usual + LIMIT,
            "{path}, streamed: {took:?}, usually {usual:?}"
        );

        let mut request = story(path);
        request["stream"] = json!(false);
        let call = start(&ollama, path, request);
        until_inflight(&ollama, 1).await;
        drop(call);
        until_inflight(&ollama, 0).await;
        let took = answer_time(&ollama).await;
        assert!(
            took < usual + LIMIT,
            "{path}, whole: {took:?}, usually {usual:?}"
        );
    }
}

/// Ollama reads a prompt to its end, whoever has left. It shows no slots, so that the worker reports the call for as long as
/// prompts of that length took.
#[tokio::test]
async fn a_prompt_that_ollama_still_reads_is_reported() {
    let ollama = Ollama::start().await;
    // The first loads the model, and the second measures how fast it reads.
    for topic in ["llama", "alpaca"] {
        let mut call = prompt(&sentences(topic, 20));
        // A whole answer does not show when the prompt had been read.
        call["stream"] = json!(true);
        let answer = ollama.ask("/api/chat", &call).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    let call = start(&ollama, "/api/chat", prompt(&sentences("vicuna", 40)));
    until_inflight(&ollama, 1).await;
    drop(call);

    let abandoned = |number: u64| move |worker: &Value| worker["abandoned"] == number;
    ollama
        .until_worker("the call is abandoned", abandoned(1))
        .await;
    ollama.until_worker("it is over", abandoned(0)).await;
    let answer = ollama.ask("/api/chat", &short()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
