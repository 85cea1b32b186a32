//! What is shown at the start.

use crate::harness::{API_KEY, Terminal, WORKER_KEY, soon};
use crate::running::{ShownServer, assert_fits, relay_of_program};

#[tokio::test]
async fn a_server_shows_where_it_is_reached_and_no_key_whole() {
    let own = [("PUBLIC_URL", "http://pool.example/llama")];

    let server = ShownServer::start(&own).await;

    let text = server.terminal.text();
    for row in [
        "  callers      http://pool.example/llama/api/mcp/id/<id>\n",
        "  relays       ws://pool.example/llama   key  as set in WORKER_KEY\n",
        "  state        http://pool.example/llama/api/state   key  as set in API_KEY\n",
    ] {
        assert!(text.contains(row), "{row:?} in:\n{text}");
    }
    assert!(
        !text.contains(WORKER_KEY) && !text.contains(API_KEY),
        "{text}"
    );
    assert!(
        !text.contains("llamapool_server"),
        "no path of a crate:\n{text}"
    );
    assert_fits(&text);
}

#[tokio::test]
async fn a_generated_key_is_whole_only_with_show_keys() {
    let start = async |arguments: &[&str]| {
        let arguments = [
            &["server", "--port", "0", "--bind-addr", "127.0.0.1"],
            arguments,
        ];
        let mut server = Terminal::llamapool(&arguments.concat(), &[("DATA_DIR", "off")]);
        server.shows("server-everything").await;
        server.text()
    };

    let hidden = start(&[]).await;
    let shown = start(&["--show-keys"]).await;

    assert!(
        hidden.contains("made for this run: --show-keys prints it whole"),
        "{hidden}"
    );
    assert!(hidden.contains("WORKER_KEY=… llamapool mcp"), "{hidden}");
    let key = shown.split("WORKER_KEY=").nth(1).unwrap();
    let key = key.split_whitespace().next().unwrap();
    assert!(key.len() >= 32, "{shown}");
    assert_eq!(shown.matches(key).count(), 2, "{shown}");
}

/// The whole URL, which can be pasted, and who answers there.
#[tokio::test]
async fn a_relay_shows_its_url_and_who_its_provider_is() {
    let server = ShownServer::start(&[]).await;

    let mut relay = relay_of_program(&server.address, &[], &[]);
    relay.shows("provider     ● scripted 0 · ").await;
    relay.shows("add to       llamapool connect ").await;

    let text = relay.text();
    let url = text
        .lines()
        .find_map(|line| line.strip_prefix("  url          "));
    let url = url.unwrap_or_else(|| panic!("{text}"));
    let prefix = format!("http://{}/api/mcp/id/", server.address);
    assert!(
        url.starts_with(&prefix) && url.len() == prefix.len() + 32,
        "{url}"
    );
    assert!(text.contains(" tools · MCP 2025-11-25\n"), "{text}");
    assert!(!text.contains("<server>"), "{text}");
    let listed = reqwest::Client::new()
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .body(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(listed.status(), 200);
    relay.shows("→ initialize ").await;
    assert_fits(&relay.text());
}

#[tokio::test]
async fn the_url_is_the_one_that_the_server_has() {
    let own = [
        ("PUBLIC_URL", "https://pool.example/llama"),
        ("ALLOW_WEAK_KEYS", "true"),
    ];
    let server = ShownServer::start(&own).await;
    let mut relay = relay_of_program(&server.address, &[], &[("CLIENT_ID", "notes")]);

    relay
        .shows("url          https://pool.example/llama/api/mcp/id/notes")
        .await;
    relay
        .shows("access       no token: who knows the URL can call it")
        .await;
}

#[tokio::test]
async fn a_program_that_says_nothing_is_not_asked_with_no_probe() {
    let server = ShownServer::start(&[]).await;

    let mut relay = relay_of_program(&server.address, &[], &[("NO_PROBE", "true")]);
    relay.shows("provider     ● it can be reached").await;

    assert!(!relay.text().contains("scripted 0"), "{}", relay.text());
}

#[tokio::test]
async fn a_demo_shows_its_calls() {
    let mut demo = Terminal::llamapool(&["demo", "--port", "0"], &[]);
    demo.shows("Ctrl-C ends the demo.").await;
    let text = demo.text();
    let url = text
        .lines()
        .find(|line| line.trim().starts_with("http://"))
        .unwrap();

    let call = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"time/now","arguments":{}}}"#;
    let answered = async {
        let http = reqwest::Client::new();
        loop {
            let call = http
                .post(url.trim())
                .header("content-type", "application/json")
                .body(call);
            if call.send().await.unwrap().status() == 200 {
                break;
            }
        }
    };
    soon("the provider is called", answered).await;
    demo.shows_that("the call", |text| {
        text.lines().any(|line| {
            line.contains("  → tools/call   time/now") && line.trim_end().ends_with(" ms  ok")
        })
    })
    .await;
    demo.signal("INT").await;
    assert_eq!(demo.ended().await.code(), Some(0), "{}", demo.text());
}
