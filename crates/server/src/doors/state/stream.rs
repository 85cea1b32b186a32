//! The state stream: a snapshot at every interval, as server-sent events.

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
use crate::identity::KeyUse;

/// The key of the reader has ended.
#[derive(Debug, thiserror::Error)]
#[error("the admin key has ended")]
pub(super) struct KeyEndedError;

/// Snapshots as server-sent events, until the reader leaves, its key ends or the server stops.
pub(super) struct StateStream {
    sources: Arc<StateSources>,
    ticks: Interval,
    farewell: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The end of the reader's key.
    key_ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _key: Option<KeyUse>,
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
            key_ended: None,
            _key: None,
            _permit: permit,
        }
    }

    /// Ends the stream with a key.
    pub(super) fn of_key(self, key: Option<&KeyUse>) -> Self {
        Self {
            key_ended: key.map(|key| Box::pin(key.ended())),
            _key: key.cloned(),
            ..self
        }
    }
}

impl http_body::Body for StateStream {
    type Data = Bytes;
    type Error = KeyEndedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, KeyEndedError>>> {
        if self.farewell.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(key_ended) = &mut self.key_ended
            && key_ended.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(KeyEndedError)));
        }
        ready!(self.ticks.poll_tick(cx));

        let mut event = BytesMut::new();
        sse::write_event(&mut event, to_json(&self.sources).as_bytes());
        Poll::Ready(Some(Ok(Frame::data(event.freeze()))))
    }
}
