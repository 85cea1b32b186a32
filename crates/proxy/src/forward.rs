//! Sends one request on and waits for the head of its answer.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;

use crate::BoxError;
use crate::forwarded_body::{ForwardedBody, Passenger};

/// The next hop: the tunnel's server end, or the connections to a provider.
pub trait Upstream {
    /// The body of an answer.
    type Body: Body<Data = Bytes>;
    /// Why there is no answer.
    type Error;

    /// Sends a request, once, and returns the answer as soon as its head is there. Dropping the future, or the
    /// answer's body before its end, cancels the request at the next hop.
    fn send<B>(&self, request: Request<B>) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>;
}

/// The waits of one forwarded request, besides connecting, which is the upstream's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    /// From the last byte of the request that was sent to the head of the answer.
    pub first_headers: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub idle: Option<Duration>,
    /// From sending the request to the end of the answer's body.
    pub total: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError<E> {
    /// The upstream says why.
    #[error(transparent)]
    Upstream(E),
    /// The head of the answer did not come in time.
    #[error("no answer within {0:?}")]
    NoHeaders(Duration),
    /// The call took too long as a whole before the head of the answer came.
    #[error("no answer within {0:?} for the whole call")]
    TooLong(Duration),
}

/// Forwards one request and waits for the head of its answer. `sent` says how many bytes of the request's body have
/// gone by: as long as that grows, the upstream is not yet late. [`Timeouts::carry`] does the rest.
pub async fn forward<U, B>(
    upstream: &U,
    request: Request<B>,
    timeouts: &Timeouts,
    sent: impl Fn() -> u64,
) -> Result<Response<U::Body>, ForwardError<U::Error>>
where
    U: Upstream,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut answer = std::pin::pin!(upstream.send(request));
    let end_of_time = timeouts.total.map(|total| Instant::now() + total);
    let mut seen = sent();
    loop {
        let Some(alarm) = next_alarm(timeouts.first_headers, end_of_time) else {
            return answer.await.map_err(ForwardError::Upstream);
        };
        if let Ok(answer) = tokio::time::timeout_at(alarm, answer.as_mut()).await {
            return answer.map_err(ForwardError::Upstream);
        }
        let is_over = end_of_time.is_some_and(|end| Instant::now() >= end);
        let progress = sent();
        if is_over {
            return Err(ForwardError::TooLong(timeouts.total.unwrap_or_default()));
        }
        if progress == seen {
            return Err(ForwardError::NoHeaders(timeouts.first_headers.unwrap_or_default()));
        }
        seen = progress;
    }
}

impl Timeouts {
    /// Makes an answer's body keep to these timeouts, and carry a passenger.
    pub fn carry<B, P>(&self, answer: Response<B>, started: Instant, passenger: P) -> Response<ForwardedBody<B, P>>
    where
        B: Body<Data = Bytes>,
        P: Passenger,
    {
        let end_of_time = self.total.map(|total| started + total);
        answer.map(|body| ForwardedBody::new(body, self.idle, end_of_time, passenger))
    }
}

/// When the next of two waits is over, if there is one.
pub(crate) fn next_alarm(wait: Option<Duration>, end_of_time: Option<Instant>) -> Option<Instant> {
    let wait = wait.map(|wait| Instant::now() + wait);
    match (wait, end_of_time) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use http_body_util::Empty;

    use super::*;

    /// An upstream that answers after a while, or never.
    struct Slow(Option<Duration>);

    impl Upstream for Slow {
        type Body = Empty<Bytes>;
        type Error = &'static str;

        async fn send<B>(&self, _: Request<B>) -> Result<Response<Empty<Bytes>>, &'static str>
        where
            B: Body<Data = Bytes> + Send + 'static,
        {
            match self.0 {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
            Ok(Response::default())
        }
    }

    fn seconds(first_headers: Option<u64>, total: Option<u64>) -> Timeouts {
        let seconds = |span: Option<u64>| span.map(Duration::from_secs);
        Timeouts { first_headers: seconds(first_headers), idle: None, total: seconds(total) }
    }

    async fn waited(upstream: Slow, timeouts: Timeouts, sent: impl Fn() -> u64) -> (bool, u64) {
        let started = Instant::now();
        let answer = forward(&upstream, Request::new(Empty::<Bytes>::new()), &timeouts, sent).await;
        (answer.is_ok(), started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_is_late_is_given_up_and_one_in_time_is_not() {
        assert_eq!(waited(Slow(None), seconds(Some(120), None), || 0).await, (false, 120));
        assert_eq!(waited(Slow(Some(Duration::from_secs(119))), seconds(Some(120), None), || 0).await, (true, 119));
        assert_eq!(waited(Slow(None), seconds(Some(120), Some(60)), || 0).await, (false, 60));
        assert_eq!(waited(Slow(Some(Duration::from_secs(9999))), seconds(None, None), || 0).await, (true, 9999));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_moves_on_makes_nobody_late() {
        let sent = Cell::new(0);
        let upload = || sent.replace((sent.get() + 1).min(3));
        assert_eq!(waited(Slow(None), seconds(Some(120), None), upload).await, (false, 4 * 120));
    }
}
