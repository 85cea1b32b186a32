//! The settings of the server: the table, and the way from what was given to the server's own configuration.
//!
//! What the numbers do is in the server's crate. The one rule: a server is open only if somebody asks for that; a key
//! that nobody set is generated.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use http::Uri;
use llamapool_server::{
    AuthConfig, Keys, ListenConfig, McpConfig, RelaysConfig, ServerConfig, StateConfig,
};
use llamapool_wire::Secret;

use super::address::{
    ANY_PORT, HOSTS, IP, ORIGINS, PORT as PORT_KIND, PORT_OR_NONE, PUBLIC_URL as PUBLIC_URL_KIND,
};
use super::error::SettingsError;
use super::given::Given;
use super::kind::{BYTES, COUNT, COUNT_OR_ZERO, MEMORY, POSITIVE_SPAN, SECRET, SPAN, SWITCH};
use super::logging::{self, CONFIG_FILE, LOG_FORMAT, LOG_LEVEL, LogSettings};
use super::setting::{Group, Setting, Typed};
use super::tunnel::{
    self, HEARTBEAT_INTERVAL, SILENCE_LIMIT, TUNNEL_MAX_HEADER_BYTES, TUNNEL_STREAM_WINDOW,
};
use crate::version::BUILD;

/// Everything a server process can be told.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The server's own configuration.
    pub config: ServerConfig,
    /// The keys that nobody set, to be logged once, at start.
    pub generated: Vec<GeneratedKey>,
    /// How many threads serve; none: as the machine suggests.
    pub threads: Option<NonZeroUsize>,
    /// What is logged.
    pub log: LogSettings,
}

/// A key that nobody set.
#[derive(Debug, Clone)]
pub enum GeneratedKey {
    /// Of the state API.
    Api(Secret),
    /// Of the relays.
    Worker(Secret),
}

impl ServerSettings {
    /// The settings as they were given.
    pub fn resolve(given: &Given) -> Result<Self, SettingsError> {
        let mut generated = Vec::new();
        let config = ServerConfig {
            listen: listen(given)?,
            auth: AuthConfig {
                keys: keys(given, &mut generated)?,
                allowed_origins: given.value(&ALLOWED_ORIGINS)?,
                allowed_hosts: given.value(&ALLOWED_HOSTS)?,
            },
            relays: RelaysConfig {
                max_relays: given.value(&MAX_RELAYS)?,
                takeover_wait: given.value(&TAKEOVER_WAIT)?,
                tunnel: tunnel::resolve(given)?,
            },
            mcp: mcp(given)?,
            state: StateConfig {
                max_streams: given.value(&MAX_STATE_STREAMS)?,
                interval: given.value(&STATE_INTERVAL)?,
            },
            drain_timeout: given.value(&DRAIN_TIMEOUT)?,
            build: BUILD,
        };
        let threads = NonZeroUsize::new(given.value(&THREADS)?);
        Ok(Self {
            config,
            generated,
            threads,
            log: logging::resolve(given)?,
        })
    }
}

fn listen(given: &Given) -> Result<ListenConfig, SettingsError> {
    let ip = given.value(&BIND_ADDR)?;
    let port = given.value(&PORT)?;
    let metrics_port = given
        .value(&METRICS_PORT)?
        .filter(|metrics| *metrics != port || port == ANY_PORT);

    Ok(ListenConfig {
        bind: SocketAddr::new(ip, port),
        metrics_bind: metrics_port.map(|port| SocketAddr::new(ip, port)),
        public_url: given.value(&PUBLIC_URL)?,
        trust_forwarded: given.value(&TRUST_FORWARDED)?,
        max_connections: given.value(&MAX_CONNECTIONS)?,
        header_timeout: given.value(&HEADER_TIMEOUT)?,
    })
}

fn keys(given: &Given, generated: &mut Vec<GeneratedKey>) -> Result<Keys, SettingsError> {
    let (api, worker) = (given.asked(&API_KEY)?, given.asked(&WORKER_KEY)?);
    let session = given.asked(&SESSION_KEY)?;
    if given.value(&NO_AUTH)? {
        return match (api, worker) {
            (None, None) => Ok(Keys {
                session,
                ..Keys::default()
            }),
            (Some(_), _) => Err(SettingsError::KeyWithoutAuth(API_KEY.setting.name)),
            (None, Some(_)) => Err(SettingsError::KeyWithoutAuth(WORKER_KEY.setting.name)),
        };
    }
    let mut generate = |of: fn(Secret) -> GeneratedKey| {
        let secret = Secret::random();
        generated.push(of(secret.clone()));
        secret
    };
    let api = api.unwrap_or_else(|| generate(GeneratedKey::Api));
    let worker = worker.unwrap_or_else(|| generate(GeneratedKey::Worker));
    Ok(Keys {
        api: Some(api),
        worker: Some(worker),
        session,
    })
}

fn mcp(given: &Given) -> Result<McpConfig, SettingsError> {
    Ok(McpConfig {
        max_request_bytes: given.value(&MAX_REQUEST_BYTES)?,
        max_answer_bytes: given.value(&MAX_ANSWER_BYTES)?,
        max_calls_per_id: given.value(&MAX_CONCURRENCY_PER_CLIENT)?,
        first_byte_timeout: given.value(&FIRST_BYTE_TIMEOUT)?,
        stream_idle_timeout: given.value(&STREAM_IDLE_TIMEOUT)?,
        call_timeout: given.value(&CALL_TIMEOUT)?,
        stream_keepalive: given.value(&STREAM_KEEPALIVE)?,
        session_grace: given.value(&SESSION_GRACE)?,
    })
}

static PORT: Typed<u16> = Typed::new(
    "PORT",
    Group::Main,
    PORT_KIND,
    "The port where callers and relays connect.",
)
.default("8080");
static BIND_ADDR: Typed<IpAddr> =
    Typed::new("BIND_ADDR", Group::Main, IP, "The IP address to listen on.").default("0.0.0.0");
static METRICS_PORT: Typed<Option<u16>> = Typed::new(
    "METRICS_PORT",
    Group::Main,
    PORT_OR_NONE,
    "Another port for /metrics, which then is served there only.",
)
.otherwise("same as PORT");
static API_KEY: Typed<Secret> = Typed::new(
    "API_KEY",
    Group::Access,
    SECRET,
    "The key that opens the state API, and single ids in /metrics.",
)
.otherwise("generated and logged");
static WORKER_KEY: Typed<Secret> = Typed::new(
    "WORKER_KEY",
    Group::Access,
    SECRET,
    "The key that lets relays connect.",
)
.aliases(&["CLIENT_KEY"])
.otherwise("generated and logged");
static SESSION_KEY: Typed<Secret> = Typed::new(
    "SESSION_KEY",
    Group::Access,
    SECRET,
    "Seals the session ids of ids that several relays share; servers that stand in for each other need the same.",
)
.otherwise("made of the worker key; with NO_AUTH, of each run");
static NO_AUTH: Typed<bool> = Typed::new(
    "NO_AUTH",
    Group::Access,
    SWITCH,
    "Runs without any key: whoever reaches the server may connect relays and see its state.",
)
.default("false");
static ALLOWED_ORIGINS: Typed<Vec<String>> = Typed::new(
    "ALLOWED_ORIGINS",
    Group::Access,
    ORIGINS,
    "The origins of browsers that may call, such as https://inspector.example, or * for all.",
);
static ALLOWED_HOSTS: Typed<Vec<String>> = Typed::new(
    "ALLOWED_HOSTS",
    Group::Access,
    HOSTS,
    "The host names under which the server may be addressed, without port.",
)
.otherwise("any; on a loopback address: loopback names");
static PUBLIC_URL: Typed<Option<Uri>> = Typed::new(
    "PUBLIC_URL",
    Group::Access,
    PUBLIC_URL_KIND,
    "The address under which callers know this server, such as https://llamapool.example.",
)
.otherwise("the host that each request addresses");
static TRUST_FORWARDED: Typed<bool> = Typed::new(
    "TRUST_FORWARDED",
    Group::Access,
    SWITCH,
    "Believes X-Forwarded-For, -Proto and -Host; only where a reverse proxy in front sets them itself.",
)
.default("false");
static MAX_REQUEST_BYTES: Typed<u64> = Typed::new(
    "MAX_REQUEST_BYTES",
    Group::Limits,
    BYTES,
    "The largest body of a request.",
)
.default("64MiB");
static MAX_ANSWER_BYTES: Typed<usize> = Typed::new(
    "MAX_ANSWER_BYTES",
    Group::Limits,
    MEMORY,
    "The largest single answer made of an event stream, for callers that did not ask for a stream.",
)
.default("64MiB");
static MAX_CONCURRENCY_PER_CLIENT: Typed<usize> = Typed::new(
    "MAX_CONCURRENCY_PER_CLIENT",
    Group::Limits,
    COUNT_OR_ZERO,
    "The most calls at once to one id; 0 is as many as its tunnels can carry.",
)
.default("0");
static MAX_RELAYS: Typed<usize> = Typed::new(
    "MAX_RELAYS",
    Group::Limits,
    COUNT,
    "The most relays connected at once, each counted once for each of its ids.",
)
.default("10000");
static MAX_CONNECTIONS: Typed<usize> = Typed::new(
    "MAX_CONNECTIONS",
    Group::Limits,
    COUNT,
    "The most open connections of callers; relays are counted by MAX_RELAYS.",
)
.default("50000");
static MAX_STATE_STREAMS: Typed<usize> = Typed::new(
    "MAX_STATE_STREAMS",
    Group::Limits,
    COUNT,
    "The most open streams of the state API.",
)
.default("100");
static THREADS: Typed<usize> = Typed::new(
    "THREADS",
    Group::Limits,
    COUNT_OR_ZERO,
    "How many threads serve callers and relays; 0: one on a machine with one or two cores, otherwise one for each core.",
)
.default("0");
static FIRST_BYTE_TIMEOUT: Typed<Duration> = Typed::new(
    "FIRST_BYTE_TIMEOUT",
    Group::Time,
    POSITIVE_SPAN,
    "How long a call may wait for the head of its answer.",
)
.default("120s");
static STREAM_KEEPALIVE: Typed<Duration> = Typed::new(
    "STREAM_KEEPALIVE",
    Group::Time,
    SPAN,
    "After how long without a byte an event stream shows life with a comment, so that no middlebox cuts it; 0 is never.",
)
.default("15s");
static STREAM_IDLE_TIMEOUT: Typed<Duration> = Typed::new(
    "STREAM_IDLE_TIMEOUT",
    Group::Time,
    SPAN,
    "How long an answer may pause between two pieces; 0 is forever.",
)
.default("0");
static CALL_TIMEOUT: Typed<Duration> = Typed::new(
    "CALL_TIMEOUT",
    Group::Time,
    SPAN,
    "How long a whole call may take; 0 is forever.",
)
.default("0");
static HEADER_TIMEOUT: Typed<Duration> = Typed::new(
    "HEADER_TIMEOUT",
    Group::Time,
    POSITIVE_SPAN,
    "How long the head of a request may take on an open connection.",
)
.default("30s");
static DRAIN_TIMEOUT: Typed<Duration> = Typed::new(
    "DRAIN_TIMEOUT",
    Group::Time,
    SPAN,
    "How long running calls may go on when the server is told to stop.",
)
.default("5m");
static TAKEOVER_WAIT: Typed<Duration> = Typed::new(
    "TAKEOVER_WAIT",
    Group::Time,
    POSITIVE_SPAN,
    "How long the relay that holds an id has to show life when another one asks for it.",
)
.default("2s");
static SESSION_GRACE: Typed<Duration> = Typed::new(
    "SESSION_GRACE",
    Group::Time,
    SPAN,
    "How long a session of a shared id waits for its lost relay to come back before its client must begin again.",
)
.default("60s");
static STATE_INTERVAL: Typed<Duration> = Typed::new(
    "STATE_INTERVAL",
    Group::Time,
    POSITIVE_SPAN,
    "The time between two snapshots on a stream of the state API.",
)
.default("2s");

/// The settings of the server.
pub(super) static TABLE: &[&Setting] = &[
    &PORT.setting,
    &BIND_ADDR.setting,
    &METRICS_PORT.setting,
    &CONFIG_FILE.setting,
    &API_KEY.setting,
    &WORKER_KEY.setting,
    &SESSION_KEY.setting,
    &NO_AUTH.setting,
    &ALLOWED_ORIGINS.setting,
    &ALLOWED_HOSTS.setting,
    &PUBLIC_URL.setting,
    &TRUST_FORWARDED.setting,
    &MAX_REQUEST_BYTES.setting,
    &MAX_ANSWER_BYTES.setting,
    &MAX_CONCURRENCY_PER_CLIENT.setting,
    &MAX_RELAYS.setting,
    &MAX_CONNECTIONS.setting,
    &MAX_STATE_STREAMS.setting,
    &THREADS.setting,
    &FIRST_BYTE_TIMEOUT.setting,
    &STREAM_IDLE_TIMEOUT.setting,
    &STREAM_KEEPALIVE.setting,
    &CALL_TIMEOUT.setting,
    &HEADER_TIMEOUT.setting,
    &DRAIN_TIMEOUT.setting,
    &TAKEOVER_WAIT.setting,
    &SESSION_GRACE.setting,
    &STATE_INTERVAL.setting,
    &HEARTBEAT_INTERVAL.setting,
    &SILENCE_LIMIT.setting,
    &TUNNEL_STREAM_WINDOW.setting,
    &TUNNEL_MAX_HEADER_BYTES.setting,
    &LOG_LEVEL.setting,
    &LOG_FORMAT.setting,
];
