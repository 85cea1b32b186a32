//! Calls that wait: their order, their bounds, and what their callers see.

use std::time::Duration;

use llamapool_testkit::{PendingCall, soon};
use llamapool_wire::Event;
use llamapool_wire::llm::{CallProgress, Load};
use serde_json::json;

use crate::kit::{
    CHAT, CHUNK, COMPLETION, DONE, call, chat, read, request, server, server_with_worker, start,
    until_waiting, worker,
};

#[tokio::test]
async fn calls_wait_for_a_slot_in_their_order() {
    let (server, mut worker) = server_with_worker(1).await;
    let mut calls = Vec::new();
    for number in 0..3 {
        let mut body = chat(false);
        body["seed"] = json!(number);
        calls.push(start(&server, CHAT, &body));
        if number > 0 {
            until_waiting(&server, number).await;
        } else {
            server
                .until("the first call runs", |state| {
                    state["workers"][0]["inflight"] == 1
                })
                .await;
        }
    }

    for (number, pending) in calls.iter_mut().enumerate() {
        let call = worker.next_call().await;
        assert_eq!(call.json()["seed"], number);
        assert!(!worker.has_call(), "one slot, one call");
        call.answer_json(200, COMPLETION);
        assert_eq!(read(pending).await.status(), 200);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_the_queue_gives_way() {
    let (server, mut worker) = server_with_worker(1).await;
    let mut running = start(&server, CHAT, &chat(false));
    let first = worker.next_call().await;
    let leaving = start(&server, CHAT, &chat(false));
    until_waiting(&server, 1).await;

    drop(leaving);
    until_waiting(&server, 0).await;
    first.answer_json(200, COMPLETION);

    assert_eq!(read(&mut running).await.status(), 200);
    assert!(!worker.has_call());
}

#[tokio::test]
async fn a_full_queue_and_a_refused_wait_are_503() {
    let server = server(|config| config.queue_size = 1).await;
    let mut worker = worker(&server, "alpha", 1).await;
    let _running = start(&server, CHAT, &chat(false));
    let _first = worker.next_call().await;

    let refused = request(&server, CHAT, &chat(false)).header("llamapool-queue", "refuse");
    let refused = soon("an answer", refused.send()).await.unwrap();
    let _waiting = start(&server, CHAT, &chat(false));
    until_waiting(&server, 1).await;
    let full = call(&server, CHAT, &chat(false)).await;

    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["llamapool-error"], "queue_full");
    assert_eq!(full.status(), 503);
    assert_eq!(full.header("llamapool-error"), Some("queue_full"));
    assert_eq!(full.header("x-should-retry"), Some("true"));
}

#[tokio::test]
async fn a_wait_ends_at_its_deadline() {
    let (server, mut worker) = server_with_worker(1).await;
    let _running = start(&server, CHAT, &chat(false));
    let _first = worker.next_call().await;

    let waiting = request(&server, CHAT, &chat(false)).header("llamapool-queue-timeout", "0.05");
    let answer = soon("an answer", waiting.send()).await.unwrap();

    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["llamapool-error"], "queue_timeout");
}

#[tokio::test]
async fn a_lower_class_waits_for_the_others() {
    let (server, mut worker) = server_with_worker(1).await;
    let mut running = start(&server, CHAT, &chat(false));
    let first = worker.next_call().await;
    let low = request(
        &server,
        CHAT,
        &json!({ "model": "m", "seed": 1, "messages": [] }),
    );
    let mut low = PendingCall::start(low.header("llamapool-class", "low"));
    until_waiting(&server, 1).await;
    let mut normal = start(
        &server,
        CHAT,
        &json!({ "model": "m", "seed": 2, "messages": [] }),
    );
    until_waiting(&server, 2).await;

    first.answer_json(200, COMPLETION);
    read(&mut running).await;
    let second = worker.next_call().await;
    assert_eq!(second.json()["seed"], 2);
    second.answer_json(200, COMPLETION);
    read(&mut normal).await;
    let third = worker.next_call().await;
    assert_eq!(third.json()["seed"], 1);
    third.answer_json(200, COMPLETION);

    assert_eq!(read(&mut low).await.status(), 200);
}

#[tokio::test]
async fn a_waiting_stream_shows_its_place_and_then_the_answer() {
    let server = server(|config| config.queue_update = Duration::from_millis(10)).await;
    let mut worker = worker(&server, "alpha", 1).await;
    let mut running = start(&server, CHAT, &chat(false));
    let first = worker.next_call().await;
    let show = request(&server, CHAT, &chat(true)).header("llamapool-queue", "show");
    let mut waiting = PendingCall::start(show);

    let mut answer = waiting.answer().await;
    let line = comment(&mut answer, ": queue position=").await;
    first.answer_json(200, COMPLETION);
    read(&mut running).await;
    let pieces = worker.next_call().await.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    pieces.send(Ok(DONE.into())).await.unwrap();
    drop(pieces);
    let rest = soon("the answer", answer.text()).await.unwrap();

    let place = ": queue position=1 of=1 model=m waited=";
    assert!(line.contains(place), "{line}");
    assert!(line.contains(" expected="), "{line}");
    let events: String = rest
        .split_inclusive("\n\n")
        .filter(|event| !event.starts_with(':'))
        .collect();
    assert_eq!(events, format!("{CHUNK}{DONE}"));
}

#[tokio::test]
async fn a_call_that_fails_behind_its_head_says_why() {
    let server = server(|config| config.head_patience = Duration::ZERO).await;
    let mut worker = worker(&server, "alpha", 1).await;
    let mut pending = start(&server, CHAT, &chat(true));

    let answer = pending.answer().await;
    worker.next_call().await.fail("first_token_timeout");
    let (text, ended_well) = crate::kit::read_broken(answer).await;

    assert!(text.contains("first_token_timeout"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    assert!(!ended_well);
}

#[tokio::test]
async fn the_state_lists_waiting_calls() {
    let (server, mut worker) = server_with_worker(1).await;
    let _running = start(&server, CHAT, &chat(false));
    let _first = worker.next_call().await;
    let _waiting = start(&server, CHAT, &chat(false));

    let state = server
        .until("the call is listed", |state| {
            state["queue"]
                .as_array()
                .is_some_and(|queue| !queue.is_empty())
        })
        .await;

    let queued = &state["queue"][0];
    assert_eq!(queued["model"], "m");
    assert_eq!(queued["position"], 1);
    assert_eq!(queued["key"], "api_key");
    assert_eq!(state["models"][0]["waiting"], 1);
}

/// What a caller sees before first content: its model is loaded, its prompt is read.
#[tokio::test]
async fn a_caller_sees_how_far_its_call_is() {
    let server = server(|config| {
        config.head_patience = Duration::ZERO;
        config.queue_update = Duration::from_millis(10);
    })
    .await;
    let mut worker = worker(&server, "alpha", 1).await;
    worker.send(&Event::Load(Load::default())).await;
    server
        .until("the model is not loaded", |state| {
            state["models"][0]["resident_on"] == 0
        })
        .await;

    let mut pending = start(&server, CHAT, &chat(true));
    let mut answer = pending.answer().await;
    let call = worker.next_call().await;
    comment(&mut answer, ": loading model=m").await;
    let progress = |attempt, read| Event::Progress(CallProgress { attempt, read });
    worker.send(&progress(call.attempt() + 1000, 0.9)).await;
    worker.send(&progress(call.attempt(), 0.37)).await;
    comment(&mut answer, ": reading 37%").await;
    let pieces = call.stream("text/event-stream");
    for piece in [CHUNK, DONE] {
        pieces.send(Ok(piece.into())).await.unwrap();
    }
    drop(pieces);
    let rest = soon("the answer", answer.text()).await.unwrap();

    assert!(!rest.contains("90%"), "{rest}");
    assert!(rest.ends_with(&format!("{CHUNK}{DONE}")), "{rest}");

    worker
        .send(&Event::Load(Load {
            resident: vec![0],
            ..Load::default()
        }))
        .await;
    server
        .until("the model is loaded", |state| {
            state["models"][0]["resident_on"] == 1
        })
        .await;
    let mut pending = start(&server, CHAT, &chat(true));
    let mut answer = pending.answer().await;
    let _call = worker.next_call().await;
    comment(&mut answer, ": reading\n").await;
}

/// Reads a stream until a comment begins so. Returns what was read.
async fn comment(answer: &mut reqwest::Response, start: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(start) {
        let piece = soon("a comment", answer.chunk()).await.unwrap();
        let piece = piece.unwrap_or_else(|| panic!("the stream ended: {seen}"));
        seen.push_str(std::str::from_utf8(&piece).unwrap());
    }
    seen
}

/// Two runtimes have the model loaded, with contexts of their own: calls that ask for one go to the
/// runtime that has it, and wait for it rather than have the other one load anew.
#[tokio::test]
async fn a_context_that_is_asked_for_reloads_no_runtime() {
    let server = server(|_| {}).await;
    let mut workers = Vec::new();
    for (id, context) in [("short", 4096), ("long", 32_768)] {
        let mut setup = llamapool_testkit::WorkerSetup::new(&["m"], 1);
        setup.runtime.runtime = "ollama".to_owned();
        setup.models[0].apis.push("ollama".to_owned());
        setup.models[0].context = context;
        // So large that loading it anew takes longer than any wait that is expected here.
        setup.models[0].size = 5_000_000_000_000;
        workers.push(llamapool_testkit::ScriptedWorker::connect(&server, id, setup).await);
    }
    let body = |context: Option<u64>| {
        let options = context.map(|context| json!({ "num_ctx": context }));
        json!({ "model": "m", "stream": false, "messages": [], "options": options })
    };
    let wishes = [Some(32_768), None, Some(4096)];
    let mut calls: Vec<_> = (0..30)
        .map(|number| start(&server, "/api/chat", &body(wishes[number % 3])))
        .collect();

    let mut done = 0;
    while done < calls.len() {
        let Some(at) = workers.iter_mut().position(|worker| worker.has_call()) else {
            tokio::task::yield_now().await;
            continue;
        };
        let call = workers[at].next_call().await;
        let asked = call.json()["options"]["num_ctx"].as_u64();
        let loaded = [4096, 32_768][at];
        assert!(
            asked.is_none_or(|asked| asked == loaded),
            "{asked:?} at {loaded}"
        );
        call.answer_json(200, r#"{"message":{"content":"a"},"done":true}"#);
        done += 1;
    }
    for pending in &mut calls {
        let answer = read(pending).await;
        let route = answer.header("llamapool-route").unwrap();
        assert!(route.contains("reason=warm"), "{route}");
    }
}

#[tokio::test]
async fn a_runtime_that_must_load_anew_is_named() {
    let server = server(|_| {}).await;
    let mut setup = llamapool_testkit::WorkerSetup::new(&["m"], 1);
    setup.models[0].apis.push("ollama".to_owned());
    setup.models[0].context = 4096;
    let mut worker = llamapool_testkit::ScriptedWorker::connect(&server, "a", setup).await;
    let body =
        json!({ "model": "m", "stream": false, "messages": [], "options": { "num_ctx": 8192 } });
    let mut pending = start(&server, "/api/chat", &body);

    let answered = r#"{"message":{"content":"a"},"done":true}"#;
    worker.next_call().await.answer_json(200, answered);
    let answer = read(&mut pending).await;

    let route = answer.header("llamapool-route").unwrap();
    assert!(route.contains("reason=reload"), "{route}");
}
