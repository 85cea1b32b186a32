//! The answer to a plain request.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use llamapool_head::ResponseHead;

/// The answer to a plain request: its head, and its body with its framing.
#[derive(Debug)]
pub struct Answer<B> {
    /// The head. A length that it declares must be that of the body.
    pub head: ResponseHead,
    /// The body.
    pub body: AnswerBody<B>,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody<B> {
    /// The whole body, of a length that the head may declare.
    Whole(Bytes),
    /// The whole body, which had no length when its first byte was sent: it goes out in chunks, unless the
    /// head declares its length.
    WholeInChunks(Bytes),
    /// A body that is still on its way.
    Stream(B),
}

impl<B> Answer<B> {
    /// Returns an answer without fields and without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            head: ResponseHead::new(status),
            body: AnswerBody::Whole(Bytes::new()),
        }
    }
}

impl<B: Body<Data = Bytes>> From<Response<B>> for Answer<B> {
    fn from(answer: Response<B>) -> Self {
        let head = ResponseHead::of(&answer);
        let body = AnswerBody::Stream(answer.into_body());
        Self { head, body }
    }
}
