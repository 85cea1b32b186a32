//! What reaches the runtime of a call: its bytes but for named spans, its headers but for those that
//! end here, and nothing outside of the table of paths.

use llamapool_testkit::{LlmRuntime, PlayedRuntime, llm_provider};
use llamapool_wire::Secret;

use super::{Call, Worker};

/// Bodies with odd spacing, escapes, big numbers, unknown members and members that are set twice
/// where llamapool does not read them.
const ODD_BODIES: [&str; 6] = [
    "{ \"model\" :\t\"m\",\"messages\":[ ] ,\"stream\":true}",
    "{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud83d\\ude00 \\u0000 \\/\"}],\"model\":\"m\",\"stream\":true}",
    "{\"model\":\"m\",\"stream\":true,\"temperature\":1.00000000000000000001e-7,\"seed\":123456789012345678901234567890}",
    "{\"model\":\"m\",\"stream\":true,\"x\":{\"a\":1,\"a\":2},\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}",
    "{\"stream\":true,\"model\":\"m\",\"messages\":[],\"stream_options\":{\"x\":1 , \"include_usage\":true}}\n\n",
    "{\"model\":\"m\",\"stream\":true,\"\\u0062\":[[[[{\"deep\":null}]]]],\"messages\":[]}",
];

#[tokio::test]
async fn bodies_are_the_callers_but_for_what_is_added() {
    // Its streams are asked for progress.
    let added = "\"return_progress\":true";
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::start(&runtime).await;

    for (number, body) in ODD_BODIES.into_iter().enumerate() {
        let call = Call::post("/v1/chat/completions", body).with("llamapool-response", "stream");
        worker.send(call).await.text().await;

        let sent = String::from_utf8(runtime.call(number).await.body.to_vec()).unwrap();
        let without =
            sent.replacen(&format!("{added},"), "", 1)
                .replacen(&format!(",{added}"), "", 1);
        assert_eq!(without, body);
        assert_eq!(sent.len(), body.len() + added.len() + 1);
    }
}

#[tokio::test]
async fn bodies_stay_where_nothing_is_asked_for() {
    let runtime = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let worker = Worker::start(&runtime).await;

    for (number, body) in ODD_BODIES.into_iter().enumerate() {
        let native = Call::post("/api/chat", body).with("llamapool-response", "stream");
        worker.send(native).await.text().await;

        assert_eq!(runtime.call(number).await.body, body);
    }
}

#[tokio::test]
async fn the_runtime_gets_its_own_key_and_no_callers() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let worker = Worker::with(&runtime, |config| {
        llm_provider(config).api_key = Some(Secret::new("runtime-key"));
    })
    .await;

    let call = Call::chat_stream()
        .with("authorization", "Bearer callers-key")
        .with("x-api-key", "callers-key")
        .with("cookie", "a=b")
        .with("origin", "https://chat.example")
        .with("accept-encoding", "gzip")
        .with("anthropic-version", "2023-06-01");
    let answer = worker.send(call).await;

    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    let headers = runtime.call(0).await.headers;
    assert_eq!(headers["authorization"], "Bearer runtime-key");
    assert_eq!(headers["accept-encoding"], "identity");
    assert_eq!(headers["via"], "1.1 llamapool");
    assert_eq!(headers["anthropic-version"], "2023-06-01");
    let address = runtime.address.to_string();
    assert_eq!(headers["host"], address.as_str());
    for ended in [
        "x-api-key",
        "cookie",
        "origin",
        "llamapool-attempt",
        "llamapool-model",
    ] {
        assert!(!headers.contains_key(ended), "{ended}");
    }
}

#[tokio::test]
async fn the_query_of_a_call_is_kept() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let worker = Worker::with(&runtime, |config| {
        let url = format!("{}/v1", llm_provider(config).url);
        llm_provider(config).url = url.replace("//v1", "/v1").parse().unwrap();
    })
    .await;
    let call = Call::post("/v1/messages?beta=true", r#"{"model":"m","messages":[]}"#);

    worker.send(call.with("llamapool-response", "whole")).await;

    assert_eq!(runtime.call(0).await.path, "/v1/messages?beta=true");
}

#[tokio::test]
async fn a_hostile_server_reaches_nothing_but_the_api() {
    let runtime = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let worker = Worker::start(&runtime).await;
    let polls = runtime.polls().len();

    for (method, path) in [
        ("POST", "/api/pull"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/create"),
        ("POST", "/slots/0?action=save"),
        ("POST", "/models/load"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/api/tags"),
        ("POST", "/v1/../api/pull"),
        ("POST", "/v1/%2e%2e/api/pull"),
        ("POST", "//api/chat"),
        ("POST", "/v1/responses/..%2f..%2fapi%2fpull/cancel"),
        ("POST", "/"),
    ] {
        let call = Call::post(path, r#"{"model":"m"}"#).method(method);
        let refused = worker.send(call).await;

        assert_eq!(refused.error(), "not_offered", "{method} {path}");
        assert_eq!(refused.status, 403);
    }
    assert!(runtime.calls().is_empty());
    let later = runtime.polls();
    assert!(
        later[polls..]
            .iter()
            .all(|poll| poll.starts_with("GET /api/ps")),
        "{later:?}"
    );
}

#[tokio::test]
async fn a_wrong_body_is_named_in_the_dialect_that_was_asked() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::start(&runtime).await;

    let openai = worker
        .send(Call::post("/v1/chat/completions", "{\"model\":"))
        .await;
    let anthropic = worker.send(Call::post("/v1/messages", "[]")).await;

    assert_eq!(
        (openai.status, openai.error().as_str()),
        (400, "invalid_request")
    );
    assert_eq!(openai.json().await["error"]["code"], "invalid_request");
    assert_eq!(anthropic.json().await["type"], "error");
    assert!(runtime.calls().is_empty());
}
