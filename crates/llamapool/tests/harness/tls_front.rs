//! A TLS terminator in front of a plain server, with a certificate of a private authority.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Authority;

/// The terminator. Dropping it ends it and all that goes through it.
pub struct TlsFront {
    /// The port that it listens on.
    pub port: u16,
    /// The authority's certificate, as PEM.
    pub ca_file: NamedTempFile,
    _tasks: JoinSet<()>,
}

impl TlsFront {
    /// Starts a terminator for the name `localhost` in front of the server with this URL.
    pub async fn for_server(url: &str) -> Self {
        Self::start(url, 2100).await
    }

    /// Starts one whose certificate has expired.
    pub async fn expired(url: &str) -> Self {
        Self::start(url, 2020).await
    }

    async fn start(url: &str, last_year: i32) -> Self {
        let target = url.strip_prefix("http://").expect("a plain URL").to_owned();
        let (acceptor, ca) = acceptor_and_authority(last_year);
        let mut ca_file = NamedTempFile::new().expect("a file");
        ca_file.write_all(ca.as_bytes()).expect("a disk with room");

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let port = listener.local_addr().expect("an address").port();

        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(acceptor.clone(), client, target.clone()));
            }
        });
        Self {
            port,
            ca_file,
            _tasks: tasks,
        }
    }
}

/// Serves one client.
async fn serve(acceptor: TlsAcceptor, client: TcpStream, target: String) {
    // It fails for a client that does not trust the certificate or uses no TLS.
    let Ok(mut client) = acceptor.accept(client).await else {
        return;
    };
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// Creates an authority and a certificate of it, valid until that year. Returns the acceptor and the authority's
/// certificate as PEM.
fn acceptor_and_authority(last_year: i32) -> (TlsAcceptor, String) {
    let authority = Authority::new();
    let not_after = rcgen::date_time_ymd(last_year, 1, 1);
    let issued = authority.issue_until(&["localhost"], not_after.into());

    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");

    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key that fits");
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}
