//! The server's end: sends requests to the relay. On the WebSocket's server side.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Role as WebSocketRole;

use crate::BoxError;
use crate::body::IncomingBody;
use crate::config::TunnelConfig;
use crate::connection::{Connection, Role};
use crate::frame::CancelReason;
use crate::halves::{Leaving, ReceiveHalf, SendHalf};
use crate::head::{check_request, read_response, write_request};
use crate::head_start::HeadStart;
use crate::link::{CloseReason, Link, TunnelEnd};
use crate::outbox::NoRequest;
use crate::pump::{PumpError, pump};
use crate::stream::{Over, Stream};
use crate::tunnel::Tunnel;
use crate::websocket::Socket;

/// The server's end of one tunnel. Clones are the same end; without the last of them the tunnel is closed.
#[derive(Clone)]
pub struct ServerEnd {
    tunnel: Arc<Tunnel>,
    link: Arc<Link>,
    ended: watch::Receiver<Option<TunnelEnd>>,
    _last: Arc<ClosesWithTheLast>,
}

/// What keeps a tunnel going: it must be awaited for as long as the tunnel is to live, and says why it ended.
/// Dropping it loses the tunnel.
pub type Driver = std::pin::Pin<Box<dyn Future<Output = TunnelEnd> + Send>>;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The tunnel takes no more requests; the relay has certainly not begun with this one.
    #[error("the tunnel took no more requests: {0}")]
    NotAccepted(String),
    /// The tunnel was lost; the relay may have got the request.
    #[error("the tunnel was lost: {0}")]
    TunnelLost(String),
    /// The relay gave the request up before it answered.
    #[error("the relay gave the request up: {0}")]
    GivenUp(CancelReason),
    /// The request's own body broke off.
    #[error("the request's body broke off")]
    RequestBody(#[source] BoxError),
    /// The request's head is more than the tunnel takes.
    #[error("the request is too large: {0}")]
    HeadTooLarge(String),
    /// The request has what no request in a tunnel can have.
    #[error("the request cannot be sent: {0}")]
    Malformed(String),
}

impl ServerEnd {
    /// Starts on a byte stream whose WebSocket upgrade is done. The driver must run before anything is sent.
    pub async fn open<S>(io: S, config: TunnelConfig) -> (Self, Driver)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let link = Arc::new(Link::new());
        let socket = Socket::new(io, WebSocketRole::Server, link.clone()).await;
        let tunnel = Tunnel::new(socket, link.clone(), &config);
        let mut connection = Connection::new(tunnel.clone(), &config, Role::Server);
        let (report, ended) = watch::channel(None);
        let end = Self {
            tunnel,
            link: link.clone(),
            ended,
            _last: Arc::new(ClosesWithTheLast(link.clone())),
        };
        let driver = Box::pin(async move {
            let end = tokio::select! {
                // Biased towards what the connection says itself: it knows better than a timer.
                biased;
                result = poll_fn(|cx| connection.poll(cx)) => link.end(result),
                end = link.close_wanted() => end,
                end = link.silence(&config) => end,
            };
            let socket = connection.lose(&end);
            // Every call has failed by now: only the goodbye takes time.
            report.send_replace(Some(end.clone()));
            if let (Some(reason), Some(socket)) = (link.farewell(&end), socket) {
                socket.close(reason).await;
            }
            end
        });
        (end, driver)
    }

    /// Sends a request; the answer's head comes back as soon as it arrives. The request's body goes on being sent
    /// while the answer's body is read. Dropping the future or the answer's body cancels the call at the relay.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<IncomingBody>, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        check_request(&head, self.tunnel.max_header_bytes())?;
        let place = self.tunnel.place().await.ok_or_else(|| self.not_taken())?;
        let body = HeadStart::after_a_turn(Box::pin(body))
            .await
            .map_err(|error| SendError::RequestBody(error.into()))?;
        let stream = Stream::to_open(self.tunnel.clone(), place);
        poll_fn(|cx| stream.poll_turn(cx))
            .await
            .map_err(|_| self.not_taken())?;
        let all = body.all_within(stream.room());
        let is_all = all.is_some() || body.is_end_stream();
        stream
            .open(|out| write_request(&head, out), all.as_ref(), is_all)
            .map_err(|why| self.refused(why))?;
        let answer = Answer {
            half: ReceiveHalf::new(stream.clone(), Leaving::EndsTheStream),
            is_head: head.method == Method::HEAD,
        };
        if is_all {
            return answer.await_head().await;
        }
        let mut half = SendHalf::new(stream, CancelReason::CallerLeft);
        let mut upload = Box::pin(async move {
            let mut body = std::pin::pin!(body);
            let result = pump(body.as_mut(), &mut half).await;
            if let Err(PumpError::Receiver) = result {
                half.forgo();
                // Kept until the answer was read: a caller whose connection ends because nobody takes its request any more does
                // not hear the answer that says why.
                std::future::pending::<()>().await;
            }
            result
        });
        let mut answer = std::pin::pin!(answer.await_head());
        tokio::select! {
            // Biased towards the answer: once it is here, the rest of the request goes on beside it.
            biased;
            answer = &mut answer => {
                let mut rest = JoinSet::new();
                rest.spawn(async move { drop(upload.await) });
                Ok(answer?.map(|body| body.with_upload(rest)))
            }
            sent = &mut upload => match sent {
                Err(PumpError::Source(error)) => Err(SendError::RequestBody(error)),
                Ok(()) | Err(PumpError::Receiver) => answer.await,
            },
        }
    }

    fn not_taken(&self) -> SendError {
        let why = match &*self.ended.borrow() {
            Some(end) => end.to_string(),
            None => NoRequest::Draining.to_string(),
        };
        SendError::NotAccepted(why)
    }

    fn refused(&self, why: NoRequest) -> SendError {
        match why {
            NoRequest::Draining => self.not_taken(),
            NoRequest::NoNumbersLeft => {
                // The relay must come again.
                self.close(CloseReason::Done);
                SendError::NotAccepted(why.to_string())
            }
        }
    }

    /// How many calls the relay serves at once; none, before it has said how many.
    pub fn max_streams(&self) -> usize {
        self.tunnel.peer_max_streams()
    }

    /// Whether the relay shows a sign of life within `patience`, asked now.
    pub async fn is_alive(&self, patience: Duration) -> bool {
        let mut ended = self.ended.clone();
        tokio::select! {
            // Biased, so that a tunnel which has ended is never called alive.
            biased;
            _ = ended.wait_for(Option::is_some) => false,
            alive = self.link.is_alive(patience) => alive,
        }
    }

    /// For how long nothing has come from the relay.
    pub fn silence(&self) -> Duration {
        self.link.quiet()
    }

    /// Closes the tunnel now. Calls that run on it are lost.
    pub fn close(&self, reason: CloseReason) {
        self.link.close(reason);
    }

    /// Waits for the tunnel's end.
    pub async fn closed(&self) -> TunnelEnd {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(TunnelEnd::Closed),
            // The driver was dropped.
            Err(_) => TunnelEnd::Closed,
        }
    }
}

impl std::fmt::Debug for ServerEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerEnd")
            .field("ended", &*self.ended.borrow())
            .finish_non_exhaustive()
    }
}

/// Nobody is left who could send a request.
struct ClosesWithTheLast(Arc<Link>);

impl Drop for ClosesWithTheLast {
    fn drop(&mut self) {
        self.0.close(CloseReason::Done);
    }
}

/// An answer that has not begun yet.
struct Answer {
    half: ReceiveHalf,
    /// Whether it answers HEAD, whose answers speak of the body that another request would get.
    is_head: bool,
}

impl Answer {
    async fn await_head(self) -> Result<Response<IncomingBody>, SendError> {
        let head = poll_fn(|cx| self.half.poll_head(cx))
            .await
            .map_err(|over| match over {
                Over::Cancelled(CancelReason::NotBegun) => {
                    SendError::NotAccepted(CancelReason::NotBegun.to_string())
                }
                Over::Cancelled(why) => SendError::GivenUp(why),
                Over::Lost(why) => SendError::TunnelLost(why.to_string()),
            })?;
        let ends = head.ends;
        let (head, ()) = read_response(head.bytes)
            .map_err(|_| SendError::GivenUp(CancelReason::Malformed))?
            .into_parts();
        let has_no_body = self.is_head
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let body = IncomingBody::new(self.half, &head.headers, ends);
        Ok(Response::from_parts(
            head,
            if has_no_body {
                body.announced_for_another()
            } else {
                body
            },
        ))
    }
}
