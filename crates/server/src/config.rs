//! What a server can be told. Reading settings is the binary's business; here they are typed and whole.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Uri;
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{BuildInfo, Secret};

/// Everything a server can be told.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where callers and relays connect.
    pub bind: SocketAddr,
    /// Where `/metrics` is served; none: where everything else is.
    pub metrics_bind: Option<SocketAddr>,
    /// Who may do what.
    pub keys: Keys,
    /// Which browsers and names may be used to get here.
    pub edge: EdgePolicy,
    /// How much of everything.
    pub limits: Limits,
    /// How long for everything.
    pub timeouts: Timeouts,
    /// The server's end of the tunnels.
    pub tunnel: TunnelConfig,
    /// What the program says of itself.
    pub build: BuildInfo,
}

/// The keys. A missing one leaves its doors open, which is for `--no-auth` alone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Opens the state API.
    pub api: Option<Secret>,
    /// Lets relays connect.
    pub worker: Option<Secret>,
    /// Seals the session ids of shared ids; none: the worker key does, or, without that, a key of this run.
    pub session: Option<Secret>,
}

/// Which values of Origin and Host are accepted.
#[derive(Debug, Clone, Default)]
pub struct EdgePolicy {
    /// Origins of browsers that may call, such as `https://inspector.example`; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Host names under which the server may be addressed, without port, IPv6 addresses in brackets; empty: any, except that a server which
    /// listens on loopback only is addressed by loopback names only.
    pub allowed_hosts: Vec<String>,
    /// The address under which callers know the server; none: the one that each request addresses.
    pub public_url: Option<Uri>,
    /// Whether a reverse proxy in front is believed what it says of the caller (`X-Forwarded-*`).
    pub trust_forwarded: bool,
}

/// Bounds of what others can make the server hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest request body, in bytes.
    pub max_request_bytes: u64,
    /// The largest single response made of an event stream, in bytes.
    pub max_answer_bytes: usize,
    /// The most calls at once to one id; 0: what its tunnels can carry.
    pub max_calls_per_client: usize,
    /// The most relays connected at once.
    pub max_relays: usize,
    /// The most open connections of callers; a relay's stops counting here with its upgrade.
    pub max_connections: usize,
    /// The most open state streams.
    pub max_state_streams: usize,
}

/// Spans after which the server stops waiting.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// From a call to the head of its answer.
    pub first_byte: Duration,
    /// Between two pieces of an answer; zero: never.
    pub stream_idle: Duration,
    /// After how long without a byte an event stream shows life with a comment; zero: never.
    pub stream_keepalive: Duration,
    /// For a whole call; zero: never.
    pub call: Duration,
    /// For the head of a request on an open connection.
    pub header: Duration,
    /// For calls still running when the server is told to stop.
    pub drain: Duration,
    /// For the holder of an id to show life when another relay asks for it.
    pub takeover: Duration,
    /// For the lost relay of a session to come back, where several relays share an id.
    pub session_grace: Duration,
    /// Between two snapshots on the state stream.
    pub state_interval: Duration,
}

impl Keys {
    /// The secret that session ids are sealed with. One that other servers and later runs know, if there is any.
    pub(crate) fn sealing(&self) -> Secret {
        self.session
            .clone()
            .or_else(|| self.worker.clone())
            .unwrap_or_else(Secret::random)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 64 << 20,
            max_answer_bytes: 64 << 20,
            max_calls_per_client: 0,
            max_relays: 10_000,
            max_connections: 50_000,
            max_state_streams: 100,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(120),
            stream_idle: Duration::ZERO,
            stream_keepalive: Duration::from_secs(15),
            call: Duration::ZERO,
            header: Duration::from_secs(30),
            drain: Duration::from_secs(300),
            takeover: Duration::from_secs(2),
            session_grace: Duration::from_secs(60),
            state_interval: Duration::from_secs(2),
        }
    }
}
