//! Event streams on which a client only listens. They have no end of their own, so a process that
//! drains would wait for them in vain, and ends them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::BoxError;

/// The time without a byte after which a stream is idle: a message that was on its way when the
/// process began to drain still arrives.
const IDLE: Duration = Duration::from_secs(2);
/// The interval at which the streams are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The open streams of a process. Clones are the same.
#[derive(Clone)]
pub struct ListenerStreams(Arc<Streams>);

struct Streams {
    open: AtomicUsize,
    last_byte: Mutex<Instant>,
    end: CancellationToken,
}

/// Counts one open stream.
struct OpenStream(Arc<Streams>);

/// The stream was ended because the process ends.
#[derive(Debug, thiserror::Error)]
#[error("the event stream was ended: the process ends")]
struct EndedError;

pin_project! {
    /// The body of a stream on which a client only listens.
    pub struct ListenerStream<B> {
        #[pin]
        inner: B,
        #[pin]
        end: WaitForCancellationFutureOwned,
        open: OpenStream,
    }
}

impl ListenerStreams {
    /// Returns an empty set.
    pub fn new() -> Self {
        Self(Arc::new(Streams {
            open: AtomicUsize::new(0),
            last_byte: Mutex::new(Instant::now()),
            end: CancellationToken::new(),
        }))
    }

    /// Returns the number of open streams.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Adds the body of a stream.
    pub fn add<B>(&self, body: B) -> ListenerStream<B> {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        ListenerStream {
            inner: body,
            end: self.0.end.clone().cancelled_owned(),
            open: OpenStream(self.0.clone()),
        }
    }

    /// Waits until nothing but these streams runs and all are idle, and ends them: each breaks off,
    /// as no end of a stream is made up. `running` returns the number of all running calls.
    pub async fn end_when_idle(&self, running: impl Fn() -> usize) {
        // A stream is idle from the beginning of the drain on.
        *self.0.last_byte.lock() = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let idle = self.0.last_byte.lock().elapsed();
            let open = self.open();
            if open > 0 && running() <= open && idle >= IDLE {
                break;
            }
        }

        tracing::info!(
            event_streams = self.open(),
            people = "◐ finishing    ending event streams on which clients only listen",
            "ending event streams on which clients only listen"
        );
        self.0.end.cancel();
    }
}

impl Default for ListenerStreams {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Body for ListenerStream<B>
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
        let this = self.project();
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            *this.open.0.last_byte.lock() = Instant::now();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        this.end.poll(cx).map(|()| Some(Err(EndedError.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// A body that sends one piece after each of the spans, and then nothing.
    struct Pieces(Vec<Duration>, Pin<Box<tokio::time::Sleep>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.1.as_mut().poll(cx).is_pending() || self.0.is_empty() {
                return Poll::Pending;
            }
            let span = self.0.remove(0);
            self.1 = Box::pin(tokio::time::sleep(span));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_listeners_end_once_no_call_runs() {
        let streams = ListenerStreams::new();
        let second = Duration::from_secs(1);
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut body = Box::pin(streams.add(Pieces(vec![second; 3], sleep)));
        let calls = AtomicUsize::new(2);
        let began = Instant::now();

        let read = async {
            let mut pieces = 0;
            while body.frame().await.unwrap().is_ok() {
                pieces += 1;
            }
            pieces
        };
        let call_ends = async {
            tokio::time::sleep(10 * second).await;
            calls.store(1, Ordering::SeqCst);
        };
        let (pieces, ..) = tokio::join!(
            read,
            call_ends,
            streams.end_when_idle(|| calls.load(Ordering::SeqCst)),
        );

        assert_eq!(pieces, 3);
        assert!(began.elapsed() >= 10 * second && began.elapsed() < 11 * second);
        drop(body);
        assert_eq!(streams.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_ends_two_seconds_after_its_last_message() {
        let streams = ListenerStreams::new();
        let second = Duration::from_secs(1);
        let sleep = Box::pin(tokio::time::sleep(second));
        let mut body = Box::pin(streams.add(Pieces(vec![second; 3], sleep)));
        let began = Instant::now();

        let read = async {
            let mut pieces = 0;
            while body.frame().await.unwrap().is_ok() {
                pieces += 1;
            }
            pieces
        };
        let (pieces, ()) = tokio::join!(read, streams.end_when_idle(|| 1));

        assert_eq!(pieces, 3);
        assert!(began.elapsed() >= 5 * second && began.elapsed() < 6 * second);
    }

    #[tokio::test]
    async fn a_stream_that_ends_by_itself_ends_well() {
        let streams = ListenerStreams::new();
        let body = streams.add(Full::new(Bytes::from_static(b"all")));
        assert_eq!(streams.open(), 1);

        let all = body.collect().await.unwrap().to_bytes();

        assert_eq!(all, "all");
        assert_eq!(streams.open(), 0);
    }
}
