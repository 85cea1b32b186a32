//! A caller that sends MCP messages by hand, for what an MCP client does not show: statuses,
//! headers, bytes.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::harness::{Pool, soon};

/// Builds the first message of a session.
pub(crate) fn initialize() -> Value {
    let client = json!({ "name": "by hand", "version": "0" });
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

/// Builds the second message of a session, a notification.
pub(crate) fn initialized() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

/// Sends a message that belongs to no session.
pub(crate) async fn send(pool: &Pool, url: &str, message: &Value) -> Response {
    let request = pool
        .http
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .json(message);
    answer_from(url, request).await
}

/// Sends a message in a session.
pub(crate) async fn send_in(pool: &Pool, url: &str, session: &str, message: &Value) -> Response {
    let request = pool
        .http
        .post(url)
        .header("accept", "application/json, text/event-stream");
    let request = request.header("mcp-session-id", session).json(message);
    answer_from(url, request).await
}

/// Sends a request and returns the first answer: a client that followed redirects would go straight
/// to the provider.
async fn answer_from(url: &str, request: RequestBuilder) -> Response {
    let answer = soon("the message is answered", request.send())
        .await
        .expect("an HTTP answer");

    assert_eq!(answer.url().as_str(), url, "this was a redirect");

    answer
}

/// Opens a session that is ready for calls. Returns its id.
pub(crate) async fn open_session(pool: &Pool, url: &str) -> String {
    let hello = send(pool, url, &initialize()).await;

    assert_eq!(hello.status(), 200);

    let session = hello.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();

    assert_eq!(
        send_in(pool, url, &session, &initialized()).await.status(),
        202
    );

    session
}

/// Returns status, content type and body of an answer.
pub(crate) async fn summary(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let media_type = answer
        .headers()
        .get("content-type")
        .map(|value| value.to_str().unwrap().to_owned());
    (status, media_type.unwrap_or_default(), body(answer).await)
}

/// Reads the whole body of an answer.
pub(crate) async fn body(answer: Response) -> String {
    soon("the answer ends", answer.text())
        .await
        .expect("the whole answer")
}
