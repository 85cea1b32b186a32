//! The ends of a tunnel, and their effects on both sides and on every running call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Response;
use llamapool_tunnel::{
    CloseReason, IncomingBodyError, SendError, TunnelConfig, TunnelEnd, serve_relay_end,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::*;

#[test]
fn a_tunnel_lost_under_a_response_is_no_abort() {
    paused(async {
        let (feed, mut tunnel) = relay_with_one_fed_response().await;
        let mut body = tunnel.send(get()).await.unwrap().into_body();
        feed.send(Ok("one".into())).await.unwrap();

        assert_eq!(next(&mut body).await.unwrap(), "one");

        let lost = Instant::now();
        tunnel.kill_relay();
        let (_, error) = read_until_it_breaks(body).await;

        assert!(
            matches!(error, IncomingBodyError::TunnelLost(_)),
            "{error:?}"
        );
        assert!(
            lost.elapsed() < Duration::from_millis(10),
            "after {:?}",
            lost.elapsed()
        );
        assert!(matches!(tunnel.server_ended().await, TunnelEnd::Broken(_)));
    });
}

#[test]
fn bytes_that_arrived_before_the_tunnel_was_lost_are_still_read() {
    paused(async {
        let (feed, mut tunnel) = relay_with_one_fed_response().await;
        let body = tunnel.send(get()).await.unwrap().into_body();
        feed.send(Ok("one".into())).await.unwrap();
        until_idle().await;
        tunnel.kill_relay();
        tunnel.server_ended().await;

        let (bytes, error) = read_until_it_breaks(body).await;

        assert_eq!(bytes, b"one");
        assert!(
            matches!(error, IncomingBodyError::TunnelLost(_)),
            "{error:?}"
        );
    });
}

#[test]
fn calls_without_a_response_fail_when_the_tunnel_is_lost() {
    paused(async {
        let (mut wire, sides) = Wire::new();
        let tunnel =
            TestTunnel::over(sides, TunnelConfig::default(), |_| std::future::pending()).await;
        let small = tunnel.send(get());
        let large = tunnel.send(upload(endless().1));
        let cut = async {
            until_idle().await;
            wire.cut();
            Instant::now()
        };

        let (small, large, lost) = tokio::join!(small, large, cut);

        assert!(matches!(small, Err(SendError::TunnelLost(_))), "{small:?}");
        assert!(matches!(large, Err(SendError::TunnelLost(_))), "{large:?}");
        assert!(
            lost.elapsed() < Duration::from_millis(10),
            "after {:?}",
            lost.elapsed()
        );

        let late = tunnel.send(get()).await;
        assert!(matches!(late, Err(SendError::NotAccepted(_))), "{late:?}");
    });
}

#[test]
fn a_request_under_way_breaks_off_when_the_tunnel_is_lost() {
    paused(async {
        let (mut wire, sides) = Wire::new();
        let (tunnel, mut bodies) = TestTunnel::with_request_bodies(sides).await;
        let (feed, body) = fed();
        let lose = async {
            feed.send(Ok("one".into())).await.unwrap();
            let mut body = bodies.recv().await.unwrap();

            assert_eq!(next(&mut body).await.unwrap(), "one");

            wire.cut();
            read_until_it_breaks(body).await.1
        };
        let (result, error) = tokio::join!(tunnel.send(upload(body)), lose);

        assert!(
            matches!(result, Err(SendError::TunnelLost(_))),
            "{result:?}"
        );
        assert!(
            matches!(error, IncomingBodyError::TunnelLost(_)),
            "{error:?}"
        );
    });
}

#[test]
fn a_drained_relay_finishes_its_calls_and_accepts_no_more() {
    paused(async {
        let (feed, mut tunnel) = relay_with_one_fed_response().await;
        let mut body = tunnel.send(get()).await.unwrap().into_body();
        tunnel.start_drain();
        until_idle().await;

        let late = tunnel.send(get()).await;

        assert!(matches!(late, Err(SendError::NotAccepted(_))), "{late:?}");

        feed.send(Ok("the last word".into())).await.unwrap();
        assert_eq!(next(&mut body).await.unwrap(), "the last word");

        drop(feed);
        assert_eq!(next(&mut body).await, None);
        assert_eq!(tunnel.relay_ended().await, TunnelEnd::Closed);
        assert!(
            matches!(tunnel.server_ended().await, TunnelEnd::ClosedByPeer(code) if code.0 == 1000)
        );
    });
}

#[test]
fn an_idle_relay_is_drained_at_once() {
    paused(async {
        let mut tunnel = TestTunnel::new(echo).await;
        tunnel.assert_serves().await;
        let started = Instant::now();

        tunnel.start_drain();

        assert_eq!(tunnel.relay_ended().await, TunnelEnd::Closed);
        assert!(
            matches!(tunnel.server_ended().await, TunnelEnd::ClosedByPeer(code) if code.0 == 1000)
        );
        assert!(
            started.elapsed() < Duration::from_millis(10),
            "after {:?}",
            started.elapsed()
        );
    });
}

#[test]
fn the_relay_learns_why_the_server_closes() {
    for (reason, code) in [
        (CloseReason::Done, 1000),
        (CloseReason::GoingAway, 1001),
        (CloseReason::Protocol, 1002),
        (CloseReason::Replaced, 4001),
    ] {
        paused(async move {
            let mut tunnel = TestTunnel::new(echo).await;
            tunnel.assert_serves().await;
            tunnel.server.close(reason);

            assert!(
                matches!(tunnel.relay_ended().await, TunnelEnd::ClosedByPeer(got) if got.0 == code)
            );
            assert_eq!(tunnel.server.closed().await, TunnelEnd::Closed);
            assert_eq!(tunnel.server_ended().await, TunnelEnd::Closed);
        });
    }
}

#[test]
fn the_first_reason_to_close_is_the_one_that_counts() {
    paused(async {
        let mut tunnel = TestTunnel::new(echo).await;
        tunnel.server.close(CloseReason::Replaced);
        tunnel.server.close(CloseReason::Done);

        assert!(
            matches!(tunnel.relay_ended().await, TunnelEnd::ClosedByPeer(code) if code.0 == 4001)
        );
    });
}

#[test]
fn the_reason_to_close_arrives_under_full_load_both_ways() {
    paused(async {
        let mut tunnel = TestTunnel::new(|_| async { Response::new(endless().1) }).await;
        let mut body = tunnel.send(upload(endless().1)).await.unwrap().into_body();
        next(&mut body).await.unwrap();
        tunnel.server.close(CloseReason::Replaced);

        let (_, error) = read_until_it_breaks(body).await;

        assert!(
            matches!(error, IncomingBodyError::TunnelLost(_)),
            "{error:?}"
        );
        assert!(
            matches!(tunnel.relay_ended().await, TunnelEnd::ClosedByPeer(code) if code.0 == 4001)
        );
    });
}

/// The peer reads nothing, so not even the close can be sent.
#[test]
fn calls_fail_at_once_when_a_stuck_tunnel_is_closed() {
    paused(async {
        let (server_side, peer) = tokio::io::duplex(1000);
        let (server, mut driver) = open(server_side, TunnelConfig::default()).await;
        let peer = only_hello(peer).await;
        let call = server.send(upload(endless().1));
        let close = async {
            until_idle().await;
            server.close(CloseReason::Replaced);
            Instant::now()
        };

        let (result, closed) = tokio::join!(call, close);

        assert!(
            matches!(result, Err(SendError::TunnelLost(_))),
            "{result:?}"
        );
        assert_eq!(server.closed().await, TunnelEnd::Closed);
        assert!(
            closed.elapsed() < Duration::from_millis(10),
            "after {:?}",
            closed.elapsed()
        );
        // The goodbye to a peer that does not take it is given up soon.
        assert_eq!(
            driver.join_next().await.unwrap().unwrap(),
            TunnelEnd::Closed
        );
        assert!(
            closed.elapsed() <= Duration::from_secs(2),
            "after {:?}",
            closed.elapsed()
        );

        drop(peer);
    });
}

#[test]
fn the_close_reason_arrives_behind_data_for_a_slow_peer() {
    paused(async {
        let (server_side, peer) = tokio::io::duplex(1000);
        let (server, mut driver) = open(server_side, TunnelConfig::default()).await;
        let peer = only_hello(peer).await;
        let call = server.send(upload(endless().1));

        let close = async {
            until_idle().await;
            server.close(CloseReason::Replaced);
        };

        assert!(tokio::join!(call, close).0.is_err());

        let mut peer = raw(peer, Role::Client).await;
        let mut last = None;
        while let Some(Ok(message)) = peer.next().await {
            last = Some(message);
        }
        let Some(Message::Close(Some(frame))) = last else {
            panic!("the last message is {last:?}")
        };

        assert_eq!(u16::from(frame.code), 4001);
        assert_eq!(
            driver.join_next().await.unwrap().unwrap(),
            TunnelEnd::Closed
        );
    });
}

#[test]
fn without_a_last_handle_the_servers_end_closes() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        tunnel.assert_serves().await;
        let (mut driver, mut relay, _drain) = tunnel.without_server();

        assert_eq!(
            driver.join_next().await.unwrap().unwrap(),
            TunnelEnd::Closed
        );
        let end = relay.join_next().await.unwrap().unwrap();
        assert!(
            matches!(&end, TunnelEnd::ClosedByPeer(code) if code.0 == 1000),
            "{end:?}"
        );
    });
}

#[test]
fn without_its_driver_the_servers_end_is_closed_and_lost() {
    paused(async {
        let mut tunnel = TestTunnel::new(echo).await;
        tunnel.assert_serves().await;
        tunnel.drop_driver();

        assert_eq!(tunnel.server.closed().await, TunnelEnd::Closed);
        assert!(matches!(
            tunnel.send(get()).await,
            Err(SendError::NotAccepted(_))
        ));
        assert!(!tunnel.server.is_alive(Duration::from_secs(1)).await);
        assert!(matches!(tunnel.relay_ended().await, TunnelEnd::Broken(_)));
    });
}

#[test]
fn a_text_message_breaks_the_servers_end() {
    paused(async {
        let (server_side, peer) = tokio::io::duplex(WIRE_BYTES);
        let (_server, mut driver) = open(server_side, TunnelConfig::default()).await;
        let mut peer = raw(peer, Role::Client).await;

        peer.send(Message::text("hello")).await.unwrap();

        assert_eq!(close_code(peer).await, 1002);

        let end = driver.join_next().await.unwrap().unwrap();
        assert!(
            matches!(&end, TunnelEnd::Broken(reason) if reason.contains("text message")),
            "{end:?}"
        );
    });
}

#[test]
fn a_text_message_breaks_the_relays_end() {
    paused(async {
        let (relay_side, peer) = tokio::io::duplex(WIRE_BYTES);
        let relay = serve_relay_end(
            relay_side,
            TunnelConfig::default(),
            echo,
            std::future::pending(),
        );
        let speak = async {
            let mut peer = raw(peer, Role::Server).await;
            peer.send(Message::text("hello")).await.unwrap();
            close_code(peer).await
        };

        let (end, code) = tokio::join!(relay, speak);

        assert!(
            matches!(&end, TunnelEnd::Broken(reason) if reason.contains("text message")),
            "{end:?}"
        );
        assert_eq!(code, 1002);
    });
}

/// Although the next write would succeed.
#[test]
fn a_write_that_fails_for_a_stream_breaks_the_tunnel() {
    paused(async {
        let (server_side, peer) = tokio::io::duplex(WIRE_BYTES);
        let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (server, mut driver) =
            open(Failing(server_side, fails.clone()), TunnelConfig::default()).await;
        let _peer = only_hello(peer).await;
        until_idle().await;
        fails.store(true, std::sync::atomic::Ordering::SeqCst);

        let result = server.send(get()).await;

        assert!(
            matches!(result, Err(SendError::TunnelLost(_))),
            "{result:?}"
        );

        let end = driver.join_next().await.unwrap().unwrap();
        assert!(
            matches!(&end, TunnelEnd::Broken(reason) if reason.contains("it fails once")),
            "{end:?}"
        );
    });
}

/// A wire whose next write fails once the flag is set.
struct Failing(DuplexStream, std::sync::Arc<std::sync::atomic::AtomicBool>);

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.1.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Poll::Ready(Err(io::Error::other("it fails once")));
        }
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn raw(io: DuplexStream, role: Role) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(io, role, None).await
}

async fn close_code(mut peer: WebSocketStream<DuplexStream>) -> u16 {
    loop {
        match peer
            .next()
            .await
            .expect("a close comes before the end")
            .expect("a close comes before the end")
        {
            Message::Close(frame) => return frame.expect("the close has a reason").code.into(),
            _ => continue,
        }
    }
}

/// A relay whose only response has a body that the test feeds.
async fn relay_with_one_fed_response() -> (
    mpsc::Sender<Result<bytes::Bytes, llamapool_tunnel::BoxError>>,
    TestTunnel,
) {
    let (feed, body) = fed();
    let body = parking_lot::Mutex::new(Some(body));
    let tunnel = TestTunnel::new(move |_| {
        let body = body.lock().take().expect("called once");
        async { Response::new(body) }
    });
    (feed, tunnel.await)
}
