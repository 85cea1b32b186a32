//! Calls through a real worker, to runtimes that a test plays.

use std::time::{Duration, Instant};

use llamapool_testkit::{LlmRuntime, PlayedRuntime, Pool, Relay, RuntimeCallEnd, worker_config};
use serde_json::json;

use crate::kit::{CHAT, call, chat, server, start};

/// The longest from a caller's leave to the end of the connection at the runtime. It takes a few
/// milliseconds; more than these would be a timeout somewhere, or the end of the answer.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn worker_of(server: &Pool, runtime: &LlmRuntime, id: &str) -> Relay {
    let relay = Relay::start(worker_config(&server.url, id, &runtime.url)).await;
    server
        .until("the worker has its model", |state| {
            let workers = state["workers"].as_array().into_iter().flatten();
            let mut of_id = workers.filter(|worker| worker["id"] == id);
            of_id.any(|worker| worker["models_supported"] == json!(["m"]))
        })
        .await;
    relay
}

#[tokio::test]
async fn each_kind_of_runtime_answers_whole_and_streamed() {
    for kind in [
        PlayedRuntime::Ollama,
        PlayedRuntime::LlamaCpp,
        PlayedRuntime::OpenAi,
    ] {
        let server = server(|_| {}).await;
        let runtime = LlmRuntime::start(kind).await;
        let _worker = worker_of(&server, &runtime, "alpha").await;

        let whole = call(&server, CHAT, &chat(false)).await;
        let streamed = call(&server, CHAT, &chat(true)).await;

        assert_eq!(whole.status(), 200, "{kind:?}: {}", whole.text());
        let content = &whole.json()["choices"][0]["message"]["content"];
        assert_eq!(content, "Hello you.", "{kind:?}");
        assert!(streamed.text().contains("Hello"), "{kind:?}");
        assert!(streamed.text().ends_with("data: [DONE]\n\n"), "{kind:?}");
        server
            .until("both calls are counted", |state| {
                state["workers"][0]["processed_total"] == 2
                    && state["workers"][0]["tokens_in_total"].as_u64() >= Some(24)
            })
            .await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_closes_the_connection_to_the_runtime() {
    let server = server(|_| {}).await;
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |behaviour| {
        behaviour.held_after = Some(1);
    })
    .await;
    let _worker = worker_of(&server, &runtime, "alpha").await;

    for (number, stream) in [true, false].into_iter().enumerate() {
        let mut pending = start(&server, CHAT, &chat(stream));
        runtime.call(number).await;
        let answer = if stream {
            Some(pending.answer().await)
        } else {
            None
        };
        let left = Instant::now();
        drop((answer, pending));
        let end = runtime.ended(number).await;

        assert_eq!(end, RuntimeCallEnd::Closed, "stream: {stream}");
        let took = left.elapsed();
        assert!(took < AT_ONCE, "stream: {stream}: {took:?}");
    }
}
