//! A server in this process, and the relays that connect to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::time::Duration;

use llamapool_relay::RelayConfig;
use llamapool_server::{
    AccessReload, AuditConfig, AuthConfig, DataDirConfig, IdentityConfig, Keys, ListenConfig,
    LlmConfig, McpConfig, RelaysConfig, Server, ServerConfig, StateConfig,
};
use llamapool_wire::{BuildInfo, Secret};
use tokio::sync::oneshot;

use super::runtime::OwnRuntime;
use super::{API_KEY, Caller, Relay, WORKER_KEY, relay_config};

/// The build that server and relays report.
pub const BUILD: BuildInfo = BuildInfo {
    version: "0.0.0",
    sha: "0000000",
    date: "2000-01-01T00:00:00Z",
};

/// Any free port on loopback, as an address to listen on.
pub const FREE_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server with its keys, on loopback and a free port. Dereferences to a [`Caller`] of it.
///
/// The server runs on two threads of its own, so that faults which need two threads can show, and
/// so does each relay.
pub struct Pool {
    caller: Caller,
    metrics_address: Option<SocketAddr>,
    admin_address: Option<SocketAddr>,
    access: AccessReload,
    stop: Option<oneshot::Sender<()>>,
    relays: Vec<Relay>,
    runtime: OwnRuntime,
}

impl Pool {
    /// Starts a server with the default settings, except that its event streams get no keep-alive
    /// comments.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a server whose configuration is changed by `configure` first.
    pub async fn with(configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = server_config();
        configure(&mut config);

        let runtime = OwnRuntime::start();
        let bound = runtime.spawn(async { Server::bind(config).await });
        let server = bound.await.expect("no panic").expect("a free port");
        let address = server.address().expect("an address");
        let addresses = [server.metrics_address(), server.admin_address()];
        let [metrics_address, admin_address] =
            addresses.map(|address| address.expect("an address"));

        let access = server.access_reload();

        let (stop, stopped) = oneshot::channel::<()>();
        drop(runtime.spawn(server.run(async {
            // A sender that is dropped is no request to drain: the runtime ends everything then.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        })));

        Self {
            caller: Caller::new(format!("http://{address}"), String::new),
            metrics_address,
            admin_address,
            access,
            stop: Some(stop),
            relays: Vec::new(),
            runtime,
        }
    }

    /// Returns the handle by which the declared keys and rules of the server are replaced.
    pub fn access(&self) -> &AccessReload {
        &self.access
    }

    /// Connects a relay with one HTTP provider, which lives as long as the pool.
    pub async fn with_provider(mut self, id: &str, provider_url: &str) -> Self {
        let relay = self.relay(id, provider_url).await;
        self.relays.push(relay);
        self
    }

    /// Starts a relay with one HTTP provider and waits until it is connected.
    pub async fn relay(&self, id: &str, provider_url: &str) -> Relay {
        self.relay_with(id, provider_url, |_| {}).await
    }

    /// Starts a relay whose configuration is changed by `configure` first, and waits until it is
    /// connected.
    pub async fn relay_with(
        &self,
        id: &str,
        provider_url: &str,
        configure: impl FnOnce(&mut RelayConfig),
    ) -> Relay {
        let relay = Self::relay_to(&self.url, id, provider_url, configure).await;
        self.connected(id).await;
        relay
    }

    /// Starts a relay that dials any server, and does not wait for its connection.
    pub async fn relay_to(
        server_url: &str,
        id: &str,
        provider_url: &str,
        configure: impl FnOnce(&mut RelayConfig),
    ) -> Relay {
        let mut config = relay_config(server_url, id, provider_url);
        configure(&mut config);
        Relay::start(config).await
    }

    /// Returns the URL of the metrics server. Panics if the server has none.
    pub fn metrics_url(&self) -> String {
        url_of(self.metrics_address)
    }

    /// Returns the URL of the administration server. Panics if there is none.
    pub fn admin_url(&self) -> String {
        url_of(self.admin_address)
    }

    /// Ends the server at once, as a killed process does. Its relays go on.
    pub fn kill(&mut self) {
        self.runtime.shut_down();
    }

    /// Requests the server to drain.
    pub fn drain(&mut self) {
        let stop = self.stop.take().expect("it is drained once");
        stop.send(()).expect("the server runs");
    }
}

impl Deref for Pool {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

fn url_of(address: Option<SocketAddr>) -> String {
    format!("http://{}", address.expect("a listener of its own"))
}

/// Gives a server's metrics a port of their own.
pub fn serve_metrics(config: &mut ServerConfig) {
    config.listen.metrics_bind = Some(FREE_PORT);
}

/// Builds the configuration of a server under test.
fn server_config() -> ServerConfig {
    ServerConfig {
        max_memory: 1 << 30,
        listen: ListenConfig::new(FREE_PORT),
        auth: AuthConfig {
            keys: Keys {
                api: Some(Secret::new(API_KEY)),
                worker: Some(Secret::new(WORKER_KEY)),
                session: None,
            },
            ..AuthConfig::default()
        },
        identity: IdentityConfig::default(),
        audit: AuditConfig::default(),
        sign_in: None,
        relays: RelaysConfig::default(),
        mcp: McpConfig {
            // Keep-alive comments come by the clock: only tests about them want them in a
            // provider's stream.
            stream_keepalive: Duration::ZERO,
            ..McpConfig::default()
        },
        llm: LlmConfig::default(),
        state: StateConfig::default(),
        data_dir: DataDirConfig::None,
        drain_timeout: ServerConfig::DRAIN_TIMEOUT,
        build: BUILD,
    }
}
