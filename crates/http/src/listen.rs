//! Accepts connections and serves HTTP/1.1 and h2c on them, within bounds.
//!
//! The requests go to a [`Handler`]; nothing here depends on a route. The public server, the status
//! server of a relay and the bridge all serve by this.
//!
//! - What is below HTTP is a [`Transport`]: the connection itself, or TLS on it. Its handshake has a
//!   place and the time of a request's head, as it is a part of the wait for one.
//! - Every connection is accepted at once: one that waits in the system's queue could be a probe, or
//!   a relay.
//! - It gets a place, in fair shares of networks; if none is free, those connections give way that
//!   are idle longest (see `places`).
//! - Beyond that it gets one of few spare places for one request, which is answered if it is
//!   essential, and otherwise with the reason.

mod answer;
mod connection;
#[cfg(any(test, feature = "fuzzing"))]
mod differential;
mod http1_loop;
mod places;
mod prefixed;
mod received_body;
mod socket;
mod threads;
mod tracked_body;
mod transport;
mod write_timeout;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use llamapool_head::RequestHead;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
use self::places::Places;
use self::threads::{Move, Service};
use crate::BoxError;

pub use self::answer::{Answer, AnswerBody};
#[cfg(feature = "fuzzing")]
pub use self::differential::requests as fuzz_requests;
pub use self::received_body::ReceivedBody;
pub use self::socket::Socket;
pub use self::threads::ConnectionThreads;
pub use self::transport::{Plain, Transport};

/// The connections that wait to be accepted. One more than fits is tried again by its peer a second
/// later: all relays come at once after a restart, and callers come in bursts. The system may have
/// a lower bound (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// The time without accepting after accepting failed, as it does while the process has no file
/// descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most connections that wait for their move to another thread. One more waits before its next request.
const MAX_WAITING_MOVES: usize = 64;

/// Answers the requests of one listener. Clones answer alike.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// What is remembered from one plain request to the next on a connection.
    type Connection: Default + Send + 'static;

    /// Answers one request.
    fn answer(
        &self,
        peer: SocketAddr,
        request: Request<ReceivedBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Answers a plain request: one over HTTP/1.1 that has arrived whole, and whose head has nothing unusual.
    /// By default as [`answer`](Self::answer) does.
    fn answer_plain(
        &self,
        peer: SocketAddr,
        _connection: &mut Self::Connection,
        head: RequestHead,
        body: Bytes,
    ) -> impl Future<Output = Answer<Self::Body>> + Send {
        async move {
            match head.into_http(ReceivedBody::whole(body)) {
                // Boxed, as all connections would carry its size along.
                Some(request) => Box::pin(self.answer(peer, request)).await.into(),
                // Never: a plain head has few fields.
                None => Answer::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            }
        }
    }

    /// Returns the runtime of what the last plain request was forwarded to, where those that follow on the
    /// connection are best served. `None`, the default: wherever it is served now.
    fn home(&self, _connection: &Self::Connection) -> Option<runtime::Id> {
        None
    }

    /// Returns whether a request is answered also where no place is left: those by which the
    /// operation of the server is watched and restored.
    fn is_essential(&self, uri: &Uri) -> bool;

    /// Answers a request on a connection that has no place.
    fn refuse(&self, request: &Request<ReceivedBody>, overload: Overload) -> Response<Self::Body>;
}

/// The reason why a connection has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// All places are taken by connections that are not idle.
    All,
    /// The network of the peer has used up its share of them.
    Network,
}

/// The bounds of a listener and its connections.
#[derive(Debug, Clone, Copy)]
pub struct ListenLimits {
    /// The most open connections; one that is upgraded stops counting.
    pub max_connections: usize,
    /// The time for the head of a request on an open connection.
    pub header_timeout: Duration,
    /// The time after which a connection without a running request is closed; zero: never.
    pub idle_timeout: Duration,
    /// The time in which a peer takes nothing of what waits for it; zero: no limit.
    pub send_timeout: Duration,
    /// The most bytes of a request's head. The buffer of this size that HTTP/1 reads into also
    /// bounds how much of an answer waits for its socket.
    pub max_head_bytes: u32,
    /// The versions of HTTP that are spoken.
    pub versions: Versions,
}

/// The versions of HTTP that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/1.1 and, with prior knowledge, HTTP/2.
    Http1AndHttp2,
    /// HTTP/1.1.
    Http1,
}

/// A listener that has its address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limits: ListenLimits,
    threads: ConnectionThreads,
}

impl Listener {
    /// Takes an address. From here on connections queue up; [`Listener::serve`] accepts them.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn bind(address: SocketAddr, limits: ListenLimits) -> io::Result<Self> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A server that was just restarted gets its port back. On Windows this would mean another
        // thing.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self {
            socket: socket.listen(BACKLOG)?,
            limits,
            threads: ConnectionThreads::default(),
        })
    }

    /// Has the connections served on these threads.
    #[must_use]
    pub fn on(mut self, threads: ConnectionThreads) -> Self {
        self.threads = threads;
        self
    }

    /// Returns the address that was taken.
    ///
    /// # Errors
    ///
    /// If the system does not report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves connections until `farewell` is cancelled, then waits for them to end: each finishes
    /// its running requests. Dropping the future ends them at once.
    pub async fn serve(self, handler: impl Handler, farewell: CancellationToken) {
        self.serve_over(Plain, handler, farewell).await;
    }

    /// Serves connections as [`Listener::serve`] does, with HTTP over this transport.
    pub async fn serve_over(
        self,
        transport: impl Transport,
        handler: impl Handler,
        farewell: CancellationToken,
    ) {
        let places = Places::new(self.limits.max_connections);
        let mut connections = JoinSet::new();
        let (moves, mut moving) = mpsc::channel::<Move>(MAX_WAITING_MOVES);

        loop {
            let accepted = tokio::select! {
                // Biased towards the end, which comes once.
                biased;
                () = farewell.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                Some(moved) = moving.recv() => {
                    moved.spawn(&mut connections);
                    continue;
                }
                accepted = self.socket.accept() => accepted,
            };

            match accepted {
                Ok((stream, peer)) => {
                    let connection = self.admit(&places, stream, peer);
                    if let Some(connection) = connection {
                        let service = Service {
                            transport: transport.clone(),
                            handler: handler.clone(),
                            farewell: farewell.clone(),
                            threads: self.threads.clone(),
                            moves: moves.clone(),
                        };
                        self.threads.serve(connection, service, &mut connections);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // The process has no file descriptor left, or the system no memory.
                    places.evict_idle();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }

        moving.close();
        while let Some(moved) = moving.recv().await {
            moved.spawn(&mut connections);
        }
        while connections.join_next().await.is_some() {}
    }

    /// Gives a connection a place. Without one it is dropped, which closes it.
    fn admit(&self, places: &Places, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
        let Some(place) = places.take(peer.ip()) else {
            tracing::debug!(%peer, "a connection was closed: no place is left");
            return None;
        };
        Some(Connection {
            socket: stream.into(),
            peer,
            place,
            limits: self.limits,
        })
    }
}
