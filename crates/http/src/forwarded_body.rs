//! The body of a forwarded response: passes every piece on as it arrives, and notifies an observer of
//! its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::BoxError;
use crate::deadline;

/// The way in which a response's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// It was passed on to its last byte.
    Complete,
    /// Its source broke off.
    Broken,
    /// A timeout broke it off.
    TimedOut,
    /// Its observer broke it off.
    Aborted,
}

/// Observes a response's body, and is dropped with it: the call's permit, and its statistics. If it
/// is dropped before [`on_end`](Self::on_end), the caller has left.
pub trait BodyObserver {
    /// Notes that a piece of this many bytes was passed on.
    fn on_data(&mut self, bytes: usize);
    /// Notes the end of the body. It is called once at most.
    fn on_end(&mut self, end: BodyEnd);
    /// Becomes ready when the body is to be broken off, whether or not more of it has arrived.
    fn poll_abort(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// No observer.
impl BodyObserver for () {
    fn on_data(&mut self, _: usize) {}
    fn on_end(&mut self, _: BodyEnd) {}
}

/// A forwarded body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ForwardedBodyError {
    /// Its source broke off.
    #[error("the answer broke off")]
    Source(#[source] BoxError),
    /// No piece arrived for too long.
    #[error("the answer was idle for {0:?}")]
    Idle(Duration),
    /// The whole call took too long.
    #[error("the call took too long")]
    Total,
    /// The observer broke it off.
    #[error("the call was ended")]
    Aborted,
}

pin_project! {
    /// The body of a forwarded response.
    pub struct ForwardedBody<B, P> {
        #[pin]
        inner: B,
        // Boxed, as few calls have one: it is made when the next piece has not arrived.
        clock: Option<Pin<Box<Sleep>>>,
        is_set: bool,
        idle: Option<Duration>,
        deadline: Option<Instant>,
        observer: P,
        // The error that follows once the pieces before it had a chance to be sent.
        broken: Option<ForwardedBodyError>,
        is_ended: bool,
    }
}

impl<B: Body<Data = Bytes>, P: BodyObserver> ForwardedBody<B, P> {
    /// Attaches an observer to a body that may take any time.
    pub fn observed(inner: B, observer: P) -> Self {
        Self::new(inner, None, None, observer)
    }

    pub(crate) fn new(
        inner: B,
        idle: Option<Duration>,
        deadline: Option<Instant>,
        mut observer: P,
    ) -> Self {
        let is_ended = inner.is_end_stream();
        if is_ended {
            observer.on_end(BodyEnd::Complete);
        }
        Self {
            inner,
            clock: None,
            is_set: false,
            idle,
            deadline,
            observer,
            broken: None,
            is_ended,
        }
    }
}

impl<B, P> Body for ForwardedBody<B, P>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    P: BodyObserver,
{
    type Data = Bytes;
    type Error = ForwardedBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ForwardedBodyError>>> {
        let mut this = self.project();
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if *this.is_ended {
            return Poll::Ready(None);
        }

        let is_aborted = this.observer.poll_abort(cx).is_ready();
        let (error, end) = match this.inner.as_mut().poll_frame(cx) {
            _ if is_aborted => (ForwardedBodyError::Aborted, BodyEnd::Aborted),
            Poll::Ready(Some(Ok(frame))) => {
                this.observer
                    .on_data(frame.data_ref().map_or(0, Bytes::len));
                if this.inner.is_end_stream() {
                    *this.is_ended = true;
                    this.observer.on_end(BodyEnd::Complete);
                }
                *this.is_set = false;
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                *this.is_ended = true;
                this.observer.on_end(BodyEnd::Complete);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                (ForwardedBodyError::Source(error.into()), BodyEnd::Broken)
            }
            Poll::Pending => {
                if !std::mem::replace(this.is_set, true) {
                    set(this.clock, deadline::after(*this.idle, *this.deadline));
                }
                match this.clock.as_mut().map(|clock| clock.as_mut().poll(cx)) {
                    Some(Poll::Ready(())) => {
                        (timeout_error(*this.idle, *this.deadline), BodyEnd::TimedOut)
                    }
                    Some(Poll::Pending) | None => return Poll::Pending,
                }
            }
        };

        // The pieces before the error are still in a buffer, and an error discards buffers: one turn of
        // waiting flushes them first.
        *this.is_ended = true;
        this.observer.on_end(end);
        *this.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Sets a clock, or removes it if there is no alarm.
fn set(clock: &mut Option<Pin<Box<Sleep>>>, alarm: Option<Instant>) {
    match (clock, alarm) {
        (Some(clock), Some(alarm)) => clock.as_mut().reset(alarm),
        (clock, alarm) => *clock = alarm.map(|alarm| Box::pin(tokio::time::sleep_until(alarm))),
    }
}

fn timeout_error(idle: Option<Duration>, deadline: Option<Instant>) -> ForwardedBodyError {
    match (idle, deadline) {
        (_, Some(deadline)) if Instant::now() >= deadline => ForwardedBodyError::Total,
        (Some(idle), _) => ForwardedBodyError::Idle(idle),
        _ => ForwardedBodyError::Total,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use parking_lot::Mutex;

    use super::*;

    /// A body that follows a script.
    struct Script(std::vec::IntoIter<Option<Result<&'static str, &'static str>>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match self.0.next() {
                Some(Some(Ok(data))) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(data))))),
                Some(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
                Some(None) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn lines(&self) -> Vec<String> {
            self.0.lock().clone()
        }
        fn note(&self, line: String) {
            self.0.lock().push(line);
        }
    }

    struct LogObserver(Log);

    impl BodyObserver for LogObserver {
        fn on_data(&mut self, bytes: usize) {
            self.0.note(format!("moved {bytes}"));
        }
        fn on_end(&mut self, end: BodyEnd) {
            self.0.note(format!("{end:?}"));
        }
    }

    impl Drop for LogObserver {
        fn drop(&mut self) {
            self.0.note("dropped".into());
        }
    }

    type Step = Option<Result<&'static str, &'static str>>;

    fn body(
        script: Vec<Step>,
        idle: Option<u64>,
        total: Option<u64>,
    ) -> (ForwardedBody<Script, LogObserver>, Log) {
        let log = Log::default();
        let deadline = total.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let idle = idle.map(Duration::from_secs);
        (
            ForwardedBody::new(
                Script(script.into_iter()),
                idle,
                deadline,
                LogObserver(log.clone()),
            ),
            log,
        )
    }

    #[tokio::test]
    async fn the_observer_is_notified_of_every_piece_and_the_end() {
        let (body, log) = body(vec![Some(Ok("ab")), Some(Ok("c"))], None, None);

        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert_eq!(log.lines(), ["moved 2", "moved 1", "Complete", "dropped"]);
    }

    #[tokio::test]
    async fn a_broken_source_breaks_off_a_turn_after_its_last_piece() {
        let (mut body, log) = body(vec![Some(Ok("ab")), Some(Err("reset"))], None, None);

        assert!(body.frame().await.unwrap().is_ok());

        let mut frame = std::pin::pin!(body.frame());

        assert!(futures_util::poll!(frame.as_mut()).is_pending());
        assert!(matches!(
            frame.await,
            Some(Err(ForwardedBodyError::Source(_)))
        ));
        assert!(body.frame().await.is_none());
        assert_eq!(log.lines(), ["moved 2", "Broken"]);
    }

    #[tokio::test]
    async fn a_caller_that_leaves_drops_the_observer_without_an_end() {
        let (mut body, log) = body(vec![Some(Ok("ab")), None], None, None);

        assert!(body.frame().await.unwrap().is_ok());

        drop(body);

        assert_eq!(log.lines(), ["moved 2", "dropped"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_response_breaks_off_after_the_idle_time() {
        let started = Instant::now();
        let (mut body, log) = body(vec![Some(Ok("ab")), None, None, None], Some(20), Some(3600));

        assert!(body.frame().await.unwrap().is_ok());
        assert!(matches!(
            body.frame().await,
            Some(Err(ForwardedBodyError::Idle(_)))
        ));
        assert_eq!(started.elapsed().as_secs(), 20);
        assert_eq!(log.lines(), ["moved 2", "TimedOut"]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_piece_restarts_the_idle_time() {
        let started = Instant::now();
        let pieces = futures_util::stream::unfold(0, |number| async move {
            if number == 5 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
            Some((
                Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"a"))),
                number + 1,
            ))
        });
        let inner = http_body_util::StreamBody::new(pieces);
        let mut body = Box::pin(ForwardedBody::new(
            inner,
            Some(Duration::from_secs(20)),
            None,
            (),
        ));

        for _ in 0..5 {
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert!(matches!(
            body.frame().await,
            Some(Err(ForwardedBodyError::Idle(_)))
        ));
        assert_eq!(started.elapsed().as_secs(), 5 * 15 + 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_as_a_whole_breaks_off() {
        let (mut body, log) = body(vec![None, None, None], Some(3600), Some(30));

        assert!(matches!(
            body.frame().await,
            Some(Err(ForwardedBodyError::Total))
        ));
        assert_eq!(log.lines(), ["TimedOut"]);
    }
}
