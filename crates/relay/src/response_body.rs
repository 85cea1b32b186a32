//! The body of every response of the relay that is not here in whole.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use llamapool_http::BoxError;

/// The body of every response of the relay that is not here in whole.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
