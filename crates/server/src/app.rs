//! What every door works with. It knows no door: who puts everything together is `server`.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::config::{AuthConfig, ServerConfig};
use crate::drain::Gate;
use crate::edge::Edge;
use crate::metrics::Metrics;
use crate::public_url::PublicUrl;
use crate::registry::Registry;
use crate::sessions::Seal;

/// What every door works with.
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    pub(crate) auth: Auth,
    /// Under which address callers know the server.
    pub(crate) public_url: PublicUrl,
    /// Seals the sessions of shared ids.
    pub(crate) seal: Seal,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    /// Who gets at the metrics, wherever they are served.
    pub(crate) metrics_edge: Edge,
    pub(crate) gate: Arc<Gate>,
    /// The places for readers of the state stream.
    pub(crate) state_streams: Arc<Semaphore>,
    pub(crate) started: SystemTime,
    /// Ends every stream that has no end of its own, when the calls are over.
    pub(crate) farewell: CancellationToken,
    tunnels: Mutex<JoinSet<()>>,
}

impl App {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self {
            auth: Auth::new(
                &config.auth.keys,
                Edge::new(
                    &config.auth,
                    config.listen.public_url.as_ref(),
                    config.listen.bind.ip(),
                ),
            ),
            public_url: PublicUrl::new(
                config.listen.public_url.clone(),
                config.listen.trust_forwarded,
            ),
            seal: Seal::new(&config.auth.keys.sealing()),
            registry: Registry::new(config.relays.max_relays),
            metrics: Metrics::new(),
            metrics_edge: metrics_edge(&config),
            gate: Arc::default(),
            state_streams: Arc::new(Semaphore::new(
                config.state.max_streams.min(Semaphore::MAX_PERMITS),
            )),
            started: SystemTime::now(),
            farewell: CancellationToken::new(),
            tunnels: Mutex::default(),
            config,
        }
    }

    /// Owns a tunnel's task until the server ends.
    pub(crate) fn keep(&self, tunnel: impl Future<Output = ()> + Send + 'static) {
        let mut tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        while tunnels.try_join_next().is_some() {}
        tunnels.spawn(tunnel);
    }

    /// Whether any tunnel is open still.
    pub(crate) fn has_tunnels(&self) -> bool {
        let mut tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        while tunnels.try_join_next().is_some() {}
        !tunnels.is_empty()
    }
}

/// On a port of their own the metrics are asked for by another name than the public one.
fn metrics_edge(config: &ServerConfig) -> Edge {
    let ip = config.listen.bind.ip();
    if config.listen.metrics_bind.is_some() {
        Edge::new(&AuthConfig::default(), None, ip)
    } else {
        Edge::new(&config.auth, config.listen.public_url.as_ref(), ip)
    }
}
