//! Draining: running calls are finished, no new ones are taken, and callers and relays that can go
//! elsewhere do.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{
    AT_ONCE, PendingCall, Pool, Process, Provider, ScriptedProvider, Upgrade, error_word,
    event_stream, json_answer, soon, tools_call,
};

type Pieces = tokio::sync::mpsc::Sender<Result<bytes::Bytes, std::io::Error>>;

/// Starts a stream. Returns the sender of its pieces and the answer that the caller reads.
async fn stream(
    pool: &Pool,
    id: &str,
    provider: &mut ScriptedProvider,
) -> (Pieces, reqwest::Response) {
    let mut call = pool.start_call(id);
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    (pieces, call.answer().await)
}

/// Checks that a stream goes on and ends cleanly.
async fn finishes(pieces: Pieces, mut answer: reqwest::Response) {
    pieces.send(Ok("data: last\n\n".into())).await.unwrap();

    assert_eq!(
        soon("the stream goes on", answer.chunk())
            .await
            .unwrap()
            .unwrap(),
        "data: last\n\n"
    );

    drop(pieces);

    assert_eq!(
        soon("the stream ends well", answer.chunk()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_draining_relay_finishes_its_calls_and_takes_no_new_ones() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool.relay("mcp-1234", &provider.url).await;

    let (pieces, answer) = stream(&pool, "mcp-1234", &mut provider).await;
    relay.signal("TERM").await;
    pool.until_client("mcp-1234", "it drains", |client| {
        client["status"] == "draining"
    })
    .await;
    let refusal = pool.post("mcp-1234", &tools_call(1, "echo")).await;

    assert_eq!(refusal.status().as_u16(), 503);
    assert_eq!(refusal.headers()["retry-after"], "2");
    assert_eq!(error_word(refusal).await, "relay_draining");
    assert!(relay.is_running());

    finishes(pieces, answer).await;
    let (status, log) = relay.status_and_log().await;

    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the relay has ended"), "{log}");

    pool.until_client("mcp-1234", "it is gone", Value::is_null)
        .await;
    pool.until_metric(
        r#"llamapool_calls_total{id="mcp-1234",method="tools/call",outcome="ok"}"#,
        1,
    )
    .await;
    pool.until_metric(
        r#"llamapool_tunnel_losses_total{reason="closed_by_relay"}"#,
        1,
    )
    .await;
}

#[tokio::test]
async fn a_relay_that_runs_nothing_ends_at_once() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    for signal in ["TERM", "INT"] {
        let mut relay = pool.relay("mcp-1234", &provider.url).await;

        let signalled = Instant::now();
        relay.signal(signal).await;

        assert_eq!(relay.ended().await.code(), Some(0));
        assert!(signalled.elapsed() < AT_ONCE);

        pool.until_client("mcp-1234", "it is gone", Value::is_null)
            .await;
    }

    let mut waiting = Pool::relay_to(
        "http://127.0.0.1:9",
        "mcp-1234",
        &provider.url,
        &[("RECONNECT_MIN", "1m"), ("RECONNECT_MAX", "1m")],
    );
    waiting.event("not connected; trying again").await;
    waiting.signal("TERM").await;

    assert_eq!(waiting.ended().await.code(), Some(0));
}

#[tokio::test]
async fn no_call_fails_while_one_of_two_relays_of_an_id_drains() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let secret = [("CLIENT_SECRET", "we-belong-together")];
    let mut relays = vec![pool.relay_with("shared", &provider.url, &secret).await];

    let mut calls = Busy::calling(&pool, "shared");

    for _ in 0..10 {
        relays.push(Pool::relay_to(&pool.url, "shared", &provider.url, &secret));
        let both = |client: &Value| {
            client["relays"]
                .as_array()
                .is_some_and(|relays| relays.len() == 2)
        };
        pool.until_client("shared", "both are there", both).await;
        calls.answered(30).await;
        let mut old: Process = relays.remove(0);
        old.signal("TERM").await;

        assert_eq!(old.ended().await.code(), Some(0), "{}", old.log());

        let one = |client: &Value| {
            client["relays"]
                .as_array()
                .is_some_and(|relays| relays.len() == 1)
        };
        pool.until_client("shared", "one is left", one).await;
    }

    let answered = calls.end().await;
    println!("measured: {answered} calls during 10 hand-overs, all answered");

    assert_eq!(pool.client("shared").await["errors_total"], 0);
}

/// Callers that send one call after the other and fail with the first failed call.
struct Busy {
    callers: tokio::task::JoinSet<()>,
    answered: tokio::sync::watch::Sender<u64>,
}

impl Busy {
    fn calling(pool: &Pool, id: &str) -> Self {
        let answered = tokio::sync::watch::Sender::new(0);
        let mut callers = tokio::task::JoinSet::new();

        for _ in 0..4 {
            let http = pool.http.clone();
            let url = pool.mcp(id);
            let answered = answered.clone();
            callers.spawn(async move {
                loop {
                    let request = http
                        .post(&url)
                        .header("accept", "application/json, text/event-stream");
                    let answer = request.json(&tools_call(1, "echo")).send().await.unwrap();
                    let status = answer.status();
                    let text = answer.text().await.unwrap();

                    assert_eq!(status, 200, "{text}");

                    answered.send_modify(|count| *count += 1);
                }
            });
        }

        Self { callers, answered }
    }

    /// Waits for so many more answers.
    async fn answered(&mut self, more: u64) {
        let goal = *self.answered.borrow() + more;
        let mut answered = self.answered.subscribe();
        tokio::select! {
            failed = self.callers.join_next() => failed.unwrap().unwrap(),
            _ = soon("calls are answered", answered.wait_for(|count| *count >= goal)) => {}
        }
    }

    async fn end(mut self) -> u64 {
        assert!(self.callers.try_join_next().is_none(), "a call has failed");
        *self.answered.borrow()
    }
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut_short() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::with(&[("DRAIN_TIMEOUT", "200ms")]).await;
    let mut relay = pool
        .relay_with("relay", &provider.url, &[("DRAIN_TIMEOUT", "200ms")])
        .await;

    let (_pieces, mut answer) = stream(&pool, "relay", &mut provider).await;
    relay.signal("TERM").await;

    assert_eq!(relay.ended().await.code(), Some(0));
    assert!(soon("the stream breaks off", answer.chunk()).await.is_err());

    relay.event("drain timeout: ending what still runs").await;

    let _relay = pool.relay("server", &provider.url).await;

    let (_pieces, mut answer) = stream(&pool, "server", &mut provider).await;
    let mut pool = pool;

    pool.server.signal("TERM").await;

    assert_eq!(pool.server.ended().await.code(), Some(0));
    assert!(soon("the stream breaks off", answer.chunk()).await.is_err());

    pool.server
        .event("drain timeout: ending what still runs")
        .await;
}

#[tokio::test]
async fn a_second_signal_ends_everything_now() {
    let mut pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool.relay("relay", &provider.url).await;

    let (_pieces, mut answer) = stream(&pool, "relay", &mut provider).await;
    let took = ends_at_the_second_signal(&mut relay).await;
    println!("measured: from the second signal to the end of a relay: {took:?}");

    assert!(soon("the stream breaks off", answer.chunk()).await.is_err());

    let _relay = pool.relay("server", &provider.url).await;

    let (_pieces, mut answer) = stream(&pool, "server", &mut provider).await;
    let took = ends_at_the_second_signal(&mut pool.server).await;
    println!("measured: from the second signal to the end of a server: {took:?}");

    assert!(soon("the stream breaks off", answer.chunk()).await.is_err());
}

async fn ends_at_the_second_signal(process: &mut Process) -> std::time::Duration {
    process.signal("TERM").await;
    process.event("draining").await;

    assert!(process.is_running());

    let signalled = Instant::now();
    process.signal("TERM").await;
    let (status, log) = process.status_and_log().await;

    assert!(signalled.elapsed() < AT_ONCE);
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        log.lines().last(),
        Some("llamapool: ended by a second signal")
    );

    signalled.elapsed()
}

/// Its relays go to the next server.
#[tokio::test]
async fn a_draining_server_finishes_its_calls_and_frees_its_relays() {
    let mut pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool
        .relay_with("mcp-1234", &provider.url, &[("RECONNECT_MAX", "50ms")])
        .await;

    let (pieces, answer) = stream(&pool, "mcp-1234", &mut provider).await;
    let get = async |path: &str| {
        let answer = pool
            .http
            .get(format!("{}{path}", pool.url))
            .send()
            .await
            .unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };

    assert_eq!(get("/readyz").await, (200, json!({ "status": "ready" })));

    pool.server.signal("TERM").await;
    pool.until("it drains", |state| state["server"]["state"] == "draining")
        .await;

    assert_eq!(
        get("/readyz").await,
        (
            503,
            json!({ "error": "draining", "message": "the server is draining" })
        )
    );
    assert_eq!(get("/healthz").await, (200, json!({ "status": "ok" })));

    let refusal = pool.post("mcp-1234", &tools_call(1, "echo")).await;
    assert_eq!(refusal.status().as_u16(), 503);
    assert_eq!(refusal.headers()["retry-after"], "2");
    assert_eq!(error_word(refusal).await, "server_draining");

    let refusal = Upgrade::for_id("late").answer(&pool).await;
    assert!(
        refusal.status == 503 && refusal.head.contains("\r\nretry-after: 2\r\n"),
        "{}",
        refusal.head
    );
    assert_eq!(refusal.json().await["error"], "draining");
    assert_eq!(pool.client("mcp-1234").await["inflight"], 1);

    finishes(pieces, answer).await;
    let (status, log) = pool.server.status_and_log().await;

    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the server has ended"), "{log}");

    let lost = relay.event("not connected; trying again").await;
    assert_eq!(
        lost["error"],
        "the connection to the server was lost: the peer closed the tunnel (it goes away)"
    );

    let next = Pool::on_port(pool.port(), &[]).await;
    next.connected("mcp-1234").await;
    let mut call: PendingCall = next.start_call("mcp-1234");
    provider.next_request().await.answer(json_answer("{}"));

    assert_eq!(call.answer().await.status(), 200);
}

/// Idle callers, open state streams and relays that have sent no offer do not hold it up.
#[tokio::test]
async fn a_server_without_calls_ends_at_once() {
    let mut pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    assert_eq!(
        pool.post("mcp-1234", &tools_call(1, "echo")).await.status(),
        200
    );

    let watcher = pool
        .http
        .get(format!("{}/api/state/stream", pool.url))
        .bearer_auth(crate::harness::API_KEY);
    let mut watcher = watcher.send().await.unwrap();
    watcher.chunk().await.unwrap();
    let signalled = Instant::now();
    pool.server.signal("TERM").await;

    assert_eq!(pool.server.ended().await.code(), Some(0));

    let took = signalled.elapsed();
    println!("measured: from SIGTERM to the end of an idle server: {took:?}");

    assert!(took < AT_ONCE, "{took:?}");

    while let Some(snapshot) = soon("the state stream ends well", watcher.chunk())
        .await
        .unwrap()
    {
        assert!(snapshot.starts_with(b"data: "));
    }

    let mut pool = Pool::start().await;

    let _mute = Upgrade::for_id("mute").relay(&pool).await;
    let signalled = Instant::now();
    pool.server.signal("TERM").await;

    assert_eq!(pool.server.ended().await.code(), Some(0));

    println!(
        "measured: from SIGTERM to the end of a server with a mute relay: {:?}",
        signalled.elapsed()
    );

    assert!(signalled.elapsed() < 3 * AT_ONCE);
}
