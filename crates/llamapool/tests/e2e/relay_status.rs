//! The relay's own status server, as far as it needs a process: signals, warnings, taken addresses.

use llamapool_testkit::StatusClient;
use tokio::net::TcpListener;

use crate::harness::{Pool, Process, Provider, ScriptedProvider, json_answer, tools_call};

/// Returns a client of the status server that a relay's process has started.
async fn status_of(relay: &mut Process) -> StatusClient {
    let event = relay.event("the status server listens").await;
    let address = event["address"].as_str().unwrap();
    StatusClient::new(format!("http://{address}"))
}

const ON: (&str, &str) = ("STATUS_ADDR", "127.0.0.1:0");

#[tokio::test]
async fn a_drain_by_signal_cannot_be_undone() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool.relay_with("mcp-1234", &provider.url, &[ON]).await;

    let status = status_of(&mut relay).await;
    let mut call = pool.start_call("mcp-1234");
    let asked = provider.next_request().await;
    relay.signal("TERM").await;
    status
        .until("it drains", "/status", |_, body| body["draining"] == true)
        .await;

    assert_eq!(status.control("undrain").await.0, 409);
    assert_eq!(status.get("/status").await.1["draining"], true);

    asked.answer(json_answer("{}"));

    assert_eq!(call.answer().await.status(), 200);
    assert_eq!(relay.ended().await.code(), Some(0), "{}", relay.log());
}

#[tokio::test]
async fn a_status_that_others_can_reach_without_a_token_is_warned_of() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let warning =
        "STATUS_TOKEN is not set: whoever reaches the status server reads it, the id included";
    let everywhere = ("STATUS_ADDR", "0.0.0.0:0");
    let mut open = pool.relay_with("open", &provider.url, &[everywhere]).await;

    assert_eq!(open.event(warning).await["level"], "WARN");

    for (id, settings) in [
        ("kept", &[everywhere, ("STATUS_TOKEN", "sesame")][..]),
        ("local", &[ON]),
    ] {
        let mut relay = pool.relay_with(id, &provider.url, settings).await;

        relay.event("the status server listens").await;

        assert_eq!(
            relay.lines_with("STATUS_TOKEN"),
            Vec::<String>::new(),
            "{id}"
        );
    }
}

/// An address that was configured is required.
#[tokio::test]
async fn a_second_relay_does_without_the_default_status_address() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    // If another process has the address, it is taken just the same.
    let _taken = TcpListener::bind("127.0.0.1:4555").await;
    let mut relay = pool
        .relay_with("mcp-1234", &provider.url, &[("STATUS_ADDR", "")])
        .await;

    let warning = relay
        .event("no status server, as another program has its default address")
        .await;

    assert!(
        warning["error"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:4555"),
        "{warning}"
    );
    assert_eq!(
        pool.post("mcp-1234", &tools_call(1, "echo")).await.status(),
        200
    );

    for setting in ["STATUS_ADDR", "METRICS_PORT"] {
        let settings = [(setting, "127.0.0.1:4555"), ("CLIENT_ID", "asked")];
        let mut asked = Pool::relay_once(&pool.url, &provider.url, &settings);
        let (status, log) = asked.status_and_log().await;

        assert_eq!(status.code(), Some(1), "{log}");

        let line = log.lines().last().unwrap();
        assert!(
            line.starts_with("llamapool: cannot listen on 127.0.0.1:4555: Address already in use"),
            "{log}"
        );
    }
}
