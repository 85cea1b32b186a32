//! The body of a response inside the bridge, of any kind: JSON, an event stream, or none.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use llamapool_http::BoxError;

/// The body of a response inside the bridge.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
