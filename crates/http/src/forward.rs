//! Waits for the head of the response to a forwarded request, and carries its body.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::deadline;
use crate::forwarded_body::{BodyObserver, ForwardedBody};

/// The timeouts of one forwarded request, except for connecting, which is the upstream's concern.
/// `None` is no timeout.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForwardTimeouts {
    /// From the last byte of the request that was sent to the head of the response.
    pub first_headers: Option<Duration>,
    /// Between two pieces of the response's body.
    pub idle: Option<Duration>,
    /// From sending the request to the end of the response's body.
    pub total: Option<Duration>,
}

/// There is no response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError<E> {
    /// The upstream failed.
    #[error(transparent)]
    Upstream(E),
    /// The head of the response did not arrive in time.
    #[error("no answer within {0:?}")]
    FirstByteTimeout(Duration),
    /// The whole call took too long before the head of the response arrived.
    #[error("no answer within {0:?} for the whole call")]
    CallTimeout(Duration),
}

impl ForwardTimeouts {
    /// Waits for the head of a response, which `sending` returns, with the timer of earlier waits. By reference, as a
    /// future that owns it would have it twice.
    /// [`carry`](Self::carry) applies the other timeouts to the body.
    ///
    /// `started` is when the request was sent. `last_sent` returns when the last byte of its body was sent,
    /// `None` if none was: the wait for the response begins then.
    pub async fn wait<T, E>(
        &self,
        alarm: &mut Alarm,
        started: Instant,
        mut sending: Pin<&mut impl Future<Output = Result<T, E>>>,
        last_sent: impl Fn() -> Option<Instant>,
    ) -> Result<T, ForwardError<E>> {
        let call_deadline = self.total.map(|total| started + total);
        let head_deadline = || {
            self.first_headers
                .map(|wait| last_sent().unwrap_or(started) + wait)
        };

        poll_fn(|cx| {
            if let Poll::Ready(response) = sending.as_mut().poll(cx) {
                return Poll::Ready(response.map_err(ForwardError::Upstream));
            }
            loop {
                let Some(deadline) = deadline::earlier(head_deadline(), call_deadline) else {
                    return Poll::Pending;
                };
                ready!(alarm.poll(cx, deadline));

                let now = Instant::now();
                if call_deadline.is_some_and(|deadline| now >= deadline) {
                    let total = self.total.unwrap_or_default();
                    return Poll::Ready(Err(ForwardError::CallTimeout(total)));
                }
                // Bytes that were sent since the alarm was set have moved the deadline.
                if head_deadline().is_some_and(|deadline| now >= deadline) {
                    let wait = self.first_headers.unwrap_or_default();
                    return Poll::Ready(Err(ForwardError::FirstByteTimeout(wait)));
                }
            }
        })
        .await
    }

    /// Applies the timeouts to a response's body, and attaches an observer. `started` is when the request
    /// was sent.
    pub fn carry<B, P>(
        &self,
        response: Response<B>,
        started: Instant,
        observer: P,
    ) -> Response<ForwardedBody<B, P>>
    where
        B: Body<Data = Bytes>,
        P: BodyObserver,
    {
        response.map(|body| self.carry_body(body, started, observer))
    }

    /// Applies the timeouts to the body of a response, and attaches an observer. `started` is when the
    /// request was sent.
    pub fn carry_body<B, P>(&self, body: B, started: Instant, observer: P) -> ForwardedBody<B, P>
    where
        B: Body<Data = Bytes>,
        P: BodyObserver,
    {
        let deadline = self.total.map(|total| started + total);
        ForwardedBody::new(body, self.idle, deadline, observer)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    /// The time after which a request has a response; `None`: never.
    struct Slow(Option<Duration>);

    impl Slow {
        async fn send(self) -> Result<(), &'static str> {
            match self.0 {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
            Ok(())
        }
    }

    fn seconds(first_headers: Option<u64>, total: Option<u64>) -> ForwardTimeouts {
        let seconds = |span: Option<u64>| span.map(Duration::from_secs);
        ForwardTimeouts {
            first_headers: seconds(first_headers),
            idle: None,
            total: seconds(total),
        }
    }

    async fn waited(
        upstream: Slow,
        timeouts: ForwardTimeouts,
        last_sent: impl Fn() -> Option<Instant>,
    ) -> (bool, u64) {
        let started = Instant::now();
        let mut alarm = Alarm::default();
        let sending = pin!(upstream.send());
        let waiting = timeouts.wait(&mut alarm, started, sending, last_sent);
        let answer = waiting.await;
        (answer.is_ok(), started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_upstream_that_is_late_is_given_up() {
        assert_eq!(
            waited(Slow(None), seconds(Some(120), None), || None).await,
            (false, 120)
        );
        assert_eq!(
            waited(
                Slow(Some(Duration::from_secs(119))),
                seconds(Some(120), None),
                || None
            )
            .await,
            (true, 119)
        );
        assert_eq!(
            waited(Slow(None), seconds(Some(120), Some(60)), || None).await,
            (false, 60)
        );
        assert_eq!(
            waited(
                Slow(Some(Duration::from_secs(9999))),
                seconds(None, None),
                || None
            )
            .await,
            (true, 9999)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_begins_with_the_last_byte_that_was_sent() {
        let started = Instant::now();
        // A byte each second for 300 seconds, and none after.
        let upload = || Some(Instant::now().min(started + Duration::from_secs(300)));

        assert_eq!(
            waited(Slow(None), seconds(Some(120), None), upload).await,
            (false, 300 + 120)
        );

        let started = Instant::now();
        let at_once = || Some(started);

        assert_eq!(
            waited(Slow(None), seconds(Some(120), None), at_once).await,
            (false, 120)
        );

        let started = Instant::now();
        let upload = || Some(Instant::now().min(started + Duration::from_secs(300)));

        assert_eq!(
            waited(Slow(None), seconds(Some(120), Some(200)), upload).await,
            (false, 200)
        );
    }
}
