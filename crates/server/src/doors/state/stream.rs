//! The state stream: a snapshot at every interval, as server-sent events.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use llamapool_http::sse;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::snapshot::{StateSources, to_json};

/// Snapshots as server-sent events, until the reader leaves or the server stops.
pub(super) struct StateStream {
    sources: Arc<StateSources>,
    ticks: Interval,
    farewell: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl StateStream {
    /// Returns a stream with a snapshot now and after every `period`.
    pub(super) fn new(
        sources: Arc<StateSources>,
        period: Duration,
        farewell: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            sources,
            ticks,
            farewell: Box::pin(farewell.cancelled_owned()),
            _permit: permit,
        }
    }
}

impl http_body::Body for StateStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.farewell.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(cx));

        let mut event = BytesMut::new();
        sse::write_event(&mut event, to_json(&self.sources).as_bytes());
        Poll::Ready(Some(Ok(Frame::data(event.freeze()))))
    }
}
