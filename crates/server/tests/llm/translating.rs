//! Ollama's API where some workers have it and others make it of OpenAI's.

use llamapool_testkit::{Pool, ScriptedWorker, WorkerSetup};
use serde_json::json;

use crate::kit::{call, chat, read, server, start};

const LINE: &str = r#"{"model":"m","message":{"role":"assistant","content":"a"},"done":true}"#;

/// Connects a worker whose model `m` has one more API.
async fn worker_with(server: &Pool, id: &str, api: &str) -> ScriptedWorker {
    let mut setup = WorkerSetup::new(&["m"], 1);
    setup.models[0].apis.push(api.to_owned());
    ScriptedWorker::connect(server, id, setup).await
}

#[tokio::test]
async fn a_call_is_translated_only_where_no_worker_has_its_api() {
    let server = server(|_| {}).await;
    let mut translating = worker_with(&server, "alpha", "ollama_translated").await;
    let body = chat(false);

    let mut pending = start(&server, "/api/chat", &body);
    let arrived = translating.next_call().await;
    assert_eq!(arrived.path, "/llm/alpha/api/chat");
    arrived.answer_json(200, LINE);
    assert_eq!(read(&mut pending).await.json()["done"], true);

    let mut native = worker_with(&server, "beta", "ollama").await;
    for _ in 0..3 {
        let mut pending = start(&server, "/api/chat", &body);
        native.next_call().await.answer_json(200, LINE);
        assert_eq!(read(&mut pending).await.status(), 200);
    }
}

#[tokio::test]
async fn endpoints_that_are_not_made_are_not_sent() {
    let server = server(|_| {}).await;
    let _worker = worker_with(&server, "alpha", "ollama_translated").await;

    let older = call(&server, "/api/embeddings", &json!({ "model": "m" })).await;
    assert_eq!(older.status(), 404);
    assert_eq!(
        older.header("llamapool-error"),
        Some("unsupported_endpoint")
    );
    let embed = call(&server, "/api/embed", &json!({ "model": "m" })).await;
    assert_eq!(embed.status(), 404, "only chats are made here");
    let show = call(&server, "/api/show", &json!({ "model": "m" })).await;
    assert_eq!(show.status(), 200);
    assert!(show.json()["capabilities"].is_array(), "{}", show.text());
}
