//! Losses, and how soon they are noticed: relays and servers that are killed, links that fall
//! silent, and relays that cannot connect.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use llamapool::cli::{Invocation, parse};
use llamapool::roles::RoleSettings;
use llamapool::settings::Environment;
use llamapool_tunnel::TunnelConfig;

use crate::harness::{
    AT_ONCE, Link, Pool, Process, Provider, RawProvider, ScriptedProvider, Settings, TlsFront,
    error_word, event_stream, json_answer, metric, soon, tools_call,
};

/// Liveness settings for tests: short, but longer than a busy machine takes to answer a ping.
const PULSE: [(&str, &str); 2] = [("HEARTBEAT_INTERVAL", "100ms"), ("SILENCE_LIMIT", "800ms")];
const SILENCE: Duration = Duration::from_millis(800);

/// The calls of other relays go on.
#[tokio::test]
async fn calls_of_a_killed_relay_fail_at_once() {
    let pool = Pool::start().await;

    let mut doomed = ScriptedProvider::start().await;
    let mut other = ScriptedProvider::start().await;
    let mut relay = pool.relay("doomed", &doomed.url).await;
    let _other_relay = pool.relay("other", &other.url).await;

    let mut calls: Vec<_> = (0..5).map(|_| pool.start_call("doomed")).collect();
    let mut other_call = pool.start_call("other");
    let _asked = doomed.next_requests(5).await;
    let asked_of_other = other.next_request().await;
    let killed = Instant::now();
    relay.kill().await;

    for call in &mut calls {
        let answer = call.answer().await;
        assert_eq!(answer.status(), 502);
        assert_eq!(error_word(answer).await, "tunnel_lost");
    }

    let took = killed.elapsed();
    println!("measured: from kill -9 of the relay to the last of 5 errors: {took:?}");

    assert!(took < AT_ONCE, "{took:?}");

    asked_of_other.answer(json_answer("{}"));

    assert_eq!(other_call.answer().await.status(), 200);

    pool.until_client("doomed", "it is gone", serde_json::Value::is_null)
        .await;
    let metrics = pool.metrics().await;

    for (series, value) in [
        (
            r#"llamapool_calls_total{id="doomed",method="tools/call",outcome="failed"}"#,
            5.0,
        ),
        (
            r#"llamapool_calls_total{id="other",method="tools/call",outcome="ok"}"#,
            1.0,
        ),
        (r#"llamapool_calls_in_flight{id="doomed"}"#, 0.0),
        (
            r#"llamapool_refusals_total{door="mcp",reason="tunnel_lost"}"#,
            5.0,
        ),
        (r#"llamapool_tunnel_losses_total{reason="broken"}"#, 1.0),
    ] {
        assert_eq!(metric(&metrics, series), Some(value), "{series}\n{metrics}");
    }

    assert_eq!(pool.state().await["server"]["jobs_failed_total"], 5);
}

#[tokio::test]
async fn a_stream_of_a_killed_relay_is_aborted_with_all_it_had() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool.relay("stream", &provider.url).await;

    let mut call = pool.start_call("stream");
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    let mut answer = call.answer().await;
    let mut got = Vec::new();

    for piece in ["data: one\n\n", "data: two\n\n"] {
        pieces.send(Ok(piece.into())).await.unwrap();
        got.extend_from_slice(
            &soon("the piece arrives", answer.chunk())
                .await
                .unwrap()
                .unwrap(),
        );
    }

    let killed = Instant::now();
    relay.kill().await;
    let end = loop {
        match soon("the stream ends", answer.chunk()).await {
            Ok(Some(more)) => got.extend_from_slice(&more),
            end => break end,
        }
    };
    println!(
        "measured: from kill -9 of the relay to the end of a stream: {:?}",
        killed.elapsed()
    );

    assert!(end.is_err(), "an end that looks clean");
    assert!(killed.elapsed() < AT_ONCE);
    assert_eq!(got, b"data: one\n\ndata: two\n\n");

    pool.until_metric(
        r#"llamapool_calls_total{id="stream",method="tools/call",outcome="broken"}"#,
        1,
    )
    .await;
}

/// The server is killed in the middle of a call.
#[tokio::test]
async fn a_relay_gets_its_id_back_after_its_server_was_killed() {
    let mut pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool
        .relay_with("mcp-1234", &provider.url, &[("RECONNECT_MAX", "100ms")])
        .await;

    let mut call = pool.start_call("mcp-1234");
    let mut asked = provider.next_request().await;
    let killed = Instant::now();
    pool.server.kill().await;

    assert!(call.result().await.is_err());

    asked.cancelled().await;
    println!(
        "measured: from kill -9 of the server to the provider's call being dropped: {:?}",
        killed.elapsed()
    );
    let next = Pool::on_port(pool.port(), &[]).await;
    next.connected("mcp-1234").await;
    let mut call = next.start_call("mcp-1234");
    provider.next_request().await.answer(json_answer("{}"));

    assert_eq!(call.answer().await.status(), 200);
    assert!(relay.is_running());
}

#[tokio::test]
async fn an_assigned_id_is_random_and_kept_with_another_server() {
    let mut pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let mut relay = Pool::relay_to(&pool.url, "", &provider.url, &[("RECONNECT_MAX", "100ms")]);

    let mut other = Pool::relay_to(&pool.url, "", &provider.url, &[]);
    let id = assigned_id(&mut relay).await;
    let other_id = assigned_id(&mut other).await;

    for id in [&id, &other_id] {
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
    }

    assert_ne!(id, other_id);

    pool.connected(&id).await;
    pool.server.kill().await;
    let next = Pool::on_port(pool.port(), &[]).await;
    next.connected(&id).await;

    assert_eq!(next.post(&id, &tools_call(1, "echo")).await.status(), 200);
}

async fn assigned_id(relay: &mut Process) -> String {
    let line = relay
        .line("it is connected", |line| {
            line.contains("callers reach it at")
        })
        .await;
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_reconnect_a_lost_connection_ends_with_one_line() {
    let provider = Provider::echoing().await;
    for (signal, reason) in [("KILL", "the connection broke"), ("TERM", "it goes away")] {
        let pool = Pool::start().await;
        let mut relay = Pool::relay_once(&pool.url, &provider.url, &[]);

        pool.connected("once").await;
        pool.server.signal(signal).await;
        let line = only_error_line(&mut relay).await;

        assert!(
            line.starts_with("llamapool: the connection to the server was lost: "),
            "{line}"
        );
        assert!(
            line.contains(reason) && line.contains("--reconnect"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn without_reconnect_a_refusal_ends_with_one_line() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let url = pool.url.as_str();
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let ok = Provider::answering(async |_| json_answer("{}")).await;
    let missing = Provider::serving(axum::Router::new()).await;
    let tls = TlsFront::for_server(url).await;
    let tls_as_plain = format!("ws://localhost:{}", tls.port);
    let plain_as_tls = url.replace("http", "wss").replace("127.0.0.1", "localhost");
    let cases: [(&str, Settings<'_>, &str); 7] = [
        (
            url,
            &[("WORKER_KEY", "wrong")],
            "status 401 Unauthorized: the worker key is missing or wrong",
        ),
        (
            url,
            &[("WORKER_KEY", "")],
            "WORKER_KEY is not set, and the server asks for one",
        ),
        (
            &format!("ws://{gone}"),
            &[],
            "Connection refused (os error 111) (use --reconnect",
        ),
        (
            &ok.url,
            &[],
            "status 200 OK: another program answers, and not llamapool: the answer does not name it; is SERVER_URL right? (use --reconnect",
        ),
        (
            &missing.url,
            &[],
            "status 404 Not Found: the host answers, but llamapool is not at /mcp; leave the path out of SERVER_URL",
        ),
        (
            &tls_as_plain,
            &[],
            "not that of a llamapool server: invalid HTTP version parsed; is SERVER_URL right?; if its port speaks TLS, use wss:// (use --reconnect",
        ),
        (
            &plain_as_tls,
            &[],
            "the port does not speak TLS: use ws://, or the address of your reverse proxy (use --reconnect",
        ),
    ];

    for (url, settings, reason) in cases {
        let mut relay = Pool::relay_once(url, &provider.url, settings);

        let line = only_error_line(&mut relay).await;
        println!("{line}");

        assert!(line.contains(reason), "expected {reason:?}: {line}");
    }
}

#[tokio::test]
async fn a_relay_reports_a_peer_that_is_no_llamapool_server() {
    let provider = Provider::echoing().await;
    for (answer, reason) in [
        (
            "SSH-2.0-OpenSSH_9.9\r\n",
            "not that of a llamapool server: invalid HTTP version parsed; is SERVER_URL right?",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "not that of a llamapool server",
        ),
        ("", "connection closed before message completed"),
    ] {
        let impostor = RawProvider::bind().await;
        let mut relay = Pool::relay_once(&impostor.url, &provider.url, &[]);

        let (mut connection, _) = impostor.request().await;
        tokio::io::AsyncWriteExt::write_all(&mut connection, answer.as_bytes())
            .await
            .unwrap();
        drop(connection);
        let line = only_error_line(&mut relay).await;
        println!("{line}");

        assert!(line.contains(reason), "expected {reason:?}: {line}");
    }
}

/// Waits for the end of a relay that could not go on. Returns its last line; the log has no other
/// warning.
async fn only_error_line(relay: &mut Process) -> String {
    let (status, log) = relay.status_and_log().await;

    assert_eq!(status.code(), Some(1), "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");

    let errors: Vec<_> = log
        .lines()
        .filter(|line| line.starts_with("llamapool: "))
        .collect();

    assert_eq!(errors.len(), 1, "{log}");
    assert_eq!(log.lines().last(), errors.first().copied(), "{log}");

    errors[0].to_owned()
}

#[tokio::test]
async fn with_reconnect_a_wrong_key_is_logged_and_tried_again() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let settings = [("WORKER_KEY", "wrong"), ("RECONNECT_MAX", "50ms")];
    let mut relay = Pool::relay_to(&pool.url, "mcp-1234", &provider.url, &settings);

    let is_it = |line: &str| {
        line.contains("does not accept the worker key") && line.contains(r#""level":"ERROR""#)
    };
    let line = relay.line("the error", is_it).await;

    assert!(line.contains("status 401"), "{line}");
    let wait = serde_json::from_str::<serde_json::Value>(&line).unwrap()["wait"].to_string();
    assert!(
        wait.starts_with("\"30."),
        "an operator must change something first: {line}"
    );
    assert!(relay.is_running());
}

#[tokio::test]
async fn the_back_off_starts_over_after_a_stable_connection() {
    let provider = Provider::echoing().await;
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();

    let settings = [("RECONNECT_MIN", "10ms"), ("RECONNECT_STABLE_AFTER", "1ms")];
    let mut relay = Pool::relay_to(
        &format!("http://{server}"),
        "mcp-1234",
        &provider.url,
        &settings,
    );

    let is_wait = |line: &str| line.contains("not connected; trying again");
    relay
        .nth_line(
            8,
            "the eighth failure, behind which the wait may be more than a second",
            is_wait,
        )
        .await;
    let mut pool = Pool::on_port(&server.port().to_string(), &[]).await;

    pool.connected("mcp-1234").await;
    let failures = relay.lines_with("not connected; trying again").len();
    pool.server.kill().await;
    let line = relay.nth_line(failures + 1, "the loss", is_wait).await;
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();

    assert!(
        event["error"].as_str().unwrap().contains("was lost"),
        "{line}"
    );

    let wait = event["wait"].as_str().unwrap();
    let is_short = wait.ends_with("µs")
        || wait.ends_with("ns")
        || wait
            .strip_suffix("ms")
            .is_some_and(|ms| ms.parse::<f64>().unwrap() <= 10.0);

    assert!(is_short, "{wait}");
}

/// The relay gets its id back at once.
#[tokio::test]
async fn a_silent_peer_is_gone_on_both_sides() {
    let mut pool = Pool::with(&PULSE).await;
    let mut provider = ScriptedProvider::start().await;

    let link = Link::to(&pool.url).await;
    let settings = [
        PULSE[0],
        PULSE[1],
        ("CONNECT_TIMEOUT", "200ms"),
        ("RECONNECT_MAX", "50ms"),
    ];
    let mut relay = Pool::relay_to(&link.url, "mcp-1234", &provider.url, &settings);

    pool.connected("mcp-1234").await;
    let mut calls: Vec<_> = (0..3).map(|_| pool.start_call("mcp-1234")).collect();
    let mut asked = provider.next_requests(3).await;
    link.freeze();
    let frozen = Instant::now();
    for call in &mut calls {
        assert_eq!(call.error().await, "tunnel_lost");
    }
    let took = frozen.elapsed();
    println!("measured: from silence, of which {SILENCE:?} is the limit, to tunnel_lost: {took:?}");

    assert!(took < SILENCE + AT_ONCE, "{took:?}");

    for asked in &mut asked {
        asked.cancelled().await;
    }
    let end = pool.server.event("relay disconnected").await;

    assert_eq!(end["reason"], "the peer was silent for too long");

    let lost = relay.event("not connected; trying again").await;
    assert_eq!(
        lost["error"],
        "the connection to the server was lost: the peer was silent for too long"
    );

    link.thaw();
    let thawed = Instant::now();
    pool.connected("mcp-1234").await;
    println!(
        "measured: from the thaw to the relay being back: {:?}",
        thawed.elapsed()
    );
    let mut call = pool.start_call("mcp-1234");
    provider.next_request().await.answer(json_answer("{}"));

    assert_eq!(call.answer().await.status(), 200);
}

#[tokio::test]
async fn a_relay_that_was_cut_off_is_back_at_once() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let link = Link::to(&pool.url).await;
    let mut relay = Pool::relay_to(&link.url, "mcp-1234", &provider.url, &[]);

    let connected_at = pool.connected("mcp-1234").await["connected_at"].clone();
    let cut = Instant::now();
    link.cut();
    let is_back =
        |client: &serde_json::Value| !client.is_null() && client["connected_at"] != connected_at;
    pool.until_client("mcp-1234", "it is back", is_back).await;
    println!(
        "measured: from a cut connection to the relay being back, RECONNECT_MIN being 50ms: {:?}",
        cut.elapsed()
    );

    assert_eq!(
        pool.post("mcp-1234", &tools_call(1, "echo")).await.status(),
        200
    );

    relay.event("not connected; trying again").await;
}

#[test]
fn by_default_a_silent_peer_is_gone_within_20_seconds() {
    let nothing = Environment::default();
    let parse = |role: &str| parse(["llamapool".into(), role.into()], &nothing);
    let Ok(Invocation::Run(RoleSettings::Server(server))) = parse("server") else {
        panic!("a server");
    };
    let Ok(Invocation::Run(RoleSettings::Relay(relay))) = parse("mcp") else {
        panic!("a relay")
    };

    for tunnel in [
        &server.config.relays.tunnel,
        &relay.config.tunnel,
        &TunnelConfig::default(),
    ] {
        assert!(tunnel.silence < Duration::from_secs(20), "{tunnel:?}");
        assert!(tunnel.heartbeat * 3 <= tunnel.silence, "{tunnel:?}");
    }

    assert!(server.config.relays.takeover_wait <= Duration::from_secs(2));
}
