//! The configuration of a relay, typed and complete. Reading settings is the executable's concern.

mod llm;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Uri};
use llamapool_bridge::BridgeConfig;
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{BuildInfo, DisplayName, RelayId, Secret};

pub use self::llm::{LlmConfig, ModelAlias, ModelPatterns, RuntimeKind, UpstreamStream};

/// The configuration of a relay.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The relay as the server sees it.
    pub identity: Identity,
    /// The way to the server.
    pub dial: DialConfig,
    /// The reaction to a connection that is refused or lost.
    pub reconnect: Reconnect,
    /// The providers that the relay makes reachable, all over one tunnel; 1 to 64.
    pub providers: Vec<ProviderConfig>,
    /// The status server.
    pub status: StatusConfig,
    /// How long calls may go on that run when the relay stops.
    pub drain_timeout: Duration,
    /// The relay's end of the tunnel.
    pub tunnel: TunnelConfig,
    /// The bytes that the process may hold for callers: unread bytes, collected messages, kept
    /// events.
    pub max_memory: usize,
    /// The most programs that start at the same time, over all providers; `None`: as many as suit
    /// the machine.
    pub max_starting: Option<usize>,
    /// True if every call is shown with its method and its outcome.
    pub shows_calls: bool,
    /// The build of the program.
    pub build: BuildInfo,
}

/// The relay as the server sees it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name for people.
    pub name: DisplayName,
    /// The key that admits relays.
    pub worker_key: Option<Secret>,
    /// Relays that present the same secret share their ids.
    pub client_secret: Option<Secret>,
}

/// The way to the server.
#[derive(Debug, Clone)]
pub struct DialConfig {
    /// The address that relays connect to: ws, wss, http or https.
    pub server_url: Uri,
    /// How long connecting may take: name, TCP, proxy, TLS and upgrade together.
    pub connect_timeout: Duration,
    /// A PEM file with certificates of private authorities, trusted besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxies that may be on the way.
    pub proxies: ProxySettings,
}

/// The proxies of an environment. Only the one that is chosen for the server has to be usable: the
/// others are meant for other programs.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    /// The proxy for wss and https.
    pub https: Option<ProxySetting>,
    /// The proxy for ws and http.
    pub http: Option<ProxySetting>,
    /// The proxy for a scheme that has none of its own.
    pub all: Option<ProxySetting>,
    /// The hosts that are reached without a proxy, as the `NO_PROXY` variable lists them.
    pub exceptions: Option<String>,
}

/// A proxy as it was set.
#[derive(Debug, Clone)]
pub struct ProxySetting {
    /// Its URL, such as `http://proxy:3128`, which may contain a password.
    pub url: Secret,
    /// The place where it was set, such as `environment variable ALL_PROXY`, for messages.
    pub set_by: String,
}

/// The reaction to a connection that is refused or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// The relay ends with the error.
    Never,
    /// The relay tries again, after a random wait of up to a span that doubles from `min` to `max`.
    Forever {
        /// The first span.
        min: Duration,
        /// The longest span.
        max: Duration,
        /// How long a connection must have been up for the span to start over.
        stable_after: Duration,
        /// True if the relay ends with a refusal that only an operator can change, such as a wrong
        /// key.
        exits_on_refusal: bool,
    },
}

/// One provider that the relay makes reachable.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// The id under which callers reach it. `None`: the server assigns one, which the relay then
    /// keeps.
    pub id: Option<RelayId>,
    /// The token that callers must present. `None`: every caller of the server may call.
    pub auth_token: Option<Secret>,
    /// The kind of provider.
    pub kind: ProviderKind,
}

/// The kind of a provider.
#[derive(Debug, Clone)]
pub enum ProviderKind {
    /// A server that speaks HTTP.
    Http(HttpConfig),
    /// A program that speaks on standard input and output.
    Stdio(BridgeConfig),
    /// An LLM runtime. A relay of these connects where workers connect.
    Llm(LlmConfig),
}

impl ProviderConfig {
    /// Returns whether another configuration makes the same provider.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same_token = match (&self.auth_token, &other.auth_token) {
            (Some(one), Some(other)) => one.matches(other.expose().as_bytes()),
            (None, None) => true,
            _ => false,
        };
        let same_kind = match (&self.kind, &other.kind) {
            (ProviderKind::Http(one), ProviderKind::Http(other)) => one == other,
            (ProviderKind::Stdio(one), ProviderKind::Stdio(other)) => one.is_same_as(other),
            // Workers are not reloaded.
            _ => false,
        };
        self.id == other.id && same_token && same_kind
    }
}

/// A provider that speaks HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// Its MCP endpoint: http or https.
    pub url: Uri,
    /// Headers that are added on the last hop, such as the provider's own key.
    pub headers: HeaderMap,
    /// True if callers reach an OAuth authorization server on the provider's own origin.
    pub publishes_oauth: bool,
    /// How long connecting to the provider may take.
    pub connect_timeout: Duration,
    /// True if the relay asks the provider who it is, in one exchange before any caller.
    pub asks_for_facts: bool,
    /// The time between two probes.
    pub probe_interval: Duration,
    /// How many bytes of a request are stored until the provider has begun to respond, in case it
    /// redirects.
    pub redirect_replay_bytes: usize,
}

/// The status server.
#[derive(Debug, Clone)]
pub struct StatusConfig {
    /// The address of the status server.
    pub bind: StatusBind,
    /// The token that admits requests from other addresses than loopback.
    pub token: Option<Secret>,
    /// The address of a server for `/metrics` alone.
    pub metrics_bind: Option<SocketAddr>,
}

/// The address of the status server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusBind {
    /// There is no status server.
    Off,
    /// The configured address; the relay does not start without it.
    Required(SocketAddr),
    /// The default address. Where it is in use, as with a second relay on the same machine, the
    /// relay has no status server.
    Default(SocketAddr),
}
