//! Large requests and large answers through FastMCP, byte for byte.

use reqwest::Response;
use serde_json::{Value, json};

use crate::by_hand::{body, open_session, send, send_in, summary};
use crate::harness::{Pool, soon};
use crate::parts::{FASTMCP_2, FASTMCP_4, Served};

const MIB: usize = 1024 * 1024;

/// Creates a text of so many bytes in which no part is like another: a lost, doubled or swapped
/// part shows.
fn text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    let mut number: u64 = 1;

    while text.len() < bytes {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{number:016x}"));
    }

    text.truncate(bytes);
    text
}

fn echo(text: &str) -> Value {
    let params = json!({ "name": "echo", "arguments": { "text": text } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })
}

/// Returns the body of a good answer.
async fn good(answer: Response) -> String {
    assert_eq!(answer.status(), 200);
    body(answer).await
}

/// Returns the JSON-RPC response in a body: all of it, or the data of the only event.
fn response(body: &str) -> Value {
    let data = body
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap_or(body);
    serde_json::from_str(data).expect("JSON")
}

fn assert_echoes(response: &Value, text: &str) {
    let result = &response["result"];

    assert_eq!(result["isError"], false);
    // Not `assert_eq!`, which would print both.
    assert!(
        result["content"][0]["text"] == text,
        "the text is another one"
    );
    assert!(
        result["structuredContent"]["result"] == text,
        "the structured text is another one"
    );
}

/// Sends a text as the first call of a relay whose provider redirects, and again when the relay has
/// learned the target.
async fn first_call_meets_the_redirect(bytes: usize) {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_2, "echo.py").await;
    let _relay = pool.relay("echo", &provider.redirecting_url()).await;

    let text = text(bytes);
    let first = good(send(&pool, &pool.mcp("echo"), &echo(&text)).await).await;

    assert_echoes(&response(&first), &text);

    let again = good(send(&pool, &pool.mcp("echo"), &echo(&text)).await).await;
    assert!(again == first, "the second answer is another one");

    let direct = good(send(&pool, &provider.url, &echo(&text)).await).await;
    assert!(direct == first, "the provider's own answer is another one");
}

/// There and back, unchanged.
#[tokio::test]
async fn a_first_call_of_1_mib_survives_a_redirect() {
    first_call_meets_the_redirect(MIB).await;
}

/// There and back, unchanged.
#[tokio::test]
async fn a_first_call_of_32_mib_survives_a_redirect() {
    first_call_meets_the_redirect(32 * MIB).await;
}

#[tokio::test]
async fn large_calls_in_a_session_return_unchanged_as_events() {
    // Without the keep-alive comments that come while the provider works on its answer.
    let pool = Pool::with(&[("STREAM_KEEPALIVE", "0")]).await;
    let provider = Served::start(FASTMCP_4, "stateful.py").await;
    let _relay = pool.relay("stateful", &provider.url).await;

    let url = pool.mcp("stateful");
    let session = open_session(&pool, &url).await;

    for bytes in [MIB, 32 * MIB] {
        let text = text(bytes);
        let answer = send_in(&pool, &url, &session, &echo(&text)).await;

        assert_eq!(answer.headers()["content-type"], "text/event-stream");

        let through = good(answer).await;
        assert_echoes(&response(&through), &text);

        let direct = good(send_in(&pool, &provider.url, &session, &echo(&text)).await).await;
        assert!(through == direct, "the provider's own event is another one");
    }
}

/// For a caller that did not ask for a stream.
#[tokio::test]
async fn a_large_event_is_one_json_answer_without_accept() {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_4, "stateful.py").await;
    let _relay = pool.relay("stateful", &provider.url).await;

    let url = pool.mcp("stateful");
    let session = open_session(&pool, &url).await;
    let text = text(16 * MIB);
    let request = pool
        .http
        .post(&url)
        .header("accept", "*/*")
        .header("mcp-session-id", &session)
        .json(&echo(&text));
    let answer = soon("the call is answered", request.send()).await.unwrap();

    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_echoes(&serde_json::from_str(&good(answer).await).unwrap(), &text);
}

/// The SDK's own bound is 4 MiB; it refuses by the declared length, without reading the body.
/// The provider refuses before it has read the request.
#[tokio::test]
async fn an_early_refusal_of_a_large_request_goes_through() {
    let pool = Pool::start().await;

    let clock = Served::start(FASTMCP_4, "clock4.py").await;
    let _relay = pool.relay("clock", &clock.url).await;

    let answer = send(&pool, &pool.mcp("clock"), &echo(&text(32 * MIB))).await;

    assert!(!answer.headers().contains_key("llamapool-error"));

    let (status, _, body) = summary(answer).await;
    assert_eq!(status, 413);
    assert_eq!(&*body, "Request body too large");
}
