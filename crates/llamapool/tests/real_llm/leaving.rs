//! A caller that leaves frees the slot of the runtime: while it waits, while its prompt is read, while its answer is
//! written, and whether it streams or not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::Process;
use crate::runtimes::{Runtime, SMOLLM2, chat, with_end};
use crate::workers::{LlmPool, Whole, send};

/// The longest from the caller's leave to a free slot, besides the time that this machine needs for four batches:
/// llama.cpp looks after each. Without the worker's help it reads eighty of them, or writes on to the end.
const LIMIT: Duration = Duration::from_millis(500);
/// A prompt of four batches of 16 tokens.
const FOUR_BATCHES: &str =
    "The llama crosses the pool. The llama crosses the pool. The llama crosses the pool.";
/// More tokens than are written before the test is over.
const MANY: u32 = 1500;

/// A prompt that takes many seconds to read.
fn long_prompt() -> String {
    "The llama crosses the pool. ".repeat(200)
}

/// Sends a call by a task of its own. Dropping the task is the caller's leave.
fn start(pool: &LlmPool, path: &'static str, body: Value) -> JoinSet<Whole> {
    let url = pool.url.clone();
    let mut call = JoinSet::new();
    call.spawn(async move { Whole::read(send(&url, path, &body).await).await });
    call
}

/// A llama.cpp with one slot and small batches behind a worker.
struct OneSlot {
    runtime: Runtime,
    pool: LlmPool,
    _worker: Process,
    /// The longest from the caller's leave to a free slot.
    limit: Duration,
}

impl OneSlot {
    async fn start() -> Self {
        let runtime = Runtime::llama_cpp(&["slots=1", "batch=16", "context=4096"]).await;
        let pool = LlmPool::start().await;
        let worker = pool.worker("alpha", &runtime).await;

        let began = Instant::now();
        let request = chat(SMOLLM2, FOUR_BATCHES, 1);
        Whole::read(send(&runtime.url, "/v1/chat/completions", &request).await).await;
        Self {
            runtime,
            pool,
            _worker: worker,
            limit: LIMIT + began.elapsed(),
        }
    }

    /// Waits until no slot computes. Panics if that takes longer than it may.
    #[allow(
        clippy::print_stdout,
        reason = "the measurement is shown with --nocapture"
    )]
    async fn assert_freed(&self, what: &str) {
        let left = Instant::now();
        self.runtime.until_busy_slots(0).await;
        let took = left.elapsed();
        println!("{what}: the slot is idle {took:?} after the leave");
        assert!(took < self.limit, "{what}: {took:?} of {:?}", self.limit);
    }
}

#[tokio::test]
async fn a_stream_that_is_left_frees_its_slot() {
    let slot = OneSlot::start().await;
    let mut request = chat(SMOLLM2, "Tell a long story.", MANY);
    request["stream"] = json!(true);

    let streaming = slot
        .pool
        .stream_until("/v1/chat/completions", &request, r#""content":""#)
        .await;
    drop(streaming);

    slot.assert_freed("a stream").await;
}

#[tokio::test]
async fn an_answer_that_is_left_frees_its_slot_while_written() {
    let slot = OneSlot::start().await;

    let messages = json!([{ "role": "user", "content": "Tell a story." }]);
    for (path, request) in [
        ("/v1/chat/completions", chat(SMOLLM2, "Tell a story.", MANY)),
        (
            "/v1/completions",
            json!({ "model": SMOLLM2, "max_tokens": MANY, "prompt": "Once upon a time" }),
        ),
        (
            "/v1/messages",
            json!({ "model": SMOLLM2, "max_tokens": MANY, "messages": messages }),
        ),
        (
            "/v1/responses",
            json!({ "model": SMOLLM2, "max_output_tokens": MANY, "input": "Tell a story." }),
        ),
    ] {
        for stream in [false, true] {
            let mut request = request.clone();
            request["stream"] = json!(stream);
            let call = start(&slot.pool, path, request);
            until_written(&slot.runtime).await;
            drop(call);

            slot.assert_freed(&format!("{path} while written, stream: {stream}"))
                .await;
        }
    }
}

/// Waits until a slot has written some tokens.
async fn until_written(runtime: &Runtime) {
    let written = async {
        loop {
            let slots = runtime.get("/slots").await;
            let decoded = &slots[0]["next_token"];
            let decoded = decoded.get(0).unwrap_or(decoded)["n_decoded"].as_u64();
            if slots[0]["is_processing"] == true && decoded > Some(2) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    crate::harness::soon("tokens are written", written).await;
}

#[tokio::test]
async fn a_chat_that_is_left_while_read_frees_its_slot() {
    let slot = OneSlot::start().await;

    for stream in [false, true] {
        let mut request = chat(SMOLLM2, &long_prompt(), MANY);
        request["stream"] = json!(stream);
        request["cache_prompt"] = json!(false);
        let call = start(&slot.pool, "/v1/chat/completions", request);
        slot.runtime.until_busy_slots(1).await;
        drop(call);

        slot.assert_freed(&format!("while read, stream: {stream}"))
            .await;
    }
}

/// Ollama's API, made of llama.cpp's: while it is written in both forms, and while the prompt is read.
#[tokio::test]
async fn a_translated_call_that_is_left_frees_its_slot() {
    let slot = OneSlot::start().await;
    let request = |text: &str, stream: bool| {
        json!({ "model": SMOLLM2, "stream": stream, "options": { "num_predict": MANY },
            "messages": [{ "role": "user", "content": text }] })
    };

    for stream in [true, false] {
        let call = start(&slot.pool, "/api/chat", request("Tell a story.", stream));
        until_written(&slot.runtime).await;
        drop(call);
        slot.assert_freed(&format!("written, stream: {stream}"))
            .await;

        let call = start(&slot.pool, "/api/chat", request(&long_prompt(), stream));
        slot.runtime.until_busy_slots(1).await;
        drop(call);
        slot.assert_freed(&format!("read, stream: {stream}")).await;
    }
}

/// `messages` has no sign of reading, so that the slot stays busy, and the state reports it until it is free.
#[tokio::test]
async fn what_a_runtime_still_computes_is_reported() {
    let slot = OneSlot::start().await;
    let messages =
        json!([{ "role": "user", "content": "The llama crosses the pool. ".repeat(25) }]);
    let request = json!({ "model": SMOLLM2, "max_tokens": 4, "messages": messages });

    let call = start(&slot.pool, "/v1/messages", request);
    slot.runtime.until_busy_slots(1).await;
    drop(call);

    slot.pool
        .until("the call is abandoned", |state| {
            state["workers"][0]["abandoned"] == 1
        })
        .await;
    slot.runtime.until_busy_slots(0).await;
    slot.pool
        .until("the slot is free", |state| {
            state["workers"][0]["abandoned"] == 0
        })
        .await;
}

/// The task of llama.cpp's slot has a number, which every request raises.
#[tokio::test]
async fn a_call_that_is_left_in_the_queue_takes_no_slot() {
    let slot = OneSlot::start().await;
    let path = "/v1/chat/completions";
    let mut story = chat(SMOLLM2, "Tell a long story.", MANY);
    story["stream"] = json!(true);
    let writing = slot.pool.stream_until(path, &story, r#""content":""#).await;
    let task = slot.runtime.get("/slots").await[0]["id_task"].clone();

    let waiting = start(&slot.pool, path, chat(SMOLLM2, "Wait.", 5));
    slot.pool
        .until("it waits", |state| {
            state["server"]["scheduler_queue_len"] == 1
        })
        .await;
    drop(waiting);
    slot.pool
        .until("it has left", |state| {
            state["server"]["scheduler_queue_len"] == 0
        })
        .await;
    drop(writing);
    slot.assert_freed("a stream, with one that had left the queue")
        .await;

    assert_eq!(slot.runtime.get("/slots").await[0]["id_task"], task);
}

#[tokio::test]
async fn a_call_that_is_left_in_the_queue_never_reaches_a_runtime() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool
        .worker_with("alpha", &runtime, &[("MAX_CONCURRENCY", "1")])
        .await;
    let mut endless = chat("endless", "Go on.", 5);
    endless["stream"] = json!(true);
    let running = pool
        .stream_until("/v1/chat/completions", &endless, "more")
        .await;

    let waiting = start(&pool, "/v1/chat/completions", chat("scripted", "Wait.", 5));
    pool.until("it waits", |state| {
        state["server"]["scheduler_queue_len"] == 1
    })
    .await;
    drop(waiting);
    pool.until("it has left", |state| {
        state["server"]["scheduler_queue_len"] == 0
    })
    .await;
    drop(running);
    runtime
        .until_calls("the running one is cancelled", |calls| {
            with_end(calls, "cancelled") == 1
        })
        .await;

    assert_eq!(runtime.calls().await.len(), 1);
    let answer = pool
        .ask("/v1/chat/completions", &chat("scripted", "Now.", 5))
        .await;
    assert_eq!(answer.status, 200, "the place is free again: {answer:?}");
}

#[tokio::test]
async fn a_whole_answer_that_is_left_is_cancelled_at_ollama() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for (count, (path, body)) in [
        ("/v1/chat/completions", chat("endless", "Go on.", 5)),
        (
            "/api/chat",
            json!({ "model": "endless", "stream": false, "messages": [] }),
        ),
        (
            "/v1/messages",
            json!({ "model": "endless", "max_tokens": 5, "messages": [] }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let call = start(&pool, path, body);
        runtime
            .until_calls("it runs", |calls| with_end(calls, "runs") == 1)
            .await;
        drop(call);
        runtime
            .until_calls("it is cancelled", |calls| {
                with_end(calls, "cancelled") == count + 1
            })
            .await;
    }
}
