//! Errors, each in the dialect of its path: status, body, word, and whether to retry.

use llamapool_testkit::{Pool, RawHttp, ServerConfig, soon};
use serde_json::{Value, json};

use crate::kit::{
    CHAT, CHUNK, call, chat, read_broken, request, server, server_with_worker, start, worker,
};

/// The paths of one endpoint in each dialect, with the body of a request.
fn endpoints(model: &str) -> [(&'static str, Value); 3] {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let body = json!({ "model": model, "stream": false, "max_tokens": 8, "messages": messages });
    [
        ("/v1/chat/completions", body.clone()),
        ("/v1/messages", body.clone()),
        ("/api/chat", body),
    ]
}

/// Checks the answer to a refused call in every dialect.
async fn assert_refused(server: &Pool, model: &str, expected: (u16, u16, &str, &str)) {
    let (status, of_anthropic, word, retry) = expected;
    for (path, body) in endpoints(model) {
        let answer = call(server, path, &body).await;

        let is_anthropic = path == "/v1/messages";
        let expected = if is_anthropic { of_anthropic } else { status };
        assert_eq!(answer.status(), expected, "{path}: {}", answer.text());
        assert_eq!(answer.header("llamapool-error"), Some(word), "{path}");
        assert_eq!(answer.header("x-should-retry"), Some(retry), "{path}");
        let error = &answer.json()["error"];
        match path {
            "/v1/chat/completions" => {
                assert_eq!(error["code"], word);
                assert!(error["message"].is_string() && error["type"].is_string());
            }
            "/v1/messages" => {
                assert_eq!(answer.json()["type"], "error");
                assert!(error["type"].is_string());
                assert!(answer.header("request-id").is_some());
            }
            _ => assert!(error.is_string(), "{error}"),
        }
    }
}

#[tokio::test]
async fn an_unknown_model_is_not_found_in_every_dialect() {
    let server = server(|_| {}).await;
    assert_refused(&server, "x", (404, 404, "model_not_found", "false")).await;
}

#[tokio::test]
async fn an_invalid_body_names_what_is_wrong() {
    let server = server(|_| {}).await;

    let answer = call(&server, CHAT, &json!({ "model": 7 })).await;

    assert_eq!(answer.status(), 400);
    assert_eq!(answer.header("llamapool-error"), Some("invalid_request"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.json()["error"]["param"], "model");
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("model"), "{message}");
}

#[tokio::test]
async fn an_api_that_no_worker_has_is_unsupported() {
    let (server, _worker) = server_with_worker(1).await;

    let answer = call(&server, "/v1/audio/speech", &json!({ "model": "m" })).await;

    assert_eq!(answer.status(), 404);
    assert_eq!(
        answer.header("llamapool-error"),
        Some("unsupported_endpoint")
    );
}

#[tokio::test]
async fn a_wrong_path_method_or_protocol_is_named() {
    let server = server(|_| {}).await;
    let url = |path: &str| format!("{}{path}", server.url);

    let unknown = soon("an answer", server.http.get(url("/v1/nothing")).send()).await;
    let method = soon("an answer", server.http.get(url(CHAT)).send()).await;
    let management = request(&server, "/api/pull", &json!({})).send();
    let management = soon("an answer", management).await.unwrap();

    let unknown = unknown.unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(unknown.text().await.unwrap().contains("/v1"));
    let method = method.unwrap();
    assert_eq!(method.status(), 405);
    assert_eq!(method.headers()["allow"], "POST");
    assert_eq!(management.status(), 403);
    assert_eq!(management.headers()["llamapool-error"], "not_offered");
}

#[tokio::test]
async fn a_websocket_for_responses_is_refused_at_once() {
    let server = server(|_| {}).await;
    let mut caller = RawHttp::connect(&server.url).await;

    caller
        .send(
            b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
              Upgrade: websocket\r\n\r\n",
        )
        .await;
    let head = caller.head().await;

    assert_eq!(head.status(), 426);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_unreadable_is_refused() {
    let server = Pool::with(|config: &mut ServerConfig| config.mcp.max_request_bytes = 1000).await;
    let large = json!({ "model": "m", "prompt": "x".repeat(2000) });

    let too_large = call(&server, "/v1/completions", &large).await;
    let coding = request(&server, CHAT, &chat(false)).header("content-encoding", "br");
    let coding = soon("an answer", coding.send()).await.unwrap();
    let broken = request(&server, CHAT, &chat(false)).header("content-encoding", "zstd");
    let broken = soon("an answer", broken.send()).await.unwrap();

    assert_eq!(too_large.status(), 413);
    assert_eq!(
        too_large.header("llamapool-error"),
        Some("request_too_large")
    );
    assert_eq!(coding.status(), 415);
    assert_eq!(coding.headers()["llamapool-error"], "content_encoding");
    assert_eq!(broken.status(), 400);
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_broken_off() {
    let server = server(|config| config.body_timeout = std::time::Duration::from_millis(50)).await;
    let mut caller = RawHttp::connect(&server.url).await;

    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 100\r\n\r\n{{",
        llamapool_testkit::API_KEY
    );
    caller.send(head).await;
    let head = caller.head().await;

    assert_eq!(head.status(), 408);
}

#[tokio::test]
async fn without_memory_a_body_is_not_read() {
    let server = Pool::with(|config: &mut ServerConfig| config.max_memory = 1 << 20).await;
    let large = json!({ "model": "m", "prompt": "x".repeat(2 << 20) });

    let answer = call(&server, "/v1/completions", &large).await;

    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("llamapool-error"), Some("memory_full"));
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert!(answer.header("retry-after").is_some());
    assert!(answer.header("retry-after-ms").is_some());
}

#[tokio::test]
async fn errors_of_the_worker_have_their_status_and_word() {
    for (word, status, of_anthropic, retry) in [
        ("runtime_unreachable", 503, 529, "true"),
        ("runtime_busy", 503, 529, "true"),
        ("worker_lost", 502, 500, "false"),
        ("runtime_closed", 502, 500, "false"),
        ("runtime_garbage", 502, 500, "false"),
        ("answer_too_large", 502, 500, "false"),
        ("stalled", 502, 500, "false"),
        ("first_token_timeout", 504, 504, "false"),
        ("call_timeout", 504, 504, "false"),
        ("loop", 508, 500, "false"),
    ] {
        let (server, mut worker) = server_with_worker(1).await;
        for (path, body) in &endpoints("m")[..2] {
            let mut pending = start(&server, path, body);
            worker.next_call().await.fail(word);
            let answer = crate::kit::read(&mut pending).await;

            let is_anthropic = *path == "/v1/messages";
            let expected = if is_anthropic { of_anthropic } else { status };
            assert_eq!(answer.status(), expected, "{word} {path}");
            assert_eq!(answer.header("llamapool-error"), Some(word), "{path}");
            assert_eq!(answer.header("x-should-retry"), Some(retry), "{word}");
            assert!(answer.text().contains("the worker's words"), "{word}");
        }
    }
}

#[tokio::test]
async fn a_runtimes_own_error_goes_down_as_it_is() {
    let (server, mut worker) = server_with_worker(1).await;
    let body = r#"{"error":{"message":"no such tool","type":"BadRequestError","code":400}}"#;
    let mut pending = start(&server, CHAT, &chat(true));

    worker.next_call().await.answer_json(400, body);
    let answer = crate::kit::read(&mut pending).await;

    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text(), body);
    assert_eq!(answer.header("llamapool-error"), None);
}

#[tokio::test]
async fn a_pool_that_feeds_itself_is_refused() {
    let (server, _worker) = server_with_worker(1).await;
    let via = "1.1 llamapool, 1.1 llamapool, 1.1 llamapool";

    let request = request(&server, CHAT, &chat(false)).header("via", via);
    let answer = soon("an answer", request.send()).await.unwrap();

    assert_eq!(answer.status(), 508);
    assert_eq!(answer.headers()["llamapool-error"], "loop");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_no_answer() {
    let server = Pool::with(|config: &mut ServerConfig| config.mcp.max_answer_bytes = 1000).await;
    let mut worker = worker(&server, "alpha", 1).await;
    let mut pending = start(&server, CHAT, &chat(false));

    let large = format!(r#"{{"choices":"{}"}}"#, "x".repeat(2000));
    worker.next_call().await.answer_json(200, &large);
    let answer = crate::kit::read(&mut pending).await;

    assert_eq!(answer.status(), 502);
    assert_eq!(answer.header("llamapool-error"), Some("answer_too_large"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended() {
    let server = Pool::with(|config: &mut ServerConfig| {
        config.mcp.call_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    let mut worker = worker(&server, "alpha", 1).await;

    let mut pending = start(&server, CHAT, &chat(false));
    let sent = worker.next_call().await;
    let answer = crate::kit::read(&mut pending).await;

    sent.cancelled().await;
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.header("llamapool-error"), Some("call_timeout"));
}

#[tokio::test]
async fn a_model_whose_workers_are_away_is_not_unknown() {
    let (server, worker) = server_with_worker(1).await;
    drop(worker);
    server
        .until("no worker is connected", |state| {
            state["workers_summary"]["connected"] == 0
        })
        .await;

    let refused = request(&server, CHAT, &chat(false)).header("llamapool-queue", "refuse");
    let answer = soon("an answer", refused.send()).await.unwrap();

    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["llamapool-error"], "no_worker");
    assert_eq!(server.state().await["workers_summary"]["gone"], 1);
}

#[tokio::test]
async fn a_stream_that_fails_says_why_and_breaks_off() {
    for (path, last) in [
        ("/v1/chat/completions", "data: {\"error\":"),
        ("/v1/messages", "event: error\ndata: "),
    ] {
        let (server, mut worker) = server_with_worker(1).await;
        let mut body = chat(true);
        body["max_tokens"] = json!(8);
        let mut pending = start(&server, path, &body);

        let pieces = worker.next_call().await.stream("text/event-stream");
        pieces.send(Ok(CHUNK.into())).await.unwrap();
        let answer = pending.answer().await;
        let broken = std::io::Error::other("lost");
        pieces.send(Err(broken)).await.unwrap();
        let (text, ended_well) = read_broken(answer).await;

        let error = text.strip_prefix(CHUNK).expect("the event before");
        assert!(error.starts_with(last), "{error}");
        assert!(error.contains("runtime_closed"), "{error}");
        assert!(!ended_well, "{path}");
    }
}
