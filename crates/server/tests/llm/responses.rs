//! Responses that a runtime keeps: later calls go to its worker.

use llamapool_testkit::{API_KEY, PendingCall, Pool, ScriptedWorker, WorkerSetup};
use serde_json::{Value, json};

use crate::kit::{call, read, read_broken, server, start};

const PATH: &str = "/v1/responses";

async fn keeping(server: &Pool, id: &str) -> ScriptedWorker {
    let mut setup = WorkerSetup::new(&["m"], 2);
    setup.runtime.keeps_responses = true;
    ScriptedWorker::connect(server, id, setup).await
}

fn input(more: &Value) -> Value {
    let mut body = json!({ "model": "m", "input": "hi" });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

#[tokio::test]
async fn later_calls_go_to_the_worker_that_keeps_a_response() {
    let server = server(|_| {}).await;
    let mut alpha = keeping(&server, "alpha").await;
    let mut pending = start(&server, PATH, &input(&json!({})));
    let answer = r#"{"id":"resp_1","object":"response","output":[]}"#;
    alpha.next_call().await.answer_json(200, answer);
    read(&mut pending).await;
    let _beta = keeping(&server, "beta").await;

    for _ in 0..3 {
        let body = input(&json!({ "previous_response_id": "resp_1", "store": false }));
        let mut next = start(&server, PATH, &body);
        let call = alpha.next_call().await;
        assert!(call.path.starts_with("/llm/alpha/"), "{}", call.path);
        call.answer_json(200, answer);
        assert_eq!(read(&mut next).await.status(), 200);
    }
    let url = format!("{}{PATH}/resp_1?include=x", server.url);
    let mut get = PendingCall::start(server.http.get(url).bearer_auth(API_KEY));
    let call = alpha.next_call().await;
    let path = call.path.clone();
    call.answer_json(200, answer);

    assert_eq!(path, "/llm/alpha/v1/responses/resp_1?include=x");
    assert_eq!(read(&mut get).await.text(), answer);
}

#[tokio::test]
async fn a_response_that_is_not_known_or_away_is_refused() {
    let server = server(|_| {}).await;
    let mut alpha = keeping(&server, "alpha").await;
    let mut pending = start(&server, PATH, &input(&json!({})));
    let answer = r#"{"id":"resp_1","object":"response","output":[]}"#;
    alpha.next_call().await.answer_json(200, answer);
    read(&mut pending).await;
    let _beta = keeping(&server, "beta").await;

    let unknown = input(&json!({ "previous_response_id": "resp_x" }));
    let unknown = call(&server, PATH, &unknown).await;
    drop(alpha);
    server
        .until("alpha is away", |state| {
            state["workers_summary"]["connected"] == 1
        })
        .await;
    let away = input(&json!({ "previous_response_id": "resp_1" }));
    let away = call(&server, PATH, &away).await;

    assert_eq!(unknown.status(), 404);
    assert_eq!(
        unknown.header("llamapool-error"),
        Some("previous_response_not_found")
    );
    assert_eq!(away.status(), 503);
    assert_eq!(away.header("llamapool-error"), Some("worker_offline"));
}

#[tokio::test]
async fn a_conversation_stays_with_the_worker_that_keeps_it() {
    let whole = r#"{"id":"resp_1","object":"response","conversation":{"id":"conv_1"},"output":[]}"#;
    let streamed = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"conversation\":{\"id\":\"conv_1\"}}}\n\n";

    for stream in [false, true] {
        let server = server(|_| {}).await;
        let mut alpha = keeping(&server, "alpha").await;
        let mut pending = start(&server, PATH, &input(&json!({ "stream": stream })));
        let first = alpha.next_call().await;
        if stream {
            first.answer(200, "text/event-stream", streamed);
        } else {
            first.answer_json(200, whole);
        }
        read(&mut pending).await;
        let mut beta = keeping(&server, "beta").await;

        for conversation in [json!("conv_1"), json!({ "id": "conv_1" })] {
            let body = input(&json!({ "conversation": conversation, "store": false }));
            for _ in 0..3 {
                let mut next = start(&server, PATH, &body);
                alpha.next_call().await.answer_json(200, whole);
                assert_eq!(read(&mut next).await.status(), 200);
            }
        }
        drop(alpha);
        server
            .until("alpha is away", |state| {
                state["workers_summary"]["connected"] == 1
            })
            .await;
        let known = input(&json!({ "conversation": "conv_1" }));
        let away = call(&server, PATH, &known).await;
        let unknown = input(&json!({ "conversation": { "id": "conv_x" } }));
        let unknown = call(&server, PATH, &unknown).await;

        assert_eq!(away.header("llamapool-error"), Some("worker_offline"));
        assert_eq!(unknown.status(), 404);
        let word = Some("previous_response_not_found");
        assert_eq!(unknown.header("llamapool-error"), word);
        assert_eq!(unknown.json()["error"]["param"], "conversation");
        assert!(!beta.has_call());
    }
}

#[tokio::test]
async fn a_failed_stream_ends_with_the_numbers_that_follow() {
    let server = server(|_| {}).await;
    let mut alpha = keeping(&server, "alpha").await;
    let mut pending = start(&server, PATH, &input(&json!({ "stream": true })));
    let pieces = alpha.next_call().await.stream("text/event-stream");
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r1\"}}\n\n";
    let delta = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"a\"}\n\n";

    pieces.send(Ok(created.into())).await.unwrap();
    pieces.send(Ok(delta.into())).await.unwrap();
    let answer = pending.answer().await;
    pieces
        .send(Err(std::io::Error::other("lost")))
        .await
        .unwrap();
    let (text, ended_well) = read_broken(answer).await;

    let before = format!("{created}{delta}");
    let last = text.strip_prefix(&before).expect("the events before");
    assert!(last.starts_with("event: response.failed\n"), "{last}");
    let data = last.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["sequence_number"], 2);
    assert_eq!(data["response"]["id"], "r1");
    assert_eq!(
        data["response"]["error"]["code"], "invalid_prompt",
        "a stored response must not be made twice"
    );
    assert!(ended_well);
    assert!(!alpha.has_call());
}
