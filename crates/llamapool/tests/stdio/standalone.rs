//! `llamapool bridge`: a program served on this machine, without server and relay.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::Process;
use crate::processes::{MARK, processes_with, until_all_ended};
use crate::scripted_program::{command, new_mark};
use crate::session_client::{
    Session, call_request, initialize_request, llamapool_error, read_message, send,
};

/// A bridge with the scripted program.
struct Standalone {
    process: Process,
    mark: String,
    /// The address, `http://127.0.0.1:<port>`.
    address: String,
    http: reqwest::Client,
}

impl Standalone {
    /// Starts a bridge on any free port and waits until it listens.
    async fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[]).await
    }

    /// Like `start`, with a program that has these traits.
    async fn start_with(flags: &[&str], traits: &[&str]) -> Self {
        let mark = new_mark();
        let marked = format!("{MARK}={mark}");
        let mut arguments = vec!["bridge", "--port", "0", "--provider-env", &marked];
        arguments.extend(flags);
        arguments.push("--");
        arguments.extend(command(traits));

        let mut process = Process::llamapool(&arguments, &[]);
        let event = process.event("the bridge listens").await;
        let url = event["url"].as_str().unwrap();
        Self {
            address: url.strip_suffix("/mcp").unwrap().to_owned(),
            process,
            mark,
            http: reqwest::Client::new(),
        }
    }

    async fn session(&self) -> Session {
        let url = format!("{}/mcp", self.address);
        Session::begin(&self.http, &url, "2025-06-18").await
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.address))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(initialize_request("2025-06-18"))
    }
}

#[tokio::test]
async fn a_client_has_a_session_with_the_program() {
    let bridge = Standalone::start(&[]).await;
    let session = bridge.session().await;

    let list = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/list" });
    let tools = read_message(send(session.post(list.to_string())).await).await;
    assert!(tools["result"].is_object(), "{tools}");
    assert_eq!(tools["id"], 7);

    assert_eq!(send(session.delete()).await.status(), StatusCode::OK);
    let gone = send(session.post(list.to_string())).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_endpoint_is_at_mcp_with_or_without_a_slash() {
    let bridge = Standalone::start(&[]).await;

    for (path, status) in [("/mcp", 200), ("/mcp/", 200), ("/", 404), ("/mcp/x", 404)] {
        let answer = send(bridge.post(path)).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }

    let health = send(bridge.http.get(format!("{}/healthz", bridge.address))).await;
    assert_eq!(health.status(), StatusCode::OK);
    let body: Value = health.json().await.unwrap();
    assert_eq!(body, json!({ "status": "ok" }));
}

/// A page in a browser cannot reach the program, not even with DNS rebinding.
#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let bridge = Standalone::start(&[]).await;

    for (name, value, word) in [
        ("host", "evil.example", "host_refused"),
        ("origin", "http://evil.example", "origin_refused"),
        ("origin", "null", "origin_refused"),
    ] {
        let answer = send(bridge.post("/mcp").header(name, value)).await;
        let error = llamapool_error(answer).await;
        assert_eq!((error.status, &*error.word), (403, word), "{value}");
    }

    let own_page = bridge
        .post("/mcp")
        .header("origin", "http://localhost:6274");
    assert_eq!(send(own_page).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_token_is_required_where_one_is_set() {
    let bridge = Standalone::start(&["--auth-token", "t0ken"]).await;

    let without = llamapool_error(send(bridge.post("/mcp")).await).await;
    assert_eq!((without.status, &*without.word), (401, "wrong_token"));

    let with = send(bridge.post("/mcp").bearer_auth("t0ken")).await;
    assert_eq!(with.status(), StatusCode::OK);
}

/// A stop lets a running call finish, and leaves no process behind.
#[tokio::test]
async fn a_signal_ends_the_bridge_and_every_program() {
    let mut bridge = Standalone::start(&["--drain-timeout", "500ms"]).await;
    let session = bridge.session().await;
    let listener = session.listen().await;
    assert!(!processes_with(&bridge.mark).is_empty());
    let held = call_request(&json!(9), "hold", &json!({ "name": "held" }));
    let running = send(session.post(held)).await;

    bridge.process.signal("TERM").await;
    bridge.process.event("draining").await;
    let status = bridge.process.ended().await;

    assert!(status.success(), "{status}");
    until_all_ended(&bridge.mark).await;
    drop((listener, running));
}

/// Streams of listeners have no end of their own.
#[tokio::test]
async fn listeners_end_soon_after_a_signal() {
    let flags = ["--drain-timeout", "5m"];
    let mut bridge = Standalone::start_with(&flags, &["modern", "dual"]).await;
    let session = bridge.session().await;
    let listener = session.listen().await;
    let subscribe = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": { "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } },
    });
    let subscription = bridge
        .http
        .post(format!("{}/mcp", bridge.address))
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "subscriptions/listen")
        .json(&subscribe);
    let subscription = send(subscription).await;
    assert_eq!(subscription.headers()["content-type"], "text/event-stream");

    bridge.process.signal("TERM").await;
    bridge.process.event("draining").await;
    let status = bridge.process.ended().await;

    assert!(status.success(), "{status}");
    until_all_ended(&bridge.mark).await;
    drop((listener, subscription));
}

#[tokio::test]
async fn a_bridge_without_a_program_does_not_start() {
    let mut process = Process::llamapool(&["bridge"], &[]);

    let (status, log) = process.status_and_log().await;

    assert_eq!(status.code(), Some(64));
    assert!(log.contains("missing program"), "{log}");
}
