//! The server's end: sends requests to the relay. On the WebSocket's server side.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use llamapool_head::{RequestHead, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::TunnelConfig;
use crate::connection::{Connection, EndRole};
use crate::frame::{CancelReason, HeadError, check_request, read_response, write_request};
use crate::socket::{CloseReason, OpenStreamError, Role, Socket, TunnelEnd};
use crate::stream::{
    BoxError, FirstChunk, IncomingBody, OnDrop, OutgoingBody, ReceiveHalf, SendBodyError, SendHalf,
    Stream, StreamError, StreamLease, Tunnel, content_length, send_body, send_bytes,
};

/// The server's end of one tunnel. Clones are the same end; the tunnel closes with the last of
/// them.
#[derive(Clone)]
pub struct ServerEnd {
    tunnel: Arc<Tunnel>,
    ended: watch::Receiver<Option<TunnelEnd>>,
    _guard: Arc<CloseOnDrop>,
}

/// The future that runs a tunnel: it must be polled for as long as the tunnel is to live, and
/// returns how the tunnel ended. Dropping it loses the tunnel.
pub type Driver = Pin<Box<dyn Future<Output = TunnelEnd> + Send>>;

/// The reason why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The tunnel takes no more requests; the relay has certainly not begun with this one.
    #[error("the tunnel took no more requests: {0}")]
    NotAccepted(String),
    /// The tunnel was lost; the relay may have received the request.
    #[error("the tunnel was lost: {0}")]
    TunnelLost(String),
    /// The relay gave the request up before it responded.
    #[error("the relay gave the request up: {0}")]
    GivenUp(CancelReason),
    /// The request's own body broke off.
    #[error("the request's body broke off")]
    RequestBody(#[source] BoxError),
    /// The head of the request is larger than the tunnel accepts.
    #[error("the request is too large: {0}")]
    HeadTooLarge(String),
    /// The request contains what no request in a tunnel can contain.
    #[error("the request cannot be sent: {0}")]
    Malformed(String),
}

impl ServerEnd {
    /// Opens a tunnel on a byte stream whose WebSocket upgrade is done. The driver must run before
    /// anything is sent.
    pub fn open<S>(io: S, config: TunnelConfig) -> (Self, Driver)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let socket = Socket::new(io, Role::Server);
        let tunnel = Tunnel::new(socket, &config);
        let connection = Connection::new(tunnel.clone(), &config, EndRole::Server);
        let (report, ended) = watch::channel(None);

        let end = Self {
            tunnel: tunnel.clone(),
            ended,
            _guard: Arc::new(CloseOnDrop(tunnel.clone())),
        };
        let driver = Box::pin(drive(tunnel, connection, config, report));
        (end, driver)
    }

    /// Sends a request and returns the response as soon as its head has arrived. The request's body
    /// is sent on while the response's body is read. Dropping the future or the response's body
    /// cancels the call at the relay.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<IncomingBody>, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.send_with(StreamLease::default(), request).await
    }

    /// Sends a request as [`send`](Self::send) does. The stream holds `lease` until it is over for
    /// both ends, which is before the response was read if that has arrived whole.
    pub async fn send_with<B>(
        &self,
        lease: StreamLease,
        request: Request<B>,
    ) -> Result<Response<IncomingBody>, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let head = RequestHead::of(&request);
        let body = OutgoingBody::Stream(request.into_body());
        let (head, body) = self.send_head(lease, &head, body).await?;
        let response = head.into_http(body);
        response.ok_or(SendError::GivenUp(CancelReason::Malformed))
    }

    /// Sends a request as [`send_with`](Self::send_with) does. A body that is here whole goes out
    /// with its head, in one write.
    pub async fn send_head<B>(
        &self,
        lease: StreamLease,
        head: &RequestHead,
        body: OutgoingBody<B>,
    ) -> Result<(ResponseHead, IncomingBody), SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        check_request(head, self.tunnel.max_header_bytes())?;

        let permit = self.tunnel.stream_permit().await;
        let permit = permit.ok_or_else(|| self.not_accepted())?;
        let body = match body {
            OutgoingBody::Whole(body) => Rest::Whole(body),
            OutgoingBody::Stream(body) => {
                let body = FirstChunk::ready_within_a_turn(Box::pin(body)).await;
                Rest::Stream(body.map_err(|error| SendError::RequestBody(error.into()))?)
            }
        };

        let stream = Stream::new(self.tunnel.clone(), permit, lease);
        let max_piece = poll_fn(|cx| stream.poll_turn(cx))
            .await
            .map_err(|_| self.not_accepted())?;

        let whole_body = body.whole(max_piece);
        let is_whole = whole_body.is_some();
        let with_head = whole_body.as_ref().filter(|body| !body.is_empty());
        stream
            .open(|out| write_request(head, out), with_head, is_whole)
            .map_err(|error| self.open_error(error))?;

        let response = PendingResponse {
            half: ReceiveHalf::new(stream.clone(), OnDrop::CancelStream),
            is_to_head: head.method == Method::HEAD,
        };
        if is_whole {
            return response.receive().await;
        }
        let half = SendHalf::new(stream, CancelReason::CallerLeft);
        receive_while_sending(response, body, half).await
    }

    /// Returns the error of a request that was not begun.
    fn not_accepted(&self) -> SendError {
        let reason = match &*self.ended.borrow() {
            Some(end) => end.to_string(),
            None => OpenStreamError::Draining.to_string(),
        };
        SendError::NotAccepted(reason)
    }

    fn open_error(&self, error: OpenStreamError) -> SendError {
        match error {
            OpenStreamError::Draining => self.not_accepted(),
            OpenStreamError::NumbersExhausted => {
                // The relay must connect anew.
                self.close(CloseReason::Done);
                SendError::NotAccepted(error.to_string())
            }
        }
    }

    /// Returns how many calls the relay serves at once, 0 before its hello.
    pub fn max_streams(&self) -> usize {
        self.tunnel.peer_max_streams()
    }

    /// Sends a ping, and returns whether the relay shows a sign of life within `patience`.
    pub async fn is_alive(&self, patience: Duration) -> bool {
        let mut ended = self.ended.clone();
        tokio::select! {
            // Biased, so that a tunnel which has ended is never reported alive.
            biased;
            _ = ended.wait_for(Option::is_some) => false,
            is_alive = self.tunnel.socket.liveness.is_alive(patience) => is_alive,
        }
    }

    /// Returns the time since anything was received from the relay.
    pub fn silence(&self) -> Duration {
        self.tunnel.socket.liveness.silence()
    }

    /// Closes the tunnel now. Calls that run on it are lost.
    pub fn close(&self, reason: CloseReason) {
        self.tunnel.socket.close.request(reason);
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

impl From<HeadError> for SendError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLarge { .. } => Self::HeadTooLarge(error.to_string()),
            HeadError::ConnectionHeader | HeadError::MethodTooLong => {
                Self::Malformed(error.to_string())
            }
        }
    }
}

/// A guard that closes the tunnel with the last [`ServerEnd`]: no request can follow.
struct CloseOnDrop(Arc<Tunnel>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.socket.close.request(CloseReason::Done);
    }
}

/// Runs the server's end of a tunnel until it ends, and reports how.
async fn drive(
    tunnel: Arc<Tunnel>,
    mut connection: Connection,
    config: TunnelConfig,
    report: watch::Sender<Option<TunnelEnd>>,
) -> TunnelEnd {
    let socket = &tunnel.socket;
    let end = tokio::select! {
        // Biased towards the connection, whose result is more precise than a timer's.
        biased;
        result = poll_fn(|cx| connection.poll(cx)) => socket.close.tunnel_end(result),
        end = socket.close.requested() => end,
        end = socket.liveness.watch(&config) => end,
        never = tunnel.watch_readers(config.reader_patience) => match never {},
    };

    // All calls have failed once this is done: only the close handshake takes time.
    let websocket = connection.lose(&end);
    report.send_replace(Some(end.clone()));
    if let (Some(reason), Some(websocket)) = (socket.close.farewell(&end), websocket) {
        websocket.close(reason).await;
    }
    end
}

/// A request's body that is still to be sent.
enum Rest<B> {
    Whole(Bytes),
    Stream(FirstChunk<Box<B>>),
}

impl<B> Rest<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Returns the whole body if it is here and has at most `max_bytes`.
    fn whole(&self, max_bytes: usize) -> Option<Bytes> {
        match self {
            Self::Whole(body) => Some(body.clone()).filter(|body| body.len() <= max_bytes),
            Self::Stream(body) if body.is_end_stream() => Some(Bytes::new()),
            Self::Stream(body) => body.whole_body(max_bytes),
        }
    }

    async fn send(&mut self, half: &mut SendHalf) -> Result<(), SendBodyError> {
        match self {
            Self::Whole(body) => send_bytes(body, half).await,
            Self::Stream(body) => send_body(Pin::new(body), half).await,
        }
    }
}

/// Receives a response while the rest of the request's body is sent.
async fn receive_while_sending<B>(
    response: PendingResponse,
    mut body: Rest<B>,
    mut half: SendHalf,
) -> Result<(ResponseHead, IncomingBody), SendError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut upload = Box::pin(async move {
        let result = body.send(&mut half).await;
        if let Err(SendBodyError::Stopped) = result {
            half.give_up();
            // Kept until the response was read: a caller whose connection ends because its request
            // is no longer wanted would not receive the response that gives the reason.
            std::future::pending::<()>().await;
        }
        result
    });
    let mut response = std::pin::pin!(response.receive());

    tokio::select! {
        // Biased towards the response: once it is here, the rest of the request is sent beside it.
        biased;
        response = &mut response => {
            let mut rest = JoinSet::new();
            rest.spawn(async move { drop(upload.await) });
            let (head, body) = response?;
            Ok((head, body.with_upload(rest)))
        }
        sent = &mut upload => match sent {
            Err(SendBodyError::Source(error)) => Err(SendError::RequestBody(error)),
            Ok(()) | Err(SendBodyError::Stopped) => response.await,
        },
    }
}

/// A response whose head has not arrived.
struct PendingResponse {
    half: ReceiveHalf,
    /// True for the response to a HEAD: its headers then describe the body that a GET would get.
    is_to_head: bool,
}

impl PendingResponse {
    /// Waits for the head of the response.
    async fn receive(self) -> Result<(ResponseHead, IncomingBody), SendError> {
        let head = poll_fn(|cx| self.half.poll_head(cx)).await?;
        let is_last = head.is_last;
        let head =
            read_response(head.bytes).map_err(|_| SendError::GivenUp(CancelReason::Malformed))?;

        let has_no_body = self.is_to_head
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        // Otherwise the content length describes the response to another request.
        let announced = (!has_no_body).then(|| content_length(&head.fields));
        let body = IncomingBody::new(self.half, announced.flatten(), is_last);
        Ok((head, body))
    }
}

impl From<StreamError> for SendError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Cancelled(reason @ CancelReason::NotBegun) => {
                Self::NotAccepted(reason.to_string())
            }
            StreamError::Cancelled(reason) => Self::GivenUp(reason),
            StreamError::TunnelLost(reason) => Self::TunnelLost(reason.to_string()),
            // A response without a head has no unread bytes.
            StreamError::ReaderStalled | StreamError::OutOfMemory => {
                Self::GivenUp(CancelReason::GivenUp)
            }
        }
    }
}
