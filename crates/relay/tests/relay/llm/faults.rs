//! Runtimes that fail, refuse, stall, or send what no runtime sends.

use std::time::Duration;

use bytes::Bytes;
use llamapool_testkit::{LlmRuntime, PlayedRuntime, ReplyEnd, RuntimeReply, llm_provider};
use llamapool_wire::llm::CallEnd;

use super::{Call, Worker};

const CONTENT: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#;

/// Sends a call to a runtime that gives one answer. Returns the status and llamapool's error.
async fn answered(call: Call, reply: RuntimeReply) -> (u16, String, CallEnd) {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::with(&runtime, |config| {
        llm_provider(config).max_answer_bytes = 1 << 20;
    })
    .await;
    runtime.reply(reply);

    let response = worker.send(call).await;
    let report = worker.events.report().await;
    (response.status, response.error(), report.end)
}

fn named(status: u16, error: &str) -> (u16, String, CallEnd) {
    (status, error.to_owned(), CallEnd::Failed)
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_garbage() {
    let garbage = RuntimeReply::Raw(Bytes::from_static(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"));

    assert_eq!(
        answered(Call::chat(), garbage).await,
        named(502, "runtime_garbage")
    );
}

#[tokio::test]
async fn a_connection_that_ends_before_content_has_a_status() {
    let closed = RuntimeReply::Raw(Bytes::new());
    let broken = RuntimeReply::events(&[ROLE], ReplyEnd::Broken);
    let short = RuntimeReply::events(&[ROLE], ReplyEnd::Orderly);

    for reply in [closed, broken, short] {
        for call in [Call::chat(), Call::chat_stream()] {
            let end = answered(call, reply.clone()).await;
            assert_eq!(end, named(502, "runtime_closed"), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_in_another_form_is_garbage() {
    let html = RuntimeReply::Whole(200, "text/html".into(), Bytes::from_static(b"<html>"));
    let other = RuntimeReply::json(200, r#"{"hello":"world"}"#);
    let event = RuntimeReply::events(&["{\"choices\":"], ReplyEnd::Orderly);

    for reply in [html, other, event] {
        let end = answered(Call::chat_stream(), reply.clone()).await;
        assert_eq!(end, named(502, "runtime_garbage"), "{reply:?}");
    }
}

#[tokio::test]
async fn an_endless_line_is_cut() {
    let line = Bytes::from(vec![b'x'; 64 * 1024]);
    let before = RuntimeReply::Pieces(
        "text/event-stream".into(),
        vec![Bytes::from_static(b"data: ")],
        ReplyEnd::Endless(line.clone()),
    );
    assert_eq!(
        answered(Call::chat_stream(), before).await,
        named(502, "runtime_garbage")
    );

    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;
    let content = Bytes::from(format!("data: {CONTENT}\n\ndata: "));
    let after = RuntimeReply::Pieces(
        "text/event-stream".into(),
        vec![content],
        ReplyEnd::Endless(line),
    );
    runtime.reply(after);

    let response = worker.send(Call::chat_stream()).await;
    let text = response.broken_text().await;
    let last = text.strip_prefix(&format!("data: {CONTENT}\n\n")).unwrap();
    assert!(last.starts_with("data: {\"error\":"), "{last}");
    assert!(last.contains("runtime_garbage"), "{last}");
    assert_eq!(worker.events.report().await.end, CallEnd::Failed);
}

#[tokio::test]
async fn a_huge_answer_is_not_collected() {
    let piece = Bytes::from(vec![b' '; 64 * 1024]);
    let whole = RuntimeReply::Pieces("application/json".into(), vec![], ReplyEnd::Endless(piece));
    assert_eq!(
        answered(Call::chat(), whole).await,
        named(502, "answer_too_large")
    );

    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::with(&runtime, |config| {
        llm_provider(config).max_answer_bytes = 1 << 20;
    })
    .await;
    let long = CONTENT.replace("\"a\"", &format!("\"{}\"", "a".repeat(10_000)));
    let event = Bytes::from(format!("data: {long}\n\n"));
    let endless =
        RuntimeReply::Pieces("text/event-stream".into(), vec![], ReplyEnd::Endless(event));
    runtime.reply(endless);

    let response = worker.send(Call::chat()).await;
    assert_eq!(response.broken_text().await, "");
    assert_eq!(worker.events.report().await.end, CallEnd::Failed);
}

#[tokio::test]
async fn an_error_inside_a_200_counts_as_the_head() {
    let error = r#"{"error":{"message":"not multimodal","type":"BadRequestError","code":400}}"#;
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let mut worker = Worker::start(&runtime).await;
    // The second attempt of the stream leaves out what the caller had not asked for.
    for _ in 0..2 {
        runtime.reply(RuntimeReply::events(&[error, "[DONE]"], ReplyEnd::Orderly));
    }

    let response = worker.send(Call::chat_stream()).await;

    assert_eq!((response.status, response.error().as_str()), (400, ""));
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(response.text().await, error);
    assert_eq!(worker.events.report().await.end, CallEnd::Refused);
}

#[tokio::test]
async fn an_error_after_content_passes_and_the_call_has_failed() {
    let error = r#"{"error":{"message":"out of memory","code":500}}"#;
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;
    runtime.reply(RuntimeReply::events(&[CONTENT, error], ReplyEnd::Orderly));

    let text = worker.send(Call::chat_stream()).await.text().await;

    assert!(text.ends_with(&format!("data: {error}\n\n")), "{text}");
    assert_eq!(worker.events.report().await.end, CallEnd::Failed);
}

#[tokio::test]
async fn a_stream_that_ends_too_early_is_broken_off() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;

    for end in [ReplyEnd::Broken, ReplyEnd::Orderly] {
        for call in [Call::chat_stream(), Call::chat()] {
            runtime.reply(RuntimeReply::events(&[CONTENT], end.clone()));
            let response = worker.send(call).await;

            assert_eq!(response.status, 200);
            response.broken_text().await;
            assert_eq!(worker.events.report().await.end, CallEnd::Failed);
        }
    }
}

/// The last event of a response has a code by which agents ask again or do not: the server makes it,
/// which knows whether they may.
#[tokio::test]
async fn a_response_that_breaks_off_gets_no_event_of_the_worker() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::start(&runtime).await;
    let delta = r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"a"}"#;

    runtime.reply(RuntimeReply::events(&[delta], ReplyEnd::Broken));
    let call = Call::post(
        "/v1/responses",
        r#"{"model":"m","stream":true,"input":"hi"}"#,
    );
    let response = worker.send(call).await;

    let text = response.broken_text().await;
    assert!(text.contains("output_text.delta"), "{text}");
    assert!(!text.contains("response.failed"), "{text}");
}

#[tokio::test]
async fn a_runtime_that_is_gone_is_unreachable_and_not_reported() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;
    runtime.stop().await;

    let response = worker.send(Call::chat_stream()).await;

    assert_eq!(
        (response.status, response.error().as_str()),
        (503, "runtime_unreachable")
    );
    let reported = tokio::time::timeout(super::MOMENT, worker.events.report()).await;
    assert!(reported.is_err(), "{reported:?}");
}

#[tokio::test]
async fn an_api_that_is_missing_is_left_out_and_named() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;
    let call = || {
        Call::post(
            "/v1/rerank",
            r#"{"model":"m","query":"q","documents":["d"]}"#,
        )
    };

    let first = worker.send(call()).await;
    let models = worker.events.models().await;
    let second = worker.send(call()).await;

    assert_eq!(
        (first.status, first.error().as_str()),
        (404, "unsupported_endpoint")
    );
    assert!(!models.models[0].apis.contains(&"rerank".to_owned()));
    assert_eq!(second.error(), "unsupported_endpoint");
    assert_eq!(runtime.calls().len(), 1);
}

#[tokio::test]
async fn a_runtime_that_sends_no_content_is_given_up() {
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |it| it.is_held = true).await;
    let mut worker = Worker::start(&runtime).await;

    let call = Call::chat_stream().with("llamapool-first-content-timeout", "50");
    let response = worker.send(call).await;

    assert_eq!(
        (response.status, response.error().as_str()),
        (504, "first_token_timeout")
    );
    assert_eq!(worker.events.report().await.end, CallEnd::Failed);
}

#[tokio::test]
async fn a_silent_stream_is_broken_off_once_its_slot_is_idle() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;
    let call = || Call::chat_stream().with("llamapool-idle-timeout", "50");

    // The slot of a silent call is busy: a tool call comes whole, after minutes.
    runtime.reply(RuntimeReply::events(&[CONTENT], ReplyEnd::Silent));
    let mut response = worker.send(call()).await;
    response.piece().await.unwrap().unwrap();
    let waited = tokio::time::timeout(5 * super::MOMENT, response.piece()).await;
    assert!(
        waited.is_err(),
        "broken off although its slot is busy: {waited:?}"
    );
    drop(response);
    worker.events.report().await;

    runtime.reply(RuntimeReply::events(&[CONTENT], ReplyEnd::Silent));
    runtime.change(|behaviour| behaviour.shows_idle_slots = true);
    let response = worker.send(call()).await;
    let text = response.broken_text().await;
    assert!(text.contains("stalled"), "{text}");
    assert_eq!(worker.events.report().await.end, CallEnd::Failed);
}

/// Comments of a runtime are signs of its life, and so is the share of the prompt that it has read.
#[tokio::test]
async fn a_runtime_that_shows_life_is_not_given_up() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let mut worker = Worker::start(&runtime).await;
    let comment = Bytes::from_static(b": processing\n\n");
    let content = Bytes::from(format!("data: {CONTENT}\n\n"));
    let pieces = RuntimeReply::Pieces(
        "text/event-stream".into(),
        vec![content],
        ReplyEnd::Endless(comment),
    );
    runtime.reply(pieces);

    let call = Call::chat_stream().with("llamapool-idle-timeout", "50");
    let mut response = worker.send(call).await;
    let since = std::time::Instant::now();
    while since.elapsed() < Duration::from_millis(300) {
        response.piece().await.unwrap().unwrap();
    }

    drop(response);
    assert_eq!(worker.events.report().await.end, CallEnd::Cancelled);
}

#[tokio::test]
async fn a_whole_call_has_a_limit_if_one_is_set() {
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |it| it.is_held = true).await;
    let worker = Worker::with(&runtime, |config| {
        llm_provider(config).request_timeout = Some(Duration::from_millis(50));
    })
    .await;

    let response = worker.send(Call::chat_stream()).await;

    assert_eq!(
        (response.status, response.error().as_str()),
        (504, "call_timeout")
    );
}

/// A runtime that shows no work is not waited for beyond the timeout, whatever it does.
#[tokio::test]
async fn a_whole_answer_that_does_not_come_is_given_up() {
    let runtime = LlmRuntime::with(PlayedRuntime::OpenAi, |it| it.is_held = true).await;
    let worker = Worker::start(&runtime).await;

    let call = Call::post("/v1/embeddings", r#"{"model":"m","input":"a"}"#)
        .with("llamapool-response", "whole")
        .with("llamapool-first-content-timeout", "50");
    let response = worker.send(call).await;

    assert_eq!(
        (response.status, response.error().as_str()),
        (504, "first_token_timeout")
    );
}

/// A long prompt is read in batches: the wait for first content begins anew with each, as long as more
/// of the prompt is read.
#[tokio::test]
async fn a_prompt_of_which_more_and_more_is_read_is_waited_for() {
    let delay = Duration::from_millis(100);
    for (prompt_tokens, status) in [(1000, 200), (0, 504)] {
        let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |it| {
            it.prompt_tokens = prompt_tokens;
            it.prompt_batches = 10;
            it.first_delay = delay;
        })
        .await;
        let worker = Worker::start(&runtime).await;

        let call = Call::chat_stream().with("llamapool-first-content-timeout", "500");
        let response = worker.send(call).await;

        assert_eq!(response.status, status, "{prompt_tokens} tokens");
    }
}

/// Events without content are held back for a status of their own, up to a bound.
#[tokio::test]
async fn more_events_than_are_held_back_count_as_content() {
    let pad = "x".repeat(2000);
    let event = format!(
        r#"{{"choices":[{{"index":0,"delta":{{"role":"assistant"}},"finish_reason":null}}],"pad":"{pad}"}}"#
    );
    for (events, status) in [(20, 502), (40, 200)] {
        let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
        let worker = Worker::start(&runtime).await;
        let events = vec![event.as_str(); events];
        runtime.reply(RuntimeReply::events(&events, ReplyEnd::Orderly));

        let response = worker.send(Call::chat_stream()).await;

        assert_eq!(response.status, status);
    }
}
