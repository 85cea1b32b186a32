//! The body of an answer, until whose end its request counts as running.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::places::RunningRequest;

pin_project! {
    /// A body with the request that it answers.
    pub(super) struct TrackedBody<B> {
        #[pin]
        inner: B,
        _request: RunningRequest,
    }
}

impl<B> TrackedBody<B> {
    pub(super) fn new(inner: B, request: RunningRequest) -> Self {
        Self {
            inner,
            _request: request,
        }
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
