//! One end against a peer that writes frames by hand: the frames that an end sends, refuses and
//! tolerates.

use std::sync::LazyLock;

use futures_util::{FutureExt, SinkExt, StreamExt};
use http::Response;
use llamapool_tunnel::{
    IncomingBodyError, SendError, ServerEnd, TunnelConfig, TunnelEnd, serve_relay_end,
};
use tokio::io::DuplexStream;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::*;

/// A hello: 100 bytes of each body, 2 streams at once, heads below 64 KiB.
const HELLO: &[u8] = b"\x01\0\0\0\0\0\0\0\x0d\x01\0\0\0\x64\0\0\0\x02\0\x01\0\0";
/// `POST /` on stream 1, and the same on 2, 3 and 1 again.
const REQUEST: [&[u8]; 4] = [
    b"\x02\0\0\0\x01\0\0\0\x0b\0\x04POST\0\0\0\x01/",
    b"\x02\0\0\0\x02\0\0\0\x0b\0\x04POST\0\0\0\x01/",
    b"\x02\0\0\0\x03\0\0\0\x0b\0\x04POST\0\0\0\x01/",
    b"\x02\0\0\0\x01\0\0\0\x0b\0\x04POST\0\0\0\x01/",
];
/// 200 on stream 1, with a body to come.
const RESPONSE: &[u8] = b"\x02\0\0\0\x01\0\0\0\x02\0\xc8";

/// A peer that sends and receives frames by hand.
struct Peer(WebSocketStream<DuplexStream>);

impl Peer {
    async fn new(io: DuplexStream, role: Role) -> Self {
        Self(WebSocketStream::from_raw_socket(io, role, None).await)
    }

    async fn send(&mut self, frames: &[&[u8]]) {
        // The other end may have hung up before.
        let _ = self.0.send(Message::binary(frames.concat())).await;
    }

    /// Returns all bytes received so far.
    async fn received(&mut self) -> Vec<u8> {
        until_idle().await;
        let mut received = Vec::new();
        while let Some(Some(Ok(message))) = self.0.next().now_or_never() {
            received.extend_from_slice(&message.into_data());
        }
        received
    }
}

/// A server's end, and a relay by hand that has sent this hello.
async fn server_and_relay_by_hand(hello: &[u8]) -> (ServerEnd, JoinSet<TunnelEnd>, Peer) {
    let (server_side, peer) = tokio::io::duplex(WIRE_BYTES);
    let config = TunnelConfig {
        stream_window: 1000,
        ..TunnelConfig::default()
    };
    let (server, driver) = open(server_side, config).await;
    let mut peer = Peer::new(peer, Role::Client).await;
    peer.send(&[hello]).await;
    (server, driver, peer)
}

/// A server's end with one call open, and a relay by hand that has sent its hello.
async fn server_with_a_call() -> (
    Peer,
    JoinSet<TunnelEnd>,
    oneshot::Receiver<Result<String, String>>,
) {
    let (server, mut tasks, peer) = server_and_relay_by_hand(HELLO).await;
    let (report, outcome) = oneshot::channel();
    tasks.spawn(async move {
        let outcome = match server.send(get()).await {
            Ok(response) => match read(response.into_body()).await {
                Ok(body) => Ok(String::from_utf8_lossy(&body).into_owned()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let _ = report.send(outcome);
        server.closed().await
    });
    until_idle().await;
    (peer, tasks, outcome)
}

#[test]
fn impossible_frames_of_a_relay_break_the_tunnel_by_name() {
    let table: [(&str, &[&[u8]]); 9] = [
        (
            "a piece of stream 9, which was not opened",
            &[b"\x03\0\0\0\x09\0\0\0\x01x"],
        ),
        (
            "a head of stream 0, which was not opened",
            &[b"\x02\0\0\0\0\0\0\0\x02\0\xc8"],
        ),
        (
            "a body before its head on stream 1",
            &[b"\x03\0\0\0\x01\0\0\0\x01x"],
        ),
        ("a second head on stream 1", &[RESPONSE, RESPONSE]),
        (
            "more of a body than there was room for on stream 1",
            &[RESPONSE, &TOO_MUCH],
        ),
        (
            "more room than can be counted on stream 1",
            &[b"\x07\0\0\0\x01\0\0\0\x04\xff\xff\xff\xff"],
        ),
        ("a frame of kind 9", &[b"\x09\0\0\0\x01\0\0\0\0"]),
        (
            "a frame of kind 2 with 65537 bytes",
            &[b"\x02\0\0\0\x01\0\x01\0\x01"],
        ),
        ("said hello twice", &[HELLO]),
    ];
    for (expected, frames) in table {
        paused(async move {
            let (mut peer, mut tasks, outcome) = server_with_a_call().await;
            peer.send(frames).await;
            let error = outcome.await.unwrap().expect_err(expected);

            assert!(
                error.contains("the tunnel was lost") && error.contains(expected),
                "{error:?}, not {expected:?}"
            );

            let end = tasks.join_next().await.unwrap().unwrap();
            assert!(
                matches!(&end, TunnelEnd::Broken(reason) if reason.contains(expected)),
                "{end:?}, not {expected:?}"
            );
        });
    }
}

/// More than the window of the server with a call.
static TOO_MUCH: LazyLock<Vec<u8>> =
    LazyLock::new(|| [&b"\x03\0\0\0\x01\0\0\x03\xe9"[..], &[7; 1001]].concat());

#[test]
fn a_malformed_head_fails_its_own_call_alone() {
    paused(async {
        let (mut peer, mut tasks, outcome) = server_with_a_call().await;
        peer.send(&[b"\x02\0\0\0\x01\0\0\0\x02\0\x00"]).await;

        assert_eq!(
            outcome.await.unwrap(),
            Err("the relay gave the request up: it makes no sense".to_owned())
        );

        until_idle().await;
        assert!(tasks.try_join_next().is_none(), "the tunnel lives");
        assert!(
            peer.received()
                .await
                .ends_with(b"\x06\0\0\0\x01\0\0\0\x01\0"),
            "the relay learns that it is over"
        );
    });
}

#[test]
fn late_frames_of_a_stream_that_is_over_are_no_error() {
    paused(async {
        let (mut peer, mut tasks, outcome) = server_with_a_call().await;
        peer.send(&[RESPONSE, b"\x83\0\0\0\x01\0\0\0\x04fine"])
            .await;

        assert_eq!(outcome.await.unwrap(), Ok("fine".to_owned()));

        let late: [&[u8]; 5] = [
            b"\x03\0\0\0\x01\0\0\0\x04late",
            b"\x04\0\0\0\x01\0\0\0\0",
            b"\x05\0\0\0\x01\0\0\0\0",
            b"\x06\0\0\0\x01\0\0\0\x01\x02",
            b"\x07\0\0\0\x01\0\0\0\x04\0\0\0\x01",
        ];
        peer.send(&late).await;
        until_idle().await;

        assert!(tasks.try_join_next().is_none(), "the tunnel lives");
    });
}

#[test]
fn a_relays_reason_to_cancel_reaches_the_caller() {
    for (code, expected) in [
        (1, "the tunnel took no more requests: it was not begun"),
        (2, "the relay gave the request up: it was given up"),
        (
            3,
            "the relay gave the request up: the head of its answer is too large",
        ),
        (99, "the relay gave the request up: it was given up"),
    ] {
        paused(async move {
            let (mut peer, _tasks, outcome) = server_with_a_call().await;
            peer.send(&[&[6, 0, 0, 0, 1, 0, 0, 0, 1, code]]).await;

            assert_eq!(outcome.await.unwrap(), Err(expected.to_owned()));
        });
    }
}

#[test]
fn impossible_frames_of_a_server_break_the_tunnel_by_name() {
    let table: [(&str, &[&[u8]]); 6] = [
        ("did not begin with a hello", &[REQUEST[0]]),
        (
            "opened stream 1 behind stream 2",
            &[HELLO, REQUEST[1], REQUEST[0]],
        ),
        (
            "opened stream 1 behind stream 1",
            &[HELLO, REQUEST[0], REQUEST[3]],
        ),
        (
            "a piece of stream 2, which was not opened",
            &[HELLO, REQUEST[0], b"\x03\0\0\0\x02\0\0\0\x01x"],
        ),
        (
            "a body that goes on behind its end on stream 1",
            &[
                HELLO,
                REQUEST[0],
                b"\x83\0\0\0\x01\0\0\0\0",
                b"\x03\0\0\0\x01\0\0\0\x01x",
            ],
        ),
        (
            "no more requests come, and was not asked",
            &[HELLO, b"\x08\0\0\0\0\0\0\0\0"],
        ),
    ];
    for (expected, frames) in table {
        paused(async move {
            let (relay_side, peer) = tokio::io::duplex(WIRE_BYTES);
            let never_answers = |_| std::future::pending::<Response<AnyBody>>();
            let relay = serve_relay_end(
                relay_side,
                TunnelConfig::default(),
                never_answers,
                std::future::pending(),
            );
            let mut peer = Peer::new(peer, Role::Server).await;

            let end = tokio::join!(relay, async {
                peer.send(frames).await;
                // The goodbye is answered.
                while let Some(Ok(_)) = peer.0.next().await {}
            });

            assert!(
                matches!(&end.0, TunnelEnd::Broken(reason) if reason.contains(expected)),
                "{:?}, not {expected:?}",
                end.0
            );
        });
    }
}

#[test]
fn requests_beyond_the_limit_and_behind_the_drain_are_not_begun() {
    paused(async {
        let (relay_side, peer) = tokio::io::duplex(WIRE_BYTES);
        let (start_drain, drain) = oneshot::channel::<()>();
        let (begun, mut handlers) = tokio::sync::mpsc::channel(1);
        let handler = move |_| {
            let (response, answered) = oneshot::channel::<Response<AnyBody>>();
            begun.try_send(response).unwrap();
            async { answered.await.unwrap() }
        };
        let config = TunnelConfig {
            max_streams: 1,
            ..TunnelConfig::default()
        };
        let relay = serve_relay_end(relay_side, config, handler, async { drop(drain.await) });
        let peer = async {
            let mut peer = Peer::new(peer, Role::Server).await;
            peer.send(&[HELLO, REQUEST[0], REQUEST[1]]).await;
            let received = peer.received().await;

            // The second is not begun, and the handler of the first has dropped the request unread.
            assert!(
                received.ends_with(b"\x06\0\0\0\x02\0\0\0\x01\x01\x05\0\0\0\x01\0\0\0\0"),
                "{received:?}"
            );

            let first = handlers.recv().await.unwrap();
            start_drain.send(()).unwrap();
            assert_eq!(peer.received().await, b"\x08\0\0\0\0\0\0\0\0");

            // It was on its way when the relay asked for no more.
            peer.send(&[REQUEST[2]]).await;
            assert_eq!(peer.received().await, b"\x06\0\0\0\x03\0\0\0\x01\x01");

            first.send(Response::new(full("fine"))).unwrap();
            let received = peer.received().await;
            assert_eq!(
                received,
                b"\x02\0\0\0\x01\0\0\0\x02\0\xc8\x83\0\0\0\x01\0\0\0\x04fine"
            );

            // The rest of the first request, sent before the server received the stop.
            peer.send(&[b"\x83\0\0\0\x01\0\0\0\0", b"\x08\0\0\0\0\0\0\0\0"])
                .await;
            while let Some(Ok(_)) = peer.0.next().await {}

            assert!(handlers.recv().await.is_none(), "only one was begun");
        };
        assert_eq!(tokio::join!(relay, peer).0, TunnelEnd::Closed);
    });
}

/// It was on its way when the relay asked for no more requests.
#[test]
fn a_request_that_crosses_the_drain_is_not_begun() {
    paused(async {
        let (relay_side, peer) = tokio::io::duplex(WIRE_BYTES);
        let (start_drain, drain) = oneshot::channel::<()>();
        let never_answers = |_| std::future::pending::<Response<AnyBody>>();
        let relay = serve_relay_end(relay_side, TunnelConfig::default(), never_answers, async {
            drop(drain.await)
        });
        let peer = async {
            let mut peer = Peer::new(peer, Role::Server).await;
            peer.send(&[HELLO]).await;
            start_drain.send(()).unwrap();

            assert!(peer.received().await.ends_with(b"\x08\0\0\0\0\0\0\0\0"));

            peer.send(&[REQUEST[0]]).await;
            assert_eq!(peer.received().await, b"\x06\0\0\0\x01\0\0\0\x01\x01");

            peer.send(&[b"\x08\0\0\0\0\0\0\0\0"]).await;
            while let Some(Ok(_)) = peer.0.next().await {}
        };

        assert_eq!(tokio::join!(relay, peer).0, TunnelEnd::Closed);
    });
}

/// It opens more streams than the relay allows, and reads nothing.
#[test]
fn a_server_that_reads_no_refusals_loses_the_tunnel() {
    paused(async {
        let (relay_side, peer) = tokio::io::duplex(WIRE_BYTES);
        let never_answers = |_| std::future::pending::<Response<AnyBody>>();
        let config = TunnelConfig {
            max_streams: 1,
            ..TunnelConfig::default()
        };
        let relay = serve_relay_end(relay_side, config, never_answers, std::future::pending());
        let server = async {
            let mut peer = Peer::new(peer, Role::Server).await;
            peer.send(&[HELLO]).await;
            for first in (1..=200_000_u32).step_by(1000) {
                let requests: Vec<u8> = (first..first + 1000)
                    .flat_map(|number| {
                        [
                            b"\x82",
                            &number.to_be_bytes()[..],
                            b"\0\0\0\x0b\0\x04POST\0\0\0\x01/",
                        ]
                        .concat()
                    })
                    .collect();
                peer.send(&[&requests]).await;
            }
            while let Some(Ok(_)) = peer.0.next().await {}
        };

        let (end, ()) = tokio::join!(relay, server);

        assert!(
            matches!(&end, TunnelEnd::Broken(reason) if reason.contains("does not read")),
            "{end:?}"
        );
    });
}

#[test]
fn a_body_waits_for_the_room_that_its_receiver_gives() {
    paused(async {
        let (server, _driver, mut peer) = server_and_relay_by_hand(HELLO).await;
        let mut call = Box::pin(server.send(post(vec![7; 250])));
        let peer = async {
            let received = peer.received().await;

            // The hello, the head, and 100 bytes behind their prelude.
            assert!(
                received.ends_with(&[&b"\x03\0\0\0\x01\0\0\0\x64"[..], &[7; 100]].concat()),
                "{received:?}"
            );

            peer.send(&[b"\x07\0\0\0\x01\0\0\0\x04\0\0\0\x01"]).await;
            assert_eq!(peer.received().await, b"\x03\0\0\0\x01\0\0\0\x01\x07");

            peer.send(&[b"\x07\0\0\0\x01\0\0\0\x04\0\0\x10\0"]).await;
            assert_eq!(
                peer.received().await,
                [&b"\x83\0\0\0\x01\0\0\0\x95"[..], &[7; 149]].concat()
            );

            peer.send(&[b"\x82\0\0\0\x01\0\0\0\x02\0\xcc"]).await;
        };
        let (response, ()) = tokio::join!(&mut call, peer);

        assert_eq!(response.unwrap().status(), 204);
    });
}

#[test]
fn a_refused_body_ends_and_its_response_still_comes() {
    paused(async {
        let (server, _driver, mut peer) = server_and_relay_by_hand(HELLO).await;
        let (produced, body) = endless();
        let (body, mut dropped) = guarded(body);
        let peer = async {
            until_idle().await;
            peer.send(&[b"\x05\0\0\0\x01\0\0\0\0"]).await;
            until_idle().await;

            let sent = produced.load(std::sync::atomic::Ordering::SeqCst);

            assert_eq!(
                dropped.try_recv(),
                Err(TryRecvError::Empty),
                "its caller is to receive the response first"
            );

            peer.send(&[
                b"\x07\0\0\0\x01\0\0\0\x04\0\x10\0\0",
                b"\x82\0\0\0\x01\0\0\0\x02\0\xc8",
            ])
            .await;
            until_idle().await;

            assert_eq!(produced.load(std::sync::atomic::Ordering::SeqCst), sent);
        };
        let (response, ()) = tokio::join!(server.send(upload(body)), peer);

        assert_eq!(read(response.unwrap().into_body()).await.unwrap(), "");
        assert!(dropped.await.is_err(), "it is kept no longer");
    });
}

#[test]
fn an_abort_frame_breaks_a_response_off_behind_its_bytes() {
    paused(async {
        let (server, _driver, mut peer) = server_and_relay_by_hand(HELLO).await;
        let peer = async {
            until_idle().await;
            peer.send(&[
                RESPONSE,
                b"\x03\0\0\0\x01\0\0\0\x04half",
                b"\x04\0\0\0\x01\0\0\0\0",
            ])
            .await;
        };
        let (response, ()) = tokio::join!(server.send(get()), peer);

        let (bytes, error) = read_until_it_breaks(response.unwrap().into_body()).await;

        assert_eq!(bytes, b"half");
        assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");
    });
}

#[test]
fn the_smaller_bound_of_a_head_counts_for_both_ends() {
    paused(async {
        // The same hello with 1 KiB for a head.
        let hello = b"\x01\0\0\0\0\0\0\0\x0d\x01\0\0\0\x64\0\0\0\x02\0\0\x04\0";
        let (server, _driver, _peer) = server_and_relay_by_hand(hello).await;
        until_idle().await;
        let mut request = get();
        request
            .headers_mut()
            .insert("x", http::HeaderValue::from_bytes(&[b'v'; 1000]).unwrap());

        let result = server.send(request).await;

        assert!(
            matches!(&result, Err(SendError::HeadTooLarge(reason)) if reason.contains("less than 1024")),
            "{result:?}"
        );
    });
}

/// The rest is flushed by the connection task.
#[test]
fn few_requests_are_flushed_at_once_and_many_by_the_eighth() {
    paused(async {
        let hello = b"\x01\0\0\0\0\0\0\0\x0d\x01\0\x10\0\0\0\0\0\x64\0\x01\0\0";
        let (server, _driver, mut peer) = server_and_relay_by_hand(hello).await;
        peer.received().await;
        let mut calls: Vec<_> = (0..14).map(|_| Box::pin(server.send(get()))).collect();
        for (number, call) in calls.iter_mut().enumerate() {
            begin(call.as_mut());
            // Nothing else has run meanwhile, not even the driver.
            let on_the_wire = peer.0.next().now_or_never().is_some();

            assert_eq!(on_the_wire, number < 4 || number == 11, "call {number}");
        }

        // The last two go when the driver has its turn.
        assert_eq!(
            peer.received().await.len(),
            2 * b"\x82\0\0\0\x0d\0\0\0\x16\0\x03GET\0\0\0\x0dhttp://relay/".len()
        );
    });
}
