//! A call as it comes out of the tunnel, and the response that goes back.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use llamapool_head::{Fields, RequestHead, ResponseHead};
use llamapool_tunnel::{IncomingBody, OutgoingBody};
use llamapool_wire::{CallError, Cause};

use crate::response_body::ResponseBody;

/// A call as it comes out of the tunnel.
pub(crate) struct CallRequest<'a> {
    pub(crate) method: &'a Method,
    /// The path inside the tunnel, and the query.
    pub(crate) uri: &'a Uri,
    /// The fields, of which the provider gets what is left.
    pub(crate) fields: &'a mut Fields,
    pub(crate) body: IncomingBody,
}

/// A response to a call.
pub(crate) struct CallResponse {
    pub(crate) head: ResponseHead,
    pub(crate) body: OutgoingBody<ResponseBody>,
}

impl CallRequest<'_> {
    /// Returns the call as a request of the crate `http`.
    ///
    /// # Errors
    ///
    /// There are more fields than that holds.
    pub(crate) fn into_http(self) -> Result<Request<IncomingBody>, CallError> {
        let head = RequestHead {
            method: self.method.clone(),
            uri: self.uri.clone(),
            fields: self.fields.clone(),
        };
        head.into_http(self.body)
            .ok_or_else(|| CallError::new(Cause::RelayGarbage, "the call has too many headers"))
    }
}

impl CallResponse {
    /// Returns a response without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            head: ResponseHead::new(status),
            body: OutgoingBody::Whole(Bytes::new()),
        }
    }

    /// Returns a response with a body that arrives piece by piece.
    pub(crate) fn streamed(head: ResponseHead, body: ResponseBody) -> Self {
        Self {
            head,
            body: OutgoingBody::Stream(body),
        }
    }

    /// Returns the response of these parts.
    pub(crate) fn of_http(response: Response<ResponseBody>) -> Self {
        let head = ResponseHead::of(&response);
        Self::streamed(head, response.into_body())
    }
}
