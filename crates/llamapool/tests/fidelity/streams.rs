//! Scenarios about event streams, with a provider whose every piece is sent by the test.

use std::time::Instant;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::differential::{Endpoint, EventReader, Route, read_answer, scenarios};
use crate::harness::{RawHttp, RawProvider, soon, tools_call};
use crate::pace::Timing;
use crate::transcript::{COMMENT, Transcript};

scenarios! {
    events_of_every_shape: EventStreams, ALL;
    each_event_before_the_next_is_made: EventStreams, ALL;
    each_event_on_a_stream_that_was_opened_with_get: EventStreams, ALL;
    comments_of_the_provider: EventStreams, ALL;
    an_idle_stream: EventStreams, ALL;
    an_event_that_arrives_in_pieces: EventStreams, ALL;
    a_slow_answer_that_is_no_stream: EventStreams, ALL;
    a_stream_that_outlives_every_limit: EventStreams, ALL;
    a_stream_with_its_own_cache_control: EventStreams, ALL;
    a_reader_that_does_not_read: ManyAtOnce, ALL;
    two_hundred_streams: ManyAtOnce, ALL;
    a_big_event: EventStreams, ALL;
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const STREAMS: usize = 200;
/// More than all buffers between a provider and a caller hold.
const FLOOD_BYTES: usize = 48 * 1024 * 1024;

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Opens a stream with a call; returns the provider's connection and the caller's.
async fn open(
    endpoint: &Endpoint,
    provider: &RawProvider,
    head: &str,
    log: &mut Transcript,
) -> (RawHttp, RawHttp) {
    let requested_at = Instant::now();
    let caller = endpoint
        .post(&[], tools_call(1, "t").to_string().as_bytes())
        .await;
    answer_with_head(caller, requested_at, provider, head, log).await
}

/// Answers a call with a head, which the caller reads.
async fn answer_with_head(
    mut caller: RawHttp,
    requested_at: Instant,
    provider: &RawProvider,
    head: &str,
    log: &mut Transcript,
) -> (RawHttp, RawHttp) {
    let (mut connection, request) = provider.call().await;
    log.timing(Timing::Request, &mut [requested_at.elapsed()]);
    let body = connection.body(&request).await;
    log.request(&request, &body);
    let answered_at = Instant::now();
    connection.send(head).await;
    log.answer_head(&caller.head().await);
    log.timing(Timing::Head, &mut [answered_at.elapsed()]);
    log.note("the head came before anything else was made");
    (connection, caller)
}

/// Runs a stream of these pieces, each in its own chunk.
async fn stream_of(route: Route, pieces: &[&str]) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller) = open(&endpoint, &provider, STREAM, &mut log).await;
    for piece in pieces {
        connection.send(chunk(piece)).await;
    }
    connection.send("0\r\n\r\n").await;
    EventReader::default().rest(&mut caller, &mut log).await;

    log
}

/// Priming events, `retry`, ids, lines of every kind, and a rest without a blank line.
async fn events_of_every_shape(route: Route) -> Transcript {
    let pieces = [
        "id: 0/a\nretry: 200\ndata:\n\n",
        "\u{feff}event: message\nid:1/a\ndata: {\"n\":1}\n\n",
        "event:message\r\ndata:{\"n\":2}\r\nid:  2/a \r\n\r\n",
        "data: one\ndata:  two\ndata\n\n",
        "retry: 0\n\n",
        "unknown: field\n:comment within\ndata: \u{1f999} 123456789012345678901234567890\n\n",
        "id\ndata: {\"n\":3}\n\n\n\n",
        "data: the rest, cut",
    ];
    stream_of(route, &pieces).await
}

async fn each_event_before_the_next_is_made(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller) = open(&endpoint, &provider, STREAM, &mut log).await;
    one_by_one(&mut connection, &mut caller, Timing::Event, &mut log).await;
    log
}

/// Messages between calls arrive on such a stream, without delay.
async fn each_event_on_a_stream_that_was_opened_with_get(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let requested_at = Instant::now();
    let caller = endpoint.get(&[("mcp-session-id", "s")]).await;
    let (mut connection, mut caller) =
        answer_with_head(caller, requested_at, &provider, STREAM, &mut log).await;
    one_by_one(&mut connection, &mut caller, Timing::EventOnGet, &mut log).await;

    log
}

/// Sends events, each after the one before has arrived.
async fn one_by_one(
    connection: &mut RawHttp,
    caller: &mut RawHttp,
    what: Timing,
    log: &mut Transcript,
) {
    let mut events = EventReader::default();
    let mut times = Vec::new();
    for number in 0..10 {
        let sent_at = Instant::now();
        connection
            .send(chunk(&format!("id: {number}\ndata: {number}\n\n")))
            .await;
        events
            .until(&format!("data: {number}\n"), caller, log)
            .await;
        times.push(sent_at.elapsed());
        log.note("it came before the next was made");
    }

    log.timing(what, &mut times);
    connection.send("0\r\n\r\n").await;
    events.rest(caller, log).await;
}

async fn comments_of_the_provider(route: Route) -> Transcript {
    let pieces = [
        ": keep-alive\n\n",
        ":\r\n\r\n",
        ": ping - 2026-01-01 00:00:00+00:00\r\n\r\n",
        "data: 1\n\n",
        ":keepalive\n\n",
    ];
    stream_of(route, &pieces).await
}

/// Only the server's keep-alive comments arrive, between events.
async fn an_idle_stream(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route
        .endpoint_with(&provider.url, &[("STREAM_KEEPALIVE", "20ms")])
        .await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller) = open(&endpoint, &provider, STREAM, &mut log).await;

    if endpoint.deployment.is_some() {
        // The direct route has no comments to wait for.
        for _ in 0..3 {
            assert_eq!(caller.chunk().await.unwrap().as_deref(), Some(COMMENT));
            log.event(COMMENT);
        }
    }

    connection.send(chunk("data: at last\n\n")).await;
    let mut events = EventReader::default();
    events.until("at last", &mut caller, &mut log).await;
    connection.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;

    log
}

/// In the middle of an event no comment may be sent. Comments on another stream show that there was
/// time for one.
async fn an_event_that_arrives_in_pieces(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route
        .endpoint_with(&provider.url, &[("STREAM_KEEPALIVE", "20ms")])
        .await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller) = open(&endpoint, &provider, STREAM, &mut log).await;
    connection.send(chunk("data: one\ndata:")).await;
    let half = loop {
        let piece = caller.chunk().await.unwrap().unwrap();
        if piece != COMMENT {
            break piece;
        }
        log.event(COMMENT);
    };
    comments_elsewhere(&endpoint, &provider, 3).await;
    connection.send(chunk(" two\n\n")).await;
    connection.send("0\r\n\r\n").await;
    let mut rest = Vec::new();
    while let Ok(Some(piece)) = caller.chunk().await {
        rest.extend(piece);
    }
    let event_end = rest
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .map_or(rest.len(), |place| place + 2);
    log.event(&[&half, &rest[..event_end]].concat());
    for comment in rest[event_end..].chunks(COMMENT.len()) {
        log.event(comment);
    }

    log
}

/// Comments are for event streams alone. Comments on another stream show that there was time for
/// one.
async fn a_slow_answer_that_is_no_stream(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route
        .endpoint_with(&provider.url, &[("STREAM_KEEPALIVE", "20ms")])
        .await;
    let mut log = endpoint.transcript();

    for media_type in [
        "content-type: application/json\r\n",
        "content-type: text/plain; of=text/event-stream\r\n",
        "",
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{media_type}transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        let (mut connection, mut caller) = open(&endpoint, &provider, &head, &mut log).await;
        connection.send(chunk("{\"half\":\n\n")).await;
        let mut body = caller.chunk().await.unwrap().unwrap();
        comments_elsewhere(&endpoint, &provider, 3).await;
        connection.send(chunk("1}\n\n")).await;
        comments_elsewhere(&endpoint, &provider, 3).await;
        connection.send("0\r\n\r\n").await;
        while let Some(piece) = caller.chunk().await.unwrap() {
            body.extend(piece);
        }
        log.body(&body);
    }

    log
}

/// The timeouts end with the head: a stream may be idle for longer than any of them.
async fn a_stream_that_outlives_every_limit(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let limits = [
        ("FIRST_BYTE_TIMEOUT", "100ms"),
        ("HEADER_TIMEOUT", "100ms"),
        ("STREAM_KEEPALIVE", "20ms"),
    ];
    let endpoint = route.endpoint_with(&provider.url, &limits).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller) = open(&endpoint, &provider, STREAM, &mut log).await;
    comments_elsewhere(&endpoint, &provider, 15).await;
    connection.send(chunk("data: at last\n\n")).await;
    connection.send("0\r\n\r\n").await;
    EventReader::default().rest(&mut caller, &mut log).await;

    log
}

/// Waits until this many comments have arrived on another stream; returns at once on the direct
/// route.
async fn comments_elsewhere(endpoint: &Endpoint, provider: &RawProvider, times: usize) {
    if endpoint.deployment.is_some() {
        let (_other, mut idle) = open(endpoint, provider, STREAM, &mut Transcript::default()).await;
        for _ in 0..times {
            assert_eq!(idle.chunk().await.unwrap().as_deref(), Some(COMMENT));
        }
    }
}

async fn a_stream_with_its_own_cache_control(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: yes\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let (mut connection, mut caller) = open(&endpoint, &provider, head, &mut log).await;
    connection.send(chunk("data: 1\n\n")).await;
    connection.send("0\r\n\r\n").await;
    EventReader::default().rest(&mut caller, &mut log).await;

    log
}

/// The provider is held back, other calls are not, and no byte is lost.
async fn a_reader_that_does_not_read(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller) = open(&endpoint, &provider, STREAM, &mut log).await;
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        let event = format!("data: {}\n\n", "x".repeat(1024 * 1024));
        for _ in 0..FLOOD_BYTES / event.len() + 1 {
            connection.send(chunk(&event)).await;
        }
        connection.send("0\r\n\r\n").await;
        connection
    });
    let mut other = endpoint.post(&[], b"{}").await;
    let small = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let (head, body) = provider.answer(small).await;
    log.request(&head, &body);
    read_answer(&mut other, &mut log).await;
    log.note(format!(
        "unread events are held back: {}",
        flood.try_join_next().is_none()
    ));
    EventReader::default().rest(&mut caller, &mut log).await;
    soon("everything was sent", flood.join_next())
        .await
        .expect("a task")
        .expect("no panic");

    log
}

async fn two_hundred_streams(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut open = Vec::new();

    for number in 0..STREAMS {
        let mut caller = endpoint
            .post(&[("x-number", &number.to_string())], b"{}")
            .await;
        let (mut connection, request) = provider.call().await;
        let body = connection.body(&request).await;
        let mut log = endpoint.transcript();
        log.request(&request, &body);
        connection.send(STREAM).await;
        log.answer_head(&caller.head().await);
        open.push((number, connection, caller, EventReader::default(), log));
    }

    for round in 0..3 {
        for (number, connection, ..) in open.iter_mut().rev() {
            connection
                .send(chunk(&format!("data: round {round} of {number}\n\n")))
                .await;
        }
        join_all(
            open.iter_mut()
                .map(|(number, _, caller, events, log)| async move {
                    events
                        .until(&format!("round {round} of {number}\n"), caller, log)
                        .await;
                }),
        )
        .await;
    }

    let mut whole = Transcript::default();
    for (_, mut connection, mut caller, mut events, mut log) in open {
        connection.send("0\r\n\r\n").await;
        events.rest(&mut caller, &mut log).await;
        whole.append(log);
    }

    whole
}

async fn a_big_event(route: Route) -> Transcript {
    let event = format!("data: {}\n\n", "\u{1f999}".repeat(1024 * 1024));
    let provider = RawProvider::bind().await;

    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller) = open(&endpoint, &provider, STREAM, &mut log).await;
    let send = async {
        connection.send(chunk(&event)).await;
        connection.send("0\r\n\r\n").await;
    };
    let mut events = EventReader::default();
    tokio::join!(send, events.rest(&mut caller, &mut log));

    log
}
