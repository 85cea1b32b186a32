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

/// The least bound of a request's head, in bytes: one that is larger than what the tunnel carries
/// is better refused there, where the error has a name. The buffer of this size that HTTP/1 reads
/// into also bounds how much of an answer waits for its socket; then the tunnel's flow control
/// holds it back.
const HEAD_BYTES: u32 = 64 * 1024;
/// The most connections of a listener for the metrics alone. A scraper needs one or two, for
/// milliseconds, and idle ones give way, so no operator needs more.
const METRICS_CONNECTIONS: usize = 64;

/// The listeners and the public address of the server.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// The address where callers and relays connect.
    pub bind: SocketAddr,
    /// The address where `/metrics` is served alone; `None`: where everything else is.
    pub metrics_bind: Option<SocketAddr>,
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

impl ListenConfig {
    /// Returns the configuration of a server that listens on `bind`, everything else by default.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            metrics_bind: None,
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
    pub(crate) fn trust(&self) -> ForwardedTrust {
        if self.trust_forwarded {
            ForwardedTrust::Proxies(self.trusted_proxies.clone())
        } else {
            ForwardedTrust::Untrusted
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
        Listener::bind(address, limits).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })
    }
}
