//! Claims of an id: by the same relay again, by another one, by one with the same secret, and by
//! peers that are no relays.

use std::time::Instant;

use serde_json::Value;

use crate::harness::{
    AT_ONCE, Link, Pool, Provider, ScriptedProvider, Upgrade, event_stream, json_answer, soon,
    tools_call,
};

/// The log of a relay that was refused because another relay holds the id.
const TAKEN: &str = "status 409 Conflict";

/// The server has not noticed the loss of the older tunnel.
#[tokio::test]
async fn a_relay_that_reconnects_replaces_its_own_lost_tunnel() {
    let mut pool = Pool::with(&[("MAX_RELAYS", "1")]).await;
    let mut provider = ScriptedProvider::start().await;

    let link = Link::to(&pool.url).await;
    let relay = Pool::relay_to(&link.url, "mcp-1234", &provider.url, &[]);

    let connected_at = pool.connected("mcp-1234").await["connected_at"].clone();
    let mut call = pool.start_call("mcp-1234");
    let mut asked = provider.next_request().await;
    link.cut_relay_side();
    let forgotten = Instant::now();

    assert_eq!(call.error().await, "tunnel_lost");

    println!(
        "measured: from a tunnel lost on one side to the error of its call: {:?}",
        forgotten.elapsed()
    );

    assert!(forgotten.elapsed() < 2 * AT_ONCE);

    asked.cancelled().await;
    let is_new = |client: &Value| !client.is_null() && client["connected_at"] != connected_at;
    let client = pool
        .until_client("mcp-1234", "the new tunnel is there", is_new)
        .await;

    assert_eq!(client["relays"].as_array().unwrap().len(), 1);

    let mut call = pool.start_call("mcp-1234");
    provider.next_request().await.answer(json_answer("{}"));

    assert_eq!(call.answer().await.status(), 200);

    pool.server.event("relay disconnected").await;

    assert!(
        pool.server.lines_with("a relay was refused").is_empty(),
        "{}",
        pool.server.log()
    );
    assert!(relay.lines_with(TAKEN).is_empty(), "{}", relay.log());
}

/// It is never refused because its id is taken.
#[tokio::test]
async fn a_relay_that_is_cut_off_repeatedly_keeps_its_id() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let link = Link::to(&pool.url).await;
    let settings = [("RECONNECT_MIN", "1ms"), ("RECONNECT_MAX", "1ms")];
    let mut relay = Pool::relay_to(&link.url, "mcp-1234", &provider.url, &settings);

    for times in 1..=10 {
        let is_it = |line: &str| line.contains("callers reach it at");
        relay.nth_line(times, "it is connected again", is_it).await;
        link.cut();
    }

    pool.until_metric("llamapool_relays_connected", 1).await;

    assert_eq!(
        pool.post("mcp-1234", &tools_call(1, "echo")).await.status(),
        200
    );
    assert!(relay.lines_with(TAKEN).is_empty(), "{}", relay.log());
}

#[tokio::test]
async fn another_relay_is_refused_and_the_holders_calls_go_on() {
    let mut pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _holder = pool.relay("mcp-1234", &provider.url).await;

    let mut call = pool.start_call("mcp-1234");
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    let mut answer = call.answer().await;
    let mut other = Pool::relay_to(
        &pool.url,
        "mcp-1234",
        &provider.url,
        &[("RECONNECT_MAX", "50ms")],
    );
    other
        .nth_line(2, "it is refused, and refused again", |line| {
            line.contains(TAKEN)
        })
        .await;
    let refused = pool.server.event("a relay was refused").await;

    assert_eq!(refused["reason"], "id_taken");

    let refusal = Upgrade::for_id("mcp-1234").answer(&pool).await;
    assert_eq!(refusal.status, 409, "{}", refusal.head);
    assert!(
        refusal.head.contains("application/json"),
        "{}",
        refusal.head
    );

    let body = refusal.json().await;
    assert_eq!(body["error"], "id_taken");
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("the id mcp-1234 is held by another relay"),
        "{body}"
    );

    pieces.send(Ok("data: 1\n\n".into())).await.unwrap();

    assert_eq!(
        soon("the stream goes on", answer.chunk())
            .await
            .unwrap()
            .unwrap(),
        "data: 1\n\n"
    );
    assert_eq!(
        pool.client("mcp-1234").await["relays"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// The silent one does not get the id back while the other lives.
#[tokio::test]
async fn another_relay_takes_over_the_id_of_a_silent_one() {
    let mut pool = Pool::with(&[("TAKEOVER_WAIT", "300ms")]).await;

    let mut old_provider = ScriptedProvider::start().await;
    let provider = Provider::echoing().await;

    let link = Link::to(&pool.url).await;
    let pulse = [
        ("HEARTBEAT_INTERVAL", "100ms"),
        ("SILENCE_LIMIT", "1s"),
        ("CONNECT_TIMEOUT", "200ms"),
    ];
    let settings: Vec<_> = pulse
        .into_iter()
        .chain([("RECONNECT_MAX", "50ms"), ("WORKER_NAME", "old")])
        .collect();
    let mut old = Pool::relay_to(&link.url, "mcp-1234", &old_provider.url, &settings);
    pool.connected("mcp-1234").await;
    let mut call = pool.start_call("mcp-1234");
    let _asked = old_provider.next_request().await;
    link.freeze();
    let began = Instant::now();
    let mut newcomer = Pool::relay_to(
        &pool.url,
        "mcp-1234",
        &provider.url,
        &[("WORKER_NAME", "new")],
    );

    assert_eq!(call.error().await, "tunnel_lost");

    pool.until_client("mcp-1234", "the newcomer is there", |client| {
        client["name"] == "new"
    })
    .await;
    println!(
        "measured: from asking for the id of a silent relay to having it, TAKEOVER_WAIT being 300ms: {:?}",
        began.elapsed()
    );

    assert!(began.elapsed() < 3 * AT_ONCE);

    pool.server
        .event("the relay that held this id is silent: another one takes over")
        .await;
    link.thaw();
    old.nth_line(2, "the old one is refused, and refused again", |line| {
        line.contains(TAKEN)
    })
    .await;

    assert_eq!(
        pool.post("mcp-1234", &tools_call(1, "echo")).await.status(),
        200
    );
    assert_eq!(
        pool.client("mcp-1234").await["relays"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    newcomer.kill().await;
    pool.until_client("mcp-1234", "the old one is back", |client| {
        client["name"] == "old"
    })
    .await;
}

#[tokio::test]
async fn relays_with_different_secrets_or_only_one_do_not_share_an_id() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _holder = pool
        .relay_with("shared", &provider.url, &[("CLIENT_SECRET", "mine")])
        .await;

    for secret in ["yours", ""] {
        let mut other = Pool::relay_to(
            &pool.url,
            "shared",
            &provider.url,
            &[("CLIENT_SECRET", secret)],
        );
        other
            .line("it is refused", |line| line.contains(TAKEN))
            .await;
    }

    let _open = pool.relay("open", &provider.url).await;

    let mut other = Pool::relay_to(
        &pool.url,
        "open",
        &provider.url,
        &[("CLIENT_SECRET", "mine")],
    );
    other
        .line("it is refused", |line| line.contains(TAKEN))
        .await;
}

#[tokio::test]
async fn a_hostile_name_is_shown_as_harmless_text() {
    let pool = Pool::start().await;

    let name = "%1b[31m<script>%0a%00".to_owned() + &"x".repeat(500);
    let relay = Upgrade::for_id("named")
        .with("llamapool-name", &name)
        .with("llamapool-version", &name)
        .relay(&pool)
        .await;
    let mut relay = relay.frames();

    let _events = relay.send_offer().await;
    let client = pool.connected("named").await;

    for field in ["name", "version"] {
        let text = client[field].as_str().unwrap();
        assert!(
            text.chars().count() <= 128 && !text.contains(char::is_control),
            "{text:?}"
        );
    }

    assert!(!pool.server.log().contains('\u{1b}'));
}
