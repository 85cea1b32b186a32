//! The request of a call and its answer, as the stages of a door take them, however they came.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, StreamBody};
use llamapool_head::RequestHead;
use llamapool_http::listen::{Answer, AnswerBody};
use llamapool_http::{Alarm, linger};

/// A request as it came, or as it is left of one stage.
pub(crate) struct CallRequest<'c> {
    /// Boxed, as it is moved from stage to stage.
    pub(crate) head: Box<RequestHead>,
    pub(crate) body: RequestBody,
    /// The timer of the connection that it came on.
    pub(crate) alarm: &'c mut Alarm,
}

/// The body of a request.
pub(crate) enum RequestBody {
    /// It has arrived whole.
    Whole(Bytes),
    /// It is on its way.
    Stream(Body),
}

/// The answer to a call.
pub(crate) type CallAnswer = Answer<Body>;

impl<'c> CallRequest<'c> {
    /// Makes a call of a request.
    pub(crate) fn new(request: Request, alarm: &'c mut Alarm) -> Self {
        let head = Box::new(RequestHead::of(&request));
        let body = request.into_body();
        let body = if body.is_end_stream() {
            RequestBody::Whole(Bytes::new())
        } else {
            RequestBody::Stream(body)
        };
        Self { head, body, alarm }
    }

    /// Reads and discards the body of a request that is refused, so that its sender gets the answer. A
    /// caller that asks before it sends has sent nothing.
    pub(crate) async fn discard(self) {
        if let RequestBody::Stream(body) = self.body
            && !self.head.fields.contains_key(&header::EXPECT)
        {
            // Boxed, as calls that are not refused would carry its size along.
            Box::pin(linger(body)).await;
        }
    }
}

/// Returns an answer as a response of the crate `http`.
pub(crate) fn into_response(answer: CallAnswer) -> Response<Body> {
    let body = match answer.body {
        AnswerBody::Whole(bytes) => Body::from(bytes),
        // A stream has no length.
        AnswerBody::WholeInChunks(bytes) => {
            let chunk = Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes));
            Body::new(StreamBody::new(futures_util::stream::iter([chunk])).boxed())
        }
        AnswerBody::Stream(body) => body,
    };
    answer.head.into_http(body).unwrap_or_else(|| {
        // Never: the tunnel carries no head of so many fields.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}
