//! Who leaves takes all that was done for them along, at once, and nothing else.

use http::Response;
use llamapool_tunnel::IncomingBodyError;
use tokio::sync::{mpsc, oneshot};

use crate::harness::*;

#[test]
fn a_caller_that_leaves_before_the_head_drops_the_handler() {
    paused(async {
        let (tunnel, mut started) = relay_that_ponders().await;
        let mut call = Box::pin(tunnel.send(get()));
        let dropped = tokio::select! {
            _ = &mut call => panic!("nobody answers"),
            dropped = started.recv() => dropped.unwrap(),
        };
        drop(call);
        dropped.await.unwrap_err();
    });
}

#[test]
fn a_caller_that_leaves_while_its_request_waits_for_room_drops_the_handler() {
    paused(async {
        let (tunnel, mut started) = relay_that_ponders().await;
        let mut call = Box::pin(tunnel.send(upload(endless().1)));
        tokio::select! {
            _ = &mut call => panic!("nobody answers"),
            () = until_idle() => {}
        }
        drop(call);
        started.recv().await.unwrap().await.unwrap_err();
    });
}

#[test]
fn a_caller_that_leaves_a_quiet_stream_drops_the_body_at_the_relay() {
    paused(async {
        let (tunnel, mut bodies) =
            relay_with_guarded_bodies(|| streamed(futures_util::stream::pending())).await;
        let answer = tunnel.send(get()).await.unwrap();
        let dropped = bodies.recv().await.unwrap();
        drop(answer);
        dropped.await.unwrap_err();
    });
}

#[test]
fn a_caller_that_leaves_a_running_stream_drops_the_body_at_the_relay() {
    paused(async {
        let (tunnel, mut bodies) = relay_with_guarded_bodies(|| endless().1).await;
        let mut answer = tunnel.send(get()).await.unwrap().into_body();
        let dropped = bodies.recv().await.unwrap();
        next(&mut answer).await.unwrap();
        drop(answer);
        dropped.await.unwrap_err();
    });
}

#[test]
fn a_caller_that_leaves_a_stream_it_has_stopped_reading_drops_the_body_at_the_relay() {
    paused(async {
        let (tunnel, mut bodies) = relay_with_guarded_bodies(|| endless().1).await;
        let answer = tunnel.send(get()).await.unwrap();
        let dropped = bodies.recv().await.unwrap();
        until_idle().await;
        drop(answer);
        dropped.await.unwrap_err();
    });
}

#[test]
fn a_caller_that_leaves_its_answer_stops_its_request() {
    paused(async {
        let (hand_over, mut bodies) = mpsc::channel(1);
        let tunnel = Tunnel::new(move |request| {
            let hand_over = hand_over.clone();
            async move {
                hand_over.send(request.into_body()).await.unwrap();
                Response::new(streamed(futures_util::stream::pending()))
            }
        });
        let tunnel = tunnel.await;
        let (feed, body) = fed();
        let answer = tunnel.send(upload(body)).await.unwrap();
        feed.send(Ok("one".into())).await.unwrap();
        drop(answer);
        let (_, error) = read_until_it_breaks(bodies.recv().await.unwrap()).await;
        assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");
        // The caller's side of the request is dropped, too.
        feed.closed().await;
    });
}

#[test]
fn a_handler_that_panics_loses_its_own_call_alone() {
    paused(async {
        let tunnel = Tunnel::new(|request| async move {
            assert_ne!(
                request.method(),
                http::Method::GET,
                "this panic belongs to the test"
            );
            echo(request).await
        });
        let tunnel = tunnel.await;
        let result = tunnel.send(get()).await;
        assert!(
            matches!(result, Err(llamapool_tunnel::SendError::GivenUp(_))),
            "{result:?}"
        );
        tunnel.assert_serves().await;
    });
}

/// A relay that never answers; for every call that has begun, what resolves when its handler is dropped.
async fn relay_that_ponders() -> (Tunnel, mpsc::Receiver<oneshot::Receiver<()>>) {
    let (sender, started) = mpsc::channel(1);
    let tunnel = Tunnel::new(move |_request| {
        let sender = sender.clone();
        async move {
            let (_guard, dropped) = oneshot::channel();
            sender.send(dropped).await.unwrap();
            std::future::pending().await
        }
    });
    (tunnel.await, started)
}

/// A relay whose answers' bodies tell when they are dropped.
async fn relay_with_guarded_bodies(
    body: impl Fn() -> AnyBody + Send + Sync + 'static,
) -> (Tunnel, mpsc::Receiver<oneshot::Receiver<()>>) {
    let (sender, bodies) = mpsc::channel(1);
    let tunnel = Tunnel::new(move |_| {
        let ((body, dropped), sender) = (guarded(body()), sender.clone());
        async move {
            sender.send(dropped).await.unwrap();
            Response::new(body)
        }
    });
    (tunnel.await, bodies)
}
