//! A request body with an upper bound, and with a bound on how slowly it may arrive.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::BoxError;
use crate::request_pace::{PaceClock, RequestPace, RequestTooSlowError};

/// The progress of a request's body, readable while it is sent.
#[derive(Debug)]
pub struct RequestMeter {
    started: Instant,
    bytes: AtomicU64,
    /// When the last byte was sent, in nanoseconds since the start.
    last_nanos: AtomicU64,
    exceeded: AtomicBool,
    too_slow: AtomicBool,
}

impl Default for RequestMeter {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            bytes: AtomicU64::new(0),
            last_nanos: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            too_slow: AtomicBool::new(false),
        }
    }
}

impl RequestMeter {
    /// Returns how many bytes were sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns when the last byte was sent, `None` if none was.
    pub fn last_sent(&self) -> Option<Instant> {
        let last = Duration::from_nanos(self.last_nanos.load(Ordering::Relaxed));
        (self.bytes() > 0).then(|| self.started + last)
    }

    /// Counts a body that is sent whole, at the start.
    pub fn count_whole(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that are sent and returns their number so far.
    fn count(&self, bytes: u64) -> u64 {
        if bytes > 0 {
            let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.last_nanos.store(nanos, Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Returns whether the body was broken off because it exceeded its bound.
    pub fn has_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }

    /// Returns whether the body was broken off because it arrived too slowly.
    pub fn is_too_slow(&self) -> bool {
        self.too_slow.load(Ordering::Acquire)
    }
}

/// The body exceeds its bound.
#[derive(Debug, thiserror::Error)]
#[error("the request body exceeds {0} bytes")]
pub struct BodyTooLargeError(pub u64);

/// How long the rest of a body that exceeds its bound is read and discarded.
const LINGER: Duration = Duration::from_secs(5);
/// How many bytes of it are read and discarded at the most.
const LINGER_BYTES: u64 = 64 << 20;

/// Reads and discards a body, within bounds, so that its sender can finish. A connection that is closed
/// in the middle of a request is reset, and the reset discards the response.
pub async fn linger<B: Body<Data = Bytes>>(body: B) {
    let mut body = std::pin::pin!(body);
    let mut left = LINGER_BYTES;
    let drained = async {
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            let Some(rest) = left.checked_sub(length) else {
                return;
            };
            left = rest;
        }
    };
    // The response follows, also if the body was not read to its end.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// Reads and discards the body of a request that is refused (see [`linger`]), unless its sender has asked
/// before it sends: then nothing comes.
pub async fn discard<B: Body<Data = Bytes>>(request: Request<B>) {
    if !request.headers().contains_key(EXPECT) {
        linger(request.into_body()).await;
    }
}

pin_project! {
    /// A request body that breaks off with [`BodyTooLargeError`] when it exceeds its bound, after its
    /// sender had a chance to finish (see [`linger`]), and with [`RequestTooSlowError`] when its
    /// sender is slower than its pace.
    pub struct LimitedBody<B> {
        #[pin]
        inner: B,
        max_bytes: u64,
        meter: Arc<RequestMeter>,
        linger: Option<Pin<Box<Sleep>>>,
        clock: PaceClock,
    }
}

impl<B> LimitedBody<B> {
    /// Bounds a body, and returns the meter of its progress.
    pub fn new(inner: B, max_bytes: u64, pace: RequestPace) -> (Self, Arc<RequestMeter>) {
        let meter = Arc::new(RequestMeter::default());
        (
            Self {
                inner,
                max_bytes,
                meter: meter.clone(),
                linger: None,
                clock: PaceClock::new(pace),
            },
            meter,
        )
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            let frame = match this.inner.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    match this.linger.as_mut().map(|linger| linger.as_mut().poll(cx)) {
                        Some(Poll::Ready(())) => {
                            return Poll::Ready(Some(Err(
                                BodyTooLargeError(*this.max_bytes).into()
                            )));
                        }
                        Some(Poll::Pending) => return Poll::Pending,
                        None => {}
                    }
                    if this.clock.poll_waiting(cx, this.meter.bytes()).is_pending() {
                        return Poll::Pending;
                    }
                    this.meter.too_slow.store(true, Ordering::Release);
                    return Poll::Ready(Some(Err(RequestTooSlowError.into())));
                }
            };
            this.clock.note_arrival();

            let length = frame
                .as_ref()
                .and_then(|frame| frame.as_ref().ok()?.data_ref())
                .map_or(0, Bytes::len);
            let bytes = this.meter.count(length as u64);
            if bytes <= *this.max_bytes {
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }

            // The rest is discarded, so that the sender can finish.
            this.meter.exceeded.store(true, Ordering::Release);
            if !matches!(frame, Some(Ok(_))) || bytes > this.max_bytes.saturating_add(LINGER_BYTES)
            {
                return Poll::Ready(Some(Err(BodyTooLargeError(*this.max_bytes).into())));
            }
            this.linger
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.linger.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const PACE: RequestPace = RequestPace {
        idle: Some(Duration::from_secs(30)),
        min_rate: 100,
    };

    fn body_of(pieces: usize, bytes: usize) -> impl Body<Data = Bytes, Error = BoxError> {
        let pieces = (0..pieces).map(move |_| Ok(Frame::data(Bytes::from(vec![7; bytes]))));
        StreamBody::new(Pieces(pieces))
    }

    struct Pieces<I>(I);

    impl<I: Iterator + Unpin> futures_util::Stream for Pieces<I> {
        type Item = I::Item;
        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
            Poll::Ready(self.0.next())
        }
    }

    #[tokio::test]
    async fn a_body_up_to_its_bound_is_passed_on_complete() {
        let (body, meter) = LimitedBody::new(body_of(10, 10), 100, PACE);

        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 100);
        assert_eq!((meter.bytes(), meter.has_exceeded()), (100, false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_meter_has_the_time_of_the_last_byte() {
        let (body, meter) = LimitedBody::new(body_of(2, 10), 100, PACE);
        let mut body = std::pin::pin!(body);

        assert_eq!(meter.last_sent(), None);
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(7)).await;
            body.frame().await.unwrap().unwrap();
            assert_eq!(meter.last_sent(), Some(Instant::now()));
        }

        let last = Instant::now();
        tokio::time::advance(Duration::from_secs(7)).await;

        assert!(body.frame().await.is_none());
        assert_eq!(meter.last_sent(), Some(last), "the end is no byte");
    }

    #[tokio::test]
    async fn a_body_above_its_bound_breaks_off_after_its_sender() {
        let (body, meter) = LimitedBody::new(body_of(15, 10), 100, PACE);
        let error = body.collect().await.unwrap_err();

        assert!(
            error
                .downcast_ref::<BodyTooLargeError>()
                .is_some_and(|error| error.0 == 100),
            "{error}"
        );
        assert_eq!((meter.bytes(), meter.has_exceeded()), (150, true));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_read_forever() {
        let (body, meter) = LimitedBody::new(body_of(usize::MAX, 1 << 20), 100, PACE);

        assert!(body.collect().await.is_err());
        assert!((LINGER_BYTES..LINGER_BYTES + (2 << 20)).contains(&meter.bytes()));

        linger(body_of(usize::MAX, 1 << 20)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_sender_above_the_bound_is_not_waited_for() {
        let quiet = StreamBody::new(Once(Some(Bytes::from_static(&[7; 101]))));
        let (body, meter) = LimitedBody::new(quiet, 100, PACE);

        assert!(body.collect().await.is_err());
        assert!(meter.has_exceeded());
    }

    /// One piece, then silence.
    struct Once(Option<Bytes>);

    impl futures_util::Stream for Once {
        type Item = Result<Frame<Bytes>, BoxError>;
        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.take().map_or(Poll::Pending, |piece| {
                Poll::Ready(Some(Ok(Frame::data(piece))))
            })
        }
    }

    /// Pieces of a size, each after a pause.
    fn slow_body(
        pieces: u32,
        bytes: usize,
        pause: Duration,
    ) -> impl Body<Data = Bytes, Error = BoxError> {
        StreamBody::new(futures_util::stream::unfold(0, move |sent| async move {
            if sent == pieces {
                return None;
            }
            tokio::time::sleep(pause).await;
            Some((Ok(Frame::data(Bytes::from(vec![7; bytes]))), sent + 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stops_or_trickles_is_given_up() {
        let silent = slow_body(1, 10, Duration::from_secs(1000));
        let trickling = slow_body(1000, 10, Duration::from_secs(1));
        for (body, seconds) in [(silent.boxed_unsync(), 30), (trickling.boxed_unsync(), 33)] {
            let started = Instant::now();
            let (body, meter) = LimitedBody::new(body, 1 << 20, PACE);

            let error = body.collect().await.unwrap_err();

            assert!(error.is::<RequestTooSlowError>(), "{error}");
            assert!(meter.is_too_slow());
            assert_eq!(started.elapsed().as_secs(), seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_upload_passes() {
        let upload = slow_body(100, 2900, Duration::from_secs(29));
        let (body, meter) = LimitedBody::new(upload, 1 << 20, PACE);

        assert!(body.collect().await.is_ok());
        assert_eq!(meter.bytes(), 290_000);
        assert!(!meter.is_too_slow());
    }

    /// While the next hop takes nothing, its sender cannot go on.
    #[tokio::test(start_paused = true)]
    async fn only_the_wait_for_the_sender_counts() {
        let upload = slow_body(10, 10, Duration::from_secs(1));
        let (body, _) = LimitedBody::new(upload, 1 << 20, PACE);
        let mut body = std::pin::pin!(body);

        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(600)).await;
            body.frame().await.unwrap().unwrap();
        }

        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_pace_a_sender_may_take_its_time() {
        let upload = slow_body(10, 1, Duration::from_secs(3600));
        let (body, _) = LimitedBody::new(upload, 100, RequestPace::default());

        assert!(body.collect().await.is_ok());
    }
}
