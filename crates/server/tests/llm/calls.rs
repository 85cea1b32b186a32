//! One call, from the caller to the worker and back.

use llamapool_testkit::{Upgrade, error_word, soon, tools_call};
use llamapool_wire::llm::{CallReport, CountSource};
use serde_json::json;

use crate::kit::{
    CHAT, CHUNK, COMPLETION, DONE, call, chat, read, request, server_with_worker, start,
};

#[tokio::test]
async fn a_call_reaches_a_worker_and_its_answer_the_caller() {
    let (server, mut worker) = server_with_worker(2).await;
    let mut pending = start(&server, CHAT, &chat(false));

    let call = worker.next_call().await;
    let path = call.path.clone();
    let headers = call.headers.clone();
    let body = call.json();
    call.answer_json(200, COMPLETION);
    let answer = read(&mut pending).await;

    assert!(path.ends_with("/llm/alpha/v1/chat/completions"), "{path}");
    assert_eq!(headers["llamapool-response"], "whole");
    assert_eq!(headers["llamapool-model"], "m");
    assert_eq!(headers["llamapool-first-content-timeout"], "600000");
    assert_eq!(headers["accept-encoding"], "identity");
    assert!(!headers.contains_key("authorization"));
    assert_eq!(body, chat(false));
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text(), COMPLETION);
    let length = COMPLETION.len().to_string();
    assert_eq!(answer.header("content-length"), Some(length.as_str()));
    let route = answer.header("llamapool-route").unwrap();
    assert!(
        route.starts_with(r#"worker="raw", model="m", reason=warm"#),
        "{route}"
    );
    assert!(answer.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_stream_goes_down_event_by_event() {
    let (server, mut worker) = server_with_worker(2).await;
    let mut pending = start(&server, CHAT, &chat(true));

    let call = worker.next_call().await;
    assert_eq!(call.headers["llamapool-response"], "stream");
    let pieces = call.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    let mut answer = pending.answer().await;
    let first = soon("the first event", answer.chunk()).await.unwrap();
    // Cut in the middle: only whole events go down.
    let (head, tail) = CHUNK.split_at(20);
    pieces.send(Ok(head.into())).await.unwrap();
    pieces.send(Ok(tail.into())).await.unwrap();
    let second = soon("the second event", answer.chunk()).await.unwrap();
    pieces.send(Ok(DONE.into())).await.unwrap();
    drop(pieces);
    let rest = soon("the end", answer.text()).await;

    assert_eq!(first.unwrap(), CHUNK);
    assert_eq!(second.unwrap(), CHUNK);
    assert_eq!(rest.unwrap(), DONE);
}

#[tokio::test]
async fn a_stream_has_the_headers_that_proxies_need_once() {
    let (server, mut worker) = server_with_worker(2).await;
    let mut pending = start(&server, CHAT, &chat(true));

    let pieces = worker.next_call().await.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    let answer = pending.answer().await;

    for (name, value) in [
        ("x-accel-buffering", "no"),
        ("cache-control", "no-cache, no-transform"),
    ] {
        let values: Vec<_> = answer.headers().get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
}

#[tokio::test]
async fn every_spelling_of_a_base_url_works() {
    let (server, mut worker) = server_with_worker(2).await;

    for path in [
        "/api/v1/chat/completions",
        "/v1//chat/completions/",
        "/v1/v1/chat/completions",
        "/chat/completions",
    ] {
        let mut pending = start(&server, path, &chat(false));
        worker.next_call().await.answer_json(200, COMPLETION);
        assert_eq!(read(&mut pending).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_the_call_at_its_worker() {
    let (server, mut worker) = server_with_worker(2).await;

    let before = start(&server, CHAT, &chat(false));
    let call = worker.next_call().await;
    drop(before);
    call.cancelled().await;

    let mut streaming = start(&server, CHAT, &chat(true));
    let pieces = worker.next_call().await.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    drop(streaming.answer().await);
    soon("the stream is cancelled", pieces.closed()).await;

    server
        .until("no call holds a slot", |state| {
            state["workers"][0]["inflight"] == 0
        })
        .await;
}

#[tokio::test]
async fn compressed_bodies_reach_the_runtime_plain() {
    use std::io::Write;
    let (server, mut worker) = server_with_worker(2).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(chat(false).to_string().as_bytes())
        .unwrap();
    let body = encoder.finish().unwrap();
    let compressed = request(&server, CHAT, &json!(null))
        .header("content-encoding", "gzip")
        .body(body);
    let mut pending = llamapool_testkit::PendingCall::start(compressed);

    let call = worker.next_call().await;
    let encoding = call.headers.get("content-encoding").cloned();
    let received = call.json();
    call.answer_json(200, COMPLETION);

    assert_eq!(encoding, None);
    assert_eq!(received, chat(false));
    assert_eq!(read(&mut pending).await.status(), 200);
}

#[tokio::test]
async fn the_only_model_is_taken_where_none_is_named() {
    let (server, mut worker) = server_with_worker(2).await;
    let mut pending = start(&server, CHAT, &json!({ "messages": [] }));

    let call = worker.next_call().await;
    let body = call.json();
    call.answer_json(200, COMPLETION);

    assert_eq!(body, json!({ "model": "m", "messages": [] }));
    assert_eq!(read(&mut pending).await.status(), 200);
}

#[tokio::test]
async fn ids_of_workers_and_of_mcp_providers_do_not_mix() {
    let (server, _worker) = server_with_worker(2).await;

    let word = error_word(server.post("alpha", &tools_call(1, "x")).await).await;
    let taken = Upgrade::for_id("alpha").answer(&server).await;

    assert_eq!(word, "relay_offline");
    assert_eq!(taken.status, 409);
    assert_eq!(taken.json().await["error"], "id_taken");
    assert!(server.client("alpha").await.is_null());
}

#[tokio::test]
async fn reports_of_the_worker_are_counted_once() {
    let (server, mut worker) = server_with_worker(2).await;
    let mut pending = start(&server, CHAT, &chat(false));

    let call = worker.next_call().await;
    let report = CallReport {
        attempt: call.attempt(),
        prompt: 12,
        cached: 5,
        completion: 3,
        source: CountSource::Usage,
        total_ms: 40,
        ..CallReport::default()
    };
    let foreign = CallReport {
        attempt: report.attempt + 1000,
        ..report.clone()
    };
    worker.report(foreign).await;
    worker.report(report.clone()).await;
    worker.report(report).await;
    call.answer_json(200, COMPLETION);
    read(&mut pending).await;

    let state = server
        .until("the tokens are counted", |state| {
            state["workers"][0]["tokens_total"] == 15
        })
        .await;
    let of_worker = &state["workers"][0];
    assert_eq!(of_worker["processed_total"], 1);
    assert_eq!(of_worker["per_model"]["m"]["tokens_in_total"], 12);
    assert_eq!(state["keys"][0]["tokens_out_total"], 3);
    assert_eq!(state["llm"]["jobs_completed_total"], 1);
    server
        .until_metric(r#"llamapool_model_tokens_total{kind="out",model="m"}"#, 3)
        .await;
    server
        .until_metric(
            r#"llamapool_model_requests_total{model="m",outcome="success"}"#,
            1,
        )
        .await;
}

#[tokio::test]
async fn a_draining_worker_gets_no_new_calls_and_ends_its_own() {
    let (server, mut worker) = server_with_worker(2).await;
    let other = crate::kit::worker(&server, "beta", 2).await;
    let setup = llamapool_testkit::WorkerSetup::new(&["m"], 2);
    other.offer_draining(setup.runtime).await;
    let state = server
        .until("beta drains", |state| {
            let workers = state["workers"].as_array().unwrap();
            workers
                .iter()
                .any(|one| one["id"] == "beta" && one["status"] == "draining")
        })
        .await;
    let problems = state["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(
        (&problems[0]["id"], &problems[0]["kind"]),
        (&"beta".into(), &"draining".into())
    );
    assert_eq!(state["mcp"]["clients"], serde_json::json!([]));

    for _ in 0..3 {
        let mut pending = start(&server, CHAT, &chat(false));
        worker.next_call().await.answer_json(200, COMPLETION);
        assert_eq!(read(&mut pending).await.status(), 200);
    }
}

#[tokio::test]
async fn a_draining_server_ends_calls_and_takes_no_new_ones() {
    let (mut server, mut worker) = server_with_worker(1).await;
    let mut running = start(&server, CHAT, &chat(false));
    let first = worker.next_call().await;
    let mut waiting = start(&server, CHAT, &chat(false));
    crate::kit::until_waiting(&server, 1).await;

    server.drain();
    server
        .until("the server drains", |state| {
            state["server"]["state"] == "draining"
        })
        .await;
    let refused = call(&server, CHAT, &chat(false)).await;
    first.answer_json(200, COMPLETION);
    worker.next_call().await.answer_json(200, COMPLETION);

    assert_eq!(refused.status(), 503);
    assert_eq!(refused.header("llamapool-error"), Some("server_draining"));
    assert_eq!(refused.header("x-should-retry"), Some("true"));
    assert_eq!(read(&mut running).await.status(), 200);
    assert_eq!(read(&mut waiting).await.status(), 200);
}

#[tokio::test]
async fn browsers_may_call_with_the_headers_of_sdks() {
    let server = llamapool_testkit::Pool::with(|config| {
        config.auth.allowed_origins = vec!["https://chat.example".to_owned()];
    })
    .await;

    for path in [CHAT, "/v1/models", "/v1/messages", "/api/chat"] {
        let preflight = server
            .http
            .request(reqwest::Method::OPTIONS, format!("{}{path}", server.url))
            .header("origin", "https://chat.example")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,x-stainless-os",
            );
        let answer = soon("an answer", preflight.send()).await.unwrap();

        assert_eq!(answer.status(), 204, "{path}");
        let headers = answer.headers();
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://chat.example"
        );
        assert_eq!(
            headers["access-control-allow-headers"],
            "authorization,x-stainless-os"
        );
    }
}

#[tokio::test]
async fn a_page_reads_refusals_and_no_origin_of_the_runtime() {
    let server = llamapool_testkit::Pool::with(|config| {
        config.auth.allowed_origins = vec!["https://chat.example".to_owned()];
    })
    .await;
    let mut worker = crate::kit::worker(&server, "alpha", 1).await;

    let without_key = server.http.post(format!("{}{CHAT}", server.url));
    let refused = without_key.header("origin", "https://chat.example").send();
    let refused = soon("an answer", refused).await.unwrap();
    let asked = request(&server, CHAT, &chat(false)).header("origin", "https://chat.example");
    let mut pending = llamapool_testkit::PendingCall::start(asked);
    let call = worker.next_call().await;
    let origin = call.headers.get("origin").cloned();
    call.answer_json(200, COMPLETION);
    let answer = pending.answer().await;

    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.headers()["access-control-allow-origin"],
        "https://chat.example"
    );
    assert_eq!(origin, None);
    let allowed = answer.headers().get_all("access-control-allow-origin");
    assert_eq!(allowed.iter().count(), 1);
}

/// The block that Claude Code changes in every request would void the runtime's cache of each prompt.
#[tokio::test]
async fn the_billing_block_of_a_prompt_is_taken_out_or_passed() {
    let block = json!({ "type": "text", "text": "x-anthropic-billing-header: cch=aaaaa;" });
    let system = json!({ "type": "text", "text": "be brief" });
    for (strips, left) in [(true, json!([system])), (false, json!([block, system]))] {
        let server = crate::kit::server(|config| config.strips_billing_header = strips).await;
        let mut worker = crate::kit::worker(&server, "alpha", 1).await;
        let mut body = chat(false);
        body["max_tokens"] = json!(8);
        body["system"] = json!([block, system]);

        let mut pending = start(&server, "/v1/messages", &body);
        let call = worker.next_call().await;
        let sent = call.json();
        call.answer_json(200, r#"{"type":"message","content":[]}"#);

        assert_eq!(sent["system"], left);
        assert_eq!(read(&mut pending).await.status(), 200);
    }
}
