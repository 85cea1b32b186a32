//! Every number of the state and of the metrics is correct.

use std::time::{Duration, Instant};

use llamapool_testkit::{
    API_KEY, Link, PendingCall, Pool, RawProvider, ScriptedProvider, error_word, event_stream,
    http_provider, json_answer, metric, serve_status, soon, tools_call,
};
use serde_json::{Value, json};

use crate::metrics::are_well_formed;

/// Returns the length of the message that every scripted call sends, in bytes.
fn message_bytes() -> u64 {
    serde_json::to_vec(&tools_call(1, "scripted"))
        .unwrap()
        .len() as u64
}

fn status(status: u16, body: &str) -> axum::response::Response {
    let mut answer = json_answer(body);
    *answer.status_mut() = axum::http::StatusCode::from_u16(status).unwrap();
    answer
}

#[tokio::test]
async fn state_and_metrics_count_what_happened_to_every_call() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let link = Link::to(&pool.url).await;
    let _lost_relay = Pool::relay_to(&link.url, "mix", &provider.url, |_| {}).await;
    pool.connected("mix").await;

    for (times, code) in [(3, 200), (2, 500), (1, 404)] {
        for _ in 0..times {
            let mut call = pool.start_call("mix");
            provider
                .next_request()
                .await
                .answer(status(code, "0123456789"));

            assert_eq!(call.answer().await.text().await.unwrap(), "0123456789");
        }
    }

    left_before_the_head(&pool, &mut provider).await;
    left_in_the_middle(&pool, &mut provider).await;
    broken_off(&pool, &mut provider).await;
    let mut lost = pool.start_call("mix");
    let _asked = provider.next_request().await;
    drop(link);

    assert_eq!(lost.error().await, "tunnel_lost");

    pool.until_client("mix", "it is gone", Value::is_null).await;

    for _ in 0..2 {
        assert_eq!(
            error_word(pool.post("mix", &tools_call(1, "echo")).await).await,
            "relay_offline"
        );
    }

    let _relay = pool.relay("mix", &provider.url).await;

    let client = pool.client("mix").await;
    // Six whole answers; one that a caller left and one that was aborted, each after five bytes.
    let bytes_in = 10 * message_bytes();
    let bytes_out = 6 * 10 + 2 * 5;
    let truth = json!({
        "calls_total": 10, "errors_total": 4, "aborted_total": 2, "inflight": 0, "status": "idle",
        "bytes_in_total": bytes_in, "bytes_out_total": bytes_out, "functions": { "tools/call": 10 },
    });
    for (field, value) in truth.as_object().unwrap() {
        assert_eq!(&client[field], value, "{field} in {client}");
    }

    assert_eq!(client["last_error"]["error"], "tunnel_lost");

    let p50 = client["call_ms_p50"].as_f64().unwrap();
    let p95 = client["call_ms_p95"].as_f64().unwrap();

    assert!(0.0 < p50 && p50 <= p95 && p95 < 30_000.0, "{p50} {p95}");

    let server = &pool.state().await["server"];
    assert_eq!(server["jobs_completed_total"], 6);
    assert_eq!(server["jobs_failed_total"], 4);
    assert_eq!(server["jobs_inflight_total"], 0);
    assert_eq!(server["scheduler_queue_len"], 0);

    metrics_agree(&pool, bytes_in, bytes_out).await;
}

async fn left_before_the_head(pool: &Pool, provider: &mut ScriptedProvider) {
    let call = pool.start_call("mix");
    let mut asked = provider.next_request().await;
    drop(call);
    asked.cancelled().await;
    pool.until_client("mix", "the call is over", |client| {
        client["aborted_total"] == 1
    })
    .await;
}

async fn left_in_the_middle(pool: &Pool, provider: &mut ScriptedProvider) {
    let mut call = pool.start_call("mix");
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    let mut answer = call.answer().await;
    pieces.send(Ok("12345".into())).await.unwrap();

    assert_eq!(
        soon("the piece arrives", answer.chunk())
            .await
            .unwrap()
            .unwrap(),
        "12345"
    );

    drop(answer);
    soon("the provider notices", pieces.closed()).await;
    pool.until_client("mix", "the call is over", |client| {
        client["aborted_total"] == 2
    })
    .await;
}

async fn broken_off(pool: &Pool, provider: &mut ScriptedProvider) {
    let mut call = pool.start_call("mix");
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    let mut answer = call.answer().await;
    pieces.send(Ok("12345".into())).await.unwrap();

    assert_eq!(
        soon("the piece arrives", answer.chunk())
            .await
            .unwrap()
            .unwrap(),
        "12345"
    );

    pieces
        .send(Err(std::io::Error::other("scripted")))
        .await
        .unwrap();

    assert!(soon("the answer breaks off", answer.chunk()).await.is_err());

    pool.until_client("mix", "the call is over", |client| {
        client["last_error"]["error"] == "broken"
    })
    .await;
}

async fn metrics_agree(pool: &Pool, bytes_in: u64, bytes_out: u64) {
    let metrics = pool.metrics().await;
    let outcome = |outcome: &str| {
        format!(r#"llamapool_calls_total{{id="mix",method="tools/call",outcome="{outcome}"}}"#)
    };

    for (series, value) in [
        (outcome("ok"), 4),
        (outcome("provider_error"), 2),
        (outcome("failed"), 1),
        (outcome("broken"), 1),
        (outcome("caller_left"), 2),
        (
            r#"llamapool_call_bytes_total{direction="in",id="mix"}"#.into(),
            bytes_in,
        ),
        (
            r#"llamapool_call_bytes_total{direction="out",id="mix"}"#.into(),
            bytes_out,
        ),
        (r#"llamapool_calls_in_flight{id="mix"}"#.into(), 0),
        (
            r#"llamapool_call_duration_seconds_count{method="tools/call"}"#.into(),
            10,
        ),
        (
            r#"llamapool_refusals_total{door="mcp",reason="relay_offline"}"#.into(),
            2,
        ),
        (
            r#"llamapool_refusals_total{door="mcp",reason="tunnel_lost"}"#.into(),
            1,
        ),
        ("llamapool_relays_connected".into(), 1),
        ("llamapool_tunnels_connected".into(), 1),
    ] {
        assert_eq!(
            metric(&metrics, &series),
            Some(value as f64),
            "{series}\n{metrics}"
        );
    }

    assert_eq!(metric(&metrics, &outcome("timed_out")), None);
    are_well_formed(&metrics);
}

#[tokio::test]
async fn a_caller_who_aborts_its_request_has_left_and_is_no_error() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("half", &provider.url).await;

    let head = "POST /api/mcp/id/half HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 1000\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"tools/list\",";
    let mut caller = tokio::net::TcpStream::connect(pool.url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut caller, head.as_bytes())
        .await
        .unwrap();
    let (_connection, _) = provider.request().await;
    pool.until_client("half", "it runs, and the method is known", |client| {
        client["inflight"] == 1
    })
    .await;
    drop(caller);
    let client = pool
        .until_client("half", "it is over", |client| client["calls_total"] == 1)
        .await;
    let counts = (
        &client["aborted_total"],
        &client["errors_total"],
        &client["last_error"],
    );

    assert_eq!(counts, (&json!(1), &json!(0), &Value::Null), "{client}");
    assert_eq!(client["functions"], json!({ "tools/list": 1 }));
}

#[tokio::test]
async fn state_sessions_are_the_running_calls_or_null() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = pool.relay("one", &provider.url).await;
    let _other_relay = pool.relay("other", &provider.url).await;

    assert_eq!(pool.state().await["mcp"]["sessions"], Value::Null);

    let request = pool
        .http
        .post(pool.mcp("one"))
        .header("x-request-id", "trace-1")
        .json(&tools_call(1, "slow"));
    let mut first = tokio::task::JoinSet::new();
    first.spawn(request.send());
    let asked = provider.next_request().await;
    let mut second = pool.start_call("other");
    let other_asked = provider.next_request().await;
    let state = pool.state().await;
    let sessions = state["mcp"]["sessions"].as_array().unwrap();

    assert_eq!(sessions.len(), 2, "{state}");
    assert_eq!(sessions[0]["id"], "trace-1");

    for (session, id) in sessions.iter().zip(["one", "other"]) {
        assert_eq!(session["client_id"], json!(id));
        assert_eq!(session["method"], "tools/call");
        assert!(
            session["duration_ms"].is_u64()
                && session["started_at"].as_str().unwrap().ends_with('Z'),
            "{session}"
        );
    }

    assert_eq!(state["server"]["jobs_inflight_total"], 2);

    for client in state["mcp"]["clients"].as_array().unwrap() {
        assert_eq!(client["inflight"], 1, "{client}");
        assert_eq!(client["status"], "active", "{client}");
    }

    asked.answer(json_answer("{}"));
    other_asked.answer(json_answer("{}"));
    second.answer().await.text().await.unwrap();
    first
        .join_next()
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .text()
        .await
        .unwrap();
    pool.until("nothing runs", |state| {
        state["server"]["jobs_inflight_total"] == 0
    })
    .await;

    assert_eq!(pool.state().await["mcp"]["sessions"], Value::Null);
}

#[tokio::test]
async fn nothing_is_held_after_500_calls_that_their_callers_left() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;

    let relay = pool
        .relay_with("mcp-1234", &provider.url, |relay| {
            // Of which one caller can have 100.
            relay.tunnel.max_streams = 125;
            serve_status(relay);
        })
        .await;

    for wave in 1..=5 {
        let calls: Vec<_> = (0..100).map(|_| pool.start_call("mcp-1234")).collect();
        let mut asked = provider.next_requests(100).await;
        drop(calls);
        for asked in &mut asked {
            asked.cancelled().await;
        }
        pool.until_client("mcp-1234", "the calls are over", |client| {
            client["aborted_total"] == wave * 100
        })
        .await;
    }

    assert_eq!(pool.client("mcp-1234").await["inflight"], 0);

    let mut calls: Vec<_> = (0..100).map(|_| pool.start_call("mcp-1234")).collect();
    let asked = provider.next_requests(100).await;

    assert_eq!(
        error_word(pool.post("mcp-1234", &tools_call(1, "one too many")).await).await,
        "caller_share"
    );

    for asked in asked {
        asked.answer(json_answer("{}"));
    }
    for call in &mut calls {
        assert_eq!(call.answer().await.status(), 200);
    }
    let done = |client: &Value| {
        client["calls_total"] == 600 && client["inflight"] == 0 && client["errors_total"] == 0
    };
    pool.until_client("mcp-1234", "all is over", done).await;
    let status = reqwest::get(format!("{}/status", relay.status_url())).await;
    let status: Value = status.unwrap().json().await.unwrap();
    let totals = json!({ "caller_left": 500, "completed": 100, "failed": 0 });
    let truth = json!({ "in_flight": 0, "totals": totals, "failed_in_a_row": 0 });

    assert_eq!(status["calls"], truth);
    are_well_formed(&pool.metrics().await);
}

#[tokio::test]
async fn an_id_gets_no_more_calls_at_once_than_it_may() {
    let pool = Pool::with(|server| server.mcp.max_calls_per_id = 2).await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = pool.relay("limited", &provider.url).await;
    let _other = pool.relay("other", &provider.url).await;

    let mut calls = [pool.start_call("limited"), pool.start_call("limited")];
    let mut asked = provider.next_requests(2).await;
    let refusal = pool.post("limited", &tools_call(1, "echo")).await;

    assert_eq!(refusal.status().as_u16(), 429);
    assert_eq!(refusal.headers()["retry-after"], "2");
    assert_eq!(error_word(refusal).await, "too_many_calls");
    assert_eq!(pool.client("limited").await["inflight"], 2);

    let mut other: PendingCall = pool.start_call("other");
    provider.next_request().await.answer(json_answer("{}"));

    assert_eq!(other.answer().await.status(), 200);

    asked.remove(0).answer(json_answer("{}"));
    let mut statuses = Vec::new();
    let [first, second] = &mut calls;
    let rest = tokio::select! {
        answer = first.answer() => { statuses.push(answer.status()); second }
        answer = second.answer() => { statuses.push(answer.status()); first }
    };
    pool.until_client("limited", "one is over", |client| client["inflight"] == 1)
        .await;
    let mut next = pool.start_call("limited");
    for asked in [asked.remove(0), provider.next_request().await] {
        asked.answer(json_answer("{}"));
    }
    statuses.extend([rest.answer().await.status(), next.answer().await.status()]);

    assert!(
        statuses.iter().all(|status| *status == 200) && statuses.len() == 3,
        "{statuses:?}"
    );

    let metrics = pool.metrics().await;
    assert_eq!(
        metric(
            &metrics,
            r#"llamapool_refusals_total{door="mcp",reason="too_many_calls"}"#
        ),
        Some(1.0)
    );
}

#[tokio::test]
async fn the_state_contains_the_providers_health_since_when_and_why() {
    let pool = Pool::with(|server| server.state.interval = Duration::from_millis(400)).await;
    let provider = RawProvider::bind().await;

    let url = provider.url.clone();
    drop(provider);
    let _relay = pool
        .relay_with("mcp-1234", &url, |relay| {
            http_provider(relay).probe_interval = Duration::from_millis(20);
        })
        .await;

    let of = |client: &Value, status: &str| client["provider"]["status"] == status;
    let down = pool
        .until_client("mcp-1234", "it is unreachable", |client| {
            of(client, "unreachable")
        })
        .await;

    assert!(
        down["provider"]["error"]
            .as_str()
            .unwrap()
            .contains("Connection refused"),
        "{down}"
    );
    assert_eq!(down["status"], "not_ready");
    assert_eq!(down["protected"], false);

    // Two snapshots last as long as many probes; a failed call is a sign of the same kind.
    let mut stream = pool
        .http
        .get(format!("{}/api/state/stream", pool.url))
        .bearer_auth(API_KEY)
        .send()
        .await
        .unwrap();

    for _ in 0..2 {
        soon("a snapshot arrives", stream.chunk())
            .await
            .unwrap()
            .unwrap();
    }

    assert_eq!(
        error_word(pool.post("mcp-1234", &tools_call(1, "echo")).await).await,
        "provider_unreachable"
    );

    let later = pool.client("mcp-1234").await;
    let since = |client: &Value| {
        humantime::parse_rfc3339(client["provider"]["since"].as_str().unwrap()).unwrap()
    };
    let moved = since(&later)
        .duration_since(since(&down))
        .unwrap_or_default();

    assert!(
        moved < Duration::from_millis(200),
        "since when does not move while nothing changes: {moved:?}"
    );

    let _provider = RawProvider::bind_again(&url).await;
    let up = pool
        .until_client("mcp-1234", "it is reachable", |client| {
            of(client, "reachable")
        })
        .await;

    assert_eq!(up["provider"]["error"], Value::Null);
    assert_eq!(up["status"], "idle");
    assert!(since(&up) > since(&later));
}

#[tokio::test]
async fn the_state_stream_begins_at_once_and_goes_on_at_its_interval() {
    let pool = Pool::with(|server| {
        server.state.interval = Duration::from_millis(200);
        server.state.max_streams = 2;
    })
    .await;

    let open = || async {
        let request = pool
            .http
            .get(format!("{}/api/state/stream", pool.url))
            .bearer_auth(API_KEY);
        soon("the stream is answered", request.send())
            .await
            .unwrap()
    };
    let mut stream = open().await;

    assert_eq!(stream.headers()["content-type"], "text/event-stream");

    let began = Instant::now();
    let mut times = Vec::new();

    for number in 0..4 {
        let event = soon("a snapshot arrives", stream.chunk())
            .await
            .unwrap()
            .unwrap();

        if number == 0 {
            assert!(
                began.elapsed() < Duration::from_millis(150),
                "the first one is due at once: {:?}",
                began.elapsed()
            );
        }

        let text = std::str::from_utf8(&event).unwrap();
        let json = text
            .strip_prefix("data: ")
            .and_then(|rest| rest.strip_suffix("\n\n"))
            .unwrap();
        let state: Value = serde_json::from_str(json).unwrap();
        times.push(state["server"]["now"].as_str().unwrap().to_owned());
    }

    let took = began.elapsed();

    assert!(
        took > Duration::from_millis(500) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert!(times.is_sorted(), "{times:?}");

    let second = open().await;
    let refusal = open().await;

    assert_eq!(refusal.status().as_u16(), 503);
    assert_eq!(refusal.headers()["retry-after"], "2");
    assert_eq!(
        refusal.json::<Value>().await.unwrap()["error"],
        "too_many_streams"
    );

    drop(second);
    let again = async {
        while open().await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("the place is free again", again).await;
}
