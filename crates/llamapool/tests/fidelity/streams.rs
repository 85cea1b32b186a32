//! Event streams at a provider that sends what a test gives it, when the test gives it.

use std::time::Instant;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::differential::{Events, Place, Way, read_answer, scenarios};
use crate::harness::{RawHttp, RawProvider, soon, tools_call};
use crate::pace::Timed;
use crate::transcript::{COMMENT, Transcript};

scenarios! {
    events_of_every_shape: EventStreams, ALL;
    each_event_before_the_next_is_made: EventStreams, ALL;
    each_event_on_a_stream_that_was_opened_with_get: EventStreams, ALL;
    comments_of_the_provider: EventStreams, ALL;
    a_stream_that_says_nothing: EventStreams, ALL;
    an_event_that_comes_in_halves: EventStreams, ALL;
    a_slow_answer_that_is_no_stream: EventStreams, ALL;
    a_stream_that_outlives_every_limit: EventStreams, ALL;
    a_stream_that_says_what_middleboxes_may: EventStreams, ALL;
    a_reader_that_does_not_read: ManyAtOnce, ALL;
    two_hundred_streams: ManyAtOnce, ALL;
    a_big_event: EventStreams, ALL;
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const STREAMS: usize = 200;
/// More than all that is between a provider and a caller can hold.
const FLOOD_BYTES: usize = 48 * 1024 * 1024;

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// An open stream: the provider's end and the caller's.
async fn open(
    place: &Place,
    provider: &RawProvider,
    head: &str,
    log: &mut Transcript,
) -> (RawHttp, RawHttp) {
    let asked_at = Instant::now();
    let caller = place
        .post(&[], tools_call(1, "t").to_string().as_bytes())
        .await;
    opened(caller, asked_at, provider, head, log).await
}

/// The provider begins to answer a call.
async fn opened(
    mut caller: RawHttp,
    asked_at: Instant,
    provider: &RawProvider,
    head: &str,
    log: &mut Transcript,
) -> (RawHttp, RawHttp) {
    let (mut connection, asked) = provider.call().await;
    log.took(Timed::Request, &mut [asked_at.elapsed()]);
    let body = connection.body(&asked).await;
    log.asked(&asked, &body);
    let answered_at = Instant::now();
    connection.send(head).await;
    log.answered(&caller.head().await);
    log.took(Timed::Head, &mut [answered_at.elapsed()]);
    log.note("the head came before anything else was made");
    (connection, caller)
}

/// A stream of these bytes, each piece in its own chunk.
async fn stream_of(way: Way, pieces: &[&str]) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller) = open(&place, &provider, STREAM, &mut log).await;
    for piece in pieces {
        connection.send(chunk(piece)).await;
    }
    connection.send("0\r\n\r\n").await;
    Events::default().rest(&mut caller, &mut log).await;
    log
}

/// Priming events, `retry`, ids, lines of every kind, and a rest without a blank line.
async fn events_of_every_shape(way: Way) -> Transcript {
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
    stream_of(way, &pieces).await
}

async fn each_event_before_the_next_is_made(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller) = open(&place, &provider, STREAM, &mut log).await;
    one_by_one(&mut connection, &mut caller, Timed::Event, &mut log).await;
    log
}

/// What a provider says between calls comes on such a stream, and comes at once.
async fn each_event_on_a_stream_that_was_opened_with_get(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let asked_at = Instant::now();
    let caller = place.get(&[("mcp-session-id", "s")]).await;
    let (mut connection, mut caller) = opened(caller, asked_at, &provider, STREAM, &mut log).await;
    one_by_one(&mut connection, &mut caller, Timed::EventOnGet, &mut log).await;
    log
}

/// Sends events, each when the one before has arrived.
async fn one_by_one(
    connection: &mut RawHttp,
    caller: &mut RawHttp,
    what: Timed,
    log: &mut Transcript,
) {
    let mut events = Events::default();
    let mut times = Vec::new();
    for number in 0..10 {
        let sent_at = Instant::now();
        connection
            .send(chunk(&format!("id: {number}\ndata: {number}\n\n")))
            .await;
        events.with(&format!("data: {number}\n"), caller, log).await;
        times.push(sent_at.elapsed());
        log.note("it came before the next was made");
    }
    log.took(what, &mut times);
    connection.send("0\r\n\r\n").await;
    events.rest(caller, log).await;
}

async fn comments_of_the_provider(way: Way) -> Transcript {
    let pieces = [
        ": keep-alive\n\n",
        ":\r\n\r\n",
        ": ping - 2026-01-01 00:00:00+00:00\r\n\r\n",
        "data: 1\n\n",
        ":keepalive\n\n",
    ];
    stream_of(way, &pieces).await
}

/// Only the server's comments show that it lives, and they come between events alone.
async fn a_stream_that_says_nothing(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way
        .with(&provider.url, &[("STREAM_KEEPALIVE", "20ms")])
        .await;
    let mut log = place.transcript();
    let (mut connection, mut caller) = open(&place, &provider, STREAM, &mut log).await;
    if place.through.is_some() {
        // Straight at the provider there is nothing to wait for.
        for _ in 0..3 {
            assert_eq!(caller.chunk().await.unwrap().as_deref(), Some(COMMENT));
            log.event(COMMENT);
        }
    }
    connection.send(chunk("data: at last\n\n")).await;
    let mut events = Events::default();
    events.with("at last", &mut caller, &mut log).await;
    connection.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;
    log
}

/// The server is idle in the middle of an event, and has no place for a comment there: what tells that it had the time
/// for one is another stream on which one came.
async fn an_event_that_comes_in_halves(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way
        .with(&provider.url, &[("STREAM_KEEPALIVE", "20ms")])
        .await;
    let mut log = place.transcript();
    let (mut connection, mut caller) = open(&place, &provider, STREAM, &mut log).await;
    connection.send(chunk("data: one\ndata:")).await;
    let half = loop {
        let piece = caller.chunk().await.unwrap().unwrap();
        if piece != COMMENT {
            break piece;
        }
        log.event(COMMENT);
    };
    comments_elsewhere(&place, &provider, 3).await;
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

/// Comments are for event streams; JSON with a comment in it would be none. Another stream tells when one could have come.
async fn a_slow_answer_that_is_no_stream(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way
        .with(&provider.url, &[("STREAM_KEEPALIVE", "20ms")])
        .await;
    let mut log = place.transcript();
    for media_type in [
        "content-type: application/json\r\n",
        "content-type: text/plain; of=text/event-stream\r\n",
        "",
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{media_type}transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        let (mut connection, mut caller) = open(&place, &provider, &head, &mut log).await;
        connection.send(chunk("{\"half\":\n\n")).await;
        let mut body = caller.chunk().await.unwrap().unwrap();
        comments_elsewhere(&place, &provider, 3).await;
        connection.send(chunk("1}\n\n")).await;
        comments_elsewhere(&place, &provider, 3).await;
        connection.send("0\r\n\r\n").await;
        while let Some(piece) = caller.chunk().await.unwrap() {
            body.extend(piece);
        }
        log.body(&body);
    }
    log
}

/// The limits are for what comes before a stream: it may say nothing for longer than any of them.
async fn a_stream_that_outlives_every_limit(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let limits = [
        ("FIRST_BYTE_TIMEOUT", "100ms"),
        ("HEADER_TIMEOUT", "100ms"),
        ("STREAM_KEEPALIVE", "20ms"),
    ];
    let place = way.with(&provider.url, &limits).await;
    let mut log = place.transcript();
    let (mut connection, mut caller) = open(&place, &provider, STREAM, &mut log).await;
    comments_elsewhere(&place, &provider, 15).await;
    connection.send(chunk("data: at last\n\n")).await;
    connection.send("0\r\n\r\n").await;
    Events::default().rest(&mut caller, &mut log).await;
    log
}

/// Waits until so many comments have come on another stream; straight at the provider there is nothing to wait for.
async fn comments_elsewhere(place: &Place, provider: &RawProvider, times: usize) {
    if place.through.is_some() {
        let (_other, mut idle) = open(place, provider, STREAM, &mut Transcript::default()).await;
        for _ in 0..times {
            assert_eq!(idle.chunk().await.unwrap().as_deref(), Some(COMMENT));
        }
    }
}

async fn a_stream_that_says_what_middleboxes_may(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: yes\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let (mut connection, mut caller) = open(&place, &provider, head, &mut log).await;
    connection.send(chunk("data: 1\n\n")).await;
    connection.send("0\r\n\r\n").await;
    Events::default().rest(&mut caller, &mut log).await;
    log
}

/// The provider is held back, other calls are not, and in the end nothing is missing.
async fn a_reader_that_does_not_read(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller) = open(&place, &provider, STREAM, &mut log).await;
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        let event = format!("data: {}\n\n", "x".repeat(1024 * 1024));
        for _ in 0..FLOOD_BYTES / event.len() + 1 {
            connection.send(chunk(&event)).await;
        }
        connection.send("0\r\n\r\n").await;
        connection
    });
    let mut other = place.post(&[], b"{}").await;
    let small = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let (head, body) = provider.answer(small).await;
    log.asked(&head, &body);
    read_answer(&mut other, &mut log).await;
    log.note(format!(
        "what nobody reads is held back: {}",
        flood.try_join_next().is_none()
    ));
    Events::default().rest(&mut caller, &mut log).await;
    soon("everything was sent", flood.join_next())
        .await
        .expect("a task")
        .expect("no panic");
    log
}

async fn two_hundred_streams(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut open = Vec::new();
    for number in 0..STREAMS {
        let mut caller = place
            .post(&[("x-number", &number.to_string())], b"{}")
            .await;
        let (mut connection, asked) = provider.call().await;
        let body = connection.body(&asked).await;
        let mut log = place.transcript();
        log.asked(&asked, &body);
        connection.send(STREAM).await;
        log.answered(&caller.head().await);
        open.push((number, connection, caller, Events::default(), log));
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
                        .with(&format!("round {round} of {number}\n"), caller, log)
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

async fn a_big_event(way: Way) -> Transcript {
    let event = format!("data: {}\n\n", "\u{1f999}".repeat(1024 * 1024));
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller) = open(&place, &provider, STREAM, &mut log).await;
    let send = async {
        connection.send(chunk(&event)).await;
        connection.send("0\r\n\r\n").await;
    };
    let mut events = Events::default();
    tokio::join!(send, events.rest(&mut caller, &mut log));
    log
}
