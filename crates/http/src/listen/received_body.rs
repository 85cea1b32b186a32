//! The body of a request as a handler gets it. What a handler leaves of it is read and discarded,
//! within bounds, also after the answer.
//!
//! Over HTTP/1 a connection that is closed in the middle of a request is reset, and the reset can take
//! the answer away that the sender has not read yet. So a caller whose large request was answered
//! early, by a provider that refuses it, would now and then see a broken pipe in place of the reason.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limited_body::linger;

/// The body of a request.
#[derive(Debug)]
pub struct ReceivedBody {
    body: Source,
    /// Where the rest goes; `None` if there is none that would do harm.
    rest: Option<Arc<RestOfRequest>>,
}

#[derive(Debug)]
enum Source {
    /// It arrives on a connection that hyper reads.
    Hyper(Incoming),
    /// It has arrived.
    Whole(Bytes),
    /// There is nothing of it left, or it is being dropped.
    Nothing,
}

/// What a handler has left of the body of a request, on its way to the task of its connection, which
/// alone outlives the answer.
#[derive(Debug, Default)]
pub(super) struct RestOfRequest {
    /// One at most: HTTP/1 has one request at a time.
    body: Mutex<Option<Incoming>>,
    is_there: Notify,
}

impl ReceivedBody {
    /// Returns the request of a connection with its body.
    pub(super) fn of(request: Request<Incoming>, rest: &Arc<RestOfRequest>) -> Request<Self> {
        // HTTP/2 ends one stream and no connection. A sender that has asked before it sends, and got an
        // answer instead, sends nothing.
        let does_harm = request.version() < Version::HTTP_2
            && !request.body().is_end_stream()
            && !request.headers().contains_key(EXPECT);
        let rest = does_harm.then(|| rest.clone());
        request.map(|body| Self {
            body: Source::Hyper(body),
            rest,
        })
    }

    /// Returns a body that has arrived whole.
    pub fn whole(bytes: Bytes) -> Self {
        let body = if bytes.is_empty() {
            Source::Nothing
        } else {
            Source::Whole(bytes)
        };
        Self { body, rest: None }
    }
}

impl RestOfRequest {
    /// Reads and discards what handlers leave, as long as the connection lives.
    pub(super) async fn discard(&self) -> Infallible {
        loop {
            self.is_there.notified().await;
            let rest = self.body.lock().take();
            if let Some(rest) = rest {
                linger(rest).await;
            }
        }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.body {
            Source::Hyper(body) => Pin::new(body).poll_frame(cx),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.body = Source::Nothing;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Nothing => return Poll::Ready(None),
        };
        if let Poll::Ready(Some(Err(_)) | None) = &frame {
            self.rest = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Hyper(body) => body.is_end_stream(),
            Source::Whole(_) => false,
            Source::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Hyper(body) => body.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Nothing => SizeHint::with_exact(0),
        }
    }
}

impl Drop for ReceivedBody {
    fn drop(&mut self) {
        if let Source::Hyper(body) = std::mem::replace(&mut self.body, Source::Nothing)
            && let Some(rest) = self.rest.take().filter(|_| !body.is_end_stream())
        {
            *rest.body.lock() = Some(body);
            rest.is_there.notify_one();
        }
    }
}
