//! A caller that leaves ends all work for its call, at once, and nothing else.

use http::Response;
use llamapool_tunnel::{CloseReason, IncomingBodyError};
use tokio::sync::{mpsc, oneshot};

use crate::harness::*;

#[test]
fn a_caller_that_leaves_before_the_head_drops_the_handler() {
    paused(async {
        let (tunnel, mut started) = relay_that_never_answers().await;
        let mut call = Box::pin(tunnel.send(get()));
        let dropped = tokio::select! {
            _ = &mut call => panic!("there is no response"),
            dropped = started.recv() => dropped.unwrap(),
        };
        drop(call);
        dropped.await.unwrap_err();
    });
}

/// The request waits for the window.
#[test]
fn a_caller_that_leaves_while_sending_drops_the_handler() {
    paused(async {
        let (tunnel, mut started) = relay_that_never_answers().await;
        let mut call = Box::pin(tunnel.send(upload(endless().1)));
        tokio::select! {
            _ = &mut call => panic!("there is no response"),
            () = until_idle() => {}
        }
        drop(call);
        started.recv().await.unwrap().await.unwrap_err();
    });
}

/// The relay drops it, although nothing is sent.
#[test]
fn a_caller_that_leaves_a_quiet_stream_drops_its_body() {
    paused(async {
        let (tunnel, mut bodies) =
            relay_with_guarded_bodies(|| streamed(futures_util::stream::pending())).await;
        let response = tunnel.send(get()).await.unwrap();
        let dropped = bodies.recv().await.unwrap();
        drop(response);
        dropped.await.unwrap_err();
    });
}

/// The relay drops it in the middle of sending.
#[test]
fn a_caller_that_leaves_a_running_stream_drops_its_body() {
    paused(async {
        let (tunnel, mut bodies) = relay_with_guarded_bodies(|| endless().1).await;
        let mut response = tunnel.send(get()).await.unwrap().into_body();
        let dropped = bodies.recv().await.unwrap();
        next(&mut response).await.unwrap();
        drop(response);
        dropped.await.unwrap_err();
    });
}

/// The relay drops it, although it waits for the window.
#[test]
fn a_caller_that_leaves_an_unread_stream_drops_its_body() {
    paused(async {
        let (tunnel, mut bodies) = relay_with_guarded_bodies(|| endless().1).await;
        let response = tunnel.send(get()).await.unwrap();
        let dropped = bodies.recv().await.unwrap();
        until_idle().await;
        drop(response);
        dropped.await.unwrap_err();
    });
}

#[test]
fn a_caller_that_leaves_its_response_stops_its_request() {
    paused(async {
        let (request_bodies, mut bodies) = mpsc::channel(1);
        let tunnel = TestTunnel::new(move |request| {
            let request_bodies = request_bodies.clone();
            async move {
                request_bodies.send(request.into_body()).await.unwrap();
                Response::new(streamed(futures_util::stream::pending()))
            }
        });
        let tunnel = tunnel.await;
        let (feed, body) = fed();
        let response = tunnel.send(upload(body)).await.unwrap();
        feed.send(Ok("one".into())).await.unwrap();
        drop(response);

        let (_, error) = read_until_it_breaks(bodies.recv().await.unwrap()).await;

        assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");

        // The caller's side of the request is dropped, too.
        feed.closed().await;
    });
}

#[test]
fn a_relays_end_that_is_dropped_drops_its_handlers() {
    paused(async {
        let (mut tunnel, mut started) = relay_that_never_answers().await;
        let server = tunnel.server.clone();
        let call = server.send(get());
        let dropped = async {
            let dropped = started.recv().await.unwrap();
            tunnel.kill_relay();
            dropped.await.unwrap_err();
        };

        let (result, _) = tokio::join!(call, dropped);

        assert!(result.is_err());
    });
}

#[test]
fn a_relays_end_that_is_over_has_no_handlers_left() {
    paused(async {
        let (mut tunnel, mut started) = relay_that_never_answers().await;
        let server = tunnel.server.clone();
        let call = server.send(get());
        let over = async {
            let mut dropped = started.recv().await.unwrap();
            server.close(CloseReason::Done);
            tunnel.relay_ended().await;
            assert_eq!(
                dropped.try_recv(),
                Err(oneshot::error::TryRecvError::Closed)
            );
        };

        let (result, ()) = tokio::join!(call, over);

        assert!(result.is_err());
    });
}

#[test]
fn a_handler_that_panics_loses_its_own_call_alone() {
    paused(async {
        let tunnel = TestTunnel::new(|request| async move {
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

/// A relay that never answers, and for every call a receiver that resolves when its handler is
/// dropped.
async fn relay_that_never_answers() -> (TestTunnel, mpsc::Receiver<oneshot::Receiver<()>>) {
    let (sender, started) = mpsc::channel(1);
    let tunnel = TestTunnel::new(move |_request| {
        let sender = sender.clone();
        async move {
            let (_guard, dropped) = oneshot::channel();
            sender.send(dropped).await.unwrap();
            std::future::pending().await
        }
    });
    (tunnel.await, started)
}

/// A relay, and for every response a receiver that resolves when its body is dropped.
async fn relay_with_guarded_bodies(
    body: impl Fn() -> AnyBody + Send + Sync + 'static,
) -> (TestTunnel, mpsc::Receiver<oneshot::Receiver<()>>) {
    let (sender, bodies) = mpsc::channel(1);
    let tunnel = TestTunnel::new(move |_| {
        let (body, dropped) = guarded(body());
        let sender = sender.clone();
        async move {
            sender.send(dropped).await.unwrap();
            Response::new(body)
        }
    });
    (tunnel.await, bodies)
}
