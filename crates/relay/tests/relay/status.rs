//! The relay's own status server: its answers, its controls, and its access rules.

use std::time::Duration;

use llamapool_testkit::{
    BUILD, FREE_PORT, PendingCall, Pool, Provider, RawHttp, RawProvider, ScriptedProvider,
    StatusClient, error_word, event_stream, http_provider, http_request, json_answer, metric,
    serve_status, soon, tools_call,
};
use llamapool_wire::{DisplayName, Secret};
use serde_json::{Value, json};

/// Starts a call with a token.
fn authorized_call(pool: &Pool, token: &str) -> PendingCall {
    let request = pool.http.post(pool.mcp("mcp-1234")).bearer_auth(token);
    let request = request.header("accept", "text/event-stream");
    PendingCall::start(request.json(&tools_call(1, "echo")))
}

#[tokio::test]
async fn the_status_contains_link_provider_and_calls() {
    let mut pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;

    let relay = pool
        .relay_with("mcp-1234", &provider.url, |relay| {
            serve_status(relay);
            relay.identity.name = DisplayName::new("Älice");
            relay.providers[0].auth_token = Some(Secret::new("open-sesame"));
        })
        .await;

    let status = StatusClient::new(relay.status_url());
    let call = |token: &str| authorized_call(&pool, token);

    assert_eq!(call("wrong").answer().await.status(), 401);

    let mut done = call("open-sesame");
    provider.next_request().await.answer(json_answer("{}"));
    done.answer().await.text().await.unwrap();
    let left = call("open-sesame");
    let mut asked = provider.next_request().await;
    drop(left);
    asked.cancelled().await;
    let mut running = call("open-sesame");
    let asked = provider.next_request().await;
    let is_current = |_, body: &Value| {
        body["calls"]["totals"]["caller_left"] == 1 && body["provider"]["status"] == "reachable"
    };
    let body = status
        .until("the status is current", "/status", is_current)
        .await;
    let truth = json!({
        "state": "connected", "id": "mcp-1234", "name": "Älice", "version": BUILD.version,
        "server_url": format!("{}/api/mcp/connect", pool.url), "last_error": null, "connection_losses_total": 0,
        "draining": false, "protected": true,
        "calls": {
            "in_flight": 1, "failed_in_a_row": 0,
            "totals": { "completed": 1, "failed": 1, "caller_left": 1 },
        },
    });
    for (field, value) in truth.as_object().unwrap() {
        assert_eq!(&body[field], value, "{field} in {body}");
    }

    assert!(body["connected_s"].is_u64(), "{body}");
    assert_eq!(body["provider"]["url"], json!(provider.url));
    assert_eq!(body["provider"]["error"], Value::Null);

    asked.answer(json_answer("{}"));

    assert_eq!(running.answer().await.status(), 200);

    pool.kill();
    let body = status
        .until("it waits", "/status", |_, body| body["state"] == "waiting")
        .await;

    assert!(
        body["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("127.0.0.1") || error.contains("lost")),
        "{body}"
    );
    assert!(
        body["connection_losses_total"].as_u64() >= Some(1) && body["connected_s"].is_null(),
        "{body}"
    );
    assert_eq!(status.get("/readyz").await.0, 503);
    assert_eq!(
        status.get("/healthz").await,
        (200, json!({ "status": "ok" }))
    );
}

#[tokio::test]
async fn a_relay_is_ready_when_connected_with_a_reachable_provider() {
    let mut pool = Pool::start().await;
    let provider = RawProvider::bind().await;

    let relay = pool
        .relay_with("mcp-1234", &provider.url, |relay| {
            serve_status(relay);
            http_provider(relay).probe_interval = Duration::from_millis(20);
        })
        .await;

    let status = StatusClient::new(relay.status_url());
    let is_ready =
        |status: u16, body: &Value| status == 200 && *body == json!({ "status": "ready" });
    status.until("it is ready", "/readyz", is_ready).await;
    let url = provider.url.clone();
    drop(provider);
    let body = status
        .until("it is not ready", "/readyz", |status, _| status == 503)
        .await;

    assert_eq!(body["error"], "the provider is not known to be reachable");

    let (_, body) = status.get("/status").await;
    assert_eq!(body["provider"]["status"], "unreachable");
    assert!(
        body["provider"]["error"]
            .as_str()
            .unwrap()
            .contains("Connection refused"),
        "{body}"
    );

    let _provider = RawProvider::bind_again(&url).await;
    status.until("it is ready again", "/readyz", is_ready).await;
    pool.kill();
    let body = status
        .until("it is not ready", "/readyz", |status, _| status == 503)
        .await;

    assert_eq!(body["error"], "the relay is not connected to the server");
}

#[tokio::test]
async fn version_and_metrics_describe_the_relay() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let relay = pool
        .relay_with("mcp-1234", &provider.url, |relay| {
            serve_status(relay);
            relay.status.metrics_bind = Some(FREE_PORT);
        })
        .await;

    let status = StatusClient::new(relay.status_url());
    let (code, version) = status.get("/version").await;

    assert_eq!(code, 200);
    assert_eq!(version["version"], BUILD.version);
    assert!(
        version["build_sha"].is_string() && version["build_date"].is_string(),
        "{version}"
    );

    for id in 0..3 {
        assert_eq!(
            pool.post("mcp-1234", &tools_call(id, "echo"))
                .await
                .status(),
            200
        );
    }

    let completed = r#"llamapool_relay_calls_total{outcome="completed",provider="mcp-1234"}"#;
    let counted = async {
        loop {
            let text = status.metrics().await;
            if metric(&text, completed) == Some(3.0) {
                return text;
            }
        }
    };
    let text = soon("the calls are counted", counted).await;

    for (series, value) in [
        ("llamapool_relay_connected", 1.0),
        (
            r#"llamapool_relay_provider_reachable{provider="mcp-1234"}"#,
            1.0,
        ),
        (
            r#"llamapool_relay_calls_in_flight{provider="mcp-1234"}"#,
            0.0,
        ),
        ("llamapool_relay_connection_losses_total", 0.0),
        (
            r#"llamapool_relay_calls_total{outcome="failed",provider="mcp-1234"}"#,
            0.0,
        ),
    ] {
        assert_eq!(metric(&text, series), Some(value), "{series}\n{text}");
    }

    assert!(
        text.contains(r#"llamapool_build_info{component="mcp""#),
        "{text}"
    );
}

#[tokio::test]
async fn a_request_for_missing_metadata_is_an_answered_call() {
    let pool = Pool::start().await;
    let provider = Provider::serving(axum::Router::new()).await;
    let relay = pool
        .relay_with("mcp-1234", &provider.url, serve_status)
        .await;

    let status = StatusClient::new(relay.status_url());
    let place = format!(
        "{}/.well-known/oauth-protected-resource/api/mcp/id/mcp-1234",
        pool.url
    );

    assert_eq!(pool.http.get(place).send().await.unwrap().status(), 404);

    let is_over = |_, body: &Value| body["calls"]["in_flight"] == 0;
    let body = status.until("the call is over", "/status", is_over).await;

    assert_eq!(
        body["calls"]["totals"],
        json!({ "completed": 1, "failed": 0, "caller_left": 0 })
    );
}

#[tokio::test]
async fn a_relay_drains_undrains_and_shuts_down_on_request() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool
        .relay_with("mcp-1234", &provider.url, serve_status)
        .await;

    let status = StatusClient::new(relay.status_url());
    let mut call = pool.start_call("mcp-1234");
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    let answer = call.answer().await;

    assert_eq!(
        status.control("drain").await,
        (200, json!({ "status": "ok", "draining": true }))
    );

    pool.until_client("mcp-1234", "it drains", |client| {
        client["status"] == "draining"
    })
    .await;

    assert_eq!(
        error_word(pool.post("mcp-1234", &tools_call(1, "echo")).await).await,
        "relay_draining"
    );
    assert_eq!(
        status.get("/readyz").await,
        (503, json!({ "error": "the relay is draining" }))
    );
    assert_eq!(status.get("/status").await.1["draining"], true);
    assert_eq!(
        status.control("undrain").await,
        (200, json!({ "status": "ok", "draining": false }))
    );

    pool.until_client("mcp-1234", "it takes calls again", |client| {
        client["status"] == "active"
    })
    .await;
    let mut other = pool.start_call("mcp-1234");
    provider.next_request().await.answer(json_answer("{}"));

    assert_eq!(other.answer().await.status(), 200);
    assert_eq!(status.control("explode").await.0, 404);

    let wrong_method = status.ask("GET", "/control/drain").send().await.unwrap();
    assert_eq!(wrong_method.status(), 405);
    assert_eq!(status.control("shutdown").await.0, 200);

    pool.until_client("mcp-1234", "it drains", |client| {
        client["status"] == "draining"
    })
    .await;
    let too_late = status.control("undrain").await;

    assert_eq!(
        too_late,
        (409, json!({ "error": "the relay is shutting down" }))
    );
    assert_eq!(status.get("/status").await.1["draining"], true);

    pieces.send(Ok("data: last\n\n".into())).await.unwrap();
    drop(pieces);

    let last = soon("the answer ends", answer.bytes()).await.unwrap();
    assert_eq!(last, "data: last\n\n");
    assert!(relay.ended().await.is_ok());
}

#[tokio::test]
async fn the_status_token_is_required_for_controls() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let relay = pool
        .relay_with("mcp-1234", &provider.url, |relay| {
            serve_status(relay);
            relay.status.token = Some(Secret::new("open-sesame"));
        })
        .await;

    let status = StatusClient::new(relay.status_url());

    for wrong in ["", "Bearer open-sesami", "Basic open-sesame", "open-sesame"] {
        for verb in ["drain", "undrain", "shutdown", "nothing"] {
            let request = status
                .ask("POST", &format!("/control/{verb}"))
                .header("authorization", wrong);
            let answer = request.send().await.unwrap();

            assert_eq!(answer.status(), 401, "{wrong} {verb}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        }
    }

    assert_eq!(status.get("/status").await.1["draining"], false);

    for right in ["Bearer open-sesame", "bearer open-sesame"] {
        let answer = status
            .ask("POST", "/control/drain")
            .header("authorization", right)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{right}");
    }

    assert_eq!(status.get("/status").await.1["draining"], true);
}

#[tokio::test]
async fn a_page_in_a_browser_gets_nothing_from_a_relay_on_loopback() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let relay = pool
        .relay_with("mcp-1234", &provider.url, |relay| {
            serve_status(relay);
            relay.status.metrics_bind = Some(FREE_PORT);
        })
        .await;

    let status = StatusClient::new(relay.status_url());
    let metrics = StatusClient::new(relay.metrics_url());
    let requests = [
        (&status, "GET", "/status"),
        (&status, "GET", "/version"),
        (&status, "GET", "/healthz"),
        (&status, "GET", "/readyz"),
        (&status, "GET", "/metrics"),
        (&status, "POST", "/control/drain"),
        (&metrics, "GET", "/metrics"),
    ];

    for (server, method, path) in requests {
        for (name, value) in [
            ("host", "evil.example"),
            ("host", "localhost.evil.example:80"),
            ("host", "192.0.2.1"),
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost"),
        ] {
            let answer = server
                .ask(method, path)
                .header(name, value)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 403, "{method} {path} {name}: {value}");
        }

        let mut twice = RawHttp::connect(&server.url).await;
        twice
            .send(http_request(method, path, "host: localhost\r\n", b""))
            .await;

        assert_eq!(
            twice.head().await.status(),
            403,
            "{method} {path} with two hosts"
        );
    }

    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:80"] {
        assert_eq!(
            metrics
                .ask("GET", "/metrics")
                .header("host", host)
                .send()
                .await
                .unwrap()
                .status(),
            200,
            "{host}"
        );
    }

    assert_eq!(status.get("/status").await.1["draining"], false);
}

/// They are closed, and calls do not notice.
#[tokio::test]
async fn idle_connections_to_the_status_server_keep_nobody_out() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let relay = pool
        .relay_with("mcp-1234", &provider.url, |relay| {
            serve_status(relay);
            relay.status.metrics_bind = Some(FREE_PORT);
        })
        .await;

    let mut idle = Vec::new();
    for url in [relay.status_url(), relay.metrics_url()] {
        for _ in 0..200 {
            idle.push(RawHttp::connect(&url).await);
        }
    }

    let status = StatusClient::new(relay.status_url());
    assert_eq!(status.get("/status").await.0, 200);
    let metrics = StatusClient::new(relay.metrics_url()).metrics().await;
    assert!(metrics.contains("llamapool_relay_connected 1"));
    assert_eq!(pool.call("mcp-1234", "ping").await.status(), 200);
    let first = &mut idle[0];
    assert_eq!(first.try_head().await, None, "the oldest gave way");
}
