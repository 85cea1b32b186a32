//! Connections of callers: idle ones give way, busy ones have their share, and probes and relays
//! come through.

use std::time::Duration;

use llamapool_testkit::{
    Pool, Provider, RawHttp, ScriptedProvider, event_stream, http_request, metric, raw_request,
    soon,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The bytes of one request over HTTP/2: preface, SETTINGS, and HEADERS of `GET /healthz`.
const H2_PROBE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x17\x01\x05\x00\x00\x00\x01\
    \x82\x86\x04\x08/healthz\x01\x09localhost";
/// The head of a request that a caller leaves open.
const PROBE: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn pool(max_connections: usize) -> Pool {
    Pool::with(|config| config.listen.max_connections = max_connections).await
}

async fn idle_connections(url: &str, number: usize) -> Vec<TcpStream> {
    let address = url.strip_prefix("http://").unwrap();
    let mut connections = Vec::new();
    for _ in 0..number {
        connections.push(TcpStream::connect(address).await.unwrap());
    }
    connections
}

async fn relays_connected(url: &str) -> Option<f64> {
    let mut connection = RawHttp::connect(url).await;
    connection
        .send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let head = connection.head().await;
    let text = String::from_utf8(connection.body(&head).await).unwrap();
    metric(&text, "llamapool_relays_connected")
}

#[tokio::test]
async fn idle_connections_keep_no_caller_out() {
    let pool = pool(8).await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    let silent = idle_connections(&pool.url, 50).await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut connection = RawHttp::connect(&pool.url).await;
        connection.send(PROBE).await;
        assert_eq!(connection.head().await.status(), 200);
        kept.push(connection);
    }

    assert_eq!(pool.call("mcp-1234", "ping").await.status(), 200);
    drop((silent, kept));
}

/// A running call is never cut for another one.
#[tokio::test]
async fn busy_connections_keep_their_places_and_leave_some() {
    let pool = pool(9).await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    let mut streams = Vec::new();
    let refused = loop {
        let mut caller = RawHttp::connect(&pool.url).await;
        let fields = "accept: text/event-stream\r\n".to_owned();
        let request = http_request("POST", "/api/mcp/id/mcp-1234", fields, b"{}");
        caller.send(request).await;
        let answered = tokio::select! {
            head = caller.head() => break head,
            asked = provider.next_request() => asked,
        };
        let (pieces, answer) = event_stream();
        answered.answer(answer);
        let head = caller.head().await;
        assert_eq!(head.status(), 200);
        streams.push((caller, head, pieces));
        assert!(streams.len() < 20, "there is no bound");
    };

    assert!(streams.len() >= 6, "{} streams", streams.len());
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(refused.values("llamapool-error"), ["too_many_connections"]);
    assert_eq!(refused.values("retry-after"), ["2"]);

    let health = raw_request(&pool.url, PROBE).await;
    assert_eq!(health.status, 200, "{}", health.head);
    let _second = Pool::relay_to(&pool.url, "while-full", &provider.url, |_| {}).await;
    let both_are_there = async {
        while relays_connected(&pool.url).await != Some(2.0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a relay is let in", both_are_there).await;

    for (mut caller, head, pieces) in streams {
        pieces.send(Ok("data: last\n\n".into())).await.unwrap();
        drop(pieces);
        assert_eq!(caller.body(&head).await, b"data: last\n\n");
    }
}

#[tokio::test]
async fn a_connection_without_a_call_is_closed_after_a_time() {
    let pool = Pool::with(|config| {
        config.listen.idle_timeout = Duration::from_millis(200);
        // It also ends idle connections of HTTP/1.
        config.listen.header_timeout = Duration::from_secs(3600);
    })
    .await;
    let h2 = reqwest::Client::builder().http2_prior_knowledge();
    let h2 = h2.build().unwrap();

    let mut kept = RawHttp::connect(&pool.url).await;
    kept.send(PROBE).await;
    let head = kept.head().await;
    assert_eq!(head.status(), 200);
    kept.body(&head).await;
    let answer = h2
        .get(format!("{}/healthz", pool.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);

    let ended = soon("the server closes it", kept.try_head()).await;
    assert_eq!(ended, None);
    let mut kept = idle_connections(&pool.url, 1).await.remove(0);
    kept.write_all(H2_PROBE).await.unwrap();
    let mut received = Vec::new();
    let ended = kept.read_to_end(&mut received);
    soon("the server closes it", ended).await.unwrap();
    assert!(received.len() > 100, "the request was answered");
    // Its client opens another one, unharmed.
    let answer = h2
        .get(format!("{}/healthz", pool.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}
