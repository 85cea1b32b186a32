//! Messages whose bodies are here with their heads: they go out in one write, and beyond the window
//! of the receiver like any other body.

use std::future::Future;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use llamapool_head::{RequestHead, ResponseHead};
use llamapool_tunnel::{
    IncomingBody, OutgoingBody, SendError, ServerEnd, StreamLease, TunnelConfig, TunnelEnd,
    serve_heads,
};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::*;

type Answer = (ResponseHead, OutgoingBody<AnyBody>);

/// A hello: 100 bytes of each body, 2 streams at once, heads below 64 KiB.
const HELLO: &[u8] = b"\x01\0\0\0\0\0\0\0\x0d\x01\0\0\0\x64\0\0\0\x02\0\x01\0\0";
/// `POST /` on stream 1, without a body and with one to come.
const POST_ALONE: &[u8] = b"\x82\0\0\0\x01\0\0\0\x0b\0\x04POST\0\0\0\x01/";
const POST: &[u8] = b"\x02\0\0\0\x01\0\0\0\x0b\0\x04POST\0\0\0\x01/";
/// 200 and 204 on stream 1, without a body.
const OK_ALONE: &[u8] = b"\x82\0\0\0\x01\0\0\0\x02\0\xc8";
const NO_CONTENT_ALONE: &[u8] = b"\x82\0\0\0\x01\0\0\0\x02\0\xcc";
/// 200 on stream 1, with a body to come.
const OK: &[u8] = b"\x02\0\0\0\x01\0\0\0\x02\0\xc8";
/// 1000 bytes more of the body of stream 1.
const WINDOW_UPDATE: &[u8] = b"\x07\0\0\0\x01\0\0\0\x04\0\0\x03\xe8";

#[test]
fn bodies_that_are_here_arrive_in_every_size() {
    paused(async {
        let (tunnel, _tasks) = tunnel_of_heads(echo_whole).await;
        let sizes = [
            0,
            1,
            16 << 10,
            (16 << 10) + 1,
            (64 << 10) + 1,
            (512 << 10) + 1,
        ];
        for length in sizes {
            let body = Bytes::from(vec![7; length]);
            let head = post_head(&["x-b", "x-a"]);
            let (head, received) = send(&tunnel, head, body.clone()).await.unwrap();

            assert_eq!(head.status, StatusCode::OK);
            let fields: Vec<_> = head.fields.iter().map(|(name, _)| name).collect();
            assert_eq!(fields, ["x-b", "x-a"], "in the order of the sender");
            assert!(read(received).await.unwrap() == body, "{length}");
        }
    });
}

#[test]
fn a_request_that_is_here_is_one_message_at_once() {
    for (body, tail) in [
        ("", POST_ALONE.to_vec()),
        ("abc", [POST, b"\x83\0\0\0\x01\0\0\0\x03abc"].concat()),
    ] {
        paused(async move {
            let (server, _tasks, mut relay) = server_and_relay_by_hand().await;
            let mut call = std::pin::pin!(send(&server, post_head(&[]), body));

            assert!(call.as_mut().now_or_never().is_none());

            let message = relay.next().now_or_never();
            assert_eq!(message.unwrap().unwrap().unwrap().into_data(), tail);
        });
    }
}

#[test]
fn a_request_beyond_the_window_waits_for_more() {
    paused(async {
        let (server, _tasks, mut relay) = server_and_relay_by_hand().await;
        let body = Bytes::from(vec![b'x'; 101]);
        let mut call = std::pin::pin!(send(&server, post_head(&[]), body));
        assert!(call.as_mut().now_or_never().is_none());

        let piece = [b"\x03\0\0\0\x01\0\0\0\x64", &[b'x'; 100][..]].concat();
        assert_eq!(received(&mut relay).await, [POST, &piece].concat());

        relay.send(Message::binary(WINDOW_UPDATE)).await.unwrap();
        until_idle().await;
        assert!(call.as_mut().now_or_never().is_none());
        assert_eq!(received(&mut relay).await, b"\x83\0\0\0\x01\0\0\0\x01x");

        relay.send(Message::binary(OK_ALONE)).await.unwrap();
        let (head, body) = call.await.unwrap();
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(read(body).await.unwrap(), Bytes::new());
    });
}

#[test]
fn a_response_that_is_here_is_one_message() {
    let cases = [
        (StatusCode::OK, 0, OK_ALONE.to_vec()),
        (
            StatusCode::OK,
            1,
            [OK, b"\x83\0\0\0\x01\0\0\0\x01x"].concat(),
        ),
        (StatusCode::NO_CONTENT, 1, NO_CONTENT_ALONE.to_vec()),
    ];
    for (status, length, expected) in cases {
        paused(async move {
            let (mut server, _relay) = relay_and_server_by_hand(status, length).await;

            server.send(Message::binary(POST_ALONE)).await.unwrap();
            until_idle().await;

            let message = server.next().now_or_never();
            assert_eq!(message.unwrap().unwrap().unwrap().into_data(), expected);
        });
    }
}

#[test]
fn a_response_beyond_the_window_waits_for_more() {
    paused(async {
        let (mut server, _relay) = relay_and_server_by_hand(StatusCode::OK, 101).await;

        server.send(Message::binary(POST_ALONE)).await.unwrap();
        let piece = [b"\x03\0\0\0\x01\0\0\0\x64", &[b'x'; 100][..]].concat();
        assert_eq!(received(&mut server).await, [OK, &piece].concat());

        server.send(Message::binary(WINDOW_UPDATE)).await.unwrap();
        assert_eq!(received(&mut server).await, b"\x83\0\0\0\x01\0\0\0\x01x");
    });
}

/// Answers with the fields and the body of the request.
async fn echo_whole(head: RequestHead, body: IncomingBody) -> Answer {
    let mut response = ResponseHead::new(StatusCode::OK);
    response.fields = head.fields;
    let body = read(body).await.unwrap();
    (response, OutgoingBody::Whole(body))
}

/// `POST /` with these fields.
fn post_head(fields: &[&'static str]) -> RequestHead {
    let mut head = RequestHead {
        method: Method::POST,
        uri: "/".parse().unwrap(),
        ..RequestHead::default()
    };
    let value = HeaderValue::from_static("1");
    for name in fields {
        let name = HeaderName::from_static(name);
        head.fields.append(&name, &value);
    }
    head
}

async fn send(
    server: &ServerEnd,
    head: RequestHead,
    body: impl Into<Bytes>,
) -> Result<(ResponseHead, IncomingBody), SendError> {
    let body = OutgoingBody::<AnyBody>::Whole(body.into());
    server.send_head(StreamLease::default(), &head, body).await
}

/// A tunnel whose relay answers with heads.
async fn tunnel_of_heads<F>(
    handler: impl Fn(RequestHead, IncomingBody) -> F + Send + 'static,
) -> (ServerEnd, [JoinSet<TunnelEnd>; 2])
where
    F: Future<Output = Answer> + Send + 'static,
{
    let (server_side, relay_side) = tokio::io::duplex(WIRE_BYTES);
    let relay = serve(relay_side, handler);
    let (server, driver) = open(server_side, TunnelConfig::default()).await;
    (server, [driver, relay])
}

fn serve<F>(
    io: DuplexStream,
    handler: impl Fn(RequestHead, IncomingBody) -> F + Send + 'static,
) -> JoinSet<TunnelEnd>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let handler = move |head, body| Box::pin(handler(head, body));
    let mut relay = JoinSet::new();
    relay.spawn(serve_heads(
        io,
        TunnelConfig::default(),
        handler,
        std::future::pending(),
    ));
    relay
}

/// A server's end, and the WebSocket of a relay by hand, behind both hellos.
async fn server_and_relay_by_hand() -> (ServerEnd, JoinSet<TunnelEnd>, WebSocketStream<DuplexStream>)
{
    let (server_side, peer) = tokio::io::duplex(WIRE_BYTES);
    let (server, driver) = open(server_side, TunnelConfig::default()).await;
    (server, driver, after_hellos(peer, Role::Client).await)
}

/// A relay's end that answers with so many bytes, and the WebSocket of a server by hand, behind
/// both hellos.
async fn relay_and_server_by_hand(
    status: StatusCode,
    length: usize,
) -> (WebSocketStream<DuplexStream>, JoinSet<TunnelEnd>) {
    let (relay_side, peer) = tokio::io::duplex(WIRE_BYTES);
    let relay = serve(relay_side, move |_, _| async move {
        let body = Bytes::from(vec![b'x'; length]);
        (ResponseHead::new(status), OutgoingBody::Whole(body))
    });
    (after_hellos(peer, Role::Server).await, relay)
}

async fn after_hellos(io: DuplexStream, role: Role) -> WebSocketStream<DuplexStream> {
    let mut peer = WebSocketStream::from_raw_socket(io, role, None).await;
    peer.send(Message::binary(HELLO)).await.unwrap();
    received(&mut peer).await;
    peer
}

/// Returns all bytes received so far.
async fn received(peer: &mut WebSocketStream<DuplexStream>) -> Vec<u8> {
    until_idle().await;
    let mut received = Vec::new();
    while let Some(Some(Ok(message))) = peer.next().now_or_never() {
        received.extend_from_slice(&message.into_data());
    }
    received
}
