//! A caller that leaves: the connection to the runtime is closed at once, and what the runtime still
//! computes is reported.

use std::time::{Duration, Instant};

use llamapool_testkit::{LlmRuntime, PlayedRuntime, RuntimeCallEnd};
use llamapool_wire::Event;
use llamapool_wire::llm::CallEnd;

use super::{Call, Worker};

/// An upper bound on a machine that is busy with other things; the goal is 5 ms.
const AT_ONCE: Duration = Duration::from_millis(250);

#[tokio::test]
async fn a_stream_that_is_cancelled_closes_the_runtimes_connection() {
    let runtime = LlmRuntime::with(PlayedRuntime::OpenAi, |it| it.held_after = Some(1)).await;
    let mut worker = Worker::start(&runtime).await;
    let mut response = worker.send(Call::chat_stream()).await;
    response.piece().await.unwrap().unwrap();

    let cancelled = Instant::now();
    drop(response);
    let end = runtime.ended(0).await;
    let waited = cancelled.elapsed();

    assert_eq!(end, RuntimeCallEnd::Closed);
    assert!(waited < AT_ONCE, "{waited:?}");
    let report = worker.events.report().await;
    assert_eq!((report.attempt, report.end), (7, CallEnd::Cancelled));
    assert_eq!(report.completion, 1);
    assert!(report.first_ms.is_some());
}

#[tokio::test]
async fn a_call_that_waits_is_cancelled_at_once_in_every_form() {
    for kind in [PlayedRuntime::LlamaCpp, PlayedRuntime::Ollama] {
        for call in [Call::chat(), Call::chat_stream()] {
            let runtime = LlmRuntime::with(kind, |it| it.is_held = true).await;
            let mut worker = Worker::start(&runtime).await;
            let pending = worker.begin(call);
            runtime.call(0).await;

            let cancelled = Instant::now();
            pending.cancel();
            let end = runtime.ended(0).await;
            let waited = cancelled.elapsed();

            assert_eq!(end, RuntimeCallEnd::Closed);
            assert!(waited < AT_ONCE, "{waited:?}");
            let report = worker.events.report().await;
            assert_eq!((report.end, report.first_ms), (CallEnd::Cancelled, None));
        }
    }
}

#[tokio::test]
async fn a_slot_that_stays_busy_is_reported_until_it_is_idle() {
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |it| {
        it.is_held = true;
        it.keeps_slots = true;
        it.slots = 1;
    })
    .await;
    let mut worker = Worker::start(&runtime).await;
    let pending = worker.begin(Call::chat_stream());
    runtime.call(0).await;

    pending.cancel();
    runtime.ended(0).await;
    let abandoned = |wanted: u32| {
        move |event| match event {
            Event::Load(load) => Some(()).filter(|()| load.abandoned == wanted),
            _ => None,
        }
    };
    worker.events.find(abandoned(1)).await;
    let busy = worker.send(Call::chat_stream()).await;
    assert_eq!((busy.status, busy.error().as_str()), (503, "runtime_busy"));
    runtime.free_slots();
    worker.events.find(abandoned(0)).await;

    runtime.change(|behaviour| behaviour.is_held = false);
    assert_eq!(worker.send(Call::chat_stream()).await.status, 200);
}

#[tokio::test]
async fn a_slot_is_free_again_when_its_call_was_cancelled() {
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |it| {
        it.slots = 1;
        it.held_after = Some(1);
    })
    .await;
    let worker = Worker::start(&runtime).await;

    for _ in 0..5 {
        let mut response = worker.send(Call::chat_stream()).await;
        assert_eq!(response.status, 200);
        response.piece().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn no_more_calls_run_than_the_runtime_has_slots() {
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |it| it.held_after = Some(1)).await;
    let worker = Worker::start(&runtime).await;
    let first = worker.send(Call::chat_stream()).await;
    let second = worker.send(Call::chat_stream()).await;

    let third = worker.send(Call::chat_stream()).await;
    let counted = Call::post(
        "/v1/messages/count_tokens",
        r#"{"model":"m","messages":[]}"#,
    );
    let counted = worker.send(counted).await;

    assert_eq!(
        (third.status, third.error().as_str()),
        (503, "runtime_busy")
    );
    assert_ne!(counted.error(), "runtime_busy", "counting takes no slot");
    assert_eq!(runtime.calls().len(), 3);
    drop((first, second));
}
