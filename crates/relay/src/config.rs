//! What a relay can be told. Reading settings is the binary's business; here they are typed and whole.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Uri};
use llamapool_bridge::BridgeConfig;
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{BuildInfo, DisplayName, RelayId, Secret};

/// Everything a relay can be told.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Who the relay is to the server.
    pub identity: Identity,
    /// How the server is reached.
    pub dial: DialConfig,
    /// What is done when the connection is refused or lost.
    pub reconnect: Reconnect,
    /// What the relay makes reachable: one provider or several, all over one tunnel.
    pub providers: Vec<ProviderConfig>,
    /// Where the relay tells its status.
    pub status: StatusConfig,
    /// For calls still running when the relay is told to stop.
    pub drain_timeout: Duration,
    /// The relay's end of the tunnel.
    pub tunnel: TunnelConfig,
    /// What the program says of itself.
    pub build: BuildInfo,
}

/// Who the relay is to the server.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name for people.
    pub name: DisplayName,
    /// The key that lets relays connect.
    pub worker_key: Option<Secret>,
    /// Relays that present the same secret share their ids.
    pub client_secret: Option<Secret>,
}

/// How the server is reached.
#[derive(Debug, Clone)]
pub struct DialConfig {
    /// The address that relays connect to: ws, wss, http or https.
    pub server_url: Uri,
    /// For the whole of connecting: name, TCP, proxy, TLS, upgrade.
    pub connect_timeout: Duration,
    /// A PEM file with certificates of private authorities, trusted besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy for wss and https, such as `http://proxy:3128`; it may hold a user's password.
    pub https_proxy: Option<Secret>,
    /// The proxy for ws and http.
    pub http_proxy: Option<Secret>,
    /// The hosts that are reached without a proxy, as the `NO_PROXY` variable lists them.
    pub no_proxy: Option<String>,
}

/// What is done when the connection is refused or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// The process ends and says why.
    Never,
    /// It tries again, after a random wait of up to a span that doubles from `min` to `max`.
    Forever {
        /// The first span.
        min: Duration,
        /// The longest span.
        max: Duration,
        /// How long a connection must have held for the span to start over.
        stable_after: Duration,
    },
}

/// One provider that the relay makes reachable.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// The id under which callers reach it; none: the server assigns one, which the relay then keeps.
    pub id: Option<RelayId>,
    /// The token that callers must present; none: anyone who reaches the server may call.
    pub auth_token: Option<Secret>,
    /// What it is.
    pub kind: ProviderKind,
}

/// What a provider is.
#[derive(Debug, Clone)]
pub enum ProviderKind {
    /// A server that speaks HTTP.
    Http(HttpConfig),
    /// A program that speaks on standard input and output.
    Stdio(BridgeConfig),
}

/// A provider that speaks HTTP.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Its MCP endpoint: http or https.
    pub url: Uri,
    /// Headers that are added on the last hop, such as the provider's own key.
    pub headers: HeaderMap,
    /// Whether callers get at an OAuth authorization server on the provider's own origin.
    pub publishes_oauth: bool,
    /// For connecting to the provider.
    pub connect_timeout: Duration,
    /// Between two looks whether the provider can be reached.
    pub probe_interval: Duration,
    /// How many bytes of a request are kept until the provider has begun to answer, in case it redirects.
    pub redirect_replay_bytes: usize,
}

/// Where the relay tells its status.
#[derive(Debug, Clone)]
pub struct StatusConfig {
    /// The address of the status server.
    pub bind: StatusBind,
    /// The token that opens the status server to others than loopback.
    pub token: Option<Secret>,
    /// Where `/metrics` is served besides.
    pub metrics_bind: Option<SocketAddr>,
}

/// The address of the status server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusBind {
    /// None.
    Off,
    /// Somebody asked for this one: not getting it ends the start.
    Asked(SocketAddr),
    /// Nobody asked: where it is in use already, as with a second relay on the same machine, the relay does without.
    Default(SocketAddr),
}
