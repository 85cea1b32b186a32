//! A body that arrives through the tunnel, and the mark of one that was aborted.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinSet;

/// Marks, in the trailers inside the tunnel, a body that broke off. A reset would overtake the bytes that were sent
/// before it; trailers come after them. They never leave the tunnel.
const ABORTED: HeaderName = HeaderName::from_static("llamapool-aborted");

/// The trailers of a body that broke off.
pub(crate) fn abort_trailers() -> HeaderMap {
    HeaderMap::from_iter([(ABORTED, HeaderValue::from_static("1"))])
}

/// A body that arrives through the tunnel. Dropping it before its end tells the sender to stop.
///
/// It hands bytes on as they come and gives the sender new room only as they are taken: who does not read does not
/// make this end hold more than [`crate::TunnelConfig::stream_window`].
#[derive(Debug)]
pub struct IncomingBody {
    stream: RecvStream,
    /// The rest of the request that this body answers, if it is still being sent.
    upload: Option<JoinSet<()>>,
    ended: bool,
}

/// Why a body through the tunnel broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender's own source broke off, or the sender gave up.
    #[error("the body broke off")]
    Aborted,
    /// The tunnel was lost.
    #[error("the tunnel was lost: {0}")]
    TunnelLost(String),
}

impl IncomingBody {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, upload: None, ended: false }
    }

    /// Keeps the rest of a request going for as long as its answer is read.
    pub(crate) fn with_upload(mut self, upload: JoinSet<()>) -> Self {
        self.upload = Some(upload);
        self
    }

    fn end(&mut self, result: Result<(), BodyError>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        Poll::Ready(result.err().map(Err))
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let data = loop {
            match ready!(this.stream.poll_data(cx)) {
                // HTTP/2 may end a body with an empty piece, which is no piece of the body.
                Some(Ok(data)) if data.is_empty() => {}
                other => break other,
            }
        };
        match data {
            Some(Ok(data)) => {
                // Room is given back even to a stream that is closed by now; then nobody needs it.
                let _ = this.stream.flow_control().release_capacity(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => this.end(Err(error.into())),
            None => match ready!(this.stream.poll_trailers(cx)) {
                Ok(Some(trailers)) if trailers.contains_key(ABORTED) => this.end(Err(BodyError::Aborted)),
                Ok(_) => this.end(Ok(())),
                Err(error) => this.end(Err(error.into())),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

impl From<h2::Error> for BodyError {
    fn from(error: h2::Error) -> Self {
        if error.is_reset() { Self::Aborted } else { Self::TunnelLost(error.to_string()) }
    }
}
