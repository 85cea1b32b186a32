//! What callers and ids have in common is shared: one who takes too much is refused, and no other
//! caller notices.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use llamapool_testkit::{
    PendingCall, Pool, Provider, RawHttp, Relay, error_word, json_answer, soon, tools_call,
};
use serde_json::json;

/// The calls that the relay under test takes, of both ids together.
const PLACES: u32 = 100;

/// A relay with the ids `open` and `other`. Its provider answers a `GET` with an event stream that
/// never ends, and everything else with `{}` once the request is complete.
async fn relay_with_two_ids(pool: &Pool, provider: &Provider) -> Relay {
    let relay = pool
        .relay_with("open", &provider.url, |relay| {
            relay.tunnel.max_streams = PLACES;
            let mut other = relay.providers[0].clone();
            other.id = Some("other".parse().unwrap());
            relay.providers.push(other);
        })
        .await;
    pool.connected("other").await;
    relay
}

async fn provider() -> Provider {
    Provider::answering(|request: Request| async move {
        if request.method() == Method::GET {
            let silence = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            return Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(silence))
                .unwrap();
        }
        let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        json_answer("{}")
    })
    .await
}

/// Begins a call to `open` and sends only the beginning of its body.
async fn unfinished_call(pool: &Pool, token: &str) -> RawHttp {
    unfinished_call_from(pool, token, "127.0.0.1").await
}

/// As `unfinished_call`, with an `X-Forwarded-For`.
async fn unfinished_call_from(pool: &Pool, token: &str, forwarded_for: &str) -> RawHttp {
    let mut caller = RawHttp::connect(&pool.url).await;
    let request = format!(
        "POST /api/mcp/id/open HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\
         x-forwarded-for: {forwarded_for}\r\naccept: application/json, text/event-stream\r\n\
         content-length: 100\r\n\r\n{{"
    );
    caller.send(request).await;
    caller
}

async fn call(pool: &Pool, id: &str, token: &str) -> reqwest::Response {
    let request = pool.http.post(pool.mcp(id)).bearer_auth(token);
    let request = request.header("accept", "application/json, text/event-stream");
    let sent = request.json(&tools_call(1, "echo")).send();
    soon("an answer", sent).await.unwrap()
}

#[tokio::test]
async fn one_caller_gets_a_fair_share_of_a_relay() {
    let provider = provider().await;
    let pool = Pool::start().await;
    let _relay = relay_with_two_ids(&pool, &provider).await;

    let mut greedy = Vec::new();
    for _ in 0..PLACES {
        greedy.push(unfinished_call(&pool, "greedy").await);
    }
    let is_held = |client: &serde_json::Value| client["inflight"] == 80;
    pool.until_client("open", "a share is held", is_held).await;
    let refusal = call(&pool, "open", "greedy").await;
    let same_id = call(&pool, "open", "modest").await;
    let other_id = call(&pool, "other", "modest").await;

    assert_eq!(refusal.status().as_u16(), 429);
    assert_eq!(refusal.headers()["retry-after"], "2");
    let text = refusal.text().await.unwrap();
    assert!(
        text.contains("calls of this caller use up its share"),
        "{text}"
    );
    assert_eq!(same_id.status().as_u16(), 200);
    assert_eq!(other_id.status().as_u16(), 200);
    let series = r#"llamapool_refusals_total{door="mcp",reason="caller_share"}"#;
    pool.until_metric(series, 21).await;

    drop(greedy);

    let is_idle = |client: &serde_json::Value| client["inflight"] == 0;
    pool.until_client("open", "all have left", is_idle).await;
    assert_eq!(call(&pool, "open", "greedy").await.status().as_u16(), 200);
}

/// Most proxies append the address of the caller to what the caller has sent.
#[tokio::test]
async fn addresses_that_a_caller_prepends_gain_nothing() {
    let provider = provider().await;
    let pool = Pool::with(|server| server.listen.trust_forwarded = true).await;
    let _relay = relay_with_two_ids(&pool, &provider).await;

    let mut greedy = Vec::new();
    for number in 0..PLACES {
        let forwarded_for = format!("10.0.0.{number}, 192.0.2.1");
        greedy.push(unfinished_call_from(&pool, &number.to_string(), &forwarded_for).await);
    }

    let series = r#"llamapool_refusals_total{door="mcp",reason="caller_share"}"#;
    pool.until_metric(series, u64::from(PLACES) - 89).await;
}

/// An unfinished body holds 48 KiB of a relay's memory, here a tenth.
#[tokio::test]
async fn one_caller_leaves_memory_of_a_relay_to_others() {
    let provider = provider().await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("open", &provider.url, |relay| {
            relay.max_memory = 10 * 48 * 1024;
        })
        .await;
    let large = |token: &'static str| {
        let request = pool.http.post(pool.mcp("open")).bearer_auth(token);
        soon("an answer", request.body("x".repeat(200_000)).send())
    };

    let mut greedy = Vec::new();
    let refusal = soon("the share of the caller is used up", async {
        loop {
            greedy.push(unfinished_call(&pool, "greedy").await);
            let answer = large("greedy").await.unwrap();
            if answer.status() == 503 {
                return answer.text().await.unwrap();
            }
        }
    });

    let refusal = refusal.await;
    assert!(
        refusal.contains("the calls of this caller hold their share of the memory"),
        "{refusal}"
    );
    assert_eq!(large("modest").await.unwrap().status(), 200);
}

#[tokio::test]
async fn made_up_tokens_gain_no_more_than_an_address_has() {
    let provider = provider().await;
    let pool = Pool::with(|server| server.listen.trust_forwarded = true).await;
    let _relay = relay_with_two_ids(&pool, &provider).await;

    let mut greedy = Vec::new();
    for token in 0..PLACES {
        greedy.push(unfinished_call(&pool, &token.to_string()).await);
    }
    let series = r#"llamapool_refusals_total{door="mcp",reason="caller_share"}"#;
    let refused = u64::from(PLACES) - 89;
    pool.until_metric(series, refused).await;

    let request = pool.http.post(pool.mcp("other"));
    let request = request.header("x-forwarded-for", "192.0.2.7");
    let sent = request.json(&tools_call(1, "echo")).send();
    let other_address = soon("an answer", sent).await.unwrap();
    let same_address = call(&pool, "open", "one-more").await;

    assert_eq!(other_address.status().as_u16(), 200);
    assert_eq!(error_word(same_address).await, "caller_share");
}

#[tokio::test]
async fn listeners_never_use_up_the_places_of_calls() {
    let provider = provider().await;
    let pool = Pool::start().await;
    let _relay = relay_with_two_ids(&pool, &provider).await;

    let mut listeners = Vec::new();
    let refusal = loop {
        let token = (listeners.len() / 10).to_string();
        let request = pool.http.get(pool.mcp("open")).bearer_auth(token);
        let request = request.header("accept", "text/event-stream");
        let answer = soon("an answer", request.send()).await.unwrap();
        if answer.status().as_u16() != 200 {
            break answer;
        }
        listeners.push(answer);
    };

    assert_eq!(listeners.len(), 80);
    assert_eq!(refusal.status().as_u16(), 503);
    assert_eq!(refusal.headers()["retry-after"], "2");
    assert_eq!(error_word(refusal).await, "id_share");
    assert_eq!(call(&pool, "open", "1").await.status().as_u16(), 200);
}

/// With a stream window of zero, a caller takes the head of its answer and nothing else.
#[tokio::test]
async fn an_unread_refusal_of_the_relay_holds_no_place() {
    let provider = provider().await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("closed", &provider.url, |relay| {
            relay.providers[0].auth_token = Some(llamapool_wire::Secret::new("token"));
            relay.tunnel.max_streams = 5;
        })
        .await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(0)
        .build()
        .unwrap();

    let mut unread = Vec::new();
    for _ in 0..20 {
        let request = client.post(pool.mcp("closed")).json(&json!({}));
        let answer = soon("an answer", request.send()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 401);
        unread.push(answer);
        let is_over = |client: &serde_json::Value| client["inflight"] == 0;
        pool.until_client("closed", "the call is over", is_over)
            .await;
    }

    assert_eq!(call(&pool, "closed", "token").await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_request_body_that_stops_is_refused_and_its_place_is_free() {
    let provider = provider().await;
    let pool = Pool::with(|server| {
        server.mcp.request_idle_timeout = Duration::from_millis(300);
    })
    .await;
    let _relay = relay_with_two_ids(&pool, &provider).await;

    let mut caller = unfinished_call(&pool, "stops").await;
    let head = caller.head().await;
    let body = String::from_utf8(caller.body(&head).await).unwrap();

    assert_eq!(head.status(), 408);
    assert!(body.contains("stopped or trickled after 1 bytes"), "{body}");
    assert!(body.contains("REQUEST_IDLE_TIMEOUT"), "{body}");
    let is_over = |client: &serde_json::Value| client["inflight"] == 0;
    let client = pool.until_client("open", "the call is over", is_over).await;
    assert_eq!(client["last_error"]["error"], "request_too_slow");
}

#[tokio::test]
async fn a_caller_that_takes_nothing_loses_its_call() {
    let provider = Provider::answering(|_| async {
        let piece = Bytes::from(vec![b'x'; 16 * 1024]);
        let endless =
            futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        Response::new(Body::from_stream(endless))
    })
    .await;
    let pool = Pool::with(|server| {
        server.listen.send_timeout = Duration::from_millis(500);
    })
    .await;
    let _relay = pool.relay("endless", &provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    caller
        .send("GET /api/mcp/id/endless HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .await;
    assert_eq!(caller.head().await.status(), 200);

    let is_over =
        |client: &serde_json::Value| client["inflight"] == 0 && client["calls_total"] == 1;
    pool.until_client("endless", "the call is over", is_over)
        .await;
    let server = |state: &serde_json::Value| state["server"]["memory_used_bytes"] == 0;
    pool.until("its memory is free", server).await;
}

#[tokio::test]
async fn a_silent_event_stream_is_kept_although_nothing_is_taken() {
    let provider = provider().await;
    let pool = Pool::with(|server| {
        server.listen.send_timeout = Duration::from_millis(100);
        server.mcp.request_idle_timeout = Duration::from_millis(100);
    })
    .await;
    let _relay = pool.relay("quiet", &provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    caller
        .send("GET /api/mcp/id/quiet HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n")
        .await;
    assert_eq!(caller.head().await.status(), 200);
    // Ten times the bounds: a caller that is given up by them is gone by then.
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_eq!(pool.client("quiet").await["inflight"], 1);
}

/// A caller collects two answers at once, of which its share of the memory has room for one. The
/// bytes that are not read yet count too, so that it is not determined which of the two gets it.
#[tokio::test]
async fn collected_answers_stay_within_the_memory_of_the_process() {
    let (goes_on, may_go_on) = tokio::sync::watch::channel(false);
    let provider = Provider::answering(move |_| {
        let mut may_go_on = may_go_on.clone();
        async move {
            let half = "x".repeat(600_000);
            let beginning = Bytes::from(format!("data: {{\"id\":1,\"result\":\"{half}"));
            let rest = async move {
                may_go_on.wait_for(|goes_on| *goes_on).await.unwrap();
                Ok::<_, std::io::Error>(Bytes::from("\"}\n\n"))
            };
            let beginning = futures_util::stream::iter([Ok(beginning)]);
            let event = beginning.chain(futures_util::stream::once(rest));
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(event))
                .unwrap()
        }
    })
    .await;
    let pool = Pool::with(|server| server.max_memory = 2_500_000).await;
    let _relay = pool.relay("large", &provider.url).await;
    let plain_call = || {
        let request = pool.http.post(pool.mcp("large")).header("accept", "*/*");
        PendingCall::start(request.json(&json!({})))
    };

    let [mut one, mut other] = [plain_call(), plain_call()];
    let (refused, mut other) = tokio::select! {
        refused = one.answer() => (refused, other),
        refused = other.answer() => (refused, one),
    };
    goes_on.send(true).unwrap();
    let other = other.answer().await;

    assert_eq!(refused.status().as_u16(), 502);
    let error = refused.text().await.unwrap();
    assert!(error.contains("MAX_MEMORY"), "{error}");
    // Both may be refused, if the first refusal is not over when the other answer needs more.
    if other.status().as_u16() == 200 {
        assert_eq!(other.bytes().await.unwrap().len(), 600_020);
    } else {
        let error = other.text().await.unwrap();
        assert!(error.contains("MAX_MEMORY"), "{error}");
    }
    let is_free = |state: &serde_json::Value| state["server"]["memory_used_bytes"] == 0;
    pool.until("the memory is free", is_free).await;
    assert_eq!(plain_call().answer().await.status().as_u16(), 200);
}
