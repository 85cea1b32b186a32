//! The first exchange with a provider of HTTP: what it receives, and what is learned.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Pool, Provider};

type Received = Arc<Mutex<Vec<String>>>;

/// Starts a provider that answers each method with a result, in a session, and notes what it received.
async fn provider(results: fn(&str) -> Option<Value>, as_stream: bool) -> (Provider, Received) {
    let received = Received::default();
    let noted = received.clone();
    let provider = Provider::answering(move |request: Request| {
        let noted = noted.clone();
        async move {
            let session = request.headers().get("mcp-session-id").cloned();
            let session = session.map_or(String::new(), |it| it.to_str().unwrap().to_owned());
            let http_method = request.method().to_string();
            let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            let method = message["method"]
                .as_str()
                .unwrap_or(&http_method)
                .to_owned();
            noted
                .lock()
                .push(format!("{method} {session}").trim().to_owned());

            let Some(result) = results(&method) else {
                return Response::builder().status(400).body(Body::empty()).unwrap();
            };
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
            let (media_type, text) = if as_stream {
                (
                    "text/event-stream",
                    format!(": hello\n\ndata: {answer}\n\n"),
                )
            } else {
                ("application/json", answer.to_string())
            };
            Response::builder()
                .header("content-type", media_type)
                .header("mcp-session-id", "s1")
                .body(Body::from(text))
                .unwrap()
        }
    });
    (provider.await, received)
}

fn of_sessions(method: &str) -> Option<Value> {
    Some(match method {
        "initialize" => json!({
            "protocolVersion": "2025-06-18",
            "serverInfo": { "name": "clock", "version": "1.2" },
        }),
        "tools/list" => json!({ "tools": [{}, {}, {}] }),
        "notifications/initialized" | "DELETE" => json!({}),
        _ => return None,
    })
}

fn without_sessions(method: &str) -> Option<Value> {
    Some(match method {
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"],
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "modern" } },
        }),
        "tools/list" => json!({ "tools": [{}] }),
        _ => return None,
    })
}

#[tokio::test]
async fn a_provider_is_asked_once_and_its_session_is_ended() {
    let pool = Pool::start().await;
    for (id, as_stream) in [("json", false), ("stream", true)] {
        let (provider, received) = provider(of_sessions, as_stream).await;

        let settings = [("NO_PROBE", "false")];
        let mut relay = pool.relay_with(id, &provider.url, &settings).await;
        let answers = relay.event("the provider answers").await;

        assert_eq!(answers["name"], "clock");
        assert_eq!(answers["version"], "1.2");
        assert_eq!(answers["tools"], 3);
        assert_eq!(answers["revision"], "2025-06-18");
        assert_eq!(
            *received.lock(),
            [
                "initialize",
                "notifications/initialized s1",
                "tools/list s1",
                "DELETE s1"
            ]
        );
    }
}

#[tokio::test]
async fn a_provider_without_sessions_is_asked_as_such() {
    let pool = Pool::start().await;
    let (provider, received) = provider(without_sessions, false).await;

    let settings = [("NO_PROBE", "false")];
    let mut relay = pool.relay_with("modern", &provider.url, &settings).await;
    let answers = relay.event("the provider answers").await;

    assert_eq!(answers["name"], "modern");
    assert_eq!(answers["revision"], "2026-07-28");
    assert_eq!(
        *received.lock(),
        ["initialize", "server/discover", "tools/list"]
    );
}

#[tokio::test]
async fn without_the_exchange_a_provider_receives_nothing() {
    let pool = Pool::start().await;
    let (provider, received) = provider(of_sessions, false).await;

    let _relay = pool.relay("quiet", &provider.url).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let answer = pool.http.post(pool.mcp("quiet")).body(call).send().await;

    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(*received.lock(), ["tools/list"]);
}
