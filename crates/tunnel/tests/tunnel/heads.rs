//! Heads of every size, and responses without a body although their head announces one.

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use llamapool_tunnel::SendError;

use crate::harness::*;

#[test]
fn large_headers_pass() {
    paused(async {
        let tunnel = TestTunnel::new(|request| async move {
            let mut response = Response::new(empty());
            *response.headers_mut() = request.headers().clone();
            response
        });
        let mut request = get();
        *request.headers_mut() = headers(60, 1000);
        let tunnel = tunnel.await;

        let response = tunnel.send(request).await.unwrap();

        assert_eq!(response.headers(), &headers(60, 1000));
    });
}

/// The tunnel lives on.
#[test]
fn a_request_with_too_large_headers_is_refused() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        // Just too large, too large for one frame, and far too large.
        for (count, length) in [(66, 1000), (1000, 100), (60, 10_000)] {
            let mut request = get();
            *request.headers_mut() = headers(count, length);
            let result = tunnel.send(request).await;

            assert!(
                matches!(result, Err(SendError::HeadTooLarge(_))),
                "{result:?}"
            );

            tunnel.assert_serves().await;
        }
    });
}

#[test]
fn paths_near_the_size_limit_pass_or_are_refused() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        for length in 65_300..65_400 {
            let mut request = get();
            *request.uri_mut() = format!("http://relay/{}", "x".repeat(length))
                .parse()
                .unwrap_or_default();
            match tunnel.send(request).await {
                Ok(response) => assert_eq!(response.status(), 200, "{length}"),
                Err(error) => assert!(
                    matches!(error, SendError::HeadTooLarge(_)),
                    "{length}: {error:?}"
                ),
            }
        }
        tunnel.assert_serves().await;
    });
}

/// The tunnel lives on.
#[test]
fn a_response_with_too_large_headers_is_given_up() {
    paused(async {
        let tunnel = TestTunnel::new(|request: Request<_>| async move {
            let size = request
                .headers()
                .get("x-size")
                .map(|size| size.to_str().unwrap().parse().unwrap());
            let mut response = echo(request).await;
            response
                .headers_mut()
                .extend(headers(60, size.unwrap_or(0)));
            response
        });
        let tunnel = tunnel.await;
        for size in [1100, 10_000] {
            let mut request = get();
            request
                .headers_mut()
                .insert("x-size", HeaderValue::from(size));
            let result = tunnel.send(request).await;

            assert!(matches!(result, Err(SendError::GivenUp(_))), "{result:?}");

            tunnel.assert_serves().await;
        }
    });
}

#[test]
fn a_header_that_belongs_to_one_connection_is_malformed() {
    paused(async {
        let tunnel = TestTunnel::new(echo).await;
        let mut request = get();
        request
            .headers_mut()
            .insert("connection", HeaderValue::from_static("keep-alive"));

        let result = tunnel.send(request).await;

        assert!(matches!(result, Err(SendError::Malformed(_))), "{result:?}");

        tunnel.assert_serves().await;
    });
}

#[test]
fn the_response_to_head_keeps_its_content_length() {
    assert_no_body_but_a_content_length(Method::HEAD, StatusCode::OK);
}

#[test]
fn not_modified_keeps_its_content_length() {
    assert_no_body_but_a_content_length(Method::GET, StatusCode::NOT_MODIFIED);
}

#[test]
fn no_content_keeps_its_content_length() {
    assert_no_body_but_a_content_length(Method::GET, StatusCode::NO_CONTENT);
}

/// Checks a response without a body, both with one that reports its end at once and with one that
/// is found to be empty when it is polled.
fn assert_no_body_but_a_content_length(method: Method, status: StatusCode) {
    for knows_its_end in [true, false] {
        let method = method.clone();
        paused(async move {
            let tunnel = TestTunnel::new(move |_| async move {
                let body = if knows_its_end {
                    empty()
                } else {
                    streamed(stream::empty())
                };
                Response::builder()
                    .status(status)
                    .header(CONTENT_LENGTH, "42")
                    .body(body)
                    .unwrap()
            });
            let tunnel = tunnel.await;
            let response = tunnel.send(request(method, empty())).await.unwrap();

            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONTENT_LENGTH], "42");
            assert_eq!(read(response.into_body()).await.unwrap(), Bytes::new());
        });
    }
}

fn headers(count: usize, length: usize) -> HeaderMap {
    let value = HeaderValue::from_bytes("v".repeat(length).as_bytes()).expect("a valid value");
    (0..count)
        .map(|i| {
            (
                HeaderName::try_from(format!("x-{i}")).expect("a valid name"),
                value.clone(),
            )
        })
        .collect()
}
