//! Scenarios about exchanges that end early: disconnects, broken streams, cancelling.

use std::time::Instant;

use crate::differential::{Endpoint, EventReader, Route, read_answer, scenarios};
use crate::harness::{RawHttp, RawProvider, tools_call};
use crate::pace::Timing;
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
    the_provider_ends_a_stream_cleanly: Disconnects, ALL;
    the_tunnel_is_lost_in_the_middle_of_a_stream: Disconnects, ALL;
    a_message_that_cancels: Cancelling, ALL;
    closing_a_stream_cancels: Cancelling, MODERN;
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Opens a stream and reads its first event; returns the provider's connection, the caller's, and
/// the caller's events.
async fn open_stream(
    endpoint: &Endpoint,
    provider: &RawProvider,
    log: &mut Transcript,
) -> (RawHttp, RawHttp, EventReader) {
    let requested_at = Instant::now();
    let mut caller = endpoint
        .post(&[], tools_call(1, "t").to_string().as_bytes())
        .await;
    let (mut connection, head) = provider.call().await;
    log.timing(Timing::Request, &mut [requested_at.elapsed()]);
    let body = connection.body(&head).await;
    log.request(&head, &body);
    let answered_at = Instant::now();
    connection.send(STREAM).await;
    log.answer_head(&caller.head().await);
    log.timing(Timing::Head, &mut [answered_at.elapsed()]);
    log.note("the head came before the first event was made");
    connection
        .send(chunk("id: 1\nretry: 50\ndata: {\"n\":1}\n\n"))
        .await;
    let mut events = EventReader::default();
    events.until("\"n\":1", &mut caller, log).await;
    (connection, caller, events)
}

/// Disconnects the caller and records the rest of the provider's connection, up to its end.
async fn leave(caller: RawHttp, connection: &mut RawHttp, log: &mut Transcript) {
    let left_at = Instant::now();
    drop(caller);
    record_rest(connection, log).await;
    log.timing(Timing::Leaving, &mut [left_at.elapsed()]);
}

/// Records the rest of the provider's connection, up to its end.
async fn record_rest(connection: &mut RawHttp, log: &mut Transcript) {
    let mut rest = Vec::new();
    connection.rest_of_connection(&mut rest).await;
    log.body(&rest);
    log.note("the provider's connection has ended");
}

async fn the_caller_leaves_before_the_head(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let caller = endpoint
        .post(&[], tools_call(1, "t").to_string().as_bytes())
        .await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    log.request(&head, &body);
    leave(caller, &mut connection, &mut log).await;

    log
}

async fn the_caller_leaves_in_the_middle_of_a_stream(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, caller, _) = open_stream(&endpoint, &provider, &mut log).await;
    leave(caller, &mut connection, &mut log).await;
    log
}

async fn the_caller_leaves_an_idle_stream(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let mut caller = endpoint.get(&[("mcp-session-id", "s")]).await;
    let (mut connection, head) = provider.call().await;
    log.request(&head, b"");
    connection.send(STREAM).await;
    log.answer_head(&caller.head().await);
    leave(caller, &mut connection, &mut log).await;

    log
}

/// Bytes of the request that are still in flight may be lost: the provider sees a broken request.
async fn the_caller_leaves_in_the_middle_of_its_request(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let fields = [
        ("accept", "application/json"),
        ("transfer-encoding", "chunked"),
    ];
    let mut caller = endpoint
        .send(&endpoint.request_to("POST", &endpoint.path, &fields, b""))
        .await;
    caller.send("5\r\n01234\r\n").await;
    let (mut connection, head) = provider.call().await;
    let piece = connection.chunk().await.unwrap().unwrap();
    log.request(&head, &piece);
    let left_at = Instant::now();
    drop(caller);
    log.end(connection.chunk().await.unwrap_err());
    log.timing(Timing::Leaving, &mut [left_at.elapsed()]);

    log
}

async fn the_provider_breaks_a_stream_off(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller, mut events) =
        open_stream(&endpoint, &provider, &mut log).await;
    connection.send(chunk("data: {\"n\":2}\n\n")).await;
    let ended_at = Instant::now();
    drop(connection);
    events.rest(&mut caller, &mut log).await;
    log.timing(Timing::End, &mut [ended_at.elapsed()]);

    log
}

async fn the_provider_breaks_off_within_an_event(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller, mut events) =
        open_stream(&endpoint, &provider, &mut log).await;
    connection
        .send(chunk("data: {\"n\":2}\n\nid: 3\ndata: {\"n\""))
        .await;
    let ended_at = Instant::now();
    drop(connection);
    events.rest(&mut caller, &mut log).await;
    log.timing(Timing::End, &mut [ended_at.elapsed()]);

    log
}

/// The start of a possible endpoint event is buffered for inspection, and must still be forwarded.
async fn the_provider_breaks_the_stream_of_an_endpoint_off(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let mut caller = endpoint.get(&[]).await;
    let (mut connection, _) = provider.call().await;
    connection
        .send(format!("{STREAM}{}", chunk("event: endpoint\ndata: /m")))
        .await;
    drop(connection);
    log.answer_head(&caller.head().await);
    EventReader::default().rest(&mut caller, &mut log).await;

    log
}

async fn the_provider_breaks_a_body_of_known_length_off(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let mut caller = endpoint.post(&[], b"{}").await;
    provider.answer("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":").await;
    read_answer(&mut caller, &mut log).await;
    log
}

/// A provider of 2025-11-25 may end a stream before the answer; the client resumes after a clean
/// end.
async fn the_provider_ends_a_stream_cleanly(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller, mut events) =
        open_stream(&endpoint, &provider, &mut log).await;
    let ended_at = Instant::now();
    connection.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;
    log.timing(Timing::End, &mut [ended_at.elapsed()]);

    log
}

/// On the direct route the connection to the provider is lost instead.
async fn the_tunnel_is_lost_in_the_middle_of_a_stream(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller, mut events) =
        open_stream(&endpoint, &provider, &mut log).await;

    match &endpoint.deployment {
        Some(deployment) => {
            deployment.link.cut();
            events.rest(&mut caller, &mut log).await;
            record_rest(&mut connection, &mut log).await;
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

/// In the older revisions a message cancels: it arrives while the call runs, and the stream of the
/// call goes on.
async fn a_message_that_cancels(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut connection, mut caller, mut events) =
        open_stream(&endpoint, &provider, &mut log).await;
    let cancel = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"no more"}}"#;
    let mut other = endpoint.post(&[("mcp-session-id", "s")], cancel).await;
    let (head, body) = provider
        .answer("HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await;
    log.request(&head, &body);
    read_answer(&mut other, &mut log).await;
    connection.send(chunk("data: {\"n\":2}\n\n")).await;
    connection.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;

    log
}

/// From 2026-07-28 on, closing the stream cancels: the provider's connection must end, and others
/// go on.
async fn closing_a_stream_cancels(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let (mut lasting, mut caller, mut events) = open_stream(&endpoint, &provider, &mut log).await;
    let (mut cancelled, other, _) = open_stream(&endpoint, &provider, &mut log).await;
    leave(other, &mut cancelled, &mut log).await;
    lasting.send(chunk("data: {\"n\":2}\n\n")).await;
    lasting.send("0\r\n\r\n").await;
    events.rest(&mut caller, &mut log).await;

    log
}
