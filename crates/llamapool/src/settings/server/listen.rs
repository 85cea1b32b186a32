//! Settings of the listeners and of the address under which callers reach the server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use llamapool_server::{AdminListen, ListenConfig};
use llamapool_settings::value::{COUNT, DURATION, POSITIVE_DURATION, SWITCH};
use llamapool_settings::{Setting, SettingsError, Sources, TypedSetting};

use super::acme;
use crate::settings::address::{
    ANY_PORT, IP, LISTEN, Listen, NETWORKS, PORT as PORT_NUMBER, PORT_OR_NONE,
};
use crate::settings::group::{ACCESS, LIMITS, MAIN, TIME};
use crate::settings::url;

/// The port of https.
const HTTPS_PORT: u16 = 443;

static PORT: TypedSetting<u16> = TypedSetting::new(
    "PORT",
    MAIN,
    PORT_NUMBER,
    "Port for callers and relays; without it, and with ACME_DOMAINS: 443.",
)
.default("8080");
static BIND_ADDR: TypedSetting<IpAddr> =
    TypedSetting::new("BIND_ADDR", MAIN, IP, "IP address to listen on.").default("0.0.0.0");
static METRICS_PORT: TypedSetting<Option<u16>> = TypedSetting::new(
    "METRICS_PORT",
    MAIN,
    PORT_OR_NONE,
    "Another port for /metrics, which is then served there only.",
)
.described_default("same as PORT");
static ADMIN_ADDR: TypedSetting<Listen> = TypedSetting::new(
    "ADMIN_ADDR",
    MAIN,
    LISTEN,
    "Another address for the administration API, such as 127.0.0.1:8090, which is then served there \
     only, over plain HTTP; or off.",
)
.described_default("same as PORT");
static PUBLIC_URL: TypedSetting<Option<Uri>> = TypedSetting::new(
    "PUBLIC_URL",
    ACCESS,
    url::PUBLIC_URL,
    "URL under which callers reach the server, such as https://llamapool.example.",
)
.described_default("host of each request");
static TRUST_FORWARDED: TypedSetting<bool> = TypedSetting::new(
    "TRUST_FORWARDED",
    ACCESS,
    SWITCH,
    "Trusts X-Forwarded-For, -Proto and -Host, of each the last entry; only behind a reverse proxy \
     that sets them or appends to them.",
)
.default("false");
static TRUSTED_PROXIES: TypedSetting<Vec<IpNet>> = TypedSetting::new(
    "TRUSTED_PROXIES",
    ACCESS,
    NETWORKS,
    "Addresses or networks of further reverse proxies in front of that one. With TRUST_FORWARDED \
     their entries in X-Forwarded-For are passed over: the entry before them is the caller.",
)
.described_default("none");
static MAX_CONNECTIONS: TypedSetting<usize> = TypedSetting::new(
    "MAX_CONNECTIONS",
    LIMITS,
    COUNT,
    "Most open connections of callers, fewer where the system allows fewer open files; those of \
     relays count for MAX_RELAYS instead.",
)
.default("50000");
static HEADER_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "HEADER_TIMEOUT",
    TIME,
    POSITIVE_DURATION,
    "Longest time to receive the headers of a request on an open connection.",
)
.default("30s");
static IDLE_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "IDLE_TIMEOUT",
    TIME,
    DURATION,
    "Longest time that a connection of a caller stays open without a running call; 0: no limit. \
     HTTP/1 connections are also closed after HEADER_TIMEOUT.",
)
.default("2m");
static SEND_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "SEND_TIMEOUT",
    TIME,
    DURATION,
    "Longest time in which a caller takes nothing of a response that waits for it; 0: no limit.",
)
.default("60s");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &PORT.setting,
    &BIND_ADDR.setting,
    &METRICS_PORT.setting,
    &ADMIN_ADDR.setting,
    &PUBLIC_URL.setting,
    &TRUST_FORWARDED.setting,
    &TRUSTED_PROXIES.setting,
    &MAX_CONNECTIONS.setting,
    &HEADER_TIMEOUT.setting,
    &IDLE_TIMEOUT.setting,
    &SEND_TIMEOUT.setting,
];

/// Returns the port for callers and relays. With ACME it is the one that an authority checks, unless
/// another one is set, to which something in front forwards then.
pub(super) fn port(sources: &Sources) -> Result<u16, SettingsError> {
    if has_default_ports(sources)? {
        return Ok(HTTPS_PORT);
    }
    sources.value(&PORT)
}

/// Returns whether the ports are those of the web, because certificates are ordered and no port is set.
pub(super) fn has_default_ports(sources: &Sources) -> Result<bool, SettingsError> {
    Ok(sources.explicit(&PORT)?.is_none() && acme::is_set(sources)?)
}

/// Returns the configuration of the listeners, without TLS.
pub(super) fn resolve(sources: &Sources) -> Result<ListenConfig, SettingsError> {
    let ip = sources.value(&BIND_ADDR)?;
    let port = port(sources)?;
    // The same port needs no second listener, except for two that are to be any free one.
    let metrics_port = sources
        .value(&METRICS_PORT)?
        .filter(|metrics| *metrics != port || port == ANY_PORT);

    Ok(ListenConfig {
        bind: SocketAddr::new(ip, port),
        metrics_bind: metrics_port.map(|port| SocketAddr::new(ip, port)),
        admin: match sources.explicit(&ADMIN_ADDR)? {
            None => AdminListen::WithCallers,
            Some(Listen::On(address)) => AdminListen::At(address),
            Some(Listen::Off) => AdminListen::Off,
        },
        tls: None,
        public_url: sources.value(&PUBLIC_URL)?,
        trust_forwarded: sources.value(&TRUST_FORWARDED)?,
        trusted_proxies: sources.value(&TRUSTED_PROXIES)?,
        max_connections: sources.value(&MAX_CONNECTIONS)?,
        header_timeout: sources.value(&HEADER_TIMEOUT)?,
        idle_timeout: sources.value(&IDLE_TIMEOUT)?,
        send_timeout: sources.value(&SEND_TIMEOUT)?,
    })
}
