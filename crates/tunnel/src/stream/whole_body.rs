//! A body that has arrived through the tunnel whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinSet;

use super::incoming_body::IncomingBodyError;

/// A body that has arrived whole, and holds nothing of the tunnel. It is framed like the
/// [`IncomingBody`](super::IncomingBody) that it was.
#[derive(Debug)]
pub struct WholeBody {
    data: Bytes,
    /// False if the body has another length than its head announced: it broke off.
    is_complete: bool,
    may_report_end: bool,
    has_ended: bool,
    /// The rest of the request that this body answers, of which nothing is sent any more.
    _upload: Option<JoinSet<()>>,
}

impl WholeBody {
    pub(super) fn new(
        data: Bytes,
        is_complete: bool,
        may_report_end: bool,
        upload: Option<JoinSet<()>>,
    ) -> Self {
        Self {
            data,
            is_complete,
            may_report_end,
            has_ended: false,
            _upload: upload,
        }
    }

    /// Returns the number of bytes that are left.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Returns whether no bytes are left.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Returns the bytes that are left.
    pub fn into_bytes(self) -> Bytes {
        self.data
    }

    /// Returns whether the body was empty when its head arrived. One that is empty all the same had no
    /// length then.
    pub fn was_known_empty(&self) -> bool {
        self.may_report_end && self.data.is_empty()
    }

    /// Returns whether the body has the length that its head announced.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl Body for WholeBody {
    type Data = Bytes;
    type Error = IncomingBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingBodyError>>> {
        let this = self.get_mut();
        if !this.data.is_empty() {
            this.may_report_end = true;
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.data)))));
        }
        if std::mem::replace(&mut this.has_ended, true) || this.is_complete {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Err(IncomingBodyError::Aborted)))
    }

    fn is_end_stream(&self) -> bool {
        let is_at_end = self.may_report_end && self.is_complete && self.data.is_empty();
        self.has_ended || is_at_end
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}
