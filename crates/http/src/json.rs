//! Responses whose body is JSON. The text comes from the caller; this crate neither makes nor reads
//! it.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

/// The media type of JSON.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// Returns a response with a JSON text as its body.
pub fn json_response<B>(status: StatusCode, body: impl Into<B>) -> Response<B> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    response
}
