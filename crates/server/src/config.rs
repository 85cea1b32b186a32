//! The configuration of a server: one struct per subsystem, assembled in [`ServerConfig`].
//!
//! Reading settings is the executable's business; here they are typed and complete.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Uri;
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{BuildInfo, Secret};

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The listeners and the address under which callers know the server.
    pub listen: ListenConfig,
    /// The keys, and the accepted values of `Origin` and `Host`.
    pub auth: AuthConfig,
    /// The relays and their tunnels.
    pub relays: RelaysConfig,
    /// Calls to MCP providers.
    pub mcp: McpConfig,
    /// The state API.
    pub state: StateConfig,
    /// The time for calls that still run when the server is stopped.
    pub drain_timeout: Duration,
    /// The version, commit and date of the program.
    pub build: BuildInfo,
}

/// The listeners and the address under which callers know the server.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// The address where callers and relays connect.
    pub bind: SocketAddr,
    /// The address where `/metrics` is served alone; `None`: where everything else is.
    pub metrics_bind: Option<SocketAddr>,
    /// The address under which callers know the server; `None`: the one that each request addresses.
    pub public_url: Option<Uri>,
    /// Whether `X-Forwarded-*` is believed, because a reverse proxy in front sets it.
    pub trust_forwarded: bool,
    /// The most open connections of callers; a relay's stops counting here with its upgrade.
    pub max_connections: usize,
    /// The time for the head of a request on an open connection.
    pub header_timeout: Duration,
}

/// The keys, and the accepted values of `Origin` and `Host`.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// The keys of the server.
    pub keys: Keys,
    /// Origins of browsers that may call, such as `https://inspector.example`; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Host names under which the server may be addressed, without port, IPv6 addresses in
    /// brackets; empty: any, except that a server which listens on loopback only is addressed by
    /// loopback names only.
    pub allowed_hosts: Vec<String>,
}

/// The keys. A missing one leaves its doors open, which is for `--no-auth` alone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Opens the state API.
    pub api: Option<Secret>,
    /// Lets relays connect.
    pub worker: Option<Secret>,
    /// Seals the session ids of shared ids; `None`: the worker key does, or, without that, a key of
    /// this run.
    pub session: Option<Secret>,
}

/// The relays and their tunnels.
#[derive(Debug, Clone)]
pub struct RelaysConfig {
    /// The most relays connected at once, each counted once for each of its ids.
    pub max_relays: usize,
    /// The time for the holder of an id to show life when another relay claims it.
    pub takeover_wait: Duration,
    /// The server's end of the tunnels.
    pub tunnel: TunnelConfig,
}

/// Calls to MCP providers.
#[derive(Debug, Clone)]
pub struct McpConfig {
    /// The largest request body, in bytes.
    pub max_request_bytes: u64,
    /// The largest single response made of an event stream, in bytes.
    pub max_answer_bytes: usize,
    /// The most calls at once to one id; 0: what its tunnels can carry.
    pub max_calls_per_id: usize,
    /// The time from a call to the head of its answer.
    pub first_byte_timeout: Duration,
    /// The time between two pieces of an answer; zero: no limit.
    pub stream_idle_timeout: Duration,
    /// The time for a whole call; zero: no limit.
    pub call_timeout: Duration,
    /// The time without a byte after which an event stream gets a comment; zero: never.
    pub stream_keepalive: Duration,
    /// The time for the lost relay of a session to come back, where several relays share an id.
    pub session_grace: Duration,
}

/// The state API.
#[derive(Debug, Clone)]
pub struct StateConfig {
    /// The most open state streams.
    pub max_streams: usize,
    /// The time between two snapshots on the state stream.
    pub interval: Duration,
}

impl ListenConfig {
    /// Returns the configuration of a server that listens on `bind`, everything else by default.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            metrics_bind: None,
            public_url: None,
            trust_forwarded: false,
            max_connections: 50_000,
            header_timeout: Duration::from_secs(30),
        }
    }
}

impl Keys {
    /// Returns the secret that session ids are sealed with: one that other servers and later runs
    /// have, too, if there is any.
    pub(crate) fn sealing(&self) -> Secret {
        self.session
            .clone()
            .or_else(|| self.worker.clone())
            .unwrap_or_else(Secret::random)
    }
}

impl ServerConfig {
    /// The default of [`ServerConfig::drain_timeout`].
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
}

impl Default for RelaysConfig {
    fn default() -> Self {
        Self {
            max_relays: 10_000,
            takeover_wait: Duration::from_secs(2),
            tunnel: TunnelConfig::default(),
        }
    }
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            max_request_bytes: 64 << 20,
            max_answer_bytes: 64 << 20,
            max_calls_per_id: 0,
            first_byte_timeout: Duration::from_secs(120),
            stream_idle_timeout: Duration::ZERO,
            call_timeout: Duration::ZERO,
            stream_keepalive: Duration::from_secs(15),
            session_grace: Duration::from_secs(60),
        }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            max_streams: 100,
            interval: Duration::from_secs(2),
        }
    }
}
