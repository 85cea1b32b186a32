//! The settings of the relay of MCP providers: the table, and the way from what was given to the relay's own
//! configuration.
//!
//! What each provider can have for itself is in `provider`, what the numbers do in the relay's crate. The one rule: nothing that the server says ends up in here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use llamapool_relay::{DialConfig, Identity, Reconnect, RelayConfig, StatusBind, StatusConfig};
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{DisplayName, Secret};

use super::address::SERVER_URL as SERVER_KIND;
use super::address::{ANY_PORT, LISTEN, Listen, METRICS, MetricsAt, PROXY};
use super::error::SettingsError;
use super::given::Given;
use super::kind::{FILE, MEMORY_OR_NONE, NAME, POSITIVE_SPAN, SECRET, SPAN, STREAMS, SWITCH, TEXT};
use super::logging::{self, CONFIG_FILE, LOG_FORMAT, LOG_LEVEL, LogSettings};
use super::program;
use super::provider::{
    self, AUTH_TOKEN, CLIENT_ID, PROVIDER_HEADERS, PROVIDER_OAUTH, PROVIDER_URL,
};
use super::setting::{Group, Naming, Setting, Typed};
use super::tunnel::{
    self, HEARTBEAT_INTERVAL, SILENCE_LIMIT, TUNNEL_MAX_HEADER_BYTES, TUNNEL_STREAM_WINDOW,
};
use crate::version::BUILD;

/// Everything a relay process can be told.
#[derive(Clone)]
pub struct RelaySettings {
    /// The relay's own configuration.
    pub config: RelayConfig,
    /// What is logged.
    pub log: LogSettings,
}

/// Shows nothing of the configuration: the headers for the provider may have a key in them.
impl fmt::Debug for RelaySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySettings")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl RelaySettings {
    /// The settings as they were given.
    pub fn resolve(given: &Given) -> Result<Self, SettingsError> {
        let config = RelayConfig {
            identity: identity(given)?,
            dial: dial(given)?,
            reconnect: reconnect(given)?,
            providers: provider::resolve(given)?,
            status: status(given)?,
            drain_timeout: given.value(&DRAIN_TIMEOUT)?,
            tunnel: TunnelConfig {
                max_streams: given.value(&TUNNEL_MAX_STREAMS)?,
                ..tunnel::resolve(given)?
            },
            build: BUILD,
        };
        Ok(Self {
            config,
            log: logging::resolve(given)?,
        })
    }
}

fn identity(given: &Given) -> Result<Identity, SettingsError> {
    let name = given
        .asked(&WORKER_NAME)?
        .filter(|name| !name.as_str().is_empty());
    Ok(Identity {
        name: name
            .unwrap_or_else(|| DisplayName::new(&gethostname::gethostname().to_string_lossy())),
        worker_key: given.asked(&WORKER_KEY)?,
        client_secret: given.asked(&CLIENT_SECRET)?,
    })
}

fn dial(given: &Given) -> Result<DialConfig, SettingsError> {
    Ok(DialConfig {
        server_url: given.value(&SERVER_URL)?,
        connect_timeout: given.value(&CONNECT_TIMEOUT)?,
        ca_file: given.value(&CA_FILE)?,
        https_proxy: given.value(&HTTPS_PROXY)?.map(Secret::new),
        http_proxy: given.value(&HTTP_PROXY)?.map(Secret::new),
        no_proxy: given.value(&NO_PROXY)?,
    })
}

fn reconnect(given: &Given) -> Result<Reconnect, SettingsError> {
    let (min, max) = (given.value(&RECONNECT_MIN)?, given.value(&RECONNECT_MAX)?);
    let stable_after = given.value(&RECONNECT_STABLE_AFTER)?;
    if max < min {
        return Err(SettingsError::Contradiction {
            setting: RECONNECT_MAX.setting.name,
            value: format!("{max:?}"),
            expected: format!("at least {}, which is {min:?}", RECONNECT_MIN.setting.name),
        });
    }
    Ok(if given.value(&RECONNECT)? {
        Reconnect::Forever {
            min,
            max,
            stable_after,
        }
    } else {
        Reconnect::Never
    })
}

fn status(given: &Given) -> Result<StatusConfig, SettingsError> {
    let bind = match given.asked(&STATUS_ADDR)? {
        Some(Listen::Off) => StatusBind::Off,
        Some(Listen::On(address)) => StatusBind::Required(address),
        None => match given.value(&STATUS_ADDR)? {
            Listen::Off => StatusBind::Off,
            Listen::On(address) => StatusBind::Default(address),
        },
    };
    let address = match bind {
        StatusBind::Off => None,
        StatusBind::Required(address) | StatusBind::Default(address) => Some(address),
    };
    let ip = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    let metrics = given.value(&METRICS_PORT)?.map(|metrics| match metrics {
        MetricsAt::Port(port) => SocketAddr::new(ip, port),
        MetricsAt::Address(address) => address,
    });
    let metrics_bind =
        metrics.filter(|metrics| Some(*metrics) != address || metrics.port() == ANY_PORT);
    Ok(StatusConfig {
        bind,
        token: given.asked(&STATUS_TOKEN)?,
        metrics_bind,
    })
}

static SERVER_URL: Typed<Uri> = Typed::new(
    "SERVER_URL",
    Group::Main,
    SERVER_KIND,
    "Where the relay connects to the server: ws, wss, http or https; without a path, /api/mcp/connect is used.",
)
.default("ws://localhost:8080/api/mcp/connect");
static WORKER_KEY: Typed<Secret> = Typed::new(
    "WORKER_KEY",
    Group::Main,
    SECRET,
    "The server's key for relays.",
)
.aliases(&["CLIENT_KEY"]);
static WORKER_NAME: Typed<DisplayName> = Typed::new(
    "WORKER_NAME",
    Group::Main,
    NAME,
    "The relay's name for people.",
)
.aliases(&["CLIENT_NAME"])
.otherwise("the host name");
static RECONNECT: Typed<bool> = Typed::new(
    "RECONNECT",
    Group::Main,
    SWITCH,
    "Tries again whenever the connection is refused or lost, instead of ending.",
)
.short('r')
.default("false");
static CLIENT_SECRET: Typed<Secret> = Typed::new(
    "CLIENT_SECRET",
    Group::Access,
    SECRET,
    "Relays that present the same secret share their ids.",
);
static CA_FILE: Typed<Option<PathBuf>> = Typed::new(
    "CA_FILE",
    Group::Network,
    FILE,
    "A PEM file with certificates of private authorities, trusted besides the public ones.",
);
static HTTPS_PROXY: Typed<Option<String>> = Typed::new(
    "HTTPS_PROXY",
    Group::Network,
    PROXY,
    "The proxy for wss and https servers.",
)
.aliases(&["ALL_PROXY"])
.naming(Naming::Conventional);
static HTTP_PROXY: Typed<Option<String>> = Typed::new(
    "HTTP_PROXY",
    Group::Network,
    PROXY,
    "The proxy for ws and http servers.",
)
.naming(Naming::Conventional);
static NO_PROXY: Typed<Option<String>> = Typed::new(
    "NO_PROXY",
    Group::Network,
    TEXT,
    "The hosts that are reached without a proxy, separated by commas.",
)
.naming(Naming::Conventional);
static STATUS_ADDR: Typed<Listen> = Typed::new(
    "STATUS_ADDR",
    Group::Status,
    LISTEN,
    "Where the relay tells its status, or off; the default is done without where it cannot be had.",
)
.default("127.0.0.1:4555");
static STATUS_TOKEN: Typed<Secret> = Typed::new(
    "STATUS_TOKEN",
    Group::Status,
    SECRET,
    "The token that others than this machine must present for the status; without one, whoever reaches it reads it, the id \
     included.",
);
static METRICS_PORT: Typed<Option<MetricsAt>> = Typed::new(
    "METRICS_PORT",
    Group::Status,
    METRICS,
    "Another port for /metrics, on the IP address of STATUS_ADDR, or an IP address with a port.",
);
pub(super) static REDIRECT_REPLAY_BYTES: Typed<usize> = Typed::new(
    "REDIRECT_REPLAY_BYTES",
    Group::Limits,
    MEMORY_OR_NONE,
    "How much of a request is kept until the provider begins to answer, in case it redirects.",
)
.default("1MiB");
pub(super) static CONNECT_TIMEOUT: Typed<Duration> = Typed::new(
    "CONNECT_TIMEOUT",
    Group::Time,
    POSITIVE_SPAN,
    "How long connecting may take, to the server and to the provider.",
)
.default("10s");
pub(super) static PROBE_INTERVAL: Typed<Duration> = Typed::new(
    "PROBE_INTERVAL",
    Group::Time,
    POSITIVE_SPAN,
    "The time between two looks whether the provider can be reached.",
)
.default("10s");
static DRAIN_TIMEOUT: Typed<Duration> = Typed::new(
    "DRAIN_TIMEOUT",
    Group::Time,
    SPAN,
    "How long running calls may go on when the relay is told to stop.",
)
.default("1m");
static RECONNECT_MIN: Typed<Duration> = Typed::new(
    "RECONNECT_MIN",
    Group::Time,
    POSITIVE_SPAN,
    "The first span from which a random wait before trying again is taken; it doubles each time.",
)
.default("1s");
static RECONNECT_MAX: Typed<Duration> = Typed::new(
    "RECONNECT_MAX",
    Group::Time,
    POSITIVE_SPAN,
    "The longest such span.",
)
.default("30s");
static RECONNECT_STABLE_AFTER: Typed<Duration> = Typed::new(
    "RECONNECT_STABLE_AFTER",
    Group::Time,
    SPAN,
    "How long a connection must have held for the wait to start over.",
)
.default("10s");
static TUNNEL_MAX_STREAMS: Typed<u32> = Typed::new(
    "TUNNEL_MAX_STREAMS",
    Group::Tunnel,
    STREAMS,
    "How many calls the relay serves at once, of all its providers.",
)
.default("4096");

/// The settings of the relay.
pub(super) static TABLE: &[&Setting] = &[
    &SERVER_URL.setting,
    &PROVIDER_URL.setting,
    &program::PROVIDER_COMMAND.setting,
    &WORKER_KEY.setting,
    &CLIENT_ID.setting,
    &WORKER_NAME.setting,
    &RECONNECT.setting,
    &CONFIG_FILE.setting,
    &CLIENT_SECRET.setting,
    &AUTH_TOKEN.setting,
    &PROVIDER_HEADERS.setting,
    &PROVIDER_OAUTH.setting,
    &program::PROVIDER_DIR.setting,
    &program::PROVIDER_ENV.setting,
    &program::MAX_SESSIONS.setting,
    &program::SESSION_IDLE_TIMEOUT.setting,
    &program::SESSION_MAX_AGE.setting,
    &program::SHARED_SESSION.setting,
    &program::PROVIDER_MAX_STARTS.setting,
    &program::PROVIDER_MAX_MESSAGE_BYTES.setting,
    &program::PROVIDER_REPLAY_BYTES.setting,
    &program::PROVIDER_ERA_TIMEOUT.setting,
    &CA_FILE.setting,
    &HTTPS_PROXY.setting,
    &HTTP_PROXY.setting,
    &NO_PROXY.setting,
    &STATUS_ADDR.setting,
    &STATUS_TOKEN.setting,
    &METRICS_PORT.setting,
    &REDIRECT_REPLAY_BYTES.setting,
    &CONNECT_TIMEOUT.setting,
    &PROBE_INTERVAL.setting,
    &DRAIN_TIMEOUT.setting,
    &RECONNECT_MIN.setting,
    &RECONNECT_MAX.setting,
    &RECONNECT_STABLE_AFTER.setting,
    &HEARTBEAT_INTERVAL.setting,
    &SILENCE_LIMIT.setting,
    &TUNNEL_STREAM_WINDOW.setting,
    &TUNNEL_MAX_STREAMS.setting,
    &TUNNEL_MAX_HEADER_BYTES.setting,
    &LOG_LEVEL.setting,
    &LOG_FORMAT.setting,
];
