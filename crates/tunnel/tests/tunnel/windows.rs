//! A reader that stops holds back its own sender and no other.

use std::sync::atomic::Ordering;

use http::Response;
use http_body_util::BodyExt;
use llamapool_tunnel::TunnelConfig;
use tokio::sync::mpsc;

use crate::harness::*;

/// Bytes that a sender may be ahead of its window: the piece it holds, and no more.
const SLACK: usize = 2 * CHUNK_BYTES;

#[test]
fn a_caller_that_never_reads_makes_the_relay_produce_one_window() {
    paused(async {
        let (tunnel, mut counters) = relay_that_never_ends().await;
        let _unread = tunnel.send(get()).await.unwrap();
        let produced = counters.recv().await.unwrap();
        until_idle().await;
        let produced = produced.load(Ordering::SeqCst);

        let window = TunnelConfig::default().stream_window as usize;

        assert!(
            (window..=window + SLACK).contains(&produced),
            "{produced} bytes for a window of {window}"
        );
    });
}

#[test]
fn a_slow_caller_keeps_the_relay_one_window_ahead() {
    paused(async {
        let (tunnel, mut counters) = relay_that_never_ends().await;
        let mut body = tunnel.send(get()).await.unwrap().into_body();
        let produced = counters.recv().await.unwrap();
        let mut read = 0;
        for _ in 0..200 {
            read += next(&mut body).await.unwrap().len();
            until_idle().await;
            let ahead = produced.load(Ordering::SeqCst) - read;

            assert!(
                ahead <= TunnelConfig::default().stream_window as usize + SLACK,
                "{ahead} bytes ahead"
            );
        }
    });
}

#[test]
fn a_relay_that_never_reads_makes_the_caller_send_one_window() {
    paused(async {
        let tunnel = TestTunnel::new(|request| async move {
            std::future::pending::<()>().await;
            drop(request);
            Response::new(empty())
        });
        let tunnel = tunnel.await;
        let (produced, body) = endless();
        let mut call = std::pin::pin!(tunnel.send(upload(body)));
        tokio::select! {
            _ = &mut call => panic!("there is no response"),
            () = until_idle() => {}
        }
        let produced = produced.load(Ordering::SeqCst);

        let window = TunnelConfig::default().stream_window as usize;

        assert!(
            (window..=window + SLACK).contains(&produced),
            "{produced} bytes for a window of {window}"
        );
    });
}

#[test]
fn callers_that_never_read_leave_the_tunnel_to_the_others() {
    paused(async {
        let tunnel = TestTunnel::with_endless_responses().await;
        let mut unread = Vec::new();
        for _ in 0..64 {
            unread.push(tunnel.send(get()).await.unwrap());
        }
        until_idle().await;

        let response = tunnel.send(upload(patterned(4 << 20))).await.unwrap();

        assert_eq!(read_patterned(response.into_body()).await, 4 << 20);

        drop(unread);
    });
}

#[test]
fn a_window_smaller_than_the_default_is_kept() {
    paused(async {
        let config = TunnelConfig {
            stream_window: 20_000,
            ..TunnelConfig::default()
        };
        let (produced, body) = endless();
        let body = parking_lot::Mutex::new(Some(body));
        let tunnel = TestTunnel::with_config(config, move |_| {
            let body = body.lock().take().unwrap();
            async { Response::new(body) }
        });
        let tunnel = tunnel.await;
        let mut unread = tunnel.send(get()).await.unwrap().into_body();
        until_idle().await;

        let produced = produced.load(Ordering::SeqCst);

        assert!(
            (20_000..=20_000 + SLACK).contains(&produced),
            "{produced} bytes"
        );
        assert!(unread.frame().await.unwrap().is_ok());
    });
}

async fn relay_that_never_ends() -> (
    TestTunnel,
    mpsc::Receiver<std::sync::Arc<std::sync::atomic::AtomicUsize>>,
) {
    let (sender, counters) = mpsc::channel(1);
    let tunnel = TestTunnel::new(move |_| {
        let sender = sender.clone();
        async move {
            let (produced, body) = endless();
            sender.send(produced).await.unwrap();
            Response::new(body)
        }
    });
    (tunnel.await, counters)
}
