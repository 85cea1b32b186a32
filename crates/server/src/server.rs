//! The server as a whole: which door is where, and how it starts and stops. The one file that knows all others.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use llamapool_tunnel::CloseReason;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::app::App;
use crate::config::ServerConfig;
use crate::doors::{admin, relay, well_known};
use crate::entrance::{Calls, Entrance};
use crate::listen::serve_connections;

/// How long closing tunnels and connections may take once all calls are over.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many connections wait to be accepted. One more than fits is tried again by its peer a second later: all relays come at
/// once after a restart, and callers come in bursts. The system may have a lower bound (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// A server that has its addresses and waits to run.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
}

impl Server {
    /// Takes the addresses. From here on connections queue up; [`Server::run`] answers them.
    pub async fn bind(config: ServerConfig) -> io::Result<Self> {
        let listener = listen(config.listen.bind)?;
        let metrics_listener = match config.listen.metrics_bind {
            Some(address) => Some(listen(address)?),
            None => None,
        };
        let app = Arc::new(App::new(config));
        Ok(Self {
            app,
            listener,
            metrics_listener,
        })
    }

    /// The address that callers and relays connect to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address of `/metrics`, if it has one of its own.
    pub fn metrics_address(&self) -> io::Result<Option<SocketAddr>> {
        self.metrics_listener
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()
    }

    /// Serves until `stop` resolves, then drains: nothing new is taken, what runs may finish until the drain timeout.
    /// Dropping the future ends everything now.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            app,
            listener,
            metrics_listener,
        } = self;
        let mut listeners = JoinSet::new();
        let public = Entrance::new(
            app.clone(),
            Calls::Taken,
            router(app.clone(), metrics_listener.is_none()),
        );
        listeners.spawn(serve_connections(app.clone(), listener, public));
        if let Some(listener) = metrics_listener {
            let metrics = Entrance::new(app.clone(), Calls::None, metrics_router(app.clone()));
            listeners.spawn(serve_connections(app.clone(), listener, metrics));
        }
        stop.await;
        app.gate.close();
        let patience = app.config.drain_timeout;
        tracing::info!(calls = app.gate.running(), ?patience, "draining");
        if tokio::time::timeout(patience, app.gate.empty())
            .await
            .is_err()
        {
            tracing::warn!(
                calls = app.gate.running(),
                "drain timeout: ending what still runs"
            );
        }
        app.registry.close_all(CloseReason::GoingAway);
        app.farewell.cancel();
        let quiet = async {
            while listeners.join_next().await.is_some() {}
            while app.has_tunnels() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(FAREWELL, quiet).await.is_err() {
            tracing::debug!("connections were still open at the end");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let listening = socket.and_then(|socket| {
        // A server that was just restarted gets its port back. On Windows this would mean another thing.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listening.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Which door is where.
fn router(app: Arc<App>, with_metrics: bool) -> Router {
    let doors = Router::new()
        .route("/api/mcp/connect", any(relay::connect))
        .route("/.well-known/{*name}", any(well_known::look))
        .route("/api/state", get(admin::state))
        .route("/api/state/stream", get(admin::state_stream))
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .fallback(admin::not_found);
    let doors = if with_metrics {
        doors.route("/metrics", get(admin::public_metrics))
    } else {
        doors
    };
    doors.with_state(app)
}

fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .fallback(admin::not_found)
        .with_state(app)
}
