//! `llamapool doctor worker`: the runtime, and the way to the server.

use axum::Router;
use axum::routing::{get, post};

use crate::doctor::free_port;
use crate::harness::{Diagnosis, Pool, Provider, WORKER_KEY, json_answer};

/// A runtime with OpenAI's API and one model.
async fn runtime() -> Provider {
    let models = r#"{"object":"list","data":[{"id":"qwen3:8b","object":"model"}]}"#;
    let answer = r#"{"choices":[{"message":{"role":"assistant","content":"Hi"}}]}"#;
    let router = Router::new()
        .route(
            "/v1/models",
            get(move || async move { json_answer(models) }),
        )
        .route(
            "/v1/chat/completions",
            post(move || async move { json_answer(answer) }),
        );
    Provider::serving(router).await
}

fn settings<'a>(server: &'a str, runtime: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("SERVER_URL", server),
        ("WORKER_KEY", WORKER_KEY),
        ("COMPLETION_BASE_URL", runtime),
        ("STATUS_ADDR", "off"),
    ]
}

#[tokio::test]
async fn a_worker_s_runtime_and_way_are_looked_at() {
    let pool = Pool::start().await;
    let runtime = runtime().await;
    let base = runtime.url.split("/mcp").next().unwrap();

    let arguments = ["worker", "--json", "--quick", "--generate"];
    let found = Diagnosis::of(&arguments, &settings(&pool.url, base)).await;

    assert_eq!(found.code, Some(0), "{}", found.output);
    found.has("runtime_missing", "ok", "openai at 127.0.0.1");
    found.has("no_models", "ok", "1 model: qwen3:8b; 2 calls at once");
    found.has("generation_failed", "ok", "qwen3:8b writes");
    found.has("tunnel_refused", "ok", "temporary id");
    // Nothing of the runtime was offered, and nothing is left.
    let state = pool.state().await;
    assert!(!state.to_string().contains("doctor-"), "{state}");
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_a_failure() {
    let pool = Pool::start().await;
    let nothing = format!("http://127.0.0.1:{}", free_port());

    let arguments = ["worker", "--json", "--quick"];
    let found = Diagnosis::of(&arguments, &settings(&pool.url, &nothing)).await;

    assert_eq!(found.code, Some(1), "{}", found.output);
    found.has("runtime_missing", "fail", "no connection");
    found.has("tunnel_refused", "ok", "a relay connects");
    assert!(found.with_status("not_looked_at").contains(&"no_models"));
}
