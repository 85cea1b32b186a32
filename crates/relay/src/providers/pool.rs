//! The pool of connections to the provider: one is opened when a request needs it, and kept for the
//! next request while it is idle.
//!
//! An idle connection is closed before the provider is likely to close it: a request that meets the
//! closing is lost, as it must not be sent twice. Connections to a provider that hangs up after each
//! response are not kept ([`keep_alive`]).
//!
//! Unlike with the client of `hyper-util`, no task stands between a call and its connection. The
//! benchmark in `bench/` measures what that saves.

mod body;
mod keep_alive;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use llamapool_head::{Fields, ResponseHead};
use llamapool_http::http1::{
    ClientConnection, ClientError, OutgoingRequest, RequestBody, ResponseHeadError,
};
use llamapool_http::{BoxError, host};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower_service::Service;

pub(crate) use self::body::ProviderBody;
use self::keep_alive::{KeepAlive, PROOF, Trust};
use super::connection::{ProviderConnection, ProviderStream, StreamedBody};

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
    /// A URL on the provider's host.
    url: Uri,
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

/// A request to the provider's host.
pub(super) struct PoolRequest<'a> {
    pub(super) method: &'a Method,
    /// Path and query.
    pub(super) target: &'a str,
    pub(super) fields: &'a Fields,
    pub(super) body: RequestBody<StreamedBody>,
}

/// A request got no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolError {
    /// No connection was made.
    #[error("no connection")]
    Unreachable(#[source] BoxError),
    /// The connection ended before the head of the response.
    #[error("the connection was lost")]
    Lost(#[source] ClientError),
}

impl ConnectionPool {
    /// An empty pool of connections to the host of `url`.
    pub(super) fn new(connector: Connector, url: &Uri) -> Self {
        Self {
            connector,
            host: host_header(url),
            url: url.clone(),
            idle: Arc::default(),
        }
    }

    /// Opens a byte stream to the host, outside of the pool.
    pub(super) async fn connect(&self) -> Result<ProviderStream, BoxError> {
        let stream = self.connector.clone().call(self.url.clone()).await?;
        Ok(stream.into())
    }

    /// Sends a request to a path on the host, and returns the head of the response.
    pub(super) async fn send(
        &self,
        request: PoolRequest<'_>,
        reuse: Reuse,
    ) -> Result<(ResponseHead, ProviderBody), PoolError> {
        let pooled = if reuse == Reuse::Pooled {
            self.idle.take().await
        } else {
            None
        };
        let is_pooled = pooled.is_some();
        let mut connection = match pooled {
            Some(connection) => connection,
            // Boxed, as most calls find an idle one.
            None => Box::pin(self.open()).await?,
        };

        let outgoing = OutgoingRequest {
            method: request.method,
            target: request.target,
            fields: request.fields,
            host: self.host.as_ref().map(HeaderValue::as_bytes),
        };
        let head = match connection.begin(outgoing, request.body) {
            Ok(()) => poll_fn(|cx| connection.poll_head(cx)).await,
            Err(error) => Err(error),
        };
        match head {
            Ok(head) => {
                let idle = (reuse == Reuse::Pooled).then(|| self.idle.clone());
                Ok((head, ProviderBody::new(connection, idle)))
            }
            Err(error) => {
                let is_lost = matches!(error, ClientError::Closed | ClientError::Io(_));
                if is_pooled && is_lost {
                    self.idle.distrust();
                }
                Err(PoolError::Lost(error))
            }
        }
    }

    /// Sends a request of the crate `http` whose body is here.
    pub(super) async fn send_http(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<ProviderBody>, PoolError> {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query();
        let request = PoolRequest {
            method: &head.method,
            target: target.map_or("/", PathAndQuery::as_str),
            fields: &Fields::from(&head.headers),
            body: RequestBody::Whole(body),
        };
        let (head, body) = self.send(request, Reuse::Pooled).await?;
        let response = head.into_http(body);
        response.ok_or_else(|| PoolError::Lost(ResponseHeadError::TooLarge.into()))
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

    async fn open(&self) -> Result<ProviderConnection, PoolError> {
        let stream = self.connect().await.map_err(PoolError::Unreachable)?;
        Ok(Box::new(ClientConnection::new(stream)))
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

#[cfg(test)]
mod tests;
