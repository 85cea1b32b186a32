//! Serves one bridge over HTTP on a listener of its own: the role `llamapool bridge`.
//!
//! `bind` and `run` are two steps: the first takes the address, the second serves until it is
//! stopped. Stopping refuses new calls, lets the running ones finish, ends the programs, and then
//! closes the connections.

mod endpoint;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Uri};
use llamapool_http::listen::{Handler, ListenLimits, Listener, Overload, ReceivedBody, Versions};
use llamapool_mcp::ServerFacts;
use llamapool_wire::{Cause, Mark, Secret, people_line};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::endpoint::{Endpoint, EndpointBody};
use crate::bridge::Bridge;
use crate::config::BridgeConfig;
use crate::health::BridgeEvents;
use crate::start_gate::StartGate;

/// The bounds of a connection. They are those that a server has by default. No operator needs others
/// here: the callers are programs on this machine or a reverse proxy, which open another connection
/// when one was closed, and calls are not bounded by them. The number of connections is a setting.
const LIMITS: ListenLimits = ListenLimits {
    max_connections: 0,
    header_timeout: Duration::from_secs(30),
    idle_timeout: Duration::from_secs(120),
    send_timeout: Duration::from_secs(60),
    max_head_bytes: 64 * 1024,
    versions: Versions::Http1,
};
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
    /// The most open connections of callers.
    pub max_connections: usize,
    /// The most programs that start at the same time; `None`: as many as suit the machine.
    pub max_starting: Option<usize>,
    /// How long running calls may take to finish when the server is stopped.
    pub drain_timeout: Duration,
}

/// A bridge with a listener.
pub struct HttpServer {
    listener: Listener,
    endpoint: Arc<Endpoint>,
    drain_timeout: Duration,
}

/// The requests of the listener's connections.
#[derive(Clone)]
struct Requests(Arc<Endpoint>);

/// Logs the health of the bridge.
struct LogEvents;

impl BridgeEvents for LogEvents {
    fn on_healthy(&self) {
        tracing::debug!("the program runs");
    }

    fn on_unhealthy(&self, reason: String) {
        tracing::warn!(
            error = reason,
            people = %people_line(Mark::Down, "program", format_args!("does not run: {reason}")),
            "the program does not run"
        );
    }

    fn on_facts(&self, _: Option<ServerFacts>) {}
}

impl HttpServer {
    /// Takes the address. Starts no program.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub async fn bind(config: HttpServerConfig, bridge: BridgeConfig) -> io::Result<Self> {
        let limits = ListenLimits {
            max_connections: config.max_connections,
            ..LIMITS
        };
        let listener = Listener::bind(config.bind, limits)?;
        let bridge = Bridge::new(bridge, LogEvents, StartGate::new(config.max_starting));
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
        self.listener.address()
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

        let farewell = CancellationToken::new();
        let mut listening = JoinSet::new();
        listening.spawn(listener.serve(Requests(endpoint.clone()), farewell.clone()));
        stop.await;

        drain(&endpoint, drain_timeout).await;
        attending.shutdown().await;
        let ending = endpoint.bridge().shutdown();
        if tokio::time::timeout(PROGRAMS_END, ending).await.is_err() {
            tracing::warn!("a program has not ended in time; its guard goes on ending it");
        }
        // Every response has ended with its program, so only their last bytes are left to send.
        farewell.cancel();
        let closing = tokio::time::timeout(CONNECTIONS_END, listening.join_next());
        if closing.await.is_err() {
            tracing::debug!("connections are closed that have not ended in time");
        }
        listening.shutdown().await;
    }
}

impl Handler for Requests {
    type Body = EndpointBody;
    type Connection = ();

    async fn answer(
        &self,
        peer: SocketAddr,
        request: Request<ReceivedBody>,
    ) -> Response<EndpointBody> {
        self.0.respond(request, peer.ip()).await
    }

    fn is_essential(&self, uri: &Uri) -> bool {
        uri.path() == endpoint::HEALTH_PATH
    }

    fn refuse(
        &self,
        request: &Request<ReceivedBody>,
        overload: Overload,
    ) -> Response<EndpointBody> {
        let message = match overload {
            Overload::All => "all connections of the bridge are in use",
            Overload::Network => "the connections from this address have used up its share",
        };
        self.0.refuse(request, Cause::TooManyConnections, message)
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
