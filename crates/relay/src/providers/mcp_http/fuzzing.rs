//! The checks of the fuzz targets in `fuzz/` that concern what a provider sends over HTTP.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body::{Body, Frame};
use http_body_util::StreamBody;
use llamapool_head::{FieldLookup, Fields, ResponseHead};
use llamapool_wire::{header as wire, path};

use super::allowed_paths::AllowedPaths;
use super::endpoint_event::EndpointRewriter;
use super::location::{self, Exchange};
use super::public_url::ProviderPublicUrl;
use super::redirect::{Route, Tried};

pub use super::oauth::fuzzing::{challenge, metadata};

const BASE: &str = "http://provider.example:7777/base/mcp?key=hunter2";
const PREFIX: &str = "/api/mcp/id/x";

/// Returns the public URL of the calls.
pub(super) fn public() -> ProviderPublicUrl {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (HeaderName::from_static("x-forwarded-host"), "pool.example"),
        (HeaderName::from_static("x-forwarded-proto"), "https"),
        (wire::PUBLIC_PREFIX, PREFIX),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    ProviderPublicUrl::from_headers(&headers).expect("a prefix")
}

/// Checks that the head of a response leads a caller below its own public URL or to a foreign place
/// as it came, and the relay to the provider's host alone.
pub fn response_head(status: StatusCode, headers: HeaderMap) {
    let base = Uri::from_static(BASE);
    let public = public();
    let allowed = AllowedPaths::default();
    let exchange = Exchange {
        base: &base,
        answered: &base,
        public: &public,
    };

    let fields = Fields::from(&headers);
    let mut rewritten = fields.clone();
    location::rewrite(&mut rewritten, &exchange, &allowed);

    let before = fields.all_values(&header::LOCATION);
    for (before, after) in before.zip(rewritten.all_values(&header::LOCATION)) {
        let is_public = after
            .to_str()
            .is_ok_and(|text| text.starts_with(PREFIX) && !shows_key(text));
        assert!(before == after || is_public, "{before:?} {after:?}");
    }

    let route = Route::new(base.clone());
    let response = ResponseHead { status, fields };
    for public in [None, Some(&public)] {
        let urls = Tried {
            asked: &base,
            tried: &base,
        };
        if let Some(next) = route.next_url(&Method::POST, urls, &response, public) {
            assert_eq!(next.authority(), base.authority(), "{next}");
            assert_eq!(next.scheme(), base.scheme(), "{next}");
        }
    }
}

/// Returns whether a place below the configured URL has the key of that URL.
fn shows_key(place: &str) -> bool {
    let is_announced = place[PREFIX.len()..].starts_with(path::ANNOUNCED);
    let place = place.split('#').next().unwrap_or_default();
    let query = place.split_once('?').map_or("", |(_, query)| query);
    !is_announced && query.split('&').any(|part| part == "key=hunter2")
}

/// Checks that the path and the query of a call stay on the provider's host.
pub fn call_url(below: &str, query: Option<&str>) {
    let base = Uri::from_static(BASE);
    let route = Route::new(base.clone());

    let target = route.target(below, query).into_owned();
    for url in [target, route.at_root(below, query)] {
        assert_eq!(url.authority(), base.authority(), "{url}");
        assert_eq!(url.scheme(), base.scheme(), "{url}");
    }
}

/// Checks that an event stream is rewritten in the same way however it is cut, and that only the
/// address of an endpoint changes.
pub fn endpoint_stream(stream: &[u8]) {
    let whole = through(stream, stream.len().max(1));

    for size in [1, 7] {
        assert_eq!(through(stream, size), whole, "in pieces of {size}");
    }
    let names_endpoint = String::from_utf8_lossy(&whole).contains(path::ANNOUNCED);
    assert!(whole == stream || names_endpoint);
}

fn through(stream: &[u8], size: usize) -> Vec<u8> {
    let pieces: Vec<Result<_, Infallible>> = stream
        .chunks(size)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let answered = Uri::from_static("http://provider.example:7777/base/sse");
    let mut body = pin!(EndpointRewriter::new(
        body,
        answered,
        public(),
        AllowedPaths::default()
    ));

    let mut context = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) {
        all.extend_from_slice(frame.data_ref().expect("data"));
    }
    all
}
