//! A reader that stops holds back its own sender and no other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use llamapool_limits::{Claim, MemoryBudget, MemoryClaims, Owner};
use llamapool_tunnel::{IncomingBodyError, StreamLease, TunnelConfig};
use tokio::sync::mpsc;

use crate::harness::*;

/// Window with which each body begins.
const INITIAL_BYTES: usize = 64 * 1024;
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

        let window = INITIAL_BYTES;

        assert!(
            (window..=window + SLACK).contains(&produced),
            "{produced} bytes for a window of {window}"
        );
    });
}

#[test]
fn a_reader_that_stops_is_ahead_by_the_largest_window() {
    paused(async {
        let (tunnel, mut counters) = relay_that_never_ends().await;
        let mut body = tunnel.send(get()).await.unwrap().into_body();
        let produced = counters.recv().await.unwrap();
        let mut read = 0;
        while read < 2 << 20 {
            read += next(&mut body).await.unwrap().len();
        }
        until_idle().await;
        let ahead = produced.load(Ordering::SeqCst) - read;

        let window = TunnelConfig::default().stream_window as usize;

        assert!(
            (window / 2..=window + SLACK).contains(&ahead),
            "{ahead} bytes ahead of a window of {window}"
        );
    });
}

/// Where there is no memory for its unread bytes, the response breaks off, and the relay stops.
#[test]
fn a_reader_without_memory_loses_its_own_response_only() {
    paused(async {
        let budget = MemoryBudget::new(100 * 1024);
        let lease = || StreamLease {
            place: None,
            memory: Some(budget.account(unbounded_claims())),
        };
        let tunnel = TestTunnel::with_endless_responses().await;
        let mut first = tunnel.server.send_with(lease(), get()).await.unwrap();
        let mut second = tunnel.server.send_with(lease(), get()).await.unwrap();
        let mut third = tunnel.server.send_with(lease(), get()).await.unwrap();

        until_idle().await;

        assert_eq!(budget.used(), 2 * 48 * 1024);
        assert!(first.frame().await.unwrap().is_ok());
        assert!(second.frame().await.unwrap().is_ok());
        let error = third.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, IncomingBodyError::OutOfMemory), "{error}");
        tunnel.assert_serves().await;

        drop((first, second, third));

        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn a_reader_that_takes_nothing_for_too_long_loses_its_place() {
    paused(async {
        let config = TunnelConfig {
            reader_patience: Some(Duration::from_secs(20)),
            ..TunnelConfig::default()
        };
        let tunnel = TestTunnel::with_config(config, |_| async { Response::new(endless().1) });
        let tunnel = tunnel.await;
        let place = Arc::new(());
        let lease = StreamLease {
            place: Some(Box::new(place.clone())),
            memory: None,
        };
        let mut unread = tunnel.server.send_with(lease, get()).await.unwrap();
        let started = tokio::time::Instant::now();

        while Arc::strong_count(&place) > 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }

        let waited = started.elapsed().as_secs();
        assert!((20..=30).contains(&waited), "{waited} s");
        let error = unread.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, IncomingBodyError::ReaderStalled), "{error}");
    });
}

/// A place is that of the relay: it is free once the relay has answered.
#[test]
fn an_unread_answer_that_has_arrived_holds_no_place() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let place = Arc::new(());
        let lease = StreamLease {
            place: Some(Box::new(place.clone())),
            memory: None,
        };

        let response = tunnel.server.send_with(lease, post("small")).await.unwrap();
        until_idle().await;

        assert_eq!(Arc::strong_count(&place), 1);
        let whole = response.into_body().into_whole(1024).unwrap();
        assert_eq!(whole.len(), 5);
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "small");
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

        let window = INITIAL_BYTES;

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

fn unbounded_claims() -> MemoryClaims {
    ["caller", "address", "id"].map(|name| Claim {
        owner: Owner::of(&name),
        factor: usize::MAX,
    })
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
