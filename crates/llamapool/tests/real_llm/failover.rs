//! A call goes to another worker as long as nothing of its answer was seen, and never afterwards.

use serde_json::json;
use tokio::task::JoinSet;

use crate::runtimes::{Runtime, chat, with_end};
use crate::workers::{LlmPool, Streaming, send};

/// So long does a model load that its call is still without an answer when the test goes on.
const LOADS_FOR_LONG: &str = "load_ms=60000";

#[tokio::test]
async fn a_killed_workers_call_is_answered_by_another() {
    let slow = Runtime::scripted(&[LOADS_FOR_LONG]).await;
    let quick = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let mut first = pool.worker("slow", &slow).await;

    for (number, stream) in [(1, false), (2, true)] {
        let url = pool.url.clone();
        let mut request = chat("scripted", "Hello", 5);
        request["stream"] = json!(stream);
        let mut call = JoinSet::new();
        call.spawn(async move { send(&url, "/v1/chat/completions", &request).await });
        slow.until_calls("the slow one has it", |calls| calls.len() == number)
            .await;
        let second = pool.worker("quick", &quick).await;
        first.kill().await;
        let answer = call.join_next().await.unwrap().unwrap();

        assert_eq!(answer.status(), 200);
        let route = answer.headers()["llamapool-route"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(route.contains("attempts=2"), "{route}");
        assert!(route.contains("quick"), "{route}");
        let (text, is_whole) = Streaming::of(answer).rest().await;
        assert!(is_whole && text.contains("six."), "{text}");

        drop(second);
        pool.until("both are gone", |state| state["workers"] == json!([]))
            .await;
        first = pool.worker("slow", &slow).await;
    }
    assert_eq!(with_end(&quick.calls().await, "complete"), 2);
}

#[tokio::test]
async fn after_first_content_a_killed_workers_call_fails() {
    let runtime = Runtime::scripted(&[]).await;
    let other = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let mut worker = pool.worker("alpha", &runtime).await;
    let mut request = chat("endless", "Go on.", 5);
    request["stream"] = json!(true);
    let streaming = pool
        .stream_until("/v1/chat/completions", &request, "more")
        .await;
    let _other = pool.worker("beta", &other).await;

    worker.kill().await;
    let (text, is_whole) = streaming.rest().await;

    assert!(!is_whole, "the connection is broken off: {text}");
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with(r#"data: {"error":"#), "{last}");
    assert!(last.contains("worker_lost"), "{last}");
    assert!(!text.contains("[DONE]"), "{text}");
    assert_eq!(other.calls().await.len(), 0);
}

#[tokio::test]
async fn a_runtime_that_refuses_leaves_the_call_to_another() {
    let mut broken = Runtime::scripted(&[]).await;
    let well = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _broken = pool.worker("broken", &broken).await;
    broken.kill().await;
    let _well = pool.worker("well", &well).await;

    for number in 1..=4 {
        let answer = pool
            .ask("/v1/chat/completions", &chat("scripted", "Hello", 5))
            .await;

        assert_eq!(answer.status, 200, "call {number}: {answer:?}");
    }
    assert_eq!(with_end(&well.calls().await, "complete"), 4);
}

#[tokio::test]
async fn the_last_refusal_goes_down_as_it_is() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let answer = pool
        .ask("/v1/chat/completions", &chat("fails", "Hello", 5))
        .await;

    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("server busy"), "{answer:?}");
    assert_eq!(runtime.calls().await.len(), 1);
}

#[tokio::test]
async fn without_a_worker_a_known_model_is_unavailable() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let mut worker = pool.worker("alpha", &runtime).await;
    worker.kill().await;
    pool.until("it is gone", |state| state["workers"] == json!([]))
        .await;

    let answer = pool
        .ask("/v1/chat/completions", &chat("scripted", "Hello", 5))
        .await;

    assert!([404, 503].contains(&answer.status), "{answer:?}");
    assert_ne!(answer.header("llamapool-error"), "", "{answer:?}");
}
