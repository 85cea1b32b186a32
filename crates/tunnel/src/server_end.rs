//! The server's end: sends requests to the relay. HTTP/2's client on the WebSocket's server side.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::BoxError;
use crate::body::IncomingBody;
use crate::config::{
    CONNECTION_WINDOW, FRAME_BYTES, REMEMBERED_RESETS, RESET_MEMORY, SEND_BUFFER_BYTES, SMALL_PIECES_BYTES,
    TunnelConfig,
};
use crate::head::check_request;
use crate::head_start::HeadStart;
use crate::link::{CloseReason, End, Link};
use crate::pump::{PumpError, pump, sent_at_once};
use crate::websocket::Socket;

/// The server's end of one tunnel. Clones are the same end.
#[derive(Clone)]
pub struct ServerEnd {
    requests: SendRequest<Bytes>,
    link: Arc<Link>,
    ended: watch::Receiver<Option<End>>,
    max_header_bytes: u32,
}

/// What keeps a tunnel going: it must be awaited for as long as the tunnel is to live, and says why it ended.
/// Dropping it loses the tunnel.
pub type Driver = std::pin::Pin<Box<dyn Future<Output = End> + Send>>;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The tunnel takes no more requests; the relay has certainly not begun with this one.
    #[error("the tunnel took no more requests: {0}")]
    NotTaken(String),
    /// The tunnel was lost; the relay may have got the request.
    #[error("the tunnel was lost: {0}")]
    TunnelLost(String),
    /// The relay gave the request up before it answered.
    #[error("the relay gave the request up ({0})")]
    GivenUp(Reason),
    /// The request's own body broke off.
    #[error("the request's body broke off")]
    RequestBody(#[source] BoxError),
    /// The request's head is more than the relay's HTTP/2 takes.
    #[error("the request is too large: {0}")]
    HeadTooLarge(String),
    /// The request cannot be put into HTTP/2.
    #[error("the request cannot be sent: {0}")]
    Malformed(String),
}

impl ServerEnd {
    /// Starts on a byte stream whose WebSocket upgrade is done. The driver must run before anything is sent.
    pub async fn open<S>(io: S, config: TunnelConfig) -> Result<(Self, Driver), End>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let link = Arc::new(Link::new());
        let socket = Socket::new(io, Role::Server).await;
        let bytes = socket.bytes(link.clone());
        // Only queues this end's preface: nothing of the peer's is waited for.
        let (requests, connection) = settings(&config).handshake(bytes).await.map_err(|error| link.end(Err(error)))?;
        let (report, ended) = watch::channel(None);
        let end = Self { requests, link: link.clone(), ended, max_header_bytes: config.max_header_bytes };
        let driver = Box::pin(async move {
            let end = tokio::select! {
                // Biased towards what the connection says itself: it knows better than a timer.
                biased;
                // Without an end that could ask for more, the connection finishes by itself.
                result = connection => if report.is_closed() { End::Closed } else { link.end(result) },
                end = link.close_wanted() => end,
                end = link.silence(&config) => end,
            };
            // The connection is dropped by now, so every call has failed: only the goodbye takes time.
            report.send_replace(Some(end.clone()));
            if let Some(reason) = link.farewell(&end) {
                socket.close(reason).await;
            }
            end
        });
        Ok((end, driver))
    }

    /// Sends a request; the answer's head comes back as soon as it arrives. The request's body goes on being sent
    /// while the answer's body is read. Dropping the future or the answer's body cancels the call at the relay.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<IncomingBody>, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        check_request(&head, self.max_header_bytes).map_err(SendError::HeadTooLarge)?;
        let mut requests = self.requests.clone().ready().await.map_err(|error| self.not_ready(error))?;
        let body = HeadStart::new(body).await.map_err(|error| SendError::RequestBody(error.into()))?;
        let is_empty = body.is_end_stream();
        let (mut answer, mut stream) = requests.send_request(Request::from_parts(head, ()), is_empty)?;
        if is_empty {
            return Ok(answer.await?.map(IncomingBody::new));
        }
        if let Some(all) = body.all()
            && sent_at_once(&mut stream, all)
        {
            return Ok(answer.await?.map(IncomingBody::new));
        }
        let mut upload = Box::pin(async move {
            let mut body = std::pin::pin!(body);
            let result = pump(body.as_mut(), &mut stream).await;
            if let Err(PumpError::Source(_)) = &result {
                stream.send_reset(Reason::CANCEL);
            }
            result
        });
        tokio::select! {
            // Biased towards the answer: once it is here, the rest of the request goes on beside it.
            biased;
            head = &mut answer => {
                let mut rest = JoinSet::new();
                rest.spawn(async move { drop(upload.await) });
                Ok(head?.map(|body| IncomingBody::new(body).with_upload(rest)))
            }
            sent = &mut upload => match sent {
                Err(PumpError::Source(error)) => Err(SendError::RequestBody(error)),
                // A relay that wants no more of the request may well have answered it.
                Ok(()) | Err(PumpError::Receiver) => Ok(answer.await?.map(IncomingBody::new)),
            },
        }
    }

    /// A tunnel that takes no more requests is closed if it does not know that yet: after 2^30 requests HTTP/2 has no
    /// numbers left, and the relay must come again.
    fn not_ready(&self, error: h2::Error) -> SendError {
        if !error.is_io() && !error.is_go_away() {
            self.close(CloseReason::Done);
        }
        SendError::NotTaken(error.to_string())
    }

    /// How many calls the relay serves at once.
    pub fn max_streams(&self) -> usize {
        self.requests.current_max_send_streams()
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
    pub fn quiet(&self) -> Duration {
        self.link.quiet()
    }

    /// Closes the tunnel now. Calls that run on it are lost.
    pub fn close(&self, reason: CloseReason) {
        self.link.close(reason);
    }

    /// Waits for the tunnel's end.
    pub async fn closed(&self) -> End {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(End::Closed),
            // The driver was dropped.
            Err(_) => End::Closed,
        }
    }
}

impl std::fmt::Debug for ServerEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerEnd").field("ended", &*self.ended.borrow()).finish_non_exhaustive()
    }
}

fn settings(config: &TunnelConfig) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(config.stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(config.max_header_bytes)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(None)
        .data_frame_budget(SMALL_PIECES_BYTES);
    builder
}

impl From<h2::Error> for SendError {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            // Both say that the peer has not begun with the stream (RFC 9113, 6.8 and 8.7).
            Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Self::NotTaken(error.to_string()),
            Some(Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => Self::NotTaken(error.to_string()),
            Some(reason) if error.is_reset() => Self::GivenUp(reason),
            None if !error.is_io() && !error.is_go_away() => Self::Malformed(error.to_string()),
            _ => Self::TunnelLost(error.to_string()),
        }
    }
}
