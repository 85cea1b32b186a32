//! The byte stream to the server: TCP, proxy and TLS.

use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::Authority;
use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel as ConnectTunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tower_service::Service;

use super::proxy::{Proxy, ProxyProtocol};
use crate::error::error_chain;

/// The byte stream to the next hop: a proxy, or the server itself.
type Hop = MaybeHttpsStream<TokioIo<TcpStream>>;
/// The byte stream to the server, before the upgrade.
pub(super) type Transport = MaybeHttpsStream<Hop>;

/// Connects to `target`, an http or https address, through `proxy` if there is one. The error is for
/// people.
pub(super) async fn connect(
    target: &Uri,
    proxy: Option<&Proxy>,
    tls: &rustls::ClientConfig,
) -> Result<Transport, String> {
    let target = with_port(target);
    let hop = match proxy {
        None => MaybeHttpsStream::Http(connect_tcp(&target).await?),
        Some(proxy) => connect_through(proxy, &target, tls).await?,
    };
    secure(hop, &target, tls).await
}

async fn connect_tcp(target: &Uri) -> Result<TokioIo<TcpStream>, String> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connected = tcp.call(target.clone()).await;
    connected.map_err(|error| error_chain(&error))
}

async fn connect_through(
    proxy: &Proxy,
    target: &Uri,
    tls: &rustls::ClientConfig,
) -> Result<Hop, String> {
    let mut last = Err("the server's name has no address".to_owned());
    for target in targets(proxy, target).await? {
        let hop = connect_to_proxy(proxy, tls).await?;
        last = ask(proxy, target, hop).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn connect_to_proxy(proxy: &Proxy, tls: &rustls::ClientConfig) -> Result<Hop, String> {
    let tcp = connect_tcp(&proxy.uri).await?;
    secure(tcp, &proxy.uri, tls).await
}

/// Asks a proxy for a connection to `target`. Returns its stream, which then is the connection.
async fn ask<T>(proxy: &Proxy, target: Uri, hop: T) -> Result<T, String>
where
    T: Read + Write + Send + Unpin + 'static,
{
    let hop = Connected::new(hop);
    match &proxy.protocol {
        ProxyProtocol::Connect(authorization) => {
            let tunnel = ConnectTunnel::new(proxy.uri.clone(), hop);
            let mut tunnel = match authorization {
                Some(authorization) => tunnel.with_auth(authorization.clone()),
                None => tunnel,
            };
            let asked = tunnel.call(target).await;
            asked.map_err(|error| error_chain(&error))
        }
        ProxyProtocol::Socks { login, .. } => {
            let socks = SocksV5::new(proxy.uri.clone(), hop);
            let mut socks = match login.clone() {
                Some((user, password)) => socks.with_auth(user, password),
                None => socks,
            };
            let asked = socks.call(target).await;
            asked.map_err(|error| error_chain(&error))
        }
    }
}

/// Returns the targets to ask a proxy for, one after the other: every address of the server's name,
/// or the name itself where the proxy resolves it.
async fn targets(proxy: &Proxy, target: &Uri) -> Result<Vec<Uri>, String> {
    let host = target.host().unwrap_or_default();
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    let resolves_here = matches!(
        proxy.protocol,
        ProxyProtocol::Socks {
            resolves_here: true,
            ..
        }
    );
    if is_address || !resolves_here {
        return Ok(vec![target.clone()]);
    }

    let addresses = lookup_host((host, super::port(target))).await;
    let addresses = addresses.map_err(|error| format!("{host} is not resolved: {error}"))?;
    Ok(addresses
        .filter_map(|address| with_authority(target, &address.to_string()))
        .collect())
}

/// Adds TLS to a stream, for addresses with the scheme https.
async fn secure<T>(
    stream: T,
    target: &Uri,
    tls: &rustls::ClientConfig,
) -> Result<MaybeHttpsStream<T>, String>
where
    T: Connection + Read + Write + Send + Unpin + 'static,
{
    let mut connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connected::new(stream));
    let secured = connector.call(target.clone()).await;
    secured.map_err(|error| {
        if speaks_no_tls(&*error) {
            "the port does not speak TLS: use ws://, or the address of your reverse proxy"
                .to_owned()
        } else {
            error_chain(&*error)
        }
    })
}

/// Returns whether what came back in a handshake was no message of TLS.
fn speaks_no_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidMessage(_)) = error.downcast_ref() {
        return true;
    }
    // The source of an `io::Error` is that of the error inside it, which so would be passed over.
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match inner {
        Some(inner) => speaks_no_tls(inner),
        None => error.source().is_some_and(speaks_no_tls),
    }
}

/// A connector that has connected already, for the connectors that wrap another one.
struct Connected<T>(Option<T>);

impl<T> Connected<T> {
    fn new(stream: T) -> Self {
        Self(Some(stream))
    }
}

impl<T> Service<Uri> for Connected<T> {
    type Response = T;
    type Error = ConnectedTwiceError;
    type Future = Ready<Result<T, ConnectedTwiceError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or(ConnectedTwiceError))
    }
}

/// A connector asked for a second stream.
#[derive(Debug, thiserror::Error)]
#[error("the connection is in use")]
struct ConnectedTwiceError;

/// Returns the address with its port, also where that is the default of its scheme: a proxy takes
/// any address without one for https.
fn with_port(target: &Uri) -> Uri {
    let host = target.host().unwrap_or_default();
    with_authority(target, &format!("{host}:{}", super::port(target)))
        .unwrap_or_else(|| target.clone())
}

fn with_authority(target: &Uri, authority: &str) -> Option<Uri> {
    let mut parts = target.clone().into_parts();
    parts.authority = Some(authority.parse::<Authority>().ok()?);
    Uri::from_parts(parts).ok()
}

/// Asks a proxy that answers with these bytes, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(super) async fn fuzzing(proxy: &Proxy, target: &Uri, answer: &[u8]) {
    use tokio::io::AsyncWriteExt;

    let (near, mut far) = tokio::io::duplex(1 << 16);
    let _ = far.write_all(answer).await;
    let _ = far.shutdown().await;
    let _ = ask(proxy, target.clone(), TokioIo::new(near)).await;
}
