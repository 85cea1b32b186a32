//! The listeners of the server: their bounds, and the path of a request from a connection to the
//! routes.
//!
//! Connections are accepted and served by `llamapool_http::listen`; nothing here depends on a route.

mod peer;
mod public_url;
mod request_id;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Uri;
use ipnet::IpNet;
use llamapool_http::listen::{ListenLimits, Listener, Versions};

pub(crate) use peer::{CallerAddress, Peer};
pub(crate) use public_url::{
    Address, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, ForwardedTrust, PublicUrl,
};
pub(crate) use request_id::RequestId;

use crate::tls::TlsConfig;

/// The least bound of a request's head, in bytes: one that is larger than what the tunnel carries
/// is better refused there, where the error has a name. The buffer of this size that HTTP/1 reads
/// into also bounds how much of an answer waits for its socket; then the tunnel's flow control
/// holds it back.
const HEAD_BYTES: u32 = 64 * 1024;
/// The most connections of a listener for the metrics alone. A scraper needs one or two, for
/// milliseconds, and idle ones give way, so no operator needs more.
const METRICS_CONNECTIONS: usize = 64;
/// The most connections of a listener for the administration API alone, as for the metrics.
const ADMIN_CONNECTIONS: usize = 64;
/// The most connections of the plain port beside TLS, which answers each request in microseconds.
const PLAIN_CONNECTIONS: usize = 1024;

/// The listeners and the public address of the server.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// The address where callers and relays connect.
    pub bind: SocketAddr,
    /// The address where `/metrics` is served alone; `None`: where everything else is.
    pub metrics_bind: Option<SocketAddr>,
    /// Where the administration API is served.
    pub admin: AdminListen,
    /// TLS on the address of callers and relays; `None`: that is for a reverse proxy.
    pub tls: Option<TlsConfig>,
    /// The public address of the server; `None`: the one that each request addresses.
    pub public_url: Option<Uri>,
    /// Set if `X-Forwarded-*` is believed, because a reverse proxy in front sets it or appends to it.
    pub trust_forwarded: bool,
    /// The networks of further proxies in front of that one.
    pub trusted_proxies: Vec<IpNet>,
    /// The most open connections of callers; a relay's stops counting here with its upgrade.
    pub max_connections: usize,
    /// The time for the head of a request on an open connection.
    pub header_timeout: Duration,
    /// The time after which a connection without a running request is closed; zero: never.
    pub idle_timeout: Duration,
    /// The time in which a caller takes nothing of what waits for it; zero: no limit.
    pub send_timeout: Duration,
}

/// An address cannot be listened on. It is inside the `io::Error` of [`Server::bind`](crate::Server::bind).
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct ListenError {
    /// The configured address.
    pub address: SocketAddr,
    /// The error of the system.
    pub error: io::Error,
}

/// The listener of the administration API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AdminListen {
    /// That of callers and relays.
    #[default]
    WithCallers,
    /// One of its own, over plain HTTP.
    At(SocketAddr),
    /// None: there is no such API.
    Off,
}

impl ListenConfig {
    /// Returns the configuration of a server that listens on `bind`, everything else by default.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            metrics_bind: None,
            admin: AdminListen::default(),
            tls: None,
            public_url: None,
            trust_forwarded: false,
            trusted_proxies: Vec::new(),
            max_connections: 50_000,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            send_timeout: Duration::from_secs(60),
        }
    }

    /// Returns the reverse proxies whose word is believed.
    fn trust(&self) -> ForwardedTrust {
        if self.trust_forwarded {
            ForwardedTrust::Proxies(self.trusted_proxies.clone())
        } else {
            ForwardedTrust::Untrusted
        }
    }

    /// Returns the source of the public address.
    pub(crate) fn public_url(&self) -> PublicUrl {
        let url = PublicUrl::new(self.public_url.clone(), self.trust());
        if self.tls.is_some() {
            url.over_tls()
        } else {
            url
        }
    }

    /// Takes the address of callers and relays.
    ///
    /// A request's head may have `tunnel_head_bytes` at least, so that what the tunnel carries is
    /// admitted.
    pub(crate) fn listen(&self, tunnel_head_bytes: u32) -> io::Result<Listener> {
        self.listen_on(self.bind, self.max_connections, tunnel_head_bytes)
    }

    /// Takes the address of the metrics, if they have one of their own.
    pub(crate) fn listen_for_metrics(&self) -> io::Result<Option<Listener>> {
        let places = self.max_connections.min(METRICS_CONNECTIONS);
        let listen = |address| self.listen_on(address, places, HEAD_BYTES);
        self.metrics_bind.map(listen).transpose()
    }

    /// Takes the address of the administration API, if it has one of its own.
    pub(crate) fn listen_for_admin(&self) -> io::Result<Option<Listener>> {
        let AdminListen::At(address) = self.admin else {
            return Ok(None);
        };
        let places = self.max_connections.min(ADMIN_CONNECTIONS);
        self.listen_on(address, places, HEAD_BYTES).map(Some)
    }

    /// Takes the address of plain HTTP, if there is to be one beside TLS.
    pub(crate) fn listen_for_plain_http(&self) -> io::Result<Option<Listener>> {
        let address = self.tls.as_ref().and_then(|tls| tls.http_bind);
        let places = self.max_connections.min(PLAIN_CONNECTIONS);
        let listen = |address| self.listen_on(address, places, HEAD_BYTES);
        address.map(listen).transpose()
    }

    /// Takes each address for a moment. Returns what it is for, the address, and the error of one
    /// that cannot be had.
    pub fn try_addresses(&self) -> Vec<(&'static str, SocketAddr, io::Result<()>)> {
        let admin = match self.admin {
            AdminListen::At(address) => Some(address),
            AdminListen::WithCallers | AdminListen::Off => None,
        };
        let all = [
            ("callers and relays", Some(self.bind)),
            (
                "plain HTTP",
                self.tls.as_ref().and_then(|tls| tls.http_bind),
            ),
            ("metrics", self.metrics_bind),
            ("administration", admin),
        ];
        // Held until all were tried: two of them may be the same.
        let mut held = Vec::new();
        let addresses = all.into_iter().filter_map(|(what, it)| Some((what, it?)));
        let tried = addresses.map(|(what, address)| {
            let taken = self.listen_on(address, 1, HEAD_BYTES);
            (what, address, taken.map(|listener| held.push(listener)))
        });
        tried.collect()
    }

    fn listen_on(
        &self,
        address: SocketAddr,
        max_connections: usize,
        head_bytes: u32,
    ) -> io::Result<Listener> {
        let limits = ListenLimits {
            max_connections,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            send_timeout: self.send_timeout,
            max_head_bytes: HEAD_BYTES.max(head_bytes),
            versions: Versions::Http1AndHttp2,
        };
        Listener::bind(address, limits)
            .map_err(|error| io::Error::new(error.kind(), ListenError { address, error }))
    }
}
