//! Accepts connections and serves HTTP/1.1 and h2c on them, within bounds.
//!
//! The requests go to a [`Handler`]; nothing here depends on a route.

mod peer;
mod public_url;
mod request_id;
mod write_timeout;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use llamapool_wire::header as wire;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use peer::{CallerAddress, Peer};
pub(crate) use public_url::{Address, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, PublicUrl};
pub(crate) use request_id::RequestId;
use write_timeout::WriteTimeout;

/// The connections that wait to be accepted. One more than fits is tried again by its peer a second
/// later: all relays come at once after a restart, and callers come in bursts. The system may have
/// a lower bound (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// The time without accepting after accepting failed, as it does while the process has no file
/// descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The time without traffic after which the kernel probes the peer of a connection, and how often:
/// a caller that vanished without closing is noticed within a minute and a half, and holds no
/// stream for longer.
const KEEPALIVE: Duration = Duration::from_secs(45);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// The least bound of a request's head, in bytes: one that is larger than what the tunnel carries
/// is better refused there, where the error has a name. The buffer of this size that HTTP/1 reads
/// into also bounds how much of an answer waits for its socket; then the tunnel's flow control
/// holds it back.
const HEAD_BYTES: u32 = 64 * 1024;
/// The most headers of a request over HTTP/1. Room for all of them is made for every request.
const HTTP1_HEADERS: usize = 512;
/// The most bytes of one request of an HTTP/2 caller that are on their way unread.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
/// The most bytes of all requests of an HTTP/2 connection that are on their way unread: 1 MiB carry
/// 20 MB/s over 50 ms.
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most bytes of one answer that wait for an HTTP/2 connection; then the tunnel's flow control
/// holds the answer back.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// The most calls that one HTTP/2 connection of a caller carries at once.
const HTTP2_STREAMS: u32 = 1000;

/// The listeners and the public address of the server.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// The address where callers and relays connect.
    pub bind: SocketAddr,
    /// The address where `/metrics` is served alone; `None`: where everything else is.
    pub metrics_bind: Option<SocketAddr>,
    /// The public address of the server; `None`: the one that each request addresses.
    pub public_url: Option<Uri>,
    /// Set if `X-Forwarded-*` is believed, because a reverse proxy in front sets it.
    pub trust_forwarded: bool,
    /// The most open connections of callers; a relay's stops counting here with its upgrade.
    pub max_connections: usize,
    /// The time for the head of a request on an open connection.
    pub header_timeout: Duration,
    /// The time in which a caller takes nothing of what waits for it; zero: no limit.
    pub send_timeout: Duration,
}

/// Answers the requests of one listener. Clones answer alike.
pub(crate) trait Handler: Clone + Send + 'static {
    /// Answers one request.
    fn answer(
        &self,
        peer: Peer,
        req_id: &RequestId,
        request: Request<Body>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// A listener with the bounds of its connections.
pub(crate) struct Listener {
    socket: TcpListener,
    max_connections: usize,
    limits: ConnectionLimits,
}

/// The bounds of one connection.
#[derive(Debug, Clone, Copy)]
struct ConnectionLimits {
    header_timeout: Duration,
    send_timeout: Option<Duration>,
    max_head_bytes: u32,
}

impl ListenConfig {
    /// Returns the configuration of a server that listens on `bind`, everything else by default.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            metrics_bind: None,
            public_url: None,
            trust_forwarded: false,
            max_connections: 50_000,
            header_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
        }
    }
}

impl Listener {
    /// Takes an address. From here on connections queue up; [`Listener::serve`] accepts them.
    ///
    /// A request's head may have `tunnel_head_bytes` at least, so that what the tunnel carries is
    /// admitted.
    pub(crate) fn bind(
        address: SocketAddr,
        config: &ListenConfig,
        tunnel_head_bytes: u32,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: listen(address)?,
            max_connections: config.max_connections,
            limits: ConnectionLimits {
                header_timeout: config.header_timeout,
                send_timeout: (!config.send_timeout.is_zero()).then_some(config.send_timeout),
                max_head_bytes: HEAD_BYTES.max(tunnel_head_bytes),
            },
        })
    }

    /// Returns the address that was taken.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves connections until `farewell` is cancelled, then waits for them to end.
    pub(crate) async fn serve(self, handler: impl Handler, farewell: CancellationToken) {
        let places = Arc::new(Semaphore::new(
            self.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        let mut connections = JoinSet::new();

        loop {
            let accepted = tokio::select! {
                // Biased towards the end, which comes once.
                biased;
                () = farewell.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.socket, &places) => accepted,
            };

            match accepted {
                Ok((stream, peer, place)) => {
                    let connection =
                        serve_one(stream, peer, self.limits, handler.clone(), farewell.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }

        while connections.join_next().await.is_some() {}
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let listening = socket.and_then(|socket| {
        // A server that was just restarted gets its port back. On Windows this would mean another
        // thing.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });

    listening.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let place = places
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, Peer(peer), place))
}

async fn serve_one(
    stream: TcpStream,
    peer: Peer,
    limits: ConnectionLimits,
    handler: impl Handler,
    farewell: CancellationToken,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection could not be tuned");
    }

    let first_request = CancellationToken::new();
    let has_request = first_request.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        has_request.cancel();
        let req_id = RequestId::of(request.headers());
        let handler = handler.clone();
        async move {
            let mut answer = handler.answer(peer, &req_id, request.map(Body::new)).await;
            answer
                .headers_mut()
                .entry(wire::REQUEST_ID)
                .or_insert(req_id.to_value());
            Ok::<_, Infallible>(answer)
        }
    });

    let builder = connection_builder(limits);
    let stream = TokioIo::new(WriteTimeout::new(stream, limits.send_timeout));
    let connection = builder.serve_connection_with_upgrades(stream, service);
    let mut connection = std::pin::pin!(connection);

    // hyper starts its timer only once it has detected which HTTP is spoken.
    let no_request = async {
        let in_time = tokio::time::timeout(limits.header_timeout, first_request.cancelled()).await;
        if in_time.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        // Biased towards the connection: what it has to send is sent before it is asked to end.
        biased;
        result = connection.as_mut() => result,
        () = no_request => return,
        () = farewell.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, peer = %peer.0, "a connection ended with an error");
    }
}

fn connection_builder(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HTTP1_HEADERS)
        .max_buf_size(limits.max_head_bytes as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .max_header_list_size(limits.max_head_bytes)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_concurrent_streams(HTTP2_STREAMS);
    builder
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    let keepalive = keepalive.with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
