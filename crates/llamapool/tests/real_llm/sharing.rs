//! Several workers behind one API: load is shared, and what waits comes next.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::runtimes::{Runtime, SMOLLM2, chat, with_end};
use crate::workers::{LlmPool, send};

const ONE_SLOT: [(&str, &str); 1] = [("MAX_CONCURRENCY", "1")];

fn endless() -> Value {
    let mut request = chat("endless", "Go on.", 5);
    request["stream"] = json!(true);
    request
}

#[tokio::test]
async fn two_workers_share_the_calls_of_a_model() {
    let runtimes = [Runtime::scripted(&[]).await, Runtime::scripted(&[]).await];
    let pool = LlmPool::start().await;
    let _alpha = pool.worker_with("alpha", &runtimes[0], &ONE_SLOT).await;
    let _beta = pool.worker_with("beta", &runtimes[1], &ONE_SLOT).await;

    let path = "/v1/chat/completions";
    let first = pool.stream_until(path, &endless(), "more").await;
    let second = pool.stream_until(path, &endless(), "more").await;

    for runtime in &runtimes {
        assert_eq!(with_end(&runtime.calls().await, "runs"), 1);
    }
    let models = pool.state().await["models"].clone();
    let mut listed = models.as_array().unwrap().iter();
    let model = listed.find(|model| model["name"] == "endless:latest");
    assert_eq!(model.unwrap()["workers"], 2, "{models}");
    drop((first, second));
}

#[tokio::test]
async fn two_real_runtimes_answer_at_once() {
    let runtimes = [
        Runtime::llama_cpp(&["slots=1"]).await,
        Runtime::llama_cpp(&["slots=1"]).await,
    ];
    let pool = LlmPool::start().await;
    let _alpha = pool.worker("alpha", &runtimes[0]).await;
    let _beta = pool.worker("beta", &runtimes[1]).await;
    let mut request = chat(SMOLLM2, "Tell a long story.", 1500);
    request["stream"] = json!(true);

    let path = "/v1/chat/completions";
    let first = pool.stream_until(path, &request, r#""content":""#).await;
    let second = pool.stream_until(path, &request, r#""content":""#).await;

    for runtime in &runtimes {
        runtime.until_busy_slots(1).await;
    }
    drop((first, second));
}

#[tokio::test]
async fn a_call_that_waits_gets_the_next_free_place() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker_with("alpha", &runtime, &ONE_SLOT).await;
    let path = "/v1/chat/completions";
    let running = pool.stream_until(path, &endless(), "more").await;
    let url = pool.url.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { send(&url, path, &chat("scripted", "Hi", 5)).await });
    pool.until("it waits", |state| {
        state["server"]["scheduler_queue_len"] == 1
    })
    .await;

    drop(running);
    let answer = crate::harness::soon("it is answered", waiting.join_next()).await;
    let answer = answer.unwrap().unwrap();

    assert_eq!(answer.status(), 200);
    assert_eq!(pool.state().await["server"]["scheduler_queue_len"], 0);
}

#[tokio::test]
async fn a_call_that_would_wait_can_be_refused_instead() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::with(&[("LLM_QUEUE_SIZE", "0")]).await;
    let _worker = pool.worker_with("alpha", &runtime, &ONE_SLOT).await;
    let path = "/v1/chat/completions";
    let running = pool.stream_until(path, &endless(), "more").await;

    let answer = pool.ask(path, &chat("scripted", "Hi", 5)).await;

    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("llamapool-error"), "queue_full", "{answer:?}");
    assert_eq!(answer.header("x-should-retry"), "true", "{answer:?}");
    drop(running);
}

#[tokio::test]
async fn a_worker_that_drains_finishes_what_runs() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let mut worker = pool
        .worker_with("alpha", &runtime, &[("DRAIN_TIMEOUT", "1m")])
        .await;
    let path = "/v1/chat/completions";
    let mut running = pool.stream_until(path, &endless(), "more").await;

    worker.signal("TERM").await;
    pool.until("it drains", |state| {
        state["workers"][0]["status"] == "draining"
    })
    .await;
    running.again("more").await;

    assert!(worker.is_running());
    drop(running);
    assert_eq!(worker.ended().await.code(), Some(0));
}
