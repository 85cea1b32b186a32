//! Claims of an id: by relays with one secret, by one relay too many, and by peers that send what
//! no relay does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use llamapool_testkit::{
    AT_ONCE, Link, OFFER, Pool, Provider, RelayConfig, ScriptedProvider, Upgrade, error_word,
    json_answer, metric, raw_request, soon, tools_call,
};
use llamapool_wire::Secret;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// The metric that counts relays that were refused because another one holds the id.
const ID_TAKEN: &str = r#"llamapool_refusals_total{door="relay",reason="id_taken"}"#;

#[tokio::test]
async fn relays_that_know_the_same_secret_share_an_id_and_its_calls() {
    let pool = Pool::start().await;

    let mut one = ScriptedProvider::start().await;
    let mut other = ScriptedProvider::start().await;
    let share = |relay: &mut RelayConfig| {
        relay.identity.client_secret = Some(Secret::new("we-belong-together"));
    };
    let doomed = Link::to(&pool.url).await;
    let _doomed_relay = Pool::relay_to(&doomed.url, "shared", &one.url, share).await;
    pool.connected("shared").await;
    let _survivor = pool.relay_with("shared", &other.url, share).await;

    let of_both = |client: &Value| {
        client["relays"]
            .as_array()
            .is_some_and(|relays| relays.len() == 2)
    };
    pool.until_client("shared", "both are there", of_both).await;
    let mut calls = Vec::new();
    let mut asked_of_one = Vec::new();
    let mut asked_of_other = Vec::new();

    for _ in 0..10 {
        calls.push(pool.start_call("shared"));
        // One after the other, so that each call is admitted with those before it running.
        tokio::select! {
            asked = one.next_request() => asked_of_one.push(asked),
            asked = other.next_request() => asked_of_other.push(asked),
        }
    }

    assert_eq!(asked_of_one.len(), 5);
    assert_eq!(asked_of_other.len(), 5);
    assert_eq!(pool.client("shared").await["inflight"], 10);

    drop(doomed);
    for asked in asked_of_other {
        asked.answer(json_answer("{}"));
    }
    let mut outcomes = Vec::new();

    for call in &mut calls {
        let answer = call.answer().await;
        outcomes.push(answer.status().as_u16());
        if answer.status() != 200 {
            assert_eq!(error_word(answer).await, "tunnel_lost");
        }
    }

    outcomes.sort_unstable();

    assert_eq!(outcomes, [200, 200, 200, 200, 200, 502, 502, 502, 502, 502]);

    drop(asked_of_one);
    pool.until_client("shared", "one is left", |client| {
        client["relays"].as_array().unwrap().len() == 1
    })
    .await;
    let mut call = pool.start_call("shared");
    other.next_request().await.answer(json_answer("{}"));

    assert_eq!(call.answer().await.status(), 200);
}

#[tokio::test]
async fn there_are_no_more_relays_than_the_server_takes() {
    let pool = Pool::with(|server| server.relays.max_relays = 2).await;
    let provider = Provider::echoing().await;

    let first = pool.relay("first", &provider.url).await;
    let _second = pool.relay("second", &provider.url).await;

    for id in ["third", ""] {
        let refusal = Upgrade::for_id(id).answer(&pool).await;

        assert_eq!(refusal.status, 503);
        assert!(
            refusal.head.contains("\r\nretry-after: 2\r\n"),
            "{}",
            refusal.head
        );

        let body = refusal.json().await;
        let message = "the server holds 2 relays, as many as MAX_RELAYS allows";

        assert_eq!(
            body,
            json!({ "error": "too_many_relays", "message": message })
        );
    }

    drop(first);
    pool.until_metric("llamapool_relays_connected", 1).await;
    let _third = pool.relay("third", &provider.url).await;
}

/// Returns upgrades with something wrong, each with the status and the word of the refusal.
fn wrong_upgrades() -> Vec<(u16, &'static str, Upgrade)> {
    let good = || Upgrade::for_id("mcp-1234");
    let hostile = || {
        let upgrade = good().with("llamapool-id", "../../etc");
        upgrade
            .with("llamapool-instance", "x")
            .with("upgrade", "teapot")
    };
    let long = "x".repeat(129);

    let wrong_key = vec![
        hostile().with("authorization", "Bearer wrong"),
        hostile().with("authorization", "Bearer test123"),
        hostile().with("authorization", "Basic secret"),
        hostile().without("authorization"),
        good().with_another("authorization", "Bearer secret"),
    ];
    let invalid_header = vec![
        good().with("llamapool-id", "../../etc"),
        good().with("llamapool-id", "a%2fb"),
        good().with("llamapool-id", ".."),
        good().with("llamapool-id", "id\u{e9}"),
        good().with("llamapool-id", &long),
        good().with("llamapool-name", "%zz"),
        good().with("llamapool-name", "%ff%fe"),
        good().with("llamapool-version", "%"),
        good().with("llamapool-instance", "1234"),
        good().with("llamapool-instance", &"z".repeat(32)),
        good().without("llamapool-instance"),
    ];
    let version = vec![
        good().with("upgrade", "h2c"),
        good().with("connection", "close"),
        good().with("sec-websocket-version", "8"),
        good().with("sec-websocket-protocol", "llamapool.v999"),
        good().without("sec-websocket-protocol"),
        good().without("sec-websocket-key"),
    ];

    let refused = |status, error, upgrades: Vec<Upgrade>| {
        let upgrades = upgrades.into_iter();
        upgrades.map(move |upgrade| (status, error, upgrade))
    };
    refused(401, "wrong_key", wrong_key)
        .chain(refused(400, "invalid_header", invalid_header))
        .chain(refused(426, "version", version))
        .collect()
}

/// The key is checked first.
#[tokio::test]
async fn a_wrong_upgrade_gets_an_ordinary_answer() {
    let pool = Pool::start().await;
    let cases = wrong_upgrades();
    assert_eq!(cases.len(), 22);

    for (status, error, upgrade) in cases {
        let head = upgrade.head("GET");
        let answer = raw_request(&pool.url, &head).await;

        assert_eq!(answer.status, status, "{head}");
        assert!(
            answer
                .head
                .contains("\r\ncontent-type: application/json\r\n"),
            "{}",
            answer.head
        );
        assert_eq!(
            answer.head.contains("\r\nwww-authenticate: bearer\r\n"),
            status == 401,
            "{}",
            answer.head
        );

        let body = answer.json().await;
        assert_eq!(body["error"], error, "{head}");
        assert!(
            body["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{body}"
        );
    }

    assert_eq!(
        raw_request(&pool.url, &Upgrade::for_id("mcp-1234").head("POST"))
            .await
            .status,
        426
    );
    assert_eq!(pool.state().await["mcp"]["clients"], json!([]));
    assert_eq!(
        metric(
            &pool.metrics().await,
            r#"llamapool_refusals_total{door="relay",reason="wrong_key"}"#
        ),
        Some(5.0)
    );
}

/// Starts a server on which a relay has a moment to send its offer.
async fn impatient() -> Pool {
    Pool::with(|server| {
        server.relays.tunnel.heartbeat = Duration::from_millis(100);
        server.relays.tunnel.silence = Duration::from_millis(700);
    })
    .await
}

/// Checks that no relay holds the id: the next one gets it.
async fn is_free(pool: &Pool, id: &str) {
    let gone = |state: &Value| {
        state["mcp"]["clients"]
            .as_array()
            .unwrap()
            .iter()
            .all(|client| client["id"] != id)
    };
    pool.until("the relay is gone", gone).await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay(id, &provider.url).await;

    let refused = metric(&pool.metrics().await, ID_TAKEN);
    assert_eq!(refused, None, "the relay was refused first");
}

/// It holds no id.
#[tokio::test]
async fn a_relay_without_a_sensible_first_message_is_dropped() {
    let pool = impatient().await;

    let first_words = [
        None,
        Some(Message::Text("hello".into())),
        Some(Message::Binary(Bytes::from_static(
            b"GET / HTTP/1.1\r\n\r\n",
        ))),
        Some(Message::Binary(Bytes::from(vec![0xff; 100_000]))),
        Some(Message::Binary(Bytes::new())),
        Some(Message::Ping(Bytes::from_static(b"still there"))),
    ];
    let each = first_words
        .into_iter()
        .enumerate()
        .map(async |(number, message)| {
            let id = format!("mute-{number}");
            let mut relay = Upgrade::for_id(&id).relay(&pool).await;

            if let Some(message) = message {
                relay.send(message).await;
            }
            relay.closed().await;

            is_free(&pool, &id).await;
        });
    futures_util::future::join_all(each).await;
}

/// It holds no id.
#[tokio::test]
async fn a_relay_with_a_malformed_first_event_is_dropped() {
    let pool = impatient().await;

    let too_long = "x".repeat(20_000) + "\n";
    let endless = "x".repeat(20_000);
    let lines = [
        "nonsense\n",
        "{}\n",
        "\n",
        "null\n",
        r#"{"event":"offer"}"#,
        "{\"event\":\"weather\"}\n",
        &too_long,
        &endless,
        "\u{fffd}\n",
    ];
    let each = lines.into_iter().enumerate().map(async |(number, line)| {
        let id = format!("liar-{number}");
        let mut relay = Upgrade::for_id(&id).relay(&pool).await.frames();

        let events = relay.events().await;
        events.data(line).await;
        relay.closed().await;

        is_free(&pool, &id).await;
    });
    futures_util::future::join_all(each).await;
}

/// It holds no id.
#[tokio::test]
async fn a_relay_that_does_not_answer_for_events_is_dropped() {
    let pool = impatient().await;

    let mut refusing = Upgrade::for_id("refusing").relay(&pool).await.frames();
    refusing.next_request().await.reply.answer(404, "").await;
    refusing.closed().await;

    is_free(&pool, "refusing").await;

    let mut ignoring = Upgrade::for_id("ignoring").relay(&pool).await.frames();
    let _asked = ignoring.next_request().await;
    ignoring.closed().await;

    is_free(&pool, "ignoring").await;
}

#[tokio::test]
async fn a_malformed_event_drops_the_relay_an_unknown_one_does_not() {
    let pool = Pool::start().await;

    let too_long = "x".repeat(20_000) + "\n";

    for (number, line) in ["nonsense\n", &too_long, "{\"event\":\"offer\"}\n"]
        .into_iter()
        .enumerate()
    {
        let id = format!("liar-{number}");
        let mut relay = Upgrade::for_id(&id).relay(&pool).await.frames();

        let events = relay.events().await;
        events
            .data("{\"event\":\"weather\",\"sky\":\"blue\"}\n")
            .await;
        events.data(OFFER).await;
        pool.connected(&id).await;
        events.data("{\"event\":\"weather\"}\n").await;
        events
            .data(OFFER.replace("\"draining\":false", "\"draining\":true"))
            .await;
        pool.until_client(&id, "the offer behind the unknown event counts", |client| {
            client["status"] == "draining"
        })
        .await;
        events.data(line).await;
        relay.closed().await;

        is_free(&pool, &id).await;
    }
}

#[tokio::test]
async fn a_relay_that_gives_its_event_stream_up_is_dropped() {
    let pool = Pool::start().await;
    let mut relay = Upgrade::for_id("mcp-1234").relay(&pool).await.frames();

    let events = relay.send_offer().await;
    pool.connected("mcp-1234").await;
    events.cancel().await;
    relay.closed().await;

    is_free(&pool, "mcp-1234").await;
}

#[tokio::test]
async fn a_relay_with_bad_frames_is_dropped_and_its_calls_fail() {
    let pool = Pool::start().await;

    let frames: [&[u8]; 5] = [
        // Data of a stream that was not opened, data before its head, a cancel of a wrong length, a
        // frame too large, an unknown kind.
        b"\x03\0\0\x0f\xff\0\0\0\x01x",
        b"\x03\0\0\0\x02\0\0\0\x01x",
        b"\x06\0\0\0\x02\0\0\0\0",
        b"\x03\0\0\0\x02\xff\xff\xff\xff",
        b"\x09\0\0\0\x02\0\0\0\0",
    ];

    for (number, frame) in frames.into_iter().enumerate() {
        let id = format!("garbled-{number}");
        let mut relay = Upgrade::for_id(&id).relay(&pool).await.frames();

        let _events = relay.send_offer().await;
        pool.connected(&id).await;
        let mut calls = [pool.start_call(&id), pool.start_call(&id)];
        let _asked = (relay.next_request().await, relay.next_request().await);
        let injected = Instant::now();
        relay.inject(frame).await;
        for call in &mut calls {
            assert_eq!(call.error().await, "tunnel_lost", "{frame:?}");
        }
        relay.closed().await;

        assert!(injected.elapsed() < 3 * AT_ONCE, "{frame:?}");
        is_free(&pool, &id).await;
    }
}

#[tokio::test]
async fn a_relay_that_gives_a_call_up_spoils_only_that_one() {
    let pool = Pool::start().await;
    let mut relay = Upgrade::for_id("mcp-1234").relay(&pool).await.frames();

    let _events = relay.send_offer().await;
    pool.connected("mcp-1234").await;
    let mut spoilt = pool.start_call("mcp-1234");
    let given_up = relay.next_request().await.reply;
    let mut answered = pool.start_call("mcp-1234");
    let other = relay.next_request().await.reply;
    given_up.cancel().await;

    assert_eq!(spoilt.error().await, "relay_garbage");

    other.answer(200, "fine").await;
    let answer = answered.answer().await;

    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.text().await.unwrap(), "fine");
}

#[tokio::test]
async fn a_relay_that_never_reads_delays_no_other_and_is_dropped() {
    let pool = impatient().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("other", &provider.url).await;

    let mut deaf = Upgrade::for_id("deaf").relay(&pool).await.frames();
    let _events = deaf.send_offer().await;
    pool.connected("deaf").await;
    let mut call = tokio::task::JoinSet::new();
    call.spawn(
        pool.http
            .post(pool.mcp("deaf"))
            .body(vec![b' '; 8 << 20])
            .send(),
    );
    let _asked = deaf.next_request().await;
    deaf.stop_reading();

    for id in 0..20 {
        assert_eq!(
            pool.post("other", &tools_call(id, "echo")).await.status(),
            200
        );
    }

    // A caller that is still sending may be disconnected before it reads.
    if let Ok(answer) = soon("the call is over", call.join_next())
        .await
        .unwrap()
        .unwrap()
    {
        assert_eq!(error_word(answer).await, "tunnel_lost");
    }

    pool.until_metric(
        r#"llamapool_refusals_total{door="mcp",reason="tunnel_lost"}"#,
        1,
    )
    .await;

    is_free(&pool, "deaf").await;
}

#[tokio::test]
async fn a_relay_that_flaps_leaves_nothing_behind() {
    let pool = Pool::start().await;

    for number in 0..100 {
        let id = format!("flap-{number}");
        let mut relay = Upgrade::for_id(&id).relay(&pool).await.frames();

        let _events = relay.send_offer().await;
        pool.connected(&id).await;
        drop(relay);
    }

    pool.until_metric("llamapool_relays_connected", 0).await;

    assert!(
        !pool.metrics().await.contains("flap-"),
        "an id that was never called is remembered"
    );

    let provider = Provider::echoing().await;

    let _relay = pool.relay("flap-0", &provider.url).await;
}
