//! Callers that do not ask for an event stream get one JSON answer, also where the provider sends a
//! stream.

use llamapool_testkit::{Pool, RawHead, RawProvider, http_request};
use serde_json::Value;

/// Progress and a log message first, a response to another request, then the response to the call.
const STREAM: &str = ": hello\n\nid: 1\ndata:\n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
    \"params\":{\"progress\":1,\"result\":{}}}\n\nretry: 10\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"sampling/createMessage\"}\n\n\
    event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":18446744073709551617,\r\ndata: \"result\":{\"big\":0.10000000000000000001,\"\u{1f999}\":1}}\r\n\r\n\
    data: {\"jsonrpc\":\"2.0\",\"id\":18446744073709551617,\"result\":\"too late\"}\n\n";
/// The response in [`STREAM`], byte by byte.
const RESPONSE: &str = "{\"jsonrpc\":\"2.0\",\"id\":18446744073709551617,\n\"result\":{\"big\":0.10000000000000000001,\"\u{1f999}\":1}}";

const BOTH: &str = "application/json, text/event-stream";

/// The provider is asked for both types.
#[tokio::test]
async fn a_caller_who_takes_anything_gets_the_response_alone() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("plain", &provider.url).await;

    for accept in ["", "accept: */*\r\n", "Accept:  */* \r\n"] {
        let (seen, answered, body) = call(&pool, &provider, "POST", accept, &stream(STREAM)).await;

        assert_eq!(seen.values("accept"), [BOTH], "{accept}");
        assert_eq!(answered.status(), 200);
        assert_eq!(answered.values("content-type"), ["application/json"]);
        assert_eq!(
            answered.values("content-length"),
            [RESPONSE.len().to_string()]
        );
        assert_eq!(
            answered.values("mcp-session-id"),
            ["s"],
            "the other headers stay"
        );
        assert_eq!(String::from_utf8(body).unwrap(), RESPONSE);
    }

    let client = pool.client("plain").await;

    assert_eq!(client["calls_total"], 3);
    assert_eq!(client["errors_total"], 0);
}

#[tokio::test]
async fn errors_and_batches_are_responses_too() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("plain", &provider.url).await;

    for response in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601}}"#,
        r#"[{"id":1,"result":1},{"id":2,"result":2}]"#,
    ] {
        let scripted = stream(&format!(
            "data: {{\"method\":\"notifications/x\"}}\n\ndata: {response}\n\n"
        ));
        let (_, answered, body) = call(&pool, &provider, "POST", "", &scripted).await;

        assert_eq!(answered.status(), 200);
        assert_eq!(String::from_utf8(body).unwrap(), response.to_owned());
    }
}

#[tokio::test]
async fn answers_that_are_no_event_streams_go_through_unchanged() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("plain", &provider.url).await;

    for scripted in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-streams\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\ndata: {}\n",
    ] {
        let (_, answered, body) = call(&pool, &provider, "POST", "", scripted).await;
        let (head, scripted_body) = scripted.split_once("\r\n\r\n").unwrap();

        assert_eq!(answered.status().to_string(), head[9..12]);
        assert_eq!(body, scripted_body.as_bytes(), "{head}");

        let type_line = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "));

        assert_eq!(
            answered.values("content-type"),
            type_line.into_iter().collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_stream_without_a_response_is_an_error_with_a_name() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("plain", &provider.url).await;

    let progress = "data: {\"method\":\"notifications/progress\"}\n\n";
    let cut = format!("{progress}data: {{\"id\":1,\"result\":1}}\n");
    // The provider ends the stream cleanly, in the middle of an event, and before it was complete.
    let aborted = stream(progress).replace("connection: close\r\n", "content-length: 9999\r\n");

    for scripted in [stream(""), stream(progress), stream(&cut), aborted] {
        let (_, answered, body) = call(&pool, &provider, "POST", "", &scripted).await;

        assert_eq!(answered.status(), 502);
        assert_eq!(answered.values("llamapool-error"), ["no_response"]);
        assert_eq!(answered.values("content-type"), ["application/json"]);

        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], 5026);
        assert_eq!(body["error"]["data"]["hop"], "provider");
        assert_eq!(
            body["error"]["data"]["req_id"],
            answered.values("x-request-id")[0]
        );
    }

    let client = pool.client("plain").await;

    assert_eq!(client["errors_total"], 4);
    assert_eq!(client["last_error"]["error"], "no_response");
}

#[tokio::test]
async fn a_response_above_the_limit_is_an_error_and_never_a_cut_one() {
    let pool = Pool::with(|server| server.mcp.max_answer_bytes = 1024).await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("plain", &provider.url).await;

    let long = format!("data: {{\"id\":1,\"result\":\"{}\"}}\n\n", "x".repeat(2000));
    let (_, answered, _) = call(&pool, &provider, "POST", "", &stream(&long)).await;

    assert_eq!(answered.status(), 502);
    assert_eq!(answered.values("llamapool-error"), ["answer_too_large"]);

    let (_, answered, _) = call(
        &pool,
        &provider,
        "POST",
        &format!("accept: {BOTH}\r\n"),
        &stream(&long),
    )
    .await;

    assert_eq!(
        answered.status(),
        200,
        "a caller who takes the stream gets it"
    );
}

#[tokio::test]
async fn a_caller_with_accept_gets_the_providers_answer_unchanged() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("plain", &provider.url).await;

    for accept in [
        BOTH,
        "text/event-stream",
        "application/json",
        "*/*;q=0.1",
        "text/*, */*",
    ] {
        let field = format!("accept: {accept}\r\n");
        let (seen, answered, body) = call(&pool, &provider, "POST", &field, &stream(STREAM)).await;

        assert_eq!(seen.values("accept"), [accept]);
        assert_eq!(
            answered.values("content-type"),
            ["text/event-stream"],
            "{accept}"
        );
        assert_eq!(String::from_utf8(body).unwrap(), STREAM, "{accept}");
    }

    let twice = "accept: application/json\r\naccept: */*\r\n";
    let (seen, answered, _) = call(&pool, &provider, "POST", twice, &stream(STREAM)).await;

    assert_eq!(seen.values("accept"), ["application/json", "*/*"]);
    assert_eq!(answered.values("content-type"), ["text/event-stream"]);
}

#[tokio::test]
async fn only_post_is_answered_so() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("plain", &provider.url).await;

    for method in ["GET", "DELETE", "PUT"] {
        for (accept, wanted) in [("", vec![]), ("accept: */*\r\n", vec!["*/*"])] {
            let (seen, answered, body) =
                call(&pool, &provider, method, accept, &stream(STREAM)).await;

            assert_eq!(seen.values("accept"), wanted, "{method}");
            assert_eq!(
                answered.values("content-type"),
                ["text/event-stream"],
                "{method}"
            );
            assert_eq!(String::from_utf8(body).unwrap(), STREAM, "{method}");
        }
    }
}

/// Sends one call with these fields. Returns the head that the provider saw, and the caller's
/// answer.
async fn call(
    pool: &Pool,
    provider: &RawProvider,
    method: &str,
    fields: &str,
    scripted: &str,
) -> (RawHead, RawHead, Vec<u8>) {
    let request = http_request(
        method,
        "/api/mcp/id/plain",
        "",
        if method == "GET" { b"" } else { b"{}" },
    );
    let request = String::from_utf8(request)
        .unwrap()
        .replace(&format!("accept: {BOTH}\r\n"), fields);
    let ((seen, _), (answered, body)) =
        tokio::join!(provider.answer(scripted), pool.raw_call(request));
    (seen, answered, body)
}

/// Builds an event stream up to the end of the connection.
fn stream(events: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\nmcp-session-id: s\r\n\r\n{events}"
    )
}
