//! Many callers at once, and many that leave at once.

use futures_util::future::join_all;
use llamapool_tunnel::TunnelConfig;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::*;

#[test]
fn five_hundred_calls_at_once_are_all_answered() {
    threaded(async {
        let tunnel = TestTunnel::new(echo).await;
        let calls = (0..500).map(|i| {
            let tunnel = &tunnel;
            async move {
                let response = tunnel.send(post(format!("call {i}"))).await.unwrap();

                assert_eq!(
                    read(response.into_body()).await.unwrap(),
                    format!("call {i}")
                );
            }
        });

        assert_eq!(join_all(calls).await.len(), 500);
    });
}

#[test]
fn five_hundred_calls_cancelled_without_response_do_no_harm() {
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
fn five_hundred_calls_cancelled_before_they_arrive_do_no_harm() {
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
fn five_hundred_responses_cancelled_under_way_do_no_harm() {
    threaded(async {
        let tunnel = TestTunnel::with_endless_responses().await;
        let responses = join_all((0..500).map(|_| tunnel.send(get()))).await;

        assert!(responses.iter().all(Result::is_ok));

        drop(responses);
        tunnel.assert_serves().await;
    });
}

#[test]
fn a_small_call_gets_its_turn_among_bodies_that_never_end() {
    paused(async {
        let tunnel = TestTunnel::with_endless_responses().await;
        let read_so_far = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut readers = JoinSet::new();
        for _ in 0..16 {
            let mut body = tunnel.send(get()).await.unwrap().into_body();
            let read_so_far = read_so_far.clone();
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
fn the_servers_end_learns_the_relays_maximum_of_streams() {
    paused(async {
        for max_streams in [1, 7, 4096] {
            let tunnel = TestTunnel::with_config(
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

/// Nor does it while it is unread.
#[test]
fn a_response_that_has_arrived_takes_no_permit() {
    paused(async {
        let tunnel = TestTunnel::with_config(
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

/// Those that leave the queue are not served.
#[test]
fn calls_beyond_the_limit_wait_in_order() {
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

        // Some waiting calls leave, then some running ones: the next in the queue get their turn.
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
            "calls that left the queue are not served"
        );
    });
}

/// A relay that echoes POST requests and never answers others, and a permit for each of the others.
async fn relay_that_answers_posts_alone(
    config: TunnelConfig,
) -> (std::sync::Arc<Semaphore>, TestTunnel) {
    let arrived = std::sync::Arc::new(Semaphore::new(0));
    let counter = arrived.clone();
    let tunnel = TestTunnel::with_config(config, move |request| {
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
