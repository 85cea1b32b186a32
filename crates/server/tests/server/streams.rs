//! Streamed answers: every piece goes through as it is made, a clean end differs from an abort, and
//! callers that leave are noticed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use llamapool_testkit::{
    BodyEnd, Pool, Provider, RawHttp, RawProvider, event_stream, http_request, json_answer, soon,
    tools_call,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The most time from a caller's leaving until the provider notices, in the best of several
/// attempts: a busy machine may be late now and then.
const NOTICED: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 10;

/// The sender of the pieces of one answer.
type Pieces = mpsc::Sender<Result<Bytes, std::io::Error>>;

/// Byte for byte.
#[tokio::test]
async fn every_piece_of_a_stream_arrives_before_the_next_is_made() {
    let pool = Pool::start().await;

    let (provider, mut calls) = streaming().await;
    let _relay = pool.relay("stream", &provider.url).await;

    let (mut caller, pieces) = listen(&pool, "stream", &mut calls).await;

    for piece in [
        "id: 7\ndata:\n\n",
        "retry: 3000\n\n",
        ": comment\n\n",
        ":\n\n",
        "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":9007199254740993,\"result\":{}}\r\n\r\n",
        "data: half an ev",
        "ent\n",
        "\n",
        "data: \u{1f999}\n\n",
        "\r\r",
        "id: \u{0}\nunknown: field\n\n",
    ] {
        pieces.send(Ok(piece.into())).await.unwrap();
        assert_eq!(caller.chunk().await.unwrap().unwrap(), piece.as_bytes());
    }

    let large = Bytes::from(vec![b'x'; 1 << 20]);
    pieces.send(Ok(large.clone())).await.unwrap();
    drop(pieces);
    let mut came = Vec::new();
    while let Some(chunk) = caller.chunk().await.unwrap() {
        came.extend(chunk);
    }

    assert!(came == large, "{} bytes came", came.len());
}

#[tokio::test]
async fn an_end_is_an_end_and_a_break_a_break() {
    let pool = Pool::start().await;

    let (provider, mut calls) = streaming().await;
    let _relay = pool.relay("ends", &provider.url).await;

    for breaks in [false, true] {
        let (mut caller, pieces) = listen(&pool, "ends", &mut calls).await;
        pieces.send(Ok("data: 1\n\n".into())).await.unwrap();
        pieces.send(Ok("data: 2\n\n".into())).await.unwrap();

        if breaks {
            pieces
                .send(Err(std::io::ErrorKind::BrokenPipe.into()))
                .await
                .unwrap();
        }

        drop(pieces);
        let mut came = Vec::new();
        let end = loop {
            match caller.chunk().await {
                Ok(Some(chunk)) => came.extend(chunk),
                Ok(None) => break BodyEnd::Clean,
                Err(end) => break end,
            }
        };

        assert_eq!(
            String::from_utf8_lossy(&came),
            "data: 1\n\ndata: 2\n\n",
            "all that was sent before arrives"
        );
        assert_eq!(
            end,
            if breaks {
                BodyEnd::Aborted
            } else {
                BodyEnd::Clean
            }
        );
    }

    let client = pool
        .until_client("ends", "both are over", |client| client["inflight"] == 0)
        .await;

    assert_eq!(client["calls_total"], 2);
    assert_eq!(client["errors_total"], 1);
    assert_eq!(client["last_error"]["error"], "broken");
}

#[tokio::test]
async fn over_http_2_a_break_resets_the_stream_and_nothing_else() {
    let pool = Pool::start().await;

    let (provider, mut calls) = streaming().await;
    let _relay = pool.relay("h2", &provider.url).await;

    let http = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let ask = || {
        http.post(pool.mcp("h2"))
            .header("accept", "application/json, text/event-stream")
            .body("{}")
            .send()
    };
    let (answer, pieces) = tokio::join!(ask(), calls.recv());
    let mut lasting = answer.unwrap();
    let lasting_pieces = pieces.unwrap();

    for breaks in [false, true] {
        let (answer, pieces) = tokio::join!(ask(), calls.recv());
        let mut answer = answer.unwrap();
        let pieces = pieces.unwrap();

        assert_eq!(answer.version(), reqwest::Version::HTTP_2);

        pieces.send(Ok("data: 1\n\n".into())).await.unwrap();

        assert_eq!(
            soon("the piece", answer.chunk()).await.unwrap().unwrap(),
            "data: 1\n\n"
        );

        if breaks {
            pieces
                .send(Err(std::io::ErrorKind::BrokenPipe.into()))
                .await
                .unwrap();
        }

        drop(pieces);
        let mut end = soon("the end", answer.chunk()).await;
        // HTTP/2 may end a stream with an empty DATA frame.
        if matches!(&end, Ok(Some(piece)) if piece.is_empty()) {
            end = soon("the end", answer.chunk()).await;
        }

        match (breaks, end) {
            (false, Ok(None)) => {}
            (true, Err(error)) => assert!(format!("{error:?}").contains("Reset("), "{error:?}"),
            (_, other) => panic!("{breaks}: {other:?}"),
        }
    }

    lasting_pieces
        .send(Ok("data: still here\n\n".into()))
        .await
        .unwrap();

    assert_eq!(
        soon("the piece", lasting.chunk()).await.unwrap().unwrap(),
        "data: still here\n\n"
    );
}

#[tokio::test]
async fn the_provider_notices_at_once_when_a_caller_leaves_a_stream() {
    let pool = Pool::start().await;

    let (provider, mut calls) = streaming().await;
    let _relay = pool.relay("leave", &provider.url).await;

    let mut spans = Vec::new();

    for _ in 0..ATTEMPTS {
        let (mut caller, pieces) = listen(&pool, "leave", &mut calls).await;
        pieces.send(Ok("data: 1\n\n".into())).await.unwrap();
        caller.chunk().await.unwrap();
        let left = Instant::now();
        drop(caller);
        soon("the provider's stream is dropped", pieces.closed()).await;
        spans.push(left.elapsed());
    }

    check_noticed("HTTP/1.1", &spans);

    let http = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let mut spans = Vec::new();

    for _ in 0..ATTEMPTS {
        let ask = http
            .post(pool.mcp("leave"))
            .header("accept", "application/json, text/event-stream");
        let (answer, pieces) = tokio::join!(ask.body("{}").send(), calls.recv());
        let answer = answer.unwrap();
        let pieces = pieces.unwrap();
        let left = Instant::now();
        drop(answer);
        soon("the provider's stream is dropped", pieces.closed()).await;
        spans.push(left.elapsed());
    }

    check_noticed("HTTP/2", &spans);

    let client = pool
        .until_client("leave", "all are over", |client| client["inflight"] == 0)
        .await;

    assert_eq!(client["aborted_total"], 2 * ATTEMPTS);
    assert_eq!(client["errors_total"], 0);
}

/// With a complete request and with an incomplete one.
#[tokio::test]
async fn the_provider_notices_a_caller_who_leaves_before_the_head() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("head", &provider.url).await;

    for (fields, body) in [("", &b"{}"[..]), ("content-length: 100\r\n", b"")] {
        let mut spans = Vec::new();

        for _ in 0..ATTEMPTS {
            let mut caller = RawHttp::connect(&pool.url).await;
            caller
                .send(http_request("POST", "/api/mcp/id/head", fields, body))
                .await;
            let (mut connection, _) = provider.call().await;
            let left = Instant::now();
            drop(caller);
            connection.rest_of_connection(&mut Vec::new()).await;
            spans.push(left.elapsed());
        }

        check_noticed(
            &format!("before the head ({} bytes sent)", body.len()),
            &spans,
        );
    }

    let client = pool
        .until_client("head", "all are over", |client| client["inflight"] == 0)
        .await;

    assert_eq!(client["aborted_total"], 2 * ATTEMPTS);
    assert_eq!(client["errors_total"], 0);
}

fn check_noticed(what: &str, spans: &[Duration]) {
    assert!(
        spans.iter().min().is_some_and(|best| *best <= NOTICED),
        "{what}: noticed after {spans:?}"
    );
}

#[tokio::test]
async fn two_hundred_streams_side_by_side_share_no_bytes() {
    const STREAMS: usize = 200;

    let pool = Pool::start().await;

    let everybody = Arc::new(tokio::sync::Barrier::new(STREAMS));
    let provider = Provider::answering(move |request: axum::extract::Request| {
        let everybody = everybody.clone();
        let own = request.uri().query().unwrap().to_owned();
        // All of them have begun before the first one goes on.
        let pieces = futures_util::stream::iter(0..50).then(move |index| {
            let everybody = everybody.clone();
            let own = own.clone();
            async move {
                if index % 10 == 1 {
                    everybody.wait().await;
                }
                Ok::<_, std::io::Error>(format!("data: {own} {index}\n\n"))
            }
        });
        async { Response::new(Body::from_stream(pieces)) }
    })
    .await;
    let _relay = pool.relay("many", &provider.url).await;

    let mut callers = JoinSet::new();

    for own in 0..STREAMS {
        let request = pool
            .http
            .post(format!("{}?{own}", pool.mcp("many")))
            .header("accept", "text/event-stream");
        callers.spawn(async move {
            let text = request
                .body("{}")
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            let expected: String = (0..50)
                .map(|index| format!("data: {own} {index}\n\n"))
                .collect();

            assert_eq!(text, expected);

            own
        });
    }

    let done: HashSet<_> = soon("all streams end", callers.join_all())
        .await
        .into_iter()
        .collect();

    assert_eq!(done.len(), STREAMS);
    assert_eq!(pool.client("many").await["calls_total"], STREAMS);
}

#[tokio::test]
async fn five_hundred_callers_who_leave_do_not_disturb_the_tunnel() {
    const CALLERS: usize = 500;

    let pool = Pool::start().await;
    let provider = Provider::answering(async |request: axum::extract::Request| {
        let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        json_answer("{}")
    })
    .await;
    let _relay = pool.relay("abort", &provider.url).await;

    let before = pool.client("abort").await["connected_at"].clone();
    let mut callers = Vec::new();

    for _ in 0..CALLERS {
        let mut caller = RawHttp::connect(&pool.url).await;
        caller
            .send(http_request(
                "POST",
                "/api/mcp/id/abort",
                "content-length: 1000\r\n",
                b"",
            ))
            .await;
        caller.send("half of it").await;
        callers.push(caller);
    }

    pool.until_client("abort", "all of them run", |client| {
        client["inflight"] == CALLERS
    })
    .await;

    for (index, caller) in callers.into_iter().enumerate() {
        if index % 2 == 0 {
            caller.reset()
        } else {
            drop(caller)
        }
    }

    let client = pool
        .until_client("abort", "none of them runs", |client| {
            client["inflight"] == 0
        })
        .await;

    assert_eq!(client["calls_total"], CALLERS);
    assert_eq!(client["aborted_total"], CALLERS);
    assert_eq!(client["connected_at"], before);
    assert_eq!(client["errors_total"], 0);
    assert_eq!(
        pool.post("abort", &tools_call(1, "echo")).await.status(),
        200
    );
    assert_eq!(pool.client("abort").await["connected_at"], before);
}

#[tokio::test]
async fn an_encoded_stream_gets_no_comments_between_its_bytes() {
    let pool = Pool::with(|server| server.mcp.stream_keepalive = Duration::from_millis(1)).await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("encoded", &provider.url).await;

    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";

    for accept in ["text/event-stream", "*/*"] {
        let mut encoded = RawHttp::connect(&pool.url).await;
        let request = http_request("POST", "/api/mcp/id/encoded", "", b"{}");
        let request = String::from_utf8(request)
            .unwrap()
            .replace("application/json, text/event-stream", accept);
        encoded.send(request).await;
        let (mut of_encoded, seen) = provider.call().await;
        of_encoded.body(&seen).await;
        of_encoded
            .send(format!("{stream}content-encoding: gzip\r\n\r\n"))
            .await;
        let head = encoded.head().await;

        assert_eq!(head.status(), 200, "{accept}");
        assert_eq!(head.values("content-encoding"), ["gzip"], "{accept}");

        let mut plain = RawHttp::connect(&pool.url).await;
        plain
            .send(http_request("GET", "/api/mcp/id/encoded", "", b""))
            .await;
        let (mut of_plain, _) = provider.call().await;
        of_plain.send(format!("{stream}\r\n")).await;
        plain.head().await;
        // By now the other stream would have got a comment as well.
        for _ in 0..3 {
            assert_eq!(plain.chunk().await.unwrap().unwrap(), b":\n\n");
        }
        of_encoded.send(b"\x1f\x8b").await;
        drop(of_encoded);

        assert_eq!(encoded.body(&head).await, b"\x1f\x8b", "{accept}");
    }
}

/// Starts a provider whose every answer is an event stream. Returns it with the senders of the
/// pieces.
async fn streaming() -> (Provider, mpsc::Receiver<Pieces>) {
    let (calls, called) = mpsc::channel(16);
    let provider = Provider::answering(move |request: axum::extract::Request| {
        let calls = calls.clone();
        async move {
            // A server with an unread request does not see its connection end.
            let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            let (pieces, answer) = event_stream();
            calls.send(pieces).await.unwrap();
            answer
        }
    })
    .await;

    (provider, called)
}

/// Starts a call to such a provider and reads the head of its answer.
async fn listen(pool: &Pool, id: &str, calls: &mut mpsc::Receiver<Pieces>) -> (RawHttp, Pieces) {
    let mut caller = RawHttp::connect(&pool.url).await;
    caller
        .send(http_request("GET", &format!("/api/mcp/id/{id}"), "", b""))
        .await;
    let pieces = soon("the provider is called", calls.recv()).await.unwrap();
    let head = caller.head().await;

    assert_eq!(head.status(), 200);
    assert_eq!(head.values("content-type"), ["text/event-stream"]);

    (caller, pieces)
}
