//! The network of a fetch: how names are resolved and addresses dialled, and which authorities are
//! trusted. Tests put another one in its place; what may be dialled is decided in front of it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use rustls::RootCertStore;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::HTTPS_PORT;

/// The look-ups that run at once. One that is given up runs on in the system, so it keeps its place:
/// else a stranger's slow name servers would use up all threads.
const MAX_LOOKUPS: usize = 8;

/// What a network does for a fetch.
pub type NetworkWork<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A network.
pub trait FetchNetwork: fmt::Debug + Send + Sync {
    /// Returns the addresses of a name.
    fn resolve<'a>(&'a self, host: &'a str) -> NetworkWork<'a, Vec<IpAddr>>;

    /// Connects to an address.
    fn dial(&self, address: SocketAddr) -> NetworkWork<'_, TcpStream>;

    /// Returns the authorities whose certificates are trusted.
    fn roots(&self) -> RootCertStore;
}

/// The internet, by the resolver of the system. It has no proxy: a proxy would resolve for itself.
#[derive(Debug, Clone)]
pub struct Internet {
    lookups: Arc<Semaphore>,
}

impl Default for Internet {
    fn default() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }
}

impl FetchNetwork for Internet {
    fn resolve<'a>(&'a self, host: &'a str) -> NetworkWork<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let place = self.lookups.clone().try_acquire_owned();
            let place = place.map_err(|_| io::Error::other("too many look-ups run"))?;
            // With a dot at its end it is looked for nowhere else, such as in a cluster's own names.
            let name = format!("{host}.");
            let lookup = tokio::task::spawn_blocking(move || {
                let addresses = (name.as_str(), HTTPS_PORT).to_socket_addrs();
                drop(place);
                addresses.map(|found| found.map(|address| address.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }

    fn dial(&self, address: SocketAddr) -> NetworkWork<'_, TcpStream> {
        Box::pin(TcpStream::connect(address))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        // A machine without a certificate store, such as a small container, has those above.
        let of_machine = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(of_machine.certs);
        roots
    }
}
