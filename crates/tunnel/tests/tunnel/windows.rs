//! Whoever does not read holds back its own sender and nobody else.

use std::sync::atomic::Ordering;

use http::Response;
use http_body_util::BodyExt;
use llamapool_tunnel::TunnelConfig;
use tokio::sync::mpsc;

use crate::harness::*;

/// What a sender may be ahead of its window: the piece it holds, and no more.
const SLACK: usize = 2 * CHUNK_BYTES;

#[test]
fn a_caller_that_never_reads_makes_the_relay_produce_one_window() {
    paused(async {
        let (tunnel, mut counters) = relay_that_never_ends().await;
        let _unread = tunnel.send(get()).await.unwrap();
        let produced = counters.recv().await.unwrap();
        until_idle().await;
        let (produced, window) = (
            produced.load(Ordering::SeqCst),
            TunnelConfig::default().stream_window as usize,
        );
        assert!(
            (window..=window + SLACK).contains(&produced),
            "{produced} bytes for a window of {window}"
        );
    });
}

#[test]
fn a_slow_caller_makes_the_relay_produce_one_window_more_than_it_has_read() {
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
        let tunnel = Tunnel::new(|request| async move {
            let (_request, ()) = (request, std::future::pending().await);
            Response::new(empty())
        });
        let tunnel = tunnel.await;
        let (produced, body) = endless();
        let mut call = std::pin::pin!(tunnel.send(upload(body)));
        tokio::select! {
            _ = &mut call => panic!("nobody answers"),
            () = until_idle() => {}
        }
        let (produced, window) = (
            produced.load(Ordering::SeqCst),
            TunnelConfig::default().stream_window as usize,
        );
        assert!(
            (window..=window + SLACK).contains(&produced),
            "{produced} bytes for a window of {window}"
        );
    });
}

#[test]
fn callers_that_never_read_leave_the_tunnel_to_the_others() {
    paused(async {
        let tunnel = Tunnel::that_never_ends_what_it_is_asked().await;
        let mut unread = Vec::new();
        for _ in 0..64 {
            unread.push(tunnel.send(get()).await.unwrap());
        }
        until_idle().await;
        let answer = tunnel.send(upload(patterned(4 << 20))).await.unwrap();
        assert_eq!(read_patterned(answer.into_body()).await, 4 << 20);
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
        let body = std::sync::Mutex::new(Some(body));
        let tunnel = Tunnel::with_config(config, move |_| {
            let body = body.lock().unwrap().take().unwrap();
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
    Tunnel,
    mpsc::Receiver<std::sync::Arc<std::sync::atomic::AtomicUsize>>,
) {
    let (sender, counters) = mpsc::channel(1);
    let tunnel = Tunnel::new(move |_| {
        let sender = sender.clone();
        async move {
            let (produced, body) = endless();
            sender.send(produced).await.unwrap();
            Response::new(body)
        }
    });
    (tunnel.await, counters)
}
