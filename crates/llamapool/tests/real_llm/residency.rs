//! Real cold and warm: llama.cpps that sleep when nothing is asked of them.

use crate::runtimes::{Runtime, SMOLLM2, chat};
use crate::workers::LlmPool;

/// Waits until llama.cpp sleeps or is awake. Asking it does not wake the model.
async fn until_sleeping(runtime: &Runtime, wanted: bool) {
    let reached = async {
        while runtime.get("/props").await["is_sleeping"] != wanted {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::soon("it sleeps, or is awake", reached).await;
}

#[tokio::test]
async fn calls_go_to_the_worker_that_has_the_model_loaded() {
    let asleep = Runtime::llama_cpp(&["sleep_idle_seconds=1"]).await;
    let awake = Runtime::llama_cpp(&[]).await;
    until_sleeping(&asleep, true).await;
    let pool = LlmPool::start().await;
    let _asleep = pool.worker("asleep", &asleep).await;
    let _awake = pool.worker("awake", &awake).await;

    for _ in 0..10 {
        let answer = pool
            .ask("/v1/chat/completions", &chat(SMOLLM2, "Hi", 2))
            .await;

        assert_eq!(answer.status, 200, "{answer:?}");
        let route = answer.header("llamapool-route");
        assert!(route.contains(r#"worker="awake""#), "{route}");
    }
    assert_eq!(asleep.get("/props").await["is_sleeping"], true);
}

#[tokio::test]
async fn a_sleeping_model_is_loaded_when_it_is_asked_for() {
    let runtime = Runtime::llama_cpp(&["sleep_idle_seconds=1"]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;
    until_sleeping(&runtime, true).await;

    let answer = pool
        .ask("/v1/chat/completions", &chat(SMOLLM2, "Hi", 2))
        .await;

    assert_eq!(answer.status, 200, "{answer:?}");
}
