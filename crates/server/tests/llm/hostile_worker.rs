//! Workers that lie or flood: they harm themselves alone.

use llamapool_testkit::{Pool, ScriptedWorker, WorkerSetup};
use llamapool_wire::Event;
use llamapool_wire::llm::{CallReport, CountSource, Load, ModelInfo, Models, Speed};
use serde_json::{Value, json};

use crate::kit::{CHAT, CHUNK, COMPLETION, chat, read, read_broken, server, start, worker};

/// Connects a worker with a model of its own.
async fn liar(server: &Pool) -> ScriptedWorker {
    let setup = WorkerSetup::new(&["other"], 1);
    ScriptedWorker::connect(server, "liar", setup).await
}

/// Checks that calls to another worker go on.
async fn assert_others_work(server: &Pool, honest: &mut ScriptedWorker) {
    let mut pending = start(server, CHAT, &chat(false));
    honest.next_call().await.answer_json(200, COMPLETION);
    assert_eq!(read(&mut pending).await.status(), 200);
    let state = server.state().await;
    let workers = state["workers"].as_array().unwrap();
    let honest = workers.iter().find(|worker| worker["id"] == "honest");
    assert_eq!(honest.unwrap()["models_supported"], json!(["m"]));
}

/// Waits until a call of the first key is counted. Returns the key's tokens, of prompts and of answers.
async fn counted(server: &Pool) -> [u64; 2] {
    let key = |state: &Value, kind: &str| state["keys"][0][kind].as_u64().unwrap();
    let is_counted = |state: &Value| key(state, "tokens_in_total") > 0;
    let state = server.until("the call is counted", is_counted).await;
    ["tokens_in_total", "tokens_out_total"].map(|kind| key(&state, kind))
}

#[tokio::test]
async fn names_and_numbers_that_cannot_be_are_cut() {
    let server = server(|_| {}).await;
    let mut honest = worker(&server, "honest", 1).await;
    let liar = liar(&server).await;

    let models = (0..600).map(|number| ModelInfo {
        name: format!("\u{1b}[31m{number}{}", "x".repeat(1000)),
        size: u64::MAX,
        params: u64::MAX,
        context: u64::MAX,
        apis: vec!["chat".into(); 100],
        ..ModelInfo::default()
    });
    let models = Event::Models(Models {
        models: models.take(60).collect(),
    });
    liar.send(&models).await;
    let speed = Speed {
        model: u16::MAX,
        prefill: f64::MAX,
        decode: -1.0,
        load_ms: u64::MAX,
    };
    let load = Event::Load(Load {
        elsewhere: u32::MAX,
        abandoned: u32::MAX,
        resident: vec![u16::MAX; 500],
        loading: vec![u16::MAX; 500],
        speed: vec![speed; 20],
    });
    liar.send(&load).await;
    server
        .until("the worker is as busy as it says", |state| {
            let workers = state["workers"].as_array().into_iter().flatten();
            workers
                .into_iter()
                .any(|worker| worker["elsewhere"] == u32::MAX)
        })
        .await;

    let state = server.state().await.to_string();
    assert!(!state.contains('\u{1b}') && !state.contains("\\u001b"));
    assert_others_work(&server, &mut honest).await;
}

#[tokio::test]
async fn a_report_of_a_foreign_attempt_is_ignored() {
    let server = server(|_| {}).await;
    let mut honest = worker(&server, "honest", 1).await;
    let liar = liar(&server).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let call = honest.next_call().await;

    for attempt in 0..call.attempt() + 10 {
        let report = CallReport {
            attempt,
            prompt: u64::MAX,
            completion: u64::MAX,
            source: CountSource::Usage,
            ..CallReport::default()
        };
        liar.report(report).await;
    }
    let own = CallReport {
        attempt: call.attempt(),
        prompt: 7,
        completion: 2,
        source: CountSource::Usage,
        ..CallReport::default()
    };
    honest.report(own).await;
    call.answer_json(200, COMPLETION);
    read(&mut pending).await;

    assert_eq!(counted(&server).await, [7, 2]);
}

#[tokio::test]
async fn counts_that_cannot_be_are_cut_to_what_can() {
    let server = server(|_| {}).await;
    let mut honest = worker(&server, "honest", 1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let call = honest.next_call().await;
    let report = CallReport {
        attempt: call.attempt(),
        prompt: u64::MAX,
        cached: u64::MAX,
        completion: u64::MAX,
        embeddings: u64::MAX,
        source: CountSource::Usage,
        total_ms: u64::MAX,
        ..CallReport::default()
    };

    honest.report(report).await;
    call.answer_json(200, COMPLETION);
    read(&mut pending).await;

    assert_eq!(counted(&server).await, [1 << 31; 2]);
}

#[tokio::test]
async fn a_line_of_ten_megabytes_ends_its_worker_alone() {
    let server = server(|_| {}).await;
    let mut honest = worker(&server, "honest", 1).await;
    let liar = liar(&server).await;

    for _ in 0..160 {
        // It fails once the server has had enough.
        if !liar.send_raw(vec![b'x'; 64 * 1024]).await {
            break;
        }
    }
    liar.send_raw(b"\n".to_vec()).await;

    assert_others_work(&server, &mut honest).await;
}

#[tokio::test]
async fn a_flood_of_events_does_not_stop_others() {
    let server = server(|_| {}).await;
    let mut honest = worker(&server, "honest", 1).await;
    let liar = liar(&server).await;

    for number in 0..5000u32 {
        let load = Load {
            elsewhere: number % 2,
            ..Load::default()
        };
        liar.send(&Event::Load(load)).await;
        liar.send_raw(b"{\"event\":\"unheard-of\",\"x\":[1,2,{}]}\n".to_vec())
            .await;
    }

    assert_others_work(&server, &mut honest).await;
}

#[tokio::test]
async fn an_event_that_is_too_large_ends_its_stream() {
    let server = server(|_| {}).await;
    let mut honest = worker(&server, "honest", 1).await;
    let mut pending = start(&server, CHAT, &chat(true));
    let pieces = honest.next_call().await.stream("text/event-stream");

    pieces.send(Ok(CHUNK.into())).await.unwrap();
    let answer = pending.answer().await;
    let sending = async move {
        pieces.send(Ok("data: ".into())).await.unwrap();
        for _ in 0..40 {
            // It fails once the server has had enough.
            if pieces.send(Ok(vec![b'x'; 64 * 1024].into())).await.is_err() {
                break;
            }
        }
    };
    let ((text, ended_well), ()) = tokio::join!(read_broken(answer), sending);

    assert!(text.contains("runtime_garbage"), "{} bytes", text.len());
    assert!(text.len() < 10_000, "nothing of the event goes down");
    assert!(!ended_well);
    assert_others_work(&server, &mut honest).await;
}
