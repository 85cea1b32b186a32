//! Sends one request on and waits for the head of its answer.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;

use crate::BoxError;
use crate::forwarded_body::{BodyObserver, ForwardedBody};

/// The next hop: the tunnel's server end, or the connections to a provider.
pub trait Upstream {
    /// The body of an answer.
    type Body: Body<Data = Bytes>;
    /// Why there is no answer.
    type Error;

    /// Sends a request, once, and returns the answer as soon as its head is there. Dropping the future, or the
    /// answer's body before its end, cancels the request at the next hop.
    fn send<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>;
}

/// The waits of one forwarded request, besides connecting, which is the upstream's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForwardTimeouts {
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
    FirstByteTimeout(Duration),
    /// The call took too long as a whole before the head of the answer came.
    #[error("no answer within {0:?} for the whole call")]
    CallTimeout(Duration),
}

/// Forwards one request and waits for the head of its answer. `last_sent` says when the last byte of the request's body
/// went by, if one did: the upstream is late only that much later. [`Timeouts::carry`] does the rest.
pub async fn forward<U, B>(
    upstream: &U,
    request: Request<B>,
    timeouts: &ForwardTimeouts,
    last_sent: impl Fn() -> Option<Instant>,
) -> Result<Response<U::Body>, ForwardError<U::Error>>
where
    U: Upstream,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut answer = std::pin::pin!(upstream.send(request));
    let started = Instant::now();
    let end_of_time = timeouts.total.map(|total| started + total);
    let is_late_from = || {
        timeouts
            .first_headers
            .map(|patience| last_sent().unwrap_or(started) + patience)
    };
    loop {
        let Some(alarm) = earlier(is_late_from(), end_of_time) else {
            return answer.await.map_err(ForwardError::Upstream);
        };
        if let Ok(answer) = tokio::time::timeout_at(alarm, answer.as_mut()).await {
            return answer.map_err(ForwardError::Upstream);
        }
        let now = Instant::now();
        if end_of_time.is_some_and(|end| now >= end) {
            return Err(ForwardError::CallTimeout(
                timeouts.total.unwrap_or_default(),
            ));
        }
        // What went by since the alarm was set has put it off.
        if is_late_from().is_some_and(|late| now >= late) {
            return Err(ForwardError::FirstByteTimeout(
                timeouts.first_headers.unwrap_or_default(),
            ));
        }
    }
}

impl ForwardTimeouts {
    /// Makes an answer's body keep to these timeouts, and carry a passenger.
    pub fn carry<B, P>(
        &self,
        answer: Response<B>,
        started: Instant,
        observer: P,
    ) -> Response<ForwardedBody<B, P>>
    where
        B: Body<Data = Bytes>,
        P: BodyObserver,
    {
        let end_of_time = self.total.map(|total| started + total);
        answer.map(|body| ForwardedBody::new(body, self.idle, end_of_time, observer))
    }
}

/// When the next of two waits is over, if there is one.
pub(crate) fn next_alarm(wait: Option<Duration>, end_of_time: Option<Instant>) -> Option<Instant> {
    earlier(wait.map(|wait| Instant::now() + wait), end_of_time)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
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
        let answer = forward(
            &upstream,
            Request::new(Empty::<Bytes>::new()),
            &timeouts,
            last_sent,
        )
        .await;
        (answer.is_ok(), started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_upstream_times_out_and_a_punctual_one_does_not() {
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
    async fn the_timeout_starts_with_the_last_byte_of_the_request() {
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
