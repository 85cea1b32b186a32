//! Streams: signs of life, and what is no stream of events.

use std::time::Duration;

use llamapool_testkit::{Pool, ScriptedWorker, ServerConfig, WorkerSetup, soon};
use serde_json::json;

use crate::kit::{CHAT, CHUNK, DONE, chat, read, server_with_worker, start};

/// Starts a server whose streams get a sign of life after a short silence.
async fn lively() -> (Pool, ScriptedWorker) {
    let server = Pool::with(|config: &mut ServerConfig| {
        config.mcp.stream_keepalive = Duration::from_millis(20);
    })
    .await;
    let mut setup = WorkerSetup::new(&["m"], 2);
    let more = ["ollama", "speech", "transcriptions"].map(str::to_owned);
    setup.models[0].apis.extend(more);
    let worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    (server, worker)
}

#[tokio::test]
async fn a_silent_stream_gets_the_sign_of_life_of_its_dialect() {
    let mut body = chat(true);
    body["max_tokens"] = json!(8);
    for (path, content_type, sign) in [
        (CHAT, "text/event-stream", ":\n\n"),
        (
            "/v1/messages",
            "text/event-stream",
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        ),
        ("/api/chat", "application/x-ndjson", " "),
    ] {
        let (server, mut worker) = lively().await;
        let mut pending = start(&server, path, &body);
        let first = if path == "/api/chat" {
            "{\"message\":{\"content\":\"a\"}}\n"
        } else {
            CHUNK
        };

        let pieces = worker.next_call().await.stream(content_type);
        pieces.send(Ok(first.into())).await.unwrap();
        let mut answer = pending.answer().await;
        let mut seen = String::new();
        while !seen.contains(&format!("{first}{sign}")) {
            let more = soon("a sign of life", answer.chunk()).await.unwrap();
            seen.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
        }
        // Half an event: no sign is put into it.
        pieces.send(Ok(first[..8].to_owned().into())).await.unwrap();
        pieces.send(Ok(first[8..].to_owned().into())).await.unwrap();
        drop(pieces);
        let rest = soon("the rest", answer.text()).await.unwrap();

        assert!(rest.ends_with(first), "{path}: {rest:?}");
        assert_eq!(rest.replace(sign, ""), first, "{path}");
    }
}

#[tokio::test]
async fn audio_goes_down_as_it_comes_and_without_signs() {
    let (server, mut worker) = lively().await;
    let mut pending = start(&server, "/v1/audio/speech", &json!({ "model": "m" }));

    let pieces = worker.next_call().await.stream("audio/mpeg");
    pieces.send(Ok("one".into())).await.unwrap();
    let mut answer = pending.answer().await;
    let first = soon("the first piece", answer.chunk())
        .await
        .unwrap()
        .unwrap();
    pieces.send(Ok("two".into())).await.unwrap();
    drop(pieces);
    let rest = soon("the rest", answer.text()).await.unwrap();

    assert_eq!(first, "one");
    assert_eq!(rest, "two");
}

#[tokio::test]
async fn the_content_type_of_an_answer_decides_whether_it_streams() {
    let (server, mut worker) = lively().await;
    let form = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--\r\n";
    let request = server
        .http
        .post(format!("{}/v1/audio/transcriptions", server.url))
        .bearer_auth(llamapool_testkit::API_KEY)
        .header("content-type", "multipart/form-data; boundary=x")
        .body(form);
    let mut pending = llamapool_testkit::PendingCall::start(request);

    let call = worker.next_call().await;
    let content_type = call.headers["content-type"].clone();
    let body = call.body.clone();
    let pieces = call.stream("text/event-stream");
    pieces.send(Ok("data: 1\n\n".into())).await.unwrap();
    let mut answer = pending.answer().await;
    let mut first = String::new();
    while !first.contains("data: 1\n\n") {
        let more = soon("the first event", answer.chunk()).await.unwrap();
        first.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
    }

    assert_eq!(content_type, "multipart/form-data; boundary=x");
    assert_eq!(body, form);
    drop(pieces);
}

#[tokio::test]
async fn a_runtimes_own_last_error_is_the_only_one() {
    let (server, mut worker) = lively().await;
    let mut pending = start(&server, CHAT, &chat(true));
    let error = "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";

    let pieces = worker.next_call().await.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    pieces.send(Ok(error.into())).await.unwrap();
    let answer = pending.answer().await;
    pieces
        .send(Err(std::io::Error::other("failed")))
        .await
        .unwrap();
    let (text, ended_well) = crate::kit::read_broken(answer).await;

    assert_eq!(text.replace(":\n\n", ""), format!("{CHUNK}{error}"));
    assert!(!ended_well);
}

/// `response.failed` is an end of that API, and Codex does not see it before a broken connection.
#[tokio::test]
async fn a_response_that_fails_ends_in_order() {
    let (server, mut worker) = lively().await;
    let delta = "event: response.output_text.delta\n\
        data: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":\"a\"}\n\n";

    for (tool, code) in [
        ("namespace", "server_error"),
        ("web_search", "invalid_prompt"),
    ] {
        let body = json!({
            "model": "m", "stream": true, "store": false, "input": "hi", "tools": [{ "type": tool }],
        });
        let mut pending = start(&server, "/v1/responses", &body);
        let pieces = worker.next_call().await.stream("text/event-stream");
        pieces.send(Ok(delta.into())).await.unwrap();
        let answer = pending.answer().await;
        let lost = std::io::Error::other("lost");
        pieces.send(Err(lost)).await.unwrap();
        let (text, ended_well) = crate::kit::read_broken(answer).await;

        assert!(ended_well, "{text}");
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.starts_with("event: response.failed\n"), "{text}");
        assert!(last.contains(&format!(r#""code":"{code}""#)), "{last}");
        assert!(last.contains(r#""sequence_number":5"#), "{last}");
    }
}

/// A frame of the tunnel may have several events, and parts of them.
#[tokio::test]
async fn events_that_come_together_all_go_through() {
    let (server, mut worker) = server_with_worker(1).await;
    let mut pending = start(&server, CHAT, &chat(true));
    let sent = format!("{CHUNK}{}{CHUNK}{DONE}", CHUNK.replace("\"a\"", "\"b\""));

    let pieces = worker.next_call().await.stream("text/event-stream");
    let (start, end) = sent.split_at(sent.len() - DONE.len() - 9);
    for piece in [start.to_owned(), end.to_owned()] {
        pieces.send(Ok(piece.into())).await.unwrap();
    }
    drop(pieces);

    assert_eq!(read(&mut pending).await.text(), sent);
}
