//! Ollama's API on a runtime that has OpenAI's: its calls are the runtime's in everything but their
//! words.

use std::time::{Duration, Instant};

use llamapool_testkit::{
    LlmRuntime, PlayedRuntime, ReplyEnd, RuntimeBehaviour, RuntimeCallEnd, RuntimeReply,
};
use llamapool_wire::llm::{CallEnd, CountSource};
use serde_json::{Value, json};

use super::{Call, Response, Worker};

/// An upper bound on a machine that is busy with other things; the goal is 5 ms.
const AT_ONCE: Duration = Duration::from_millis(250);
const WITHOUT_OLLAMA: [PlayedRuntime; 2] = [PlayedRuntime::LlamaCpp, PlayedRuntime::OpenAi];

fn chat(form: &str) -> Call {
    let body = json!({ "model": "m", "stream": form == "stream",
        "messages": [{ "role": "user", "content": "hi" }] });
    Call::post("/api/chat", &body.to_string()).with("llamapool-response", form)
}

/// Sends a call to a runtime of a kind with a behaviour.
async fn sent(
    kind: PlayedRuntime,
    configure: impl FnOnce(&mut RuntimeBehaviour),
    call: Call,
) -> (LlmRuntime, Worker, Response) {
    let runtime = LlmRuntime::with(kind, configure).await;
    let worker = Worker::start(&runtime).await;
    let response = worker.send(call).await;
    (runtime, worker, response)
}

fn replies(reply: RuntimeReply) -> impl FnOnce(&mut RuntimeBehaviour) {
    |behaviour| behaviour.replies.push_back(reply)
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the text of all lines of a chat.
fn text_of(lines: &[Value]) -> String {
    let texts = lines.iter();
    texts
        .map(|line| line["message"]["content"].as_str().unwrap())
        .collect()
}

async fn asked(runtime: &LlmRuntime) -> (String, Value) {
    let call = runtime.call(0).await;
    (call.path, serde_json::from_slice(&call.body).unwrap())
}

#[tokio::test]
async fn a_stream_has_ollamas_lines_and_the_runtimes_counts() {
    for kind in WITHOUT_OLLAMA {
        let (runtime, mut worker, response) = sent(kind, |_| {}, chat("stream")).await;

        assert_eq!(response.status, 200);
        assert_eq!(response.headers["content-type"], "application/x-ndjson");
        let lines = lines(&response.text().await);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(text_of(&lines), "Hello you.");
        let last = &lines[3];
        assert_eq!(
            (&last["done"], &last["done_reason"]),
            (&json!(true), &json!("stop"))
        );
        assert_eq!(
            (&last["prompt_eval_count"], &last["eval_count"]),
            (&json!(12), &json!(3))
        );
        assert!(last["total_duration"].as_u64() > Some(0), "{last}");
        let (path, body) = asked(&runtime).await;
        assert_eq!(path, "/v1/chat/completions");
        assert_eq!(
            body["messages"],
            json!([{ "role": "user", "content": "hi" }])
        );
        let report = worker.events.report().await;
        assert_eq!(
            (report.end, report.prompt, report.completion),
            (CallEnd::Complete, 12, 3)
        );
        assert_ne!(report.source, CountSource::Estimate);
        assert!(report.first_ms.is_some());
    }
}

#[tokio::test]
async fn a_whole_answer_is_ollamas_in_every_form_upstream() {
    let tools = json!({ "model": "m", "stream": false, "tools": [{ "type": "function" }],
        "messages": [{ "role": "user", "content": "hi" }] });
    let with_tools = Call::post("/api/chat", &tools.to_string());
    for (kind, call, streams) in [
        (PlayedRuntime::LlamaCpp, chat("whole"), true),
        (PlayedRuntime::OpenAi, chat("whole"), true),
        (
            PlayedRuntime::OpenAi,
            with_tools.with("llamapool-response", "whole"),
            false,
        ),
    ] {
        let (runtime, mut worker, response) = sent(kind, |_| {}, call).await;

        assert_eq!(response.headers["content-type"], "application/json");
        let answer = response.json().await;
        assert_eq!(
            answer["message"],
            json!({ "role": "assistant", "content": "Hello you." })
        );
        assert_eq!(
            (&answer["model"], &answer["done"]),
            (&json!("m"), &json!(true))
        );
        assert_eq!(
            (&answer["prompt_eval_count"], &answer["eval_count"]),
            (&json!(12), &json!(3))
        );
        assert_eq!(asked(&runtime).await.1["stream"], streams);
        assert_eq!(worker.events.report().await.completion, 3);
    }
}

#[tokio::test]
async fn each_line_comes_with_its_event() {
    let held = |behaviour: &mut RuntimeBehaviour| behaviour.held_after = Some(1);
    let (runtime, _worker, mut response) =
        sent(PlayedRuntime::LlamaCpp, held, chat("stream")).await;

    let first = lines(&response.piece().await.unwrap().unwrap());
    assert_eq!(text_of(&first), "Hello");
    assert_eq!(first[0]["done"], false);

    runtime.change(|behaviour| behaviour.held_after = None);
    assert!(response.text().await.contains("\"done\":true"));
}

#[tokio::test]
async fn prompts_go_to_chat_and_raw_ones_to_completions() {
    for (raw, path) in [(false, "/v1/chat/completions"), (true, "/v1/completions")] {
        let body = json!({ "model": "m", "prompt": "hi", "raw": raw });
        let call = Call::post("/api/generate", &body.to_string());
        let call = call.with("llamapool-response", "stream");
        let (runtime, _worker, response) = sent(PlayedRuntime::LlamaCpp, |_| {}, call).await;

        let lines = lines(&response.text().await);
        let texts = lines.iter().map(|line| line["response"].as_str().unwrap());
        assert_eq!(texts.collect::<String>(), "Hello you.");
        assert_eq!(lines.last().unwrap()["eval_count"], 3);
        assert_eq!(asked(&runtime).await.0, path);
    }
}

#[tokio::test]
async fn embeddings_are_made_for_the_newer_of_two_endpoints_alone() {
    let embed = Call::post("/api/embed", r#"{"model":"m","input":["a","b"]}"#);
    let (runtime, mut worker, response) = sent(PlayedRuntime::LlamaCpp, |_| {}, embed).await;

    let answer = response.json().await;
    let vectors: Vec<Vec<f64>> = serde_json::from_value(answer["embeddings"].clone()).unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let length: f64 = vector.iter().map(|it| it * it).sum();
        assert!((length - 1.0).abs() < 1e-5, "{vector:?}");
    }
    assert_eq!(answer["prompt_eval_count"], 12);
    assert_eq!(asked(&runtime).await.0, "/v1/embeddings");
    assert_eq!(worker.events.report().await.embeddings, 2);

    runtime.reply(RuntimeReply::json(
        404,
        r#"{"error":{"message":"File Not Found"}}"#,
    ));
    let older = Call::post("/api/embeddings", r#"{"model":"m","prompt":"a"}"#);
    let response = worker.send(older).await;
    assert_eq!(
        (response.status, response.error().as_str()),
        (404, "unsupported_endpoint")
    );
}

#[tokio::test]
async fn an_error_before_content_has_the_runtimes_status() {
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    let inside = r#"{"error":{"message":"not multimodal","code":400}}"#;
    for (reply, status, message) in [
        (RuntimeReply::json(503, loading), 503, "Loading model"),
        (
            RuntimeReply::json(429, r#"{"error":"slow down"}"#),
            429,
            "slow down",
        ),
        (
            RuntimeReply::events(&[inside, "[DONE]"], ReplyEnd::Orderly),
            400,
            "not multimodal",
        ),
        (RuntimeReply::json(200, inside), 400, "not multimodal"),
    ] {
        for form in ["stream", "whole"] {
            let call = chat(form);
            // A stream that is refused is asked for once more, without one.
            let twice = |behaviour: &mut RuntimeBehaviour| {
                behaviour.replies.extend([reply.clone(), reply.clone()]);
            };
            let (_runtime, mut worker, response) = sent(PlayedRuntime::LlamaCpp, twice, call).await;

            assert_eq!(response.status, status, "{form}");
            assert_eq!(response.headers["content-type"], "application/json");
            assert_eq!(response.error(), "", "the error is the runtime's");
            assert_eq!(response.json().await, json!({ "error": message }));
            assert_eq!(worker.events.report().await.end, CallEnd::Refused);
        }
    }
}

#[tokio::test]
async fn an_error_after_content_is_the_last_line() {
    let word = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    let error = r#"{"error":{"message":"out of memory","code":500}}"#;
    let reply = RuntimeReply::events(&[word, error], ReplyEnd::Orderly);
    let (_runtime, mut worker, response) =
        sent(PlayedRuntime::LlamaCpp, replies(reply), chat("stream")).await;

    assert_eq!(response.status, 200);
    let lines = lines(&response.text().await);
    assert_eq!(lines[0]["message"]["content"], "a");
    assert_eq!(lines[1], json!({ "error": "out of memory" }));
    assert_eq!(lines.len(), 2);
    assert_eq!(worker.events.report().await.end, CallEnd::Failed);
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_no_end() {
    let word = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    let cut = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a",
        "function":{"name":"f","arguments":"{\"a"}}]},"finish_reason":"length"}]}"#;
    let cut = cut.replace('\n', " ");
    for reply in [
        RuntimeReply::events(&[word], ReplyEnd::Broken),
        RuntimeReply::events(&[word], ReplyEnd::Orderly),
        RuntimeReply::events(&[word, "<html>"], ReplyEnd::Orderly),
        RuntimeReply::events(&[word, &cut, "[DONE]"], ReplyEnd::Orderly),
    ] {
        let (_runtime, mut worker, response) =
            sent(PlayedRuntime::LlamaCpp, replies(reply), chat("stream")).await;

        let text = response.broken_text().await;

        assert!(!text.contains("\"done\":true"), "{text}");
        assert_eq!(worker.events.report().await.end, CallEnd::Failed);
    }
}

#[tokio::test]
async fn a_cancelled_call_closes_the_runtimes_connection() {
    for form in ["stream", "whole"] {
        let held = |behaviour: &mut RuntimeBehaviour| behaviour.held_after = Some(1);
        let (runtime, mut worker, response) = sent(PlayedRuntime::LlamaCpp, held, chat(form)).await;

        let cancelled = Instant::now();
        drop(response);
        let end = runtime.ended(0).await;
        let waited = cancelled.elapsed();

        assert_eq!(end, RuntimeCallEnd::Closed);
        assert!(waited < AT_ONCE, "{waited:?}");
        let report = worker.events.report().await;
        assert_eq!((report.end, report.completion), (CallEnd::Cancelled, 1));
    }
}

#[tokio::test]
async fn what_cannot_be_honoured_does_not_reach_the_runtime() {
    let body = r#"{"model":"m","prompt":"hi","context":[1,2]}"#;
    let call = Call::post("/api/generate", body);
    let (runtime, _worker, response) = sent(PlayedRuntime::LlamaCpp, |_| {}, call).await;

    assert_eq!(
        (response.status, response.error().as_str()),
        (400, "invalid_request")
    );
    let message = response.json().await["error"].as_str().unwrap().to_owned();
    assert!(message.contains("`context`"), "{message}");
    assert!(runtime.calls().is_empty());
}

#[tokio::test]
async fn workers_report_what_they_make_of_other_apis() {
    for (kind, makes) in [
        (PlayedRuntime::Ollama, false),
        (PlayedRuntime::LlamaCpp, true),
        (PlayedRuntime::OpenAi, true),
    ] {
        let runtime = LlmRuntime::start(kind).await;
        let mut worker = Worker::unready(&runtime.url, |_| {}).await;

        let models = worker.events.models().await.models;

        let has = |word: &str| models[0].apis.iter().any(|api| api == word);
        assert_eq!(has("ollama"), !makes, "{kind:?}");
        assert_eq!(has("ollama_translated"), makes, "{kind:?}");
        assert_eq!(has("ollama_embed_translated"), makes, "{kind:?}");
    }
}

#[tokio::test]
async fn an_ollama_gets_its_own_api_byte_for_byte() {
    let body = r#"{ "model":"m", "template":"x", "messages":[] }"#;
    let call = Call::post("/api/chat", body).with("llamapool-response", "stream");
    let (runtime, _worker, response) = sent(PlayedRuntime::Ollama, |_| {}, call).await;

    response.text().await;
    let call = runtime.call(0).await;
    assert_eq!(
        (call.path.as_str(), &call.body[..]),
        ("/api/chat", body.as_bytes())
    );
}
