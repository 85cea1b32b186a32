//! Snapshots of the answers that operators read from a relay: its status and its metrics.
//!
//! A change of one of them shows in review. `INSTA_UPDATE=always cargo test -p llamapool-relay
//! --test relay golden` writes them anew.

use llamapool_testkit::{
    Answer, Pool, Provider, Relay, json_snapshot, metric, metrics_snapshot, serve_status, soon,
};

/// Compares a text with the snapshot of this name.
fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Starts a relay that has answered one call.
async fn used_relay(pool: &Pool, provider: &Provider) -> Relay {
    let relay = pool.relay_with("mcp-1", &provider.url, serve_status).await;
    pool.until_client("mcp-1", "its provider is reachable", |client| {
        client["provider"]["status"] == "reachable"
    })
    .await;
    assert_eq!(pool.call("mcp-1", "ping").await.status(), 200);

    let completed = r#"llamapool_relay_calls_total{outcome="completed",provider="mcp-1"}"#;
    let counted = async {
        while metric(get(&relay, "/metrics").await.text(), completed) != Some(1.0) {
            tokio::task::yield_now().await;
        }
    };
    soon("the call is counted", counted).await;
    relay
}

/// Reads a path of the relay's status server.
async fn get(relay: &Relay, path: &str) -> Answer {
    let answer = reqwest::get(format!("{}{path}", relay.status_url())).await;
    Answer::read(answer.unwrap()).await
}

#[tokio::test]
async fn the_status_of_a_relay() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    let relay = used_relay(&pool, &provider).await;

    check(
        "status",
        &json_snapshot(&get(&relay, "/status").await.json()),
    );
    for path in ["/version", "/healthz", "/readyz", "/nowhere"] {
        check(
            path.trim_start_matches('/'),
            &get(&relay, path).await.snapshot(),
        );
    }
}

#[tokio::test]
async fn the_metrics_of_a_relay() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    let relay = used_relay(&pool, &provider).await;

    let metrics = get(&relay, "/metrics").await;

    check("metrics", &metrics_snapshot(metrics.text()));
}
