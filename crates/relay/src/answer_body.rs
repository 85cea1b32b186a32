//! The body of any answer of the relay, whoever makes it.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use llamapool_http::BoxError;

/// The body of any answer of the relay.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<AnswerBody> {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}
