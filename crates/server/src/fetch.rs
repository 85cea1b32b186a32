//! The guarded fetch: gets a small JSON document from a URL that a stranger chose.
//!
//! The stranger must gain nothing that only this server can reach. The name is resolved once, every
//! address must be a public one, and exactly such an address is dialled. There is no redirect, proxy,
//! cookie, credential or compression, and size, time, number and rate have bounds.

mod address;
mod exchange;
mod freshness;
mod network;
mod places;
mod target;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(crate) use freshness::Freshness;
pub use network::{FetchNetwork, Internet, NetworkWork};
pub(crate) use places::{FetchLimitError, FetchPlace, FetchPlaces};
pub(crate) use target::{FetchTarget, TargetError};

/// The largest document, in bytes (OAuth Client ID Metadata Document, 6.6).
pub(crate) const MAX_DOCUMENT_BYTES: usize = 5 * 1024;
/// The time for a fetch in all, from the look-up to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for one address to accept the connection.
const DIAL_TIMEOUT: Duration = Duration::from_millis(1500);
/// The most addresses of a name that are dialled one after the other.
const MAX_DIALS: usize = 3;
/// The most addresses that a name may have.
const MAX_ADDRESSES: usize = 32;
/// The port of every fetch.
const HTTPS_PORT: u16 = 443;

/// A document as it was got.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) body: Vec<u8>,
    /// What its sender allows caches.
    pub(crate) freshness: Freshness,
}

/// The reasons why nothing was got. None is for the page: they differ by what this server can see of its
/// network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The name has no address.
    #[error("the name {0} cannot be resolved: {1}")]
    Resolve(String, std::io::Error),
    /// The name has more addresses than any service needs.
    #[error("the name {0} has more than {MAX_ADDRESSES} addresses")]
    ManyAddresses(String),
    /// An address of the name is none of the public internet.
    #[error("the name {0} has the address {1}, which is not public")]
    NotPublic(String, IpAddr),
    /// No address accepts a connection.
    #[error("{0} cannot be dialled: {1}")]
    Dial(SocketAddr, std::io::Error),
    /// The handshake failed.
    #[error("TLS with {0} failed: {1}")]
    Tls(String, std::io::Error),
    /// It took too long.
    #[error("there was no whole answer of {0} within {FETCH_TIMEOUT:?}")]
    TooSlow(String),
    /// The answer is not one.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// The reasons for not taking an answer that came. The host is proven by then, so they are shown on the
/// page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// It is no HTTP, or broke off.
    #[error("the answer is broken")]
    Broken,
    /// It leads elsewhere.
    #[error("the answer is a redirect ({}), and redirects are not followed", .0.as_u16())]
    Redirect(StatusCode),
    /// It is no success.
    #[error("the answer has the status {}, expected 200", .0.as_u16())]
    Status(StatusCode),
    /// It is of another media type.
    #[error("the answer has the media type {0:?}, expected application/json")]
    MediaType(String),
    /// It is compressed.
    #[error("the answer has the content coding {0:?}, expected none")]
    Coding(String),
    /// It is too large.
    #[error("the answer has more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
}

/// The way to documents.
pub(crate) struct GuardedFetch {
    network: Arc<dyn FetchNetwork>,
    tls: TlsConnector,
}

impl GuardedFetch {
    /// Returns a fetch over a network.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub(crate) fn new(network: Arc<dyn FetchNetwork>) -> Result<Self, rustls::Error> {
        let tls = exchange::tls(network.roots())?;
        Ok(Self { network, tls })
    }

    /// Gets a document. The place is returned when it is over.
    ///
    /// # Errors
    ///
    /// If there is none within the bounds, or it must not be got.
    pub(crate) async fn get(
        &self,
        target: &FetchTarget,
        place: FetchPlace,
    ) -> Result<Fetched, FetchError> {
        let exchange = async {
            let addresses = self.public_addresses(target.host()).await?;
            let stream = self.dialled(&addresses).await?;
            exchange::get(stream, target, &self.tls).await
        };
        let got = timeout(FETCH_TIMEOUT, exchange).await;
        drop(place);
        got.map_err(|_| FetchError::TooSlow(target.host().to_owned()))?
    }

    /// Resolves a name. One address that is not public refuses all: the name is then no public one.
    async fn public_addresses(&self, host: &str) -> Result<Vec<IpAddr>, FetchError> {
        let named = || host.to_owned();
        let resolved = self.network.resolve(host).await;
        let mut addresses = resolved.map_err(|error| FetchError::Resolve(named(), error))?;
        if addresses.is_empty() {
            let error = std::io::Error::other("it has no address");
            return Err(FetchError::Resolve(named(), error));
        }
        if addresses.len() > MAX_ADDRESSES {
            return Err(FetchError::ManyAddresses(named()));
        }
        if let Some(own) = addresses.iter().find(|it| !address::is_public(**it)) {
            return Err(FetchError::NotPublic(named(), *own));
        }
        // Servers without IPv6 are more common than services without IPv4.
        addresses.sort_by_key(|address| address.is_ipv6());
        Ok(addresses)
    }

    /// Dials addresses that were checked, and no other.
    async fn dialled(&self, addresses: &[IpAddr]) -> Result<TcpStream, FetchError> {
        let mut last = None;
        for address in addresses.iter().take(MAX_DIALS) {
            let address = SocketAddr::new(*address, HTTPS_PORT);
            let error = match timeout(DIAL_TIMEOUT, self.network.dial(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error,
                Err(_) => std::io::ErrorKind::TimedOut.into(),
            };
            last = Some(FetchError::Dial(address, error));
        }
        // There is one address at least.
        Err(last.unwrap_or(AnswerError::Broken.into()))
    }
}
