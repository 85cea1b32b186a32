//! The body of any answer of the relay, whoever makes it.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use llamapool_proxy::BoxError;

/// The body of any answer of the relay.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;
