//! Bodies arrive whole, in time and in both directions, and the three ways in which they end stay
//! apart.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use llamapool_tunnel::{IncomingBody, IncomingBodyError, SendError, TunnelConfig};
use tokio::sync::mpsc;

use crate::harness::*;

#[test]
fn a_small_request_is_echoed() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let response = tunnel.send(post("hello")).await.unwrap();

        assert_eq!(response.status(), 200);
        assert_eq!(read(response.into_body()).await.unwrap(), "hello");
    });
}

#[test]
fn method_path_and_headers_arrive_as_they_were_sent() {
    paused(async {
        let tunnel = TestTunnel::new(|request| async move {
            let seen = format!(
                "{} {} {:?}",
                request.method(),
                request.uri(),
                request.headers()["x-of-caller"]
            );
            Response::builder()
                .status(418)
                .header("x-of-relay", "b")
                .body(full(seen))
                .unwrap()
        });
        let mut request = get();
        *request.uri_mut() = "http://relay/path?query=1".parse().unwrap();
        request
            .headers_mut()
            .insert("x-of-caller", HeaderValue::from_static("a"));
        let tunnel = tunnel.await;

        let response = tunnel.send(request).await.unwrap();

        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()["x-of-relay"], "b");
        assert_eq!(
            read(response.into_body()).await.unwrap(),
            "GET http://relay/path?query=1 \"a\""
        );
    });
}

#[test]
fn the_head_and_every_chunk_arrive_before_the_next_is_produced() {
    paused(async {
        let (tunnel, mut feeds) = relay_fed_by_hand().await;
        let mut body = tunnel.send(get()).await.unwrap().into_body();
        let feed = feeds.recv().await.unwrap();
        for chunk in ["one", "two", "three"] {
            feed.send(Ok(chunk.into())).await.unwrap();

            assert_eq!(next(&mut body).await.unwrap(), chunk);
        }
        drop(feed);

        assert_eq!(next(&mut body).await, None);
        assert!(body.is_end_stream());
    });
}

#[test]
fn whole_bodies_of_every_size_arrive() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        for length in [
            1,
            16 << 10,
            (16 << 10) + 1,
            64 << 10,
            (64 << 10) + 1,
            512 << 10,
            (512 << 10) + 1,
            2 << 20,
        ] {
            let body = Bytes::from(vec![7; length]);
            let response = tunnel.send(post(body.clone())).await.unwrap();

            assert!(
                read(response.into_body()).await.unwrap() == body,
                "{length}"
            );
        }
    });
}

#[test]
fn a_mebibyte_arrives_byte_for_byte_both_ways() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let response = tunnel.send(upload(patterned(1 << 20))).await.unwrap();

        assert_eq!(read_patterned(response.into_body()).await, 1 << 20);
    });
}

#[test]
fn large_bodies_arrive_over_a_wire_that_holds_them_whole() {
    paused(async {
        let sides = (tokio::io::duplex(32 << 20), tokio::io::duplex(32 << 20));
        let ((server_side, mut near_server), (relay_side, mut near_relay)) = sides;
        let mut wire = tokio::task::JoinSet::new();
        wire.spawn(async move {
            tokio::io::copy_bidirectional(&mut near_server, &mut near_relay)
                .await
                .map(drop)
        });
        let body = || Bytes::from(vec![7; 1 << 20]);
        let handler = move |request: Request<IncomingBody>| async move {
            if request.method() == http::Method::GET {
                return Response::new(full(body()));
            }
            let received = read(request.into_body()).await.unwrap();
            Response::new(full(received.len().to_string()))
        };
        let sides = (server_side, relay_side);
        let tunnel = TestTunnel::over(sides, TunnelConfig::default(), handler).await;
        let started = tokio::time::Instant::now();

        let download = tunnel.send(get()).await.unwrap();
        assert!(read(download.into_body()).await.unwrap() == body());

        let upload = tunnel.send(post(body())).await.unwrap();
        let received = read(upload.into_body()).await.unwrap();
        assert_eq!(received, (1 << 20).to_string());

        let seconds = started.elapsed().as_secs();
        assert_eq!(seconds, 0, "nothing waited for a sign of life");
    });
}

#[test]
fn thirty_two_mebibytes_arrive_byte_for_byte_both_ways() {
    threaded(async {
        let tunnel = TestTunnel::new(echo).await;
        let response = tunnel.send(upload(patterned(32 << 20))).await.unwrap();

        assert_eq!(read_patterned(response.into_body()).await, 32 << 20);
    });
}

#[test]
fn the_response_streams_while_the_request_is_still_being_sent() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let (feed, body) = fed();
        let mut response = tunnel.send(upload(body)).await.unwrap().into_body();
        for chunk in ["one", "two", "three"] {
            feed.send(Ok(chunk.into())).await.unwrap();

            assert_eq!(next(&mut response).await.unwrap(), chunk);
        }
        drop(feed);

        assert_eq!(next(&mut response).await, None);
    });
}

#[test]
fn a_caller_that_does_not_read_its_response_goes_on_uploading() {
    paused(async {
        let (request_bodies, mut bodies) = mpsc::channel(1);
        let tunnel = TestTunnel::new(move |request| {
            let request_bodies = request_bodies.clone();
            async move {
                request_bodies.send(request.into_body()).await.unwrap();
                Response::new(endless().1)
            }
        });
        let tunnel = tunnel.await;

        let _unread = tunnel.send(upload(patterned(4 << 20))).await.unwrap();

        assert_eq!(read_patterned(bodies.recv().await.unwrap()).await, 4 << 20);
    });
}

#[test]
fn a_response_given_without_reading_the_request_is_whole() {
    paused(async {
        let tunnel = TestTunnel::new(|_| async { Response::new(full("no thanks")) }).await;
        let response = tunnel.send(upload(patterned(4 << 20))).await.unwrap();
        until_idle().await;

        assert_eq!(read(response.into_body()).await.unwrap(), "no thanks");

        // The same if it comes only after the request has filled its window.
        let (tunnel, mut feeds) = relay_fed_by_hand_at_the_head().await;
        let (produced, body) = endless();
        let call = async {
            let response = tunnel.send(upload(body)).await.unwrap();
            read(response.into_body()).await.unwrap()
        };
        let respond_late = async {
            until_idle().await;
            feeds
                .recv()
                .await
                .unwrap()
                .send(Response::new(full("no thanks")))
                .unwrap();
        };

        assert_eq!(tokio::join!(call, respond_late).0, "no thanks");

        until_idle().await;
        let sent = produced.load(std::sync::atomic::Ordering::SeqCst);
        until_idle().await;

        assert_eq!(
            sent,
            produced.load(std::sync::atomic::Ordering::SeqCst),
            "the rest is not sent"
        );
    });
}

#[test]
fn a_response_that_breaks_off_is_aborted_after_all_its_bytes() {
    for length in [None, Some("1000000")] {
        paused(async move {
            let tunnel = TestTunnel::new(move |_| async move {
                let chunks = (0..40).map(|i| Bytes::from(vec![i; 10_000])).collect();
                let mut response = Response::new(broken_after(chunks));
                response.headers_mut().extend(
                    length.map(|length| (CONTENT_LENGTH, HeaderValue::from_static(length))),
                );
                response
            });
            let tunnel = tunnel.await;
            let response = tunnel.send(get()).await.unwrap();
            let (bytes, error) = read_until_it_breaks(response.into_body()).await;

            let expected: Vec<u8> = (0..40).flat_map(|i| vec![i; 10_000]).collect();

            assert!(bytes == expected, "{} bytes arrived", bytes.len());
            assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");
        });
    }
}

#[test]
fn a_response_that_breaks_off_at_once_is_aborted_not_empty() {
    paused(async {
        let tunnel = TestTunnel::new(|_| async { Response::new(broken_after(vec![])) }).await;
        let (bytes, error) =
            read_until_it_breaks(tunnel.send(get()).await.unwrap().into_body()).await;

        assert_eq!(bytes, b"");
        assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");
    });
}

#[test]
fn a_response_shorter_than_its_content_length_is_aborted() {
    paused(async {
        let tunnel = TestTunnel::new(|_| async {
            let mut response = Response::new(patterned(10));
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("11"));
            response
        });
        let tunnel = tunnel.await;
        let response = tunnel.send(get()).await.unwrap();

        let (_, error) = read_until_it_breaks(response.into_body()).await;

        assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");
    });
}

#[test]
fn a_request_that_breaks_off_fails_and_is_aborted_at_the_relay() {
    paused(async {
        let (tunnel, mut bodies) =
            TestTunnel::with_request_bodies(tokio::io::duplex(WIRE_BYTES)).await;
        let (feed, body) = fed();
        let tear = async {
            feed.send(Ok("half a re".into())).await.unwrap();
            let mut body = bodies.recv().await.unwrap();

            assert_eq!(next(&mut body).await.unwrap(), "half a re");

            feed.send(Err("torn".into())).await.unwrap();
            read_until_it_breaks(body).await.1
        };
        let (result, error) = tokio::join!(tunnel.send(upload(body)), tear);

        assert!(
            matches!(result, Err(SendError::RequestBody(_))),
            "{result:?}"
        );
        assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");
    });
}

#[test]
fn a_request_that_breaks_off_at_once_leaves_the_tunnel_up() {
    paused(async {
        let tunnel = TestTunnel::new(|request: Request<IncomingBody>| async {
            Response::new(full(read(request.into_body()).await.unwrap()))
        });
        let tunnel = tunnel.await;
        let result = tunnel
            .send(upload(broken_after(vec!["half a re".into()])))
            .await;

        assert!(
            matches!(result, Err(SendError::RequestBody(_))),
            "{result:?}"
        );

        tunnel.assert_serves().await;
    });
}

#[test]
fn a_request_that_breaks_off_under_its_response_aborts_both() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let (feed, body) = fed();
        let mut response = tunnel.send(upload(body)).await.unwrap().into_body();

        feed.send(Ok("one".into())).await.unwrap();

        assert_eq!(next(&mut response).await.unwrap(), "one");

        feed.send(Err("torn".into())).await.unwrap();
        let (_, error) = read_until_it_breaks(response).await;
        assert!(matches!(error, IncomingBodyError::Aborted), "{error:?}");

        tunnel.assert_serves().await;
    });
}

#[test]
fn a_hundred_thousand_tiny_pieces_arrive() {
    paused(async {
        let tunnel = TestTunnel::new(|_| async {
            Response::new(streamed(futures_util::stream::iter(
                (0..100_000).map(|_| Ok(Bytes::from_static(b"x"))),
            )))
        });
        let tunnel = tunnel.await;
        let response = tunnel.send(get()).await.unwrap();

        // All of them wait unread before the first is read.
        until_idle().await;

        assert_eq!(read(response.into_body()).await.unwrap().len(), 100_000);
    });
}

#[test]
fn empty_pieces_in_a_body_are_no_attack() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let body = streamed(futures_util::stream::iter(
            (0..1000).map(|_| Ok(Bytes::new())),
        ));
        let response = tunnel.send(upload(body)).await.unwrap();

        assert_eq!(read(response.into_body()).await.unwrap(), "");

        tunnel.assert_serves().await;
    });
}

#[test]
fn an_empty_chunked_body_does_not_report_its_end_before() {
    for (body, knows) in [
        (empty as fn() -> AnyBody, true),
        (|| streamed(futures_util::stream::empty()), false),
    ] {
        paused(async move {
            let tunnel = TestTunnel::new(move |_| async move { Response::new(body()) }).await;
            let mut response = tunnel.send(get()).await.unwrap().into_body();
            until_idle().await;

            assert_eq!(response.is_end_stream(), knows);
            assert_eq!(next(&mut response).await, None);
            assert!(response.is_end_stream());
        });
    }
}

type Feed = mpsc::Sender<Result<Bytes, llamapool_tunnel::BoxError>>;

/// A relay that responds at once, with a body that the test feeds.
async fn relay_fed_by_hand() -> (TestTunnel, mpsc::Receiver<Feed>) {
    let (sender, feeds) = mpsc::channel(1);
    let tunnel = TestTunnel::new(move |_| {
        let sender = sender.clone();
        async move {
            let (feed, body) = fed();
            sender.send(feed).await.unwrap();
            Response::new(body)
        }
    });
    (tunnel.await, feeds)
}

/// A relay whose responses the test gives. Until then the request's body is not read.
async fn relay_fed_by_hand_at_the_head() -> (
    TestTunnel,
    mpsc::Receiver<tokio::sync::oneshot::Sender<Response<AnyBody>>>,
) {
    let (sender, responses) = mpsc::channel(1);
    let tunnel = TestTunnel::new(move |request| {
        let sender = sender.clone();
        async move {
            let (response, answered) = tokio::sync::oneshot::channel();
            sender.send(response).await.unwrap();
            let response = answered.await.unwrap();
            drop(request);
            response
        }
    });
    (tunnel.await, responses)
}
