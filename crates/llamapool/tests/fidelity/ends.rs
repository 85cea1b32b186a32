//! How an exchange ends before its end, and who notices.

use std::time::Instant;

use crate::differential::{Events, Place, Way, read_answer, scenarios};
use crate::harness::{RawHttp, RawProvider, tools_call};
use crate::pace::Timed;
use crate::transcript::Transcript;

scenarios! {
    the_caller_leaves_before_the_head: Disconnects, ALL;
    the_caller_leaves_in_the_middle_of_a_stream: Disconnects, ALL;
    the_caller_leaves_an_idle_stream: Disconnects, ALL;
    the_caller_leaves_in_the_middle_of_its_request: Disconnects, ALL;
    the_provider_breaks_a_stream_off: Disconnects, ALL;
    the_provider_breaks_off_within_an_event: Disconnects, ALL;
    the_provider_breaks_the_stream_of_an_endpoint_off: Disconnects, OLDEST;
    the_provider_breaks_a_body_of_known_length_off: Disconnects, ALL;
    the_provider_ends_a_stream_well: Disconnects, ALL;
    the_way_is_lost_in_the_middle_of_a_stream: Disconnects, ALL;
    a_message_that_cancels: Cancelling, ALL;
    closing_a_stream_cancels: Cancelling, MODERN;
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A call whose answer is a stream with its first event; the provider's end and the caller's.
async fn begun(
    place: &Place,
    provider: &RawProvider,
    log: &mut Transcript,
) -> (RawHttp, RawHttp, Events) {
    let asked_at = Instant::now();
    let mut caller = place
        .post(&[], tools_call(1, "t").to_string().as_bytes())
        .await;
    let (mut connection, head) = provider.call().await;
    log.took(Timed::Request, &mut [asked_at.elapsed()]);
    let body = connection.body(&head).await;
    log.asked(&head, &body);
    let answered_at = Instant::now();
    connection.send(STREAM).await;
    log.answered(&caller.head().await);
    log.took(Timed::Head, &mut [answered_at.elapsed()]);
    log.note("the head came before the first event was made");
    connection
        .send(chunk("id: 1\nretry: 50\ndata: {\"n\":1}\n\n"))
        .await;
    let mut events = Events::default();
    events.with("\"n\":1", &mut caller, log).await;
    (connection, caller, events)
}

/// The caller leaves; what else the provider's connection brings, up to its end.
async fn leave(caller: RawHttp, connection: &mut RawHttp, log: &mut Transcript) {
    let left_at = Instant::now();
    drop(caller);
    ended(connection, log).await;
    log.took(Timed::Leaving, &mut [left_at.elapsed()]);
}

/// What else the provider's connection brings, up to its end.
async fn ended(connection: &mut RawHttp, log: &mut Transcript) {
    let mut rest = Vec::new();
    connection.rest_of_connection(&mut rest).await;
    log.body(&rest);
    log.note("the provider's connection has ended");
}

async fn the_caller_leaves_before_the_head(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let caller = place
        .post(&[], tools_call(1, "t").to_string().as_bytes())
        .await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    log.asked(&head, &body);
    leave(caller, &mut connection, &mut log).await;
    log
}

async fn the_caller_leaves_in_the_middle_of_a_stream(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, caller, _) = begun(&place, &provider, &mut log).await;
    leave(caller, &mut connection, &mut log).await;
    log
}

async fn the_caller_leaves_an_idle_stream(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let mut caller = place.get(&[("mcp-session-id", "s")]).await;
    let (mut connection, head) = provider.call().await;
    log.asked(&head, b"");
    connection.send(STREAM).await;
    log.answered(&caller.head().await);
    leave(caller, &mut connection, &mut log).await;
    log
}

/// What the caller sent may still be on its way when it leaves, and is of no use then: the provider sees a broken request.
async fn the_caller_leaves_in_the_middle_of_its_request(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let fields = [
        ("accept", "application/json"),
        ("transfer-encoding", "chunked"),
    ];
    let mut caller = place
        .send(&place.request_to("POST", &place.path, &fields, b""))
        .await;
    caller.send("5\r\n01234\r\n").await;
    let (mut connection, head) = provider.call().await;
    let begun = connection.chunk().await.unwrap().unwrap();
    log.asked(&head, &begun);
    let left_at = Instant::now();
    drop(caller);
    log.end(connection.chunk().await.unwrap_err());
    log.took(Timed::Leaving, &mut [left_at.elapsed()]);
    log
}

async fn the_provider_breaks_a_stream_off(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller, mut events) = begun(&place, &provider, &mut log).await;
    connection.send(chunk("data: {\"n\":2}\n\n")).await;
    let ended_at = Instant::now();
    drop(connection);
    events.rest(&mut caller, &mut log).await;
    log.took(Timed::End, &mut [ended_at.elapsed()]);
    log
}

async fn the_provider_breaks_off_within_an_event(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller, mut events) = begun(&place, &provider, &mut log).await;
    connection
        .send(chunk("data: {\"n\":2}\n\nid: 3\ndata: {\"n\""))
        .await;
    let ended_at = Instant::now();
    drop(connection);
    events.rest(&mut caller, &mut log).await;
    log.took(Timed::End, &mut [ended_at.elapsed()]);
    log
}

/// The beginning of what may be an endpoint event is looked at before it goes on: it goes on all the same.
async fn the_provider_breaks_the_stream_of_an_endpoint_off(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let mut caller = place.get(&[]).await;
    let (mut connection, _) = provider.call().await;
    connection
        .send(format!("{STREAM}{}", chunk("event: endpoint\ndata: /m")))
        .await;
    drop(connection);
    log.answered(&caller.head().await);
    Events::default().rest(&mut caller, &mut log).await;
    log
}

async fn the_provider_breaks_a_body_of_known_length_off(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let mut caller = place.post(&[], b"{}").await;
    provider.answer("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":").await;
    read_answer(&mut caller, &mut log).await;
    log
}

/// A provider of 2025-11-25 may end a stream before the answer; a clean end makes the client come back.
async fn the_provider_ends_a_stream_well(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller, mut events) = begun(&place, &provider, &mut log).await;
    let ended_at = Instant::now();
    connection.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;
    log.took(Timed::End, &mut [ended_at.elapsed()]);
    log
}

/// Straight at the provider, what is lost is the connection to it; through llamapool, the tunnel.
async fn the_way_is_lost_in_the_middle_of_a_stream(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller, mut events) = begun(&place, &provider, &mut log).await;
    match &place.through {
        Some(through) => {
            through.link.cut();
            events.rest(&mut caller, &mut log).await;
            ended(&mut connection, &mut log).await;
        }
        None => {
            connection.reset();
            events.rest(&mut caller, &mut log).await;
            log.body(b"");
            log.note("the provider's connection has ended");
        }
    }
    log
}

/// In the older revisions a message cancels: it arrives while the call runs, and the call's stream is left alone.
async fn a_message_that_cancels(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut connection, mut caller, mut events) = begun(&place, &provider, &mut log).await;
    let cancel = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"no more"}}"#;
    let mut other = place.post(&[("mcp-session-id", "s")], cancel).await;
    let (head, body) = provider
        .answer("HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await;
    log.asked(&head, &body);
    read_answer(&mut other, &mut log).await;
    connection.send(chunk("data: {\"n\":2}\n\n")).await;
    connection.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;
    log
}

/// From 2026-07-28 on, closing the stream cancels: the provider's connection must end, while others go on.
async fn closing_a_stream_cancels(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let (mut goes_on, mut caller, mut events) = begun(&place, &provider, &mut log).await;
    let (mut cancelled, other, _) = begun(&place, &provider, &mut log).await;
    leave(other, &mut cancelled, &mut log).await;
    goes_on.send(chunk("data: {\"n\":2}\n\n")).await;
    goes_on.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;
    log
}
