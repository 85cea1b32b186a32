//! Real cold and warm: llama.cpps that sleep when nothing is asked of them.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::Process;
use crate::runtimes::{Runtime, SMOLLM2, chat};
use crate::workers::{LlmPool, Streaming, Whole, send};

const PATH: &str = "/v1/chat/completions";

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

/// A llama.cpp that is awake and one that sleeps, with one slot each.
struct WarmAndCold {
    pool: LlmPool,
    warm: Runtime,
    cold: Runtime,
    _workers: [Process; 2],
}

impl WarmAndCold {
    /// `weight` is that of the sleeping one's worker: half of it makes loading look twice as long.
    async fn start(weight: &str) -> Self {
        let cold = Runtime::llama_cpp(&["slots=1", "sleep_idle_seconds=1"]).await;
        let warm = Runtime::llama_cpp(&["slots=1"]).await;
        until_sleeping(&cold, true).await;
        let pool = LlmPool::start().await;
        let settings = [("WORKER_WEIGHT", weight)];
        let workers = [
            pool.worker_with("cold", &cold, &settings).await,
            pool.worker("warm", &warm).await,
        ];
        // The speed of writing is measured, so that the wait for a slot can be expected.
        pool.ask(PATH, &chat(SMOLLM2, "Tell a story.", 16)).await;
        Self {
            pool,
            warm,
            cold,
            _workers: workers,
        }
    }

    /// Lets the awake one write so many tokens. Returns once it writes.
    async fn write(&self, tokens: u32) -> Streaming {
        let mut story = chat(SMOLLM2, "Tell a long story.", tokens);
        story["stream"] = json!(true);
        story["ignore_eos"] = json!(true);
        let streaming = self.pool.stream_until(PATH, &story, r#""content":""#).await;
        assert_eq!(self.warm.busy_slots().await, 1);
        streaming
    }

    async fn is_cold(&self) -> bool {
        self.cold.get("/props").await["is_sleeping"] == Value::Bool(true)
    }
}

#[tokio::test]
async fn a_call_waits_for_a_warm_worker_that_is_soon_free() {
    let both = WarmAndCold::start("0.03").await;
    let writing = both.write(80).await;

    let url = both.pool.url.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { send(&url, PATH, &chat(SMOLLM2, "Hi", 2)).await });
    both.pool
        .until("it waits", |state| {
            state["server"]["scheduler_queue_len"] == 1
        })
        .await;
    let (_, is_whole) = writing.rest().await;
    let answer = waiting.join_next().await.unwrap().unwrap();
    let answer = Whole::read(answer).await;

    assert!(is_whole);
    assert_eq!(answer.status, 200, "{answer:?}");
    let route = answer.header("llamapool-route");
    assert!(route.contains(r#"worker="warm""#), "{route}");
    assert!(both.is_cold().await, "the sleeping one was not woken");
}

#[tokio::test]
async fn a_call_goes_to_a_cold_worker_where_waiting_costs_more() {
    let both = WarmAndCold::start("1").await;
    let writing = both.write(1900).await;

    let answer = both.pool.ask(PATH, &chat(SMOLLM2, "Hi", 2)).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let route = answer.header("llamapool-route");
    assert!(route.contains(r#"worker="cold""#), "{route}");
    assert_eq!(both.warm.busy_slots().await, 1, "the other still writes");
    drop(writing);
}
