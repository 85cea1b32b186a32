//! What callers get: streams byte for byte, and whole answers put together where that frees the
//! runtime.

use llamapool_testkit::{LlmRuntime, PlayedRuntime, ReplyEnd, RuntimeReply, llm_provider};
use serde_json::json;

use super::{Call, MOMENT, Worker};

/// Asks the runtime itself.
async fn direct(runtime: &LlmRuntime, body: &str) -> String {
    let url = format!("{}/v1/chat/completions", runtime.url);
    let request = reqwest::Client::new().post(url).body(body.to_owned());
    request.send().await.unwrap().text().await.unwrap()
}

const STREAMED: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
const WHOLE: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn a_stream_is_the_runtimes_byte_for_byte() {
    for kind in [
        PlayedRuntime::Ollama,
        PlayedRuntime::LlamaCpp,
        PlayedRuntime::OpenAi,
    ] {
        let runtime = LlmRuntime::start(kind).await;
        let worker = Worker::start(&runtime).await;

        let through = worker.send(Call::chat_stream()).await;
        let content_type = through.headers["content-type"].clone();
        let through = through.text().await;

        assert_eq!(content_type, "text/event-stream");
        assert_eq!(through, direct(&runtime, STREAMED).await, "{kind:?}");
        assert!(
            through.contains("Hello") && !through.contains("usage"),
            "{through}"
        );
    }
}

#[tokio::test]
async fn usage_that_the_caller_asked_for_stays() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let worker = Worker::start(&runtime).await;
    let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;

    let call = Call::post("/v1/chat/completions", body).with("llamapool-response", "stream");
    let through = worker.send(call).await.text().await;

    assert_eq!(through, direct(&runtime, body).await);
    assert!(through.contains("\"usage\""), "{through}");
}

#[tokio::test]
async fn a_whole_answer_is_assembled_where_that_frees_the_slot() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::start(&runtime).await;

    let answer = worker.send(Call::chat()).await;
    let content_type = answer.headers["content-type"].clone();
    let answer = answer.json().await;

    assert_eq!(content_type, "application/json");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello you.");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    let asked = String::from_utf8(runtime.call(0).await.body.to_vec()).unwrap();
    assert!(asked.contains(r#""stream":true"#), "{asked}");
}

#[tokio::test]
async fn a_whole_answer_is_left_whole_where_the_runtime_aborts() {
    let runtime = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let worker = Worker::start(&runtime).await;

    let through = worker.send(Call::chat()).await.text().await;

    assert_eq!(through, direct(&runtime, WHOLE).await);
    assert_eq!(runtime.call(0).await.body, WHOLE);
}

#[tokio::test]
async fn the_head_comes_with_the_first_content() {
    for call in [Call::chat_stream(), Call::chat()] {
        let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |it| it.is_held = true).await;
        let worker = Worker::start(&runtime).await;

        let mut pending = worker.begin(call);
        runtime.call(0).await;
        tokio::time::sleep(MOMENT).await;
        assert!(pending.has_no_head());
        runtime.change(|behaviour| {
            behaviour.is_held = false;
            behaviour.held_after = Some(1);
        });

        let response = pending.head().await;
        assert_eq!(response.status, 200);
        runtime.change(|behaviour| behaviour.held_after = None);
        assert!(response.text().await.contains("Hello"));
    }
}

#[tokio::test]
async fn each_event_passes_as_it_comes() {
    let runtime = LlmRuntime::with(PlayedRuntime::OpenAi, |it| it.held_after = Some(1)).await;
    let worker = Worker::start(&runtime).await;

    let mut response = worker.send(Call::chat_stream()).await;
    let first = response.piece().await.unwrap().unwrap();
    assert!(first.contains("Hello") && !first.contains("you"), "{first}");
    runtime.change(|behaviour| behaviour.held_after = Some(2));
    let second = response.piece().await.unwrap().unwrap();
    assert!(second.contains(" you"), "{second}");
    runtime.change(|behaviour| behaviour.held_after = None);

    assert!(response.text().await.contains("[DONE]"));
}

#[tokio::test]
async fn an_answer_of_any_type_passes_as_it_is() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let worker = Worker::start(&runtime).await;
    let audio = bytes::Bytes::from_static(b"\x00\xff\xfe audio");
    runtime.reply(RuntimeReply::Whole(
        200,
        "audio/mpeg".to_owned(),
        audio.clone(),
    ));

    let call = Call::post("/v1/audio/speech", r#"{"model":"m","input":"hi"}"#);
    let answer = worker.send(call.with("llamapool-response", "whole")).await;

    assert_eq!(answer.headers["content-type"], "audio/mpeg");
    let body = http_body_util::BodyExt::collect(answer.body)
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(body, audio);
}

/// Without a `finish_reason` an answer is whole by its `[DONE]`, and the runtime is better asked as
/// the caller asked.
#[tokio::test]
async fn a_stream_without_a_finish_reason_is_avoided_next_time() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::start(&runtime).await;
    let delta = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]}"#;
    runtime.reply(RuntimeReply::events(&[delta, "[DONE]"], ReplyEnd::Orderly));

    let first = worker.send(Call::chat()).await.json().await;
    let second = worker.send(Call::chat()).await.json().await;

    assert_eq!(first["choices"][0]["finish_reason"], "stop");
    assert_eq!(second["choices"][0]["message"]["content"], "Hello you.");
    assert_eq!(runtime.call(1).await.body, WHOLE);
}

#[tokio::test]
async fn a_refused_stream_is_asked_for_as_asked() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;
    runtime.reply(RuntimeReply::json(
        400,
        r#"{"error":{"message":"no streams"}}"#,
    ));

    let answer = worker.send(Call::chat()).await;
    assert_eq!(answer.status, 200);
    answer.text().await;
    worker.send(Call::chat()).await.text().await;

    let bodies: Vec<_> = runtime.calls().into_iter().map(|call| call.body).collect();
    assert!(bodies[0].starts_with(b"{\"") && bodies[0] != WHOLE);
    assert_eq!(bodies[1..], [WHOLE, WHOLE]);
    worker.events.report().await;
    worker.events.report().await;
}

#[tokio::test]
async fn a_refusal_of_both_forms_goes_down_as_it_is() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::start(&runtime).await;
    let refusal = r#"{"error":{"message":"bad messages"}}"#;
    runtime.reply(RuntimeReply::json(400, r#"{"error":"first"}"#));
    runtime.reply(RuntimeReply::json(400, refusal));

    let answer = worker.send(Call::chat()).await;

    assert_eq!((answer.status, answer.error().as_str()), (400, ""));
    assert_eq!(answer.text().await, refusal);
    // Nothing was learned: the next call is streamed again.
    worker.send(Call::chat()).await.text().await;
    assert_ne!(runtime.call(2).await.body, WHOLE);
}

#[tokio::test]
async fn options_of_streams_that_are_refused_are_left_out() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let worker = Worker::start(&runtime).await;
    runtime.reply(RuntimeReply::json(
        400,
        r#"{"error":"unknown member stream_options"}"#,
    ));

    let answer = worker.send(Call::chat_stream()).await;
    assert_eq!(answer.status, 200);
    answer.text().await;
    worker.send(Call::chat_stream()).await.text().await;

    let bodies: Vec<_> = runtime.calls().into_iter().map(|call| call.body).collect();
    assert_eq!(bodies[1..], [STREAMED, STREAMED]);
}

#[tokio::test]
async fn the_form_upstream_can_be_set() {
    use llamapool_relay::UpstreamStream;
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::with(&runtime, |config| {
        llm_provider(config).upstream_stream = UpstreamStream::AsAsked;
    })
    .await;

    let answer = worker.send(Call::chat()).await.json().await;

    assert_eq!(answer["choices"][0]["message"]["content"], "Hello you.");
    assert_eq!(runtime.call(0).await.body, WHOLE);
}

#[tokio::test]
async fn a_native_answer_of_ollama_is_the_runtimes() {
    let runtime = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let mut worker = Worker::start(&runtime).await;
    let body = json!({"model": "m", "messages": []}).to_string();

    let call = Call::post("/api/chat", &body).with("llamapool-response", "stream");
    let answer = worker.send(call).await;

    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert_eq!(answer.text().await.lines().count(), 4);
    let report = worker.events.report().await;
    assert_eq!((report.prompt, report.completion), (12, 3));
}
