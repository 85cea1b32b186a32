//! A silent peer counts as lost in 20 seconds, a quiet one does not.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use llamapool_tunnel::{SendError, TunnelConfig, TunnelEnd};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::*;

const GONE: Duration = Duration::from_secs(20);

#[test]
fn a_wire_that_goes_silent_ends_both_ends_in_20_seconds() {
    paused(async {
        let (mut wire, sides) = Wire::new();
        let mut tunnel = TestTunnel::over(sides, TunnelConfig::default(), echo).await;
        tunnel.assert_serves().await;
        wire.go_silent();

        let silent_since = Instant::now();

        assert_eq!(tunnel.server_ended().await, TunnelEnd::Silent);
        assert_eq!(tunnel.relay_ended().await, TunnelEnd::Silent);
        assert!(
            silent_since.elapsed() < GONE,
            "after {:?}",
            silent_since.elapsed()
        );
    });
}

#[test]
fn a_wire_silent_from_the_start_ends_both_ends_in_20_seconds() {
    paused(async {
        let (mut wire, sides) = Wire::new();
        wire.go_silent();
        let mut tunnel = TestTunnel::over(sides, TunnelConfig::default(), echo).await;

        let silent_since = Instant::now();

        assert_eq!(tunnel.server_ended().await, TunnelEnd::Silent);
        assert_eq!(tunnel.relay_ended().await, TunnelEnd::Silent);
        assert!(
            silent_since.elapsed() < GONE,
            "after {:?}",
            silent_since.elapsed()
        );
    });
}

/// Data that waits for it does not count as a sign of life.
#[test]
fn a_peer_that_reads_nothing_counts_as_lost_in_20_seconds() {
    paused(async {
        let (server_side, peer) = tokio::io::duplex(1000);
        let (server, mut driver) = open(server_side, TunnelConfig::default()).await;
        let _peer = only_hello(peer).await;
        let started = Instant::now();

        let result = server.send(upload(endless().1)).await;

        assert!(
            matches!(result, Err(SendError::TunnelLost(_))),
            "{result:?}"
        );
        assert_eq!(
            driver.join_next().await.unwrap().unwrap(),
            TunnelEnd::Silent
        );
        assert!(started.elapsed() < GONE, "after {:?}", started.elapsed());
    });
}

#[test]
fn a_quiet_tunnel_stays_up_for_an_hour() {
    paused_for(Duration::from_secs(4000), async {
        let tunnel = TestTunnel::new(echo).await;
        let hour = Duration::from_secs(3600);
        let ended = tokio::time::timeout(hour, tunnel.server.closed()).await;

        assert!(ended.is_err(), "{ended:?}");

        tunnel.assert_serves().await;
    });
}

#[test]
fn a_peer_that_sends_is_still_pinged() {
    paused(async {
        let (server_side, peer) = tokio::io::duplex(WIRE_BYTES);
        let (_server, _driver) = open(server_side, TunnelConfig::default()).await;
        let (mut say, mut hear) = WebSocketStream::from_raw_socket(peer, Role::Client, None)
            .await
            .split();
        let chatter = async {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            loop {
                second.tick().await;
                say.send(Message::Pong(Bytes::new())).await.unwrap();
            }
        };
        let asked = async { while !hear.next().await.unwrap().unwrap().is_ping() {} };
        let asked = tokio::time::timeout(Duration::from_secs(7), asked);
        tokio::select! {
            () = chatter => {}
            asked = asked => asked.expect("a ping comes with every heartbeat"),
        }
    });
}

#[test]
fn a_relay_that_answers_is_alive() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let asked = Instant::now();

        assert!(tunnel.server.is_alive(Duration::from_secs(2)).await);
        assert!(
            asked.elapsed() < Duration::from_millis(10),
            "after {:?}",
            asked.elapsed()
        );
    });
}

#[test]
fn a_relay_behind_a_silent_wire_is_not_alive() {
    paused(async {
        let (mut wire, sides) = Wire::new();
        let tunnel = TestTunnel::over(sides, TunnelConfig::default(), echo).await;

        assert!(tunnel.server.is_alive(Duration::from_secs(2)).await);

        wire.go_silent();
        let asked = Instant::now();
        assert!(!tunnel.server.is_alive(Duration::from_secs(2)).await);
        assert_eq!(asked.elapsed().as_secs(), 2);
    });
}

#[test]
fn a_relay_that_is_gone_is_not_alive() {
    paused(async {
        let mut tunnel = TestTunnel::new(echo).await;
        tunnel.assert_serves().await;
        tunnel.kill_relay();

        let asked = Instant::now();

        assert!(!tunnel.server.is_alive(Duration::from_secs(2)).await);
        assert!(
            asked.elapsed() < Duration::from_millis(10),
            "after {:?}",
            asked.elapsed()
        );
    });
}
