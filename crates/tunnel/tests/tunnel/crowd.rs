//! Many callers at once, and many who leave at once.

use futures_util::future::join_all;
use llamapool_tunnel::TunnelConfig;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::*;

#[test]
fn five_hundred_calls_at_once_are_all_answered() {
    threaded(async {
        let tunnel = Tunnel::new(echo).await;
        let calls = (0..500).map(|i| {
            let tunnel = &tunnel;
            async move {
                let answer = tunnel.send(post(format!("call {i}"))).await.unwrap();
                assert_eq!(read(answer.into_body()).await.unwrap(), format!("call {i}"));
            }
        });
        assert_eq!(join_all(calls).await.len(), 500);
    });
}

#[test]
fn five_hundred_calls_aborted_before_their_answer_leave_the_tunnel_up() {
    threaded(async {
        let (arrived, tunnel) = relay_that_answers_posts_alone(TunnelConfig::default()).await;
        tunnel.assert_serves().await;
        for _round in 0..3 {
            let mut calls = JoinSet::new();
            for _ in 0..500 {
                let server = tunnel.server.clone();
                calls.spawn(async move { server.send(get()).await.map(drop) });
            }
            arrived.acquire_many(500).await.unwrap().forget();
            calls.shutdown().await;
            tunnel.assert_serves().await;
        }
    });
}

#[test]
fn five_hundred_calls_aborted_before_the_relay_has_seen_them_leave_the_tunnel_up() {
    paused(async {
        let (_arrived, tunnel) = relay_that_answers_posts_alone(TunnelConfig::default()).await;
        tunnel.assert_serves().await;
        let mut calls: Vec<_> = (0..500).map(|_| Box::pin(tunnel.send(get()))).collect();
        for call in &mut calls {
            // The relay does not run before this task waits.
            begin(call.as_mut());
        }
        drop(calls);
        tunnel.assert_serves().await;
    });
}

#[test]
fn five_hundred_answers_aborted_under_way_leave_the_tunnel_up() {
    threaded(async {
        let tunnel = Tunnel::that_never_ends_what_it_is_asked().await;
        let answers = join_all((0..500).map(|_| tunnel.send(get()))).await;
        assert!(answers.iter().all(Result::is_ok));
        drop(answers);
        tunnel.assert_serves().await;
    });
}

#[test]
fn a_small_call_gets_its_turn_among_bodies_that_never_end() {
    paused(async {
        let tunnel = Tunnel::that_never_ends_what_it_is_asked().await;
        let read_so_far = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut readers = JoinSet::new();
        for _ in 0..16 {
            let (mut body, read_so_far) = (
                tunnel.send(get()).await.unwrap().into_body(),
                read_so_far.clone(),
            );
            readers.spawn(async move {
                while let Some(piece) = next(&mut body).await {
                    let read =
                        read_so_far.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
                    assert!(read < 64 << 20, "the small call starves");
                }
            });
        }
        tokio::select! {
            () = tunnel.assert_serves() => {}
            starved = readers.join_next() => panic!("{starved:?}"),
        }
    });
}

#[test]
fn the_servers_end_knows_how_many_calls_the_relay_serves_at_once() {
    paused(async {
        for max_streams in [1, 7, 4096] {
            let tunnel = Tunnel::with_config(
                TunnelConfig {
                    max_streams,
                    ..TunnelConfig::default()
                },
                echo,
            )
            .await;
            tunnel.assert_serves().await;
            assert_eq!(tunnel.server.max_streams(), max_streams as usize);
        }
    });
}

#[test]
fn an_answer_that_has_arrived_takes_no_place_though_nobody_reads_it() {
    paused(async {
        let tunnel = Tunnel::with_config(
            TunnelConfig {
                max_streams: 1,
                ..TunnelConfig::default()
            },
            echo,
        )
        .await;
        let unread = tunnel.send(post("unread")).await.unwrap();
        tunnel.assert_serves().await;
        assert_eq!(read(unread.into_body()).await.unwrap(), "unread");
    });
}

#[test]
fn calls_beyond_the_limit_wait_for_their_turn_or_leave_the_queue() {
    paused(async {
        let (arrived, tunnel) = relay_that_answers_posts_alone(TunnelConfig {
            max_streams: 4,
            ..TunnelConfig::default()
        })
        .await;
        tunnel.assert_serves().await;
        let mut calls = JoinSet::new();
        let call =
            |server: llamapool_tunnel::ServerEnd| async move { server.send(get()).await.map(drop) };
        let mut handles: Vec<_> = (0..40)
            .map(|_| calls.spawn(call(tunnel.server.clone())))
            .collect();
        until_idle().await;
        assert_eq!(arrived.available_permits(), 4);
        // Some of those that wait leave, then some of those that run: the next in the queue get their turn.
        handles
            .split_off(20)
            .iter()
            .for_each(tokio::task::AbortHandle::abort);
        handles.drain(..2).for_each(|call| call.abort());
        until_idle().await;
        assert_eq!(arrived.available_permits(), 6);
        calls.shutdown().await;
        tunnel.assert_serves().await;
        until_idle().await;
        assert_eq!(
            arrived.available_permits(),
            6,
            "who left the queue is not served"
        );
    });
}

/// A relay that echoes what is posted and never answers the rest, and a permit for every call of the rest.
async fn relay_that_answers_posts_alone(
    config: TunnelConfig,
) -> (std::sync::Arc<Semaphore>, Tunnel) {
    let arrived = std::sync::Arc::new(Semaphore::new(0));
    let counter = arrived.clone();
    let tunnel = Tunnel::with_config(config, move |request| {
        let counter = counter.clone();
        async move {
            if request.method() == http::Method::POST {
                return echo(request).await;
            }
            counter.add_permits(1);
            std::future::pending().await
        }
    });
    (arrived, tunnel.await)
}
