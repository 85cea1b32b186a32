//! A body that arrives through the tunnel.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use llamapool_limits::{MemoryAccount, ShareError};
use tokio::task::JoinSet;

use super::error::StreamError;
use super::half::ReceiveHalf;
use super::state::BodyEvent;
use super::whole_body::WholeBody;

/// A body that arrives through the tunnel. Dropping it before its end stops the sender.
///
/// It yields bytes as they arrive, and gives the sender's window back only as they are read: a
/// reader that stops costs this end at most [`stream_window`](crate::TunnelConfig::stream_window)
/// bytes.
pub struct IncomingBody {
    half: ReceiveHalf,
    /// Bytes still to arrive according to the content length. With more or fewer the body is not
    /// the one that was sent.
    announced: Option<u64>,
    /// Allows `is_end_stream` to be true before the end was polled. False until the first frame, so
    /// that an empty chunked body is forwarded as chunked, not with length 0.
    may_report_end: bool,
    /// The rest of the request that this body answers, while it is still being sent.
    upload: Option<JoinSet<()>>,
    has_ended: bool,
    /// Sees the bytes as they are read.
    observer: Option<BytesObserver>,
}

/// A function that sees the bytes of a body as they are read.
pub type BytesObserver = Box<dyn FnMut(&Bytes) + Send>;

/// The reason why a body through the tunnel broke off.
#[derive(Debug, thiserror::Error)]
pub enum IncomingBodyError {
    /// The sender's own source broke off, or the sender gave up.
    #[error("the body broke off")]
    Aborted,
    /// The tunnel was lost.
    #[error("the tunnel was lost: {0}")]
    TunnelLost(String),
    /// This end read nothing for too long of what had arrived.
    #[error("its reader took nothing for too long")]
    ReaderStalled,
    /// This end had no memory for what had arrived and was not read.
    #[error("there was no memory for its unread bytes")]
    OutOfMemory,
}

impl IncomingBody {
    /// Creates the body behind a head with these `headers`. `is_empty`: the head was the last frame
    /// of the message.
    pub(crate) fn new(half: ReceiveHalf, headers: &HeaderMap, is_empty: bool) -> Self {
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            half,
            announced,
            may_report_end: is_empty,
            upload: None,
            has_ended: false,
            observer: None,
        }
    }

    /// Ignores the content length, which describes the response to another request.
    pub(crate) fn ignoring_content_length(mut self) -> Self {
        self.announced = None;
        self
    }

    /// Keeps the rest of a request going for as long as its response is read.
    pub(crate) fn with_upload(mut self, upload: JoinSet<()>) -> Self {
        self.upload = Some(upload);
        self
    }

    /// Lets an observer see the bytes as they are read.
    pub fn observe(&mut self, observer: BytesObserver) {
        self.observer = Some(observer);
    }

    /// Returns the whole body as bytes if all of it has arrived, it has at most `max_bytes`, and its
    /// stream is over for both ends. Otherwise the body itself, unchanged.
    pub fn into_whole(mut self, max_bytes: usize) -> Result<WholeBody, Self> {
        if self.has_ended || self.announced.is_some_and(|left| left > max_bytes as u64) {
            return Err(self);
        }
        let Some(data) = self.half.take_whole(max_bytes) else {
            return Err(self);
        };
        if let Some(observer) = &mut self.observer {
            observer(&data);
        }
        let is_complete = self
            .announced
            .is_none_or(|announced| announced == data.len() as u64);
        let may_report_end = self.may_report_end;
        Ok(WholeBody::new(
            data,
            is_complete,
            may_report_end,
            self.upload,
        ))
    }

    /// Counts the memory of what arrives for these parties. Fails if there is none for the window of
    /// the body, unless all of it has arrived.
    pub fn cover_window(&self, account: MemoryAccount) -> Result<(), ShareError> {
        self.half.cover_window(account)
    }

    /// Counts received bytes against the content length.
    fn count(&mut self, length: usize) -> Result<(), IncomingBodyError> {
        if let Some(announced) = &mut self.announced {
            *announced = announced
                .checked_sub(length as u64)
                .ok_or(IncomingBodyError::Aborted)?;
        }
        Ok(())
    }

    /// Returns the result of the body's end: a body shorter than its content length broke off.
    fn end(&self) -> Result<(), IncomingBodyError> {
        match self.announced {
            Some(1..) => Err(IncomingBodyError::Aborted),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingBody")
            .field("half", &self.half)
            .field("announced", &self.announced)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
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
        if this.has_ended {
            return Poll::Ready(None);
        }

        let end = match ready!(this.half.poll_body(cx)) {
            BodyEvent::Data(data) => match this.count(data.len()) {
                Ok(()) => {
                    this.may_report_end = true;
                    if let Some(observer) = &mut this.observer {
                        observer(&data);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(error) => Err(error),
            },
            BodyEvent::End => this.end(),
            BodyEvent::Aborted | BodyEvent::Failed(StreamError::Cancelled(_)) => {
                Err(IncomingBodyError::Aborted)
            }
            BodyEvent::Failed(StreamError::TunnelLost(reason)) => {
                Err(IncomingBodyError::TunnelLost(reason.to_string()))
            }
            BodyEvent::Failed(StreamError::ReaderStalled) => Err(IncomingBodyError::ReaderStalled),
            BodyEvent::Failed(StreamError::OutOfMemory) => Err(IncomingBodyError::OutOfMemory),
        };
        this.has_ended = true;
        Poll::Ready(end.err().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        let is_complete = self.announced.is_none_or(|left| left == 0);
        self.has_ended || (self.may_report_end && is_complete && self.half.has_read_all())
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}
