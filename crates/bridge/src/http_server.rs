//! Serves one bridge over HTTP on a listener of its own: the role `llamapool bridge`.
//!
//! `bind` and `run` are two steps: the first takes the address, the second serves until it is
//! stopped. Stopping refuses new calls, lets the running ones finish, ends the programs, and then
//! closes the connections.

mod endpoint;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use llamapool_wire::Secret;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::endpoint::Endpoint;
use crate::bridge::Bridge;
use crate::config::BridgeConfig;
use crate::health::BridgeEvents;
use crate::start_gate::StartGate;

/// The most connections at once. Others wait in the listener's queue until one is closed.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after accepting failed, as it does while the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the programs may take to end: longer than their guards wait before they use force.
const PROGRAMS_END: Duration = Duration::from_secs(6);
/// How long the connections may take to close after that.
const CONNECTIONS_END: Duration = Duration::from_secs(2);

/// The configuration of the listener.
#[derive(Debug, Clone)]
pub struct HttpServerConfig {
    /// The address to listen on.
    pub bind: SocketAddr,
    /// The token that callers must present; `None`: every caller is accepted.
    pub auth_token: Option<Secret>,
    /// The accepted hosts; empty: any host, on loopback the names of this machine.
    pub allowed_hosts: Vec<String>,
    /// How long running calls may take to finish when the server is stopped.
    pub drain_timeout: Duration,
}

/// A bridge with a listener.
pub struct HttpServer {
    listener: TcpListener,
    endpoint: Arc<Endpoint>,
    drain_timeout: Duration,
}

/// Logs the health of the bridge.
struct LogEvents;

impl BridgeEvents for LogEvents {
    fn on_healthy(&self) {
        tracing::debug!("the program runs");
    }

    fn on_unhealthy(&self, reason: String) {
        tracing::warn!(reason, "the program does not run");
    }
}

impl HttpServer {
    /// Takes the address. Starts no program.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub async fn bind(config: HttpServerConfig, bridge: BridgeConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.bind).await?;
        let bridge = Bridge::new(bridge, LogEvents, StartGate::new());
        Ok(Self {
            endpoint: Arc::new(Endpoint::new(&config, bridge)),
            listener,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Returns the address of the listener, with the port that it got.
    ///
    /// # Errors
    ///
    /// If the system does not report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves, and then until everything has ended. Dropping the future ends
    /// everything at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            listener,
            endpoint,
            drain_timeout,
        } = self;
        let mut attending = JoinSet::new();
        let bridge = endpoint.clone();
        attending.spawn(async move { bridge.bridge().run().await });

        let mut connections = JoinSet::new();
        let graceful = GracefulShutdown::new();
        tokio::select! {
            // Biased towards the stop: no connection is accepted after it.
            biased;
            () = stop => {}
            () = accept(&listener, &endpoint, &graceful, &mut connections) => {}
        }
        drop(listener);

        drain(&endpoint, drain_timeout).await;
        attending.shutdown().await;
        let ending = endpoint.bridge().shutdown();
        if tokio::time::timeout(PROGRAMS_END, ending).await.is_err() {
            tracing::warn!("a program has not ended in time; its guard goes on ending it");
        }
        // Every response has ended with its program, so only their last bytes are left to send.
        let closing = tokio::time::timeout(CONNECTIONS_END, graceful.shutdown());
        if closing.await.is_err() {
            tracing::debug!("connections are closed that have not ended in time");
        }
        connections.shutdown().await;
    }
}

/// Refuses new calls and waits up to `patience` for the running ones.
async fn drain(endpoint: &Endpoint, patience: Duration) {
    endpoint.close();
    tracing::info!(calls = endpoint.running_calls(), ?patience, "draining");
    let finished = endpoint.calls_finished();
    if tokio::time::timeout(patience, finished).await.is_err() {
        let calls = endpoint.running_calls();
        tracing::warn!(calls, "drain timeout: ending what still runs");
    }
}

/// Accepts connections and serves each in a task of its own. Never returns.
async fn accept(
    listener: &TcpListener,
    endpoint: &Arc<Endpoint>,
    graceful: &GracefulShutdown,
    connections: &mut JoinSet<()>,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed, so this cannot fail.
        let slot = slots.clone().acquire_owned().await;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };

        let serving = serve_connection(stream, peer.ip(), endpoint.clone(), graceful);
        connections.spawn(async move {
            let _slot = slot;
            serving.await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Returns the future that serves one connection.
fn serve_connection(
    stream: TcpStream,
    peer: IpAddr,
    endpoint: Arc<Endpoint>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + 'static {
    // Without it small events wait for the acknowledgement of the ones before.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.respond(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);

    let watched = graceful.watch(connection);
    async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection has ended with an error");
        }
    }
}
