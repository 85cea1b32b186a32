//! A body that arrives through the tunnel.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinSet;

use crate::halves::ReceiveHalf;
use crate::stream::{Incoming, Over};

/// A body that arrives through the tunnel. Dropping it before its end tells the sender to stop.
///
/// It hands bytes on as they come and gives the sender new room only as they are taken: who does not read does not
/// make this end hold more than [`crate::TunnelConfig::stream_window`].
#[derive(Debug)]
pub struct IncomingBody {
    half: ReceiveHalf,
    /// How much its head says is still to come. A body that has more or less is not what was sent.
    announced: Option<u64>,
    /// Whether it may say that it has ended before it was asked for its end. A body that only turns out to be empty may not: its
    /// head left open that more comes, and must look so on the other side, too.
    knows_its_end: bool,
    /// The rest of the request that this body answers, if it is still being sent.
    upload: Option<JoinSet<()>>,
    ended: bool,
}

/// Why a body through the tunnel broke off.
#[derive(Debug, thiserror::Error)]
pub enum IncomingBodyError {
    /// The sender's own source broke off, or the sender gave up.
    #[error("the body broke off")]
    Aborted,
    /// The tunnel was lost.
    #[error("the tunnel was lost: {0}")]
    TunnelLost(String),
}

impl IncomingBody {
    /// The body behind a head with these headers, which may say that nothing comes behind it.
    pub(crate) fn new(half: ReceiveHalf, headers: &HeaderMap, ends: bool) -> Self {
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            half,
            announced,
            knows_its_end: ends,
            upload: None,
            ended: false,
        }
    }

    /// A body that is empty whatever the head says: that may speak of another answer.
    pub(crate) fn announced_for_another(mut self) -> Self {
        self.announced = None;
        self
    }

    /// Keeps the rest of a request going for as long as its answer is read.
    pub(crate) fn with_upload(mut self, upload: JoinSet<()>) -> Self {
        self.upload = Some(upload);
        self
    }

    fn end(
        &mut self,
        result: Result<(), IncomingBodyError>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingBodyError>>> {
        self.ended = true;
        Poll::Ready(result.err().map(Err))
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = IncomingBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingBodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        match ready!(this.half.poll_incoming(cx)) {
            Incoming::Data(data) => {
                if let Some(announced) = &mut this.announced {
                    let Some(left) = announced.checked_sub(data.len() as u64) else {
                        return this.end(Err(IncomingBodyError::Aborted));
                    };
                    *announced = left;
                }
                this.knows_its_end = true;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Incoming::End if this.announced.is_some_and(|left| left > 0) => {
                this.end(Err(IncomingBodyError::Aborted))
            }
            Incoming::End => this.end(Ok(())),
            Incoming::Aborted | Incoming::Over(Over::Cancelled(_)) => {
                this.end(Err(IncomingBodyError::Aborted))
            }
            Incoming::Over(Over::Lost(why)) => {
                this.end(Err(IncomingBodyError::TunnelLost(why.to_string())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
            || (self.knows_its_end
                && self.announced.is_none_or(|left| left == 0)
                && self.half.has_ended())
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}
