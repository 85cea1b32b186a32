//! Quiet while all is well, and what Ctrl-C shows.

use std::time::Duration;

use crate::harness::Terminal;
use crate::running::{ShownServer, assert_fits, relay_of_program};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

/// Begins a session, and returns its id.
async fn session(url: &str) -> String {
    let answer = post(url, INITIALIZE).send().await.unwrap();
    let id = answer.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    answer.bytes().await.unwrap();
    id
}

fn post(url: &str, body: &str) -> reqwest::RequestBuilder {
    reqwest::Client::new()
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .body(body.to_owned())
}

fn lines_after_banner(terminal: &Terminal) -> usize {
    terminal
        .text()
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count()
}

/// Sessions begin, calls go well and go wrong, sessions end: none of it is news.
#[tokio::test]
async fn a_busy_relay_is_quiet_without_show_calls() {
    let server = ShownServer::start(&[]).await;
    let settings = [("CLIENT_ID", "notes"), ("LOG_CALLS", "off")];
    let mut relay = relay_of_program(&server.address, &[], &settings);
    relay.shows("provider     ● scripted").await;
    let before = lines_after_banner(&relay);
    let url = format!("http://{}/api/mcp/id/notes", server.address);

    for number in 0..20 {
        let session = session(&url).await;
        for _ in 0..10 {
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"echo","arguments":{{}}}}}}"#
            );
            let answer = post(&url, &call)
                .header("mcp-session-id", &session)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
        }
        assert_eq!(post(&url, "nonsense").send().await.unwrap().status(), 400);
        let end = reqwest::Client::new()
            .delete(&url)
            .header("mcp-session-id", &session);
        assert_eq!(end.send().await.unwrap().status(), 200);
    }

    let text = relay.text();
    assert_eq!(lines_after_banner(&relay), before, "{text}");
    assert_fits(&text);
    assert_fits(&server.terminal.text());
}

/// A stream on which a client only listens has no end of its own.
#[tokio::test]
async fn ctrl_c_says_what_is_waited_for_and_ends_streams() {
    let server = ShownServer::start(&[]).await;
    let mut relay = relay_of_program(&server.address, &[], &[("CLIENT_ID", "notes")]);
    relay.shows("provider     ● scripted").await;
    let url = format!("http://{}/api/mcp/id/notes", server.address);
    let session = session(&url).await;
    let stream = reqwest::Client::new()
        .get(&url)
        .header("accept", "text/event-stream")
        .header("mcp-session-id", &session)
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status(), 200);

    relay.signal("INT").await;
    relay
        .shows("finishing 1 call, on which clients only listen: ended after 2 s; ")
        .await;
    relay.shows(" s left; Ctrl-C again ends now").await;

    assert!(relay.ended().await.success(), "{}", relay.text());
    assert_fits(&relay.text());
}

#[tokio::test]
async fn ctrl_c_at_a_server_says_what_is_waited_for() {
    let mut server = ShownServer::start(&[]).await;
    let mut relay = relay_of_program(&server.address, &[], &[("CLIENT_ID", "notes")]);
    relay.shows("provider     ● scripted").await;
    let url = format!("http://{}/api/mcp/id/notes", server.address);
    let session = session(&url).await;
    let _stream = reqwest::Client::new()
        .get(&url)
        .header("accept", "text/event-stream")
        .header("mcp-session-id", &session)
        .send()
        .await
        .unwrap();

    server.terminal.signal("INT").await;
    server
        .terminal
        .shows("finishing 1 call, on which clients only listen: ended after 2 s; 29")
        .await;

    let ended = tokio::time::timeout(Duration::from_secs(20), server.terminal.ended()).await;
    assert!(ended.unwrap().success(), "{}", server.terminal.text());
}
