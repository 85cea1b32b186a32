//! The pool of connections to the provider: one is opened when a request needs it, and kept for the
//! next request while it is idle.
//!
//! An idle connection is closed before the provider is likely to close it: a request that meets the
//! closing is lost, as it must not be sent twice. Connections to a provider that hangs up after each
//! response are not kept ([`keep_alive`]).
//!
//! Unlike with the client of `hyper-util`, no task stands between a call and its connection. The
//! benchmark in `bench/` measures what that saves.

mod keep_alive;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use llamapool_http::{BoxError, host};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service;

use self::keep_alive::{KeepAlive, PROOF, Trust};
use super::connection::{Io, ProviderConnection, RequestBody, RequestError};

/// How long an idle connection is kept. Common servers close theirs after 5 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How many idle connections are kept.
const MAX_IDLE: usize = 256;
/// Between two sweeps for connections that were idle for too long.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Opens byte streams to the provider.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Returns the connector for http and https, which waits for so long for a connection.
pub(super) fn connector(tls: rustls::ClientConfig, timeout: Duration) -> Connector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeout));
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}

/// The connections to one provider.
pub(super) struct ConnectionPool {
    connector: Connector,
    /// The `Host` header of requests.
    host: Option<HeaderValue>,
    idle: Arc<IdleConnections>,
}

/// The connection that a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// An idle one if there is one; it becomes idle again afterwards.
    Pooled,
    /// A connection of its own. A provider that redirects often has not read the request, and
    /// hangs up without notice: a request that met this on a pooled connection would be lost.
    Never,
}

/// A request got no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolError {
    /// No connection was made.
    #[error("no connection")]
    Unreachable(#[source] BoxError),
    /// The connection ended before the head of the response.
    #[error("the connection was lost")]
    Lost(#[source] hyper::Error),
}

impl ConnectionPool {
    /// An empty pool of connections to the host of `url`.
    pub(super) fn new(connector: Connector, url: &Uri) -> Self {
        Self {
            connector,
            host: host_header(url),
            idle: Arc::default(),
        }
    }

    /// Opens a byte stream to the host of `url`, outside of the pool.
    pub(super) async fn connect(&self, url: &Uri) -> Result<Io, BoxError> {
        self.connector.clone().call(url.clone()).await
    }

    /// Sends a request to its URL and returns the head of the response. `is_sent` returns whether
    /// all of the request's body has gone.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
        reuse: Reuse,
        is_sent: impl Fn() -> bool,
    ) -> Result<Response<ProviderBody>, PoolError> {
        let url = std::mem::take(request.uri_mut());
        if let Some(host) = &self.host {
            request
                .headers_mut()
                .entry(HOST)
                .or_insert_with(|| host.clone());
        }
        *request.uri_mut() = url
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/"))
            .into();

        loop {
            let pooled = if reuse == Reuse::Pooled {
                self.idle.take().await
            } else {
                None
            };
            let is_pooled = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                // Boxed, as most calls find an idle one.
                None => Box::pin(self.open(&url)).await?,
            };

            match connection.send(request).await {
                Ok(response) => {
                    let driven_by = if is_sent() {
                        let idle = (reuse == Reuse::Pooled).then(|| self.idle.clone());
                        DrivenBy::Reader(connection, idle)
                    } else {
                        let mut task = JoinSet::new();
                        task.spawn(connection.finish());
                        DrivenBy::Task { _task: task }
                    };
                    return Ok(response.map(|incoming| ProviderBody {
                        incoming,
                        driven_by,
                    }));
                }
                Err(RequestError::NotSent(again, _)) if is_pooled => {
                    self.idle.distrust();
                    request = *again;
                }
                Err(RequestError::NotSent(_, error) | RequestError::Sent(error)) => {
                    if is_pooled && !error.is_parse() {
                        self.idle.distrust();
                    }
                    return Err(PoolError::Lost(error));
                }
            }
        }
    }

    /// Closes connections that were idle for too long, for as long as the relay lives.
    pub(super) async fn sweep(&self) {
        loop {
            self.idle.not_empty.notified().await;
            while !self.idle.connections.lock().is_empty() {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                self.idle.remove_closed();
            }
        }
    }

    async fn open(&self, url: &Uri) -> Result<ProviderConnection, PoolError> {
        let io = self.connect(url).await.map_err(PoolError::Unreachable)?;
        ProviderConnection::open(io).await.map_err(PoolError::Lost)
    }
}

/// The idle connections, the most recently used one at the end.
#[derive(Default)]
struct IdleConnections {
    connections: Mutex<Vec<(ProviderConnection, Instant)>>,
    not_empty: Notify,
    keep_alive: KeepAlive,
}

impl IdleConnections {
    /// Takes a connection that is still free, `None` if there is none. The most recently used one
    /// is the least likely to be closed by now. While the provider is on trial, the one connection
    /// that is kept is waited for until it has proved itself.
    async fn take(&self) -> Option<ProviderConnection> {
        match self.keep_alive.trust() {
            Trust::Kept { .. } => self.take_free(),
            Trust::Fresh { .. } => None,
            Trust::Trial => Box::pin(self.take_proved()).await,
        }
    }

    fn take_free(&self) -> Option<ProviderConnection> {
        loop {
            let (mut connection, since) = self.connections.lock().pop()?;
            let idle = since.elapsed();
            if idle >= IDLE_TIMEOUT {
                continue;
            }
            if connection.is_free() {
                return Some(connection);
            }
            self.keep_alive.closed_after(idle);
        }
    }

    async fn take_proved(&self) -> Option<ProviderConnection> {
        let (mut connection, since) = self.connections.lock().pop()?;
        tokio::time::sleep_until(since + PROOF).await;

        let idle = since.elapsed();
        if !connection.is_free() {
            self.keep_alive.closed_after(idle);
            return None;
        }
        self.keep_alive.proved();
        (idle < IDLE_TIMEOUT).then_some(connection)
    }

    fn put(&self, connection: ProviderConnection) {
        let most = match self.keep_alive.trust() {
            Trust::Kept { .. } => MAX_IDLE,
            Trust::Trial => 1,
            Trust::Fresh { .. } => 0,
        };
        let mut connections = self.connections.lock();
        if connections.len() >= most {
            return;
        }
        if connections.is_empty() {
            self.not_empty.notify_one();
        }
        connections.push((connection, Instant::now()));
    }

    /// Removes the connections that were idle for too long, and those that the provider has closed.
    fn remove_closed(&self) {
        self.connections.lock().retain_mut(|(connection, since)| {
            let idle = since.elapsed();
            let is_free = connection.is_free();
            if !is_free {
                self.keep_alive.closed_after(idle);
            }
            is_free && idle < IDLE_TIMEOUT
        });
    }

    /// Closes all connections, as the provider may have hung up on them, too.
    fn distrust(&self) {
        self.keep_alive.distrust();
        self.connections.lock().clear();
    }
}

/// Returns the `Host` header of requests to `url` (RFC 9110, 7.2), without the scheme's own port.
fn host_header(url: &Uri) -> Option<HeaderValue> {
    let name = url.host()?;
    let own_port = url.scheme_str().and_then(host::default_port);
    match url.port_u16().filter(|&port| Some(port) != own_port) {
        Some(port) => HeaderValue::from_maybe_shared(Bytes::from(format!("{name}:{port}"))).ok(),
        None => HeaderValue::from_str(name).ok(),
    }
}

/// The body of a provider's response.
pub(crate) struct ProviderBody {
    incoming: Incoming,
    driven_by: DrivenBy,
}

/// The task that drives the connection of a response.
enum DrivenBy {
    /// The task that reads the response; then the connection becomes idle, if it is to be reused.
    Reader(ProviderConnection, Option<Arc<IdleConnections>>),
    /// A task that lives as long as the body: the rest of the request must be sent even while the
    /// response is not read.
    Task { _task: JoinSet<()> },
    /// None any more.
    Nothing,
}

impl Body for ProviderBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut incoming = Pin::new(&mut this.incoming);
        let mut polled = incoming.as_mut().poll_frame(cx);
        if let (Poll::Pending, DrivenBy::Reader(connection, _)) = (&polled, &mut this.driven_by) {
            connection.drive(cx);
            polled = incoming.poll_frame(cx);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ProviderBody {
    fn drop(&mut self) {
        // A connection whose response was not read to its end is not free, and is closed.
        if let DrivenBy::Reader(mut connection, Some(idle)) =
            std::mem::replace(&mut self.driven_by, DrivenBy::Nothing)
            && connection.is_free()
        {
            idle.put(connection);
        }
    }
}

#[cfg(test)]
mod tests;
