//! The errors for mistakes at the start, and their exit codes.

use std::net::TcpListener;

use crate::harness::{API_KEY, Provider, Settings, Terminal, WORKER_KEY};
use crate::running::{ShownServer, assert_fits};

/// Runs a relay that must end. Returns its exit code, and what it has shown.
async fn ending_relay(server_url: &str, settings: Settings<'_>) -> (Option<i32>, String) {
    let own = [
        ("SERVER_URL", server_url),
        ("WORKER_KEY", WORKER_KEY),
        ("STATUS_ADDR", "off"),
        ("PROVIDER_URL", "http://127.0.0.1:9/mcp"),
    ];
    let mut relay = Terminal::llamapool(&["mcp"], &[&own, settings].concat());
    let code = relay.ended().await.code();
    (code, relay.text())
}

#[tokio::test]
async fn an_api_key_is_known_for_what_it_is() {
    let mut server = ShownServer::start(&[]).await;
    let url = format!("ws://{}", server.address);

    let (code, text) = ending_relay(&url, &[("WORKER_KEY", API_KEY), ("CLIENT_ID", "notes")]).await;

    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("this is the API key; relays need the worker key"),
        "{text}"
    );
    assert!(!text.contains("--reconnect"), "it would not help: {text}");
    assert!(!text.contains(API_KEY), "{text}");
    server
        .terminal
        .shows("▲ notes        relay at 127.0.0.1 refused: this is the API key")
        .await;
    assert_fits(&server.terminal.text());
}

/// A server may run without keys, so that only its answer shows that one is needed.
#[tokio::test]
async fn a_missing_key_is_said_where_the_server_wants_one() {
    let server = ShownServer::start(&[]).await;
    let url = format!("ws://{}", server.address);

    for reconnect in ["false", "true"] {
        let settings = [("WORKER_KEY", ""), ("RECONNECT", reconnect)];
        let (code, text) = ending_relay(&url, &settings).await;

        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("WORKER_KEY is not set, and the server asks for one"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_wrong_key_is_not_tried_every_second() {
    let server = ShownServer::start(&[]).await;
    let url = format!("ws://{}", server.address);
    let wrong = [
        ("WORKER_KEY", "a-wrong-key-of-some-length"),
        ("RECONNECT", "true"),
    ];
    let own = [
        ("SERVER_URL", url.as_str()),
        ("STATUS_ADDR", "off"),
        ("PROVIDER_URL", "http://127.0.0.1:9/mcp"),
    ];
    let mut patient = Terminal::llamapool(&["mcp"], &[&own[..], &wrong].concat());
    patient.shows("■ refused").await;
    patient.shows("; trying again in 3").await;

    let exiting = [&wrong[..], &[("EXIT_ON_REFUSAL", "true")]].concat();
    let (code, text) = ending_relay(&url, &exiting).await;

    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("the worker key is missing or wrong"),
        "{text}"
    );
}

#[tokio::test]
async fn a_taken_port_has_a_name_and_a_neighbour() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    for command in ["server", "demo"] {
        let settings = [
            ("PORT", port.as_str()),
            ("BIND_ADDR", "127.0.0.1"),
            ("DATA_DIR", "off"),
        ];
        let mut process = Terminal::llamapool(&[command], &settings);

        let code = process.ended().await.code();
        let text = process.text();

        assert_eq!(code, Some(1), "{text}");
        let pid = format!("(pid {}) has it; ", std::process::id());
        assert!(text.contains(&pid), "{text}");
        assert!(text.contains(" is free: --port "), "{text}");
    }
}

#[tokio::test]
async fn another_program_at_the_url_is_named() {
    let app = axum::Router::new().fallback(|| async {
        (
            [("server", "nginx/1.29")],
            axum::http::StatusCode::NOT_FOUND,
        )
    });
    let other = Provider::serving(app).await;
    let address = other
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/mcp");

    let (code, text) = ending_relay(&format!("ws://{address}/foo"), &[]).await;
    assert_eq!(code, Some(1), "{text}");
    let said = "the host answers, but llamapool is not at /foo; leave the path out of SERVER_URL, so that it is \
                /api/mcp/connect, or it is another program: its answer names nginx/1.29";
    assert!(text.contains(said), "{text}");

    let (_, text) = ending_relay(&format!("wss://{address}"), &[]).await;
    assert!(
        text.contains("the port does not speak TLS: use ws://"),
        "{text}"
    );
}

#[tokio::test]
async fn a_url_without_a_scheme_is_taken_on_this_machine_alone() {
    let server = ShownServer::start(&[]).await;
    let port = server.address.rsplit(':').next().unwrap();

    let (code, text) = ending_relay(&format!("localhost:{port}"), &[("WORKER_KEY", "")]).await;
    assert_eq!(code, Some(1), "it was reached: {text}");

    let (code, text) = ending_relay("pool.example:443", &[]).await;
    assert_eq!(code, Some(64), "{text}");
    assert!(
        text.contains("did you mean wss:// in front of it?"),
        "{text}"
    );
}
