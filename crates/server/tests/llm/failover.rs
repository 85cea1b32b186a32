//! Failing over: another worker until first content, and never after it.

use llamapool_testkit::{PendingCall, ScriptedWorker, WorkerCall};
use serde_json::json;

use crate::kit::{
    CHAT, CHUNK, COMPLETION, chat, read, read_broken, request, server, start, worker,
};

/// Waits for the next call at either worker.
async fn next_of(one: &mut ScriptedWorker, other: &mut ScriptedWorker) -> WorkerCall {
    tokio::select! {
        call = one.next_call() => call,
        call = other.next_call() => call,
    }
}

async fn fails_over(fail: impl Fn(WorkerCall)) {
    let server = server(|_| {}).await;
    let mut alpha = worker(&server, "alpha", 1).await;
    let mut beta = worker(&server, "beta", 1).await;

    for stream in [false, true] {
        let mut pending = start(&server, CHAT, &chat(stream));
        let first = next_of(&mut alpha, &mut beta).await;
        let first_path = first.path.clone();
        let first_attempt = first.attempt();
        fail(first);
        let second = next_of(&mut alpha, &mut beta).await;
        assert_ne!(second.path, first_path, "another worker");
        assert_ne!(second.attempt(), first_attempt);
        second.answer_json(200, COMPLETION);
        let answer = read(&mut pending).await;

        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text(), COMPLETION);
        let route = answer.header("llamapool-route").unwrap();
        assert!(route.contains("attempts=2"), "{route}");
        assert!(!alpha.has_call() && !beta.has_call(), "two attempts");
    }
}

#[tokio::test]
async fn a_runtime_that_cannot_be_reached_is_replaced() {
    fails_over(|call| call.fail("runtime_unreachable")).await;
}

#[tokio::test]
async fn a_busy_runtime_is_replaced() {
    fails_over(|call| call.fail("runtime_busy")).await;
    fails_over(|call| call.answer_json(429, "{}")).await;
    fails_over(|call| call.answer_json(503, "{}")).await;
}

#[tokio::test]
async fn a_runtime_that_fails_before_content_is_replaced() {
    fails_over(|call| call.fail("runtime_closed")).await;
    fails_over(|call| call.fail("stalled")).await;
    fails_over(|call| call.answer_json(500, "{}")).await;
    fails_over(|call| call.answer_json(502, "{}")).await;
}

#[tokio::test]
async fn a_worker_that_lacks_the_model_or_api_is_replaced() {
    fails_over(|call| call.answer_json(404, r#"{"error":"model 'm' not found"}"#)).await;
    fails_over(|call| call.fail("unsupported_endpoint")).await;
}

#[tokio::test]
async fn a_worker_that_is_lost_before_content_is_replaced() {
    let server = server(|_| {}).await;
    let mut alpha = worker(&server, "alpha", 1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let first = alpha.next_call().await;
    let mut beta = worker(&server, "beta", 1).await;

    drop(alpha);
    let second = beta.next_call().await;
    second.answer_json(200, COMPLETION);

    assert_eq!(read(&mut pending).await.status(), 200);
    drop(first);
}

#[tokio::test]
async fn three_attempts_are_made_and_the_last_answer_counts() {
    let server = server(|_| {}).await;
    let mut workers = Vec::new();
    for id in ["a", "b", "c", "d"] {
        workers.push(worker(&server, id, 1).await);
    }
    let mut pending = start(&server, CHAT, &chat(false));

    for attempt in 1..=3 {
        let call = loop {
            let found = workers.iter_mut().position(ScriptedWorker::has_call);
            match found {
                Some(place) => break workers[place].next_call().await,
                None => tokio::task::yield_now().await,
            }
        };
        call.answer_json(
            503,
            &json!({ "error": format!("busy {attempt}") }).to_string(),
        );
    }
    let answer = read(&mut pending).await;

    assert_eq!(answer.status(), 503);
    assert_eq!(answer.text(), r#"{"error":"busy 3"}"#);
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert!(!workers.iter_mut().any(ScriptedWorker::has_call));
}

#[tokio::test]
async fn a_model_that_is_still_loading_is_waited_for() {
    let server = server(|_| {}).await;
    let mut alpha = worker(&server, "alpha", 1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;

    for _ in 0..2 {
        alpha.next_call().await.answer_json(503, loading);
    }
    alpha.next_call().await.answer_json(200, COMPLETION);
    let answer = read(&mut pending).await;

    assert_eq!(answer.status(), 200);
    let route = answer.header("llamapool-route").unwrap();
    assert!(route.contains("attempts=1"), "{route}");
    assert_eq!(server.state().await["workers"][0]["breaker"], "closed");
}

#[tokio::test]
async fn nothing_is_sent_twice_after_first_content() {
    let server = server(|_| {}).await;
    let mut alpha = worker(&server, "alpha", 1).await;
    let mut beta = worker(&server, "beta", 1).await;

    let mut streaming = start(&server, CHAT, &chat(true));
    let pieces = next_of(&mut alpha, &mut beta)
        .await
        .stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    let answer = streaming.answer().await;
    pieces
        .send(Err(std::io::Error::other("lost")))
        .await
        .unwrap();
    let (_, ended_well) = read_broken(answer).await;

    let mut whole = start(&server, CHAT, &chat(false));
    let pieces = next_of(&mut alpha, &mut beta)
        .await
        .stream("application/json");
    pieces.send(Ok("{\"choices\":".into())).await.unwrap();
    pieces
        .send(Err(std::io::Error::other("lost")))
        .await
        .unwrap();
    let broken = read(&mut whole).await;

    assert!(!ended_well);
    assert_eq!(broken.status(), 502);
    assert_eq!(broken.header("llamapool-error"), Some("runtime_closed"));
    assert_eq!(broken.header("x-should-retry"), Some("false"));
    assert!(!alpha.has_call() && !beta.has_call());
}

#[tokio::test]
async fn what_must_not_run_twice_is_not_repeated() {
    let server = server(|_| {}).await;
    let mut setup = llamapool_testkit::WorkerSetup::new(&["m"], 1);
    setup.runtime.keeps_responses = true;
    let mut alpha = ScriptedWorker::connect(&server, "alpha", setup.clone()).await;
    let mut beta = ScriptedWorker::connect(&server, "beta", setup).await;

    let stored = json!({ "model": "m", "input": "hi" });
    let mut pending = start(&server, "/v1/responses", &stored);
    next_of(&mut alpha, &mut beta).await.fail("runtime_closed");
    let answer = read(&mut pending).await;

    assert_eq!(answer.status(), 502);
    assert!(!alpha.has_call() && !beta.has_call());

    let mut again = start(&server, "/v1/responses", &stored);
    next_of(&mut alpha, &mut beta)
        .await
        .fail("runtime_unreachable");
    let second = next_of(&mut alpha, &mut beta).await;
    second.answer_json(200, r#"{"id":"r","object":"response","output":[]}"#);

    assert_eq!(read(&mut again).await.status(), 200, "nothing was executed");
}

#[tokio::test]
async fn a_longer_context_is_tried_for_a_prompt_that_is_too_long() {
    let server = server(|_| {}).await;
    let mut small = llamapool_testkit::WorkerSetup::new(&["m"], 1);
    small.models[0].context = 4096;
    let mut alpha = ScriptedWorker::connect(&server, "alpha", small).await;
    let first = start(&server, CHAT, &chat(false));
    let call = alpha.next_call().await;
    let mut beta = worker(&server, "beta", 1).await;
    let overflow = r#"{"error":{"code":400,"message":"request (5000 tokens) exceeds the available context size (4096 tokens)","type":"exceed_context_size_error"}}"#;
    let mut pending = first;

    call.answer_json(400, overflow);
    beta.next_call().await.answer_json(200, COMPLETION);

    assert_eq!(read(&mut pending).await.status(), 200);
}

#[tokio::test]
async fn a_caller_that_leaves_while_a_call_fails_over_ends_it() {
    let server = server(|_| {}).await;
    let mut alpha = worker(&server, "alpha", 1).await;
    let mut beta = worker(&server, "beta", 1).await;
    let pending = PendingCall::start(request(&server, CHAT, &chat(true)));

    next_of(&mut alpha, &mut beta).await.fail("runtime_busy");
    let second = next_of(&mut alpha, &mut beta).await;
    drop(pending);
    second.cancelled().await;

    server
        .until("no call holds a slot", |state| {
            let workers = state["workers"].as_array().unwrap();
            workers.iter().all(|worker| worker["inflight"] == 0)
        })
        .await;
}

#[tokio::test]
async fn an_answer_after_an_execution_invites_no_retry() {
    let server = server(|_| {}).await;
    let mut alpha = worker(&server, "alpha", 1).await;
    let mut beta = worker(&server, "beta", 1).await;
    let mut pending = start(&server, CHAT, &chat(false));

    next_of(&mut alpha, &mut beta).await.fail("runtime_closed");
    next_of(&mut alpha, &mut beta).await.answer_json(503, "{}");
    let answer = read(&mut pending).await;

    assert_eq!(answer.status(), 502);
    assert_eq!(answer.header("llamapool-error"), Some("runtime_closed"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}
