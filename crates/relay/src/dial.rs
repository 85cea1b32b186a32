//! Dials the server: name, TCP, proxy, TLS, and the WebSocket upgrade.

mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handshake;
mod no_proxy;
mod probe;
mod proxy;
mod transport;

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use llamapool_http::host;
use llamapool_wire::{DisplayName, InstanceId, PublicBase, RelayId, header};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use self::handshake::{
    check_response, identity_headers, public_base, read_refusal, upgrade_request,
};
use self::proxy::{Proxy, select_proxy};
use self::transport::Transport;
use crate::config::RelayConfig;
use crate::error::error_chain;

pub use self::error::DialError;
pub use self::probe::{ProbedStream, ServerProbe};
pub use self::proxy::ProxyError;

/// Dials the server, again and again, as the same instance.
#[derive(Clone)]
pub(crate) struct Dialer {
    target: Uri,
    proxy: Option<Proxy>,
    tls: rustls::ClientConfig,
    timeout: Duration,
    identity: HeaderMap,
}

/// The byte stream of a tunnel after the upgrade.
pub(crate) struct Dialled {
    pub(crate) io: TokioIo<Upgraded>,
    /// The ids of the providers, in their order.
    pub(crate) ids: Vec<RelayId>,
    pub(crate) server_version: DisplayName,
    /// The base of the callers' URLs; `None` if nothing suggests one.
    pub(crate) public_base: Option<PublicBase>,
}

impl Dialer {
    /// A dialer for a configuration, with a new instance id.
    pub(crate) fn new(config: &RelayConfig, tls: rustls::ClientConfig) -> Result<Self, ProxyError> {
        let target = with_http_scheme(&config.dial.server_url);
        let is_plain = target.scheme_str() == Some("http");
        let is_remote = !host::is_loopback(target.host().unwrap_or_default());
        if is_plain && is_remote && config.identity.worker_key.is_some() {
            tracing::warn!(server = %address(&target), "the connection is not encrypted: the worker key and all calls can be read on the way; use wss://");
        }
        Ok(Self {
            proxy: select_proxy(&config.dial.proxies, &target)?,
            identity: identity_headers(&config.identity, &config.build),
            timeout: config.dial.connect_timeout,
            target,
            tls,
        })
    }

    /// Returns a dialer of another instance, whose tunnel replaces none of this one's.
    pub(crate) fn of_another_instance(&self) -> Self {
        let mut identity = self.identity.clone();
        let instance = InstanceId::random();
        if let Ok(mut instance) = HeaderValue::from_str(instance.expose()) {
            instance.set_sensitive(true);
            identity.insert(header::INSTANCE, instance);
        }
        Self {
            identity,
            ..self.clone()
        }
    }

    /// Dials once. `wanted` are the ids of the providers, `None` where the server is to assign one.
    pub(crate) async fn dial(&self, wanted: &[Option<RelayId>]) -> Result<Dialled, DialError> {
        match tokio::time::timeout(self.timeout, self.connect_and_upgrade(wanted)).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Timeout {
                server: self.server(),
                timeout: self.timeout,
            }),
        }
    }

    async fn connect_and_upgrade(&self, wanted: &[Option<RelayId>]) -> Result<Dialled, DialError> {
        let io = self.connect().await?;
        let (mut sender, connection) = http1::handshake(io)
            .await
            .map_err(|error| self.connect_error(error_chain(&error)))?;
        // The connection is driven until this function returns, or until the upgrade.
        let mut driver = JoinSet::new();
        driver.spawn(connection.with_upgrades());

        let key = generate_key();
        let request = upgrade_request(&self.target, &self.identity, wanted, &key)
            .map_err(|error| self.connect_error(error_chain(&error)))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.exchange_error(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(read_refusal(response, self.target.path()).await);
        }

        let (ids, server_version) = check_response(&response, wanted, &key)?;
        let public_base = public_base(response.headers(), &self.target);
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| DialError::Handshake(error.to_string()))?;
        Ok(Dialled {
            io: TokioIo::new(upgraded),
            ids,
            server_version,
            public_base,
        })
    }

    async fn connect(&self) -> Result<Transport, DialError> {
        let connected = transport::connect(&self.target, self.proxy.as_ref(), &self.tls).await;
        connected.map_err(|error| self.connect_error(error + self.hint()))
    }

    /// Returns what to try where a proxy is asked for a server of this machine.
    fn hint(&self) -> &'static str {
        let is_local = host::is_loopback(self.target.host().unwrap_or_default());
        if is_local && self.proxy.is_some() {
            "; a server on this machine is reached without a proxy if NO_PROXY lists it"
        } else {
            ""
        }
    }

    fn connect_error(&self, error: String) -> DialError {
        DialError::Connect {
            server: self.server(),
            error,
        }
    }

    fn exchange_error(&self, error: &hyper::Error) -> DialError {
        let chain = error_chain(error);
        if error.is_parse() {
            let is_plain = self.target.scheme_str() == Some("http");
            let hint = if is_plain {
                "; if its port speaks TLS, use wss://"
            } else {
                ""
            };
            DialError::Handshake(format!("{chain}; is SERVER_URL right?{hint}"))
        } else {
            self.connect_error(chain)
        }
    }

    /// Returns the server's address, and the proxy on the way, for messages.
    fn server(&self) -> String {
        let via = self
            .proxy
            .as_ref()
            .map(|proxy| format!(" (through the proxy {})", proxy.shown));
        address(&self.target) + via.as_deref().unwrap_or_default()
    }
}

/// Returns the port of an http or https address.
fn port(uri: &Uri) -> u16 {
    let default = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    uri.port_u16().unwrap_or(default)
}

/// Returns the address with the scheme of HTTP in place of the WebSocket's.
fn with_http_scheme(uri: &Uri) -> Uri {
    let scheme = match uri.scheme_str() {
        Some("wss" | "https") => "https",
        _ => "http",
    };
    let mut parts = uri.clone().into_parts();
    parts.scheme = scheme.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Returns scheme, host and port of an address, without anything secret.
fn address(uri: &Uri) -> String {
    let port = uri
        .port_u16()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri.host().unwrap_or_default();
    format!("{scheme}://{host}{port}")
}
