//! TLS in this process: the certificates of the server, kept up to date, and the connections that
//! they are presented on.
//!
//! What is done with a certificate is `llamapool_certificates`; here are the tasks, the log and the
//! counters. With TLS the public port speaks nothing else; `plain_port` is a second one without TLS.

mod keeper;
mod plain_http;
mod plain_port;
mod transport;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, Uri};
use llamapool_certificates::{Acme, AcmeConfig, CertificateFiles, Certificates, WatchedFiles};
use tokio::sync::Notify;

use crate::data_dir::ServerData;

pub(crate) use keeper::CertificateKeeper;
pub(crate) use plain_port::PlainPort;
pub(crate) use transport::TlsTransport;

/// The header by which a browser uses https for this host from now on (RFC 6797): for a year, and not
/// for other hosts below it.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// TLS of a server.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificates in files; a client without server name gets the first one.
    pub files: Vec<CertificateFiles>,
    /// The certificates that an authority issues; `None`: none are ordered.
    pub acme: Option<AcmeConfig>,
    /// The time between two looks at the files.
    pub reload_interval: Duration,
    /// The address of plain HTTP, which redirects; `None`: there is none.
    pub http_bind: Option<SocketAddr>,
}

impl TlsConfig {
    /// Returns TLS with these certificates, everything else by default.
    pub fn new(files: Vec<CertificateFiles>) -> Self {
        Self {
            files,
            acme: None,
            reload_interval: Duration::from_secs(10),
            http_bind: None,
        }
    }
}

/// The certificates of a server that were read at its start.
pub(crate) struct OpenedTls {
    pub(crate) certificates: Certificates,
    /// Orders certificates; `None` if there are only files.
    pub(crate) acme: Option<Acme>,
    files: Vec<WatchedFiles>,
    config: Arc<llamapool_certificates::ServerConfig>,
    reload_interval: Duration,
}

impl OpenedTls {
    /// Reads the certificates: those of files, and those that an authority issued before, which are in
    /// the data directory.
    ///
    /// # Errors
    ///
    /// If a file cannot be used; the text names it and what was expected. If certificates are to be
    /// ordered and nothing outlives the run. If the system has no random numbers.
    pub(crate) fn open(config: &TlsConfig, data: &ServerData) -> io::Result<Self> {
        let certificates = Certificates::new();
        let now = SystemTime::now();
        let open = |files: &CertificateFiles| WatchedFiles::open(&certificates, files.clone(), now);

        let files: Result<Vec<_>, _> = config.files.iter().map(open).collect();
        let files = files.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        for watched in &files {
            tracing::info!(chain = %watched.files().chain.display(), "a certificate is presented");
        }
        let acme = config.acme.as_ref();
        let acme = acme.map(|acme| open_acme(acme, data, &certificates));
        Ok(Self {
            acme: acme.transpose()?,
            config: certificates.server_config().map_err(io::Error::other)?,
            certificates,
            files,
            reload_interval: config.reload_interval,
        })
    }
}

/// Takes what an authority issued before. Nothing is ordered yet.
fn open_acme(
    config: &AcmeConfig,
    data: &ServerData,
    certificates: &Certificates,
) -> io::Result<Acme> {
    let Some(directory) = &data.directory else {
        let error =
            "certificates are ordered, and there is no data directory for them: set DATA_DIR";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    };
    let acme = Acme::open(config.clone(), directory.folder(), certificates);
    let acme = acme.map_err(io::Error::other)?;
    let domains: Vec<String> = config.names.iter().map(ToString::to_string).collect();
    tracing::info!(
        domains = domains.join(", "),
        directory = config.directory.url(),
        "certificates are kept by ACME"
    );
    Ok(acme)
}

/// A handle that reads the certificate files of a running server again.
#[derive(Debug, Clone)]
pub struct CertificateReload(Arc<Notify>);

impl CertificateReload {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Notify::new()))
    }

    /// Has the files read again now, changed or not. Returns before that is done.
    pub fn request(&self) {
        self.0.notify_one();
    }

    /// Waits for a request.
    pub(crate) async fn requested(&self) {
        self.0.notified().await;
    }
}

/// Decides which answers pin a browser to https: those of a server with a https URL whose
/// certificate is signed by another one. With a self-signed one a browser shows a warning that could
/// not be passed any more.
#[derive(Clone)]
pub(crate) struct StrictTransport {
    certificates: Certificates,
    host: String,
}

impl StrictTransport {
    /// Returns the decision for a public URL, `None` if it is not https.
    pub(crate) fn new(certificates: Certificates, public_url: Option<&Uri>) -> Option<Self> {
        let url = public_url.filter(|url| url.scheme_str() == Some("https"))?;
        Some(Self {
            certificates,
            host: url.host()?.to_owned(),
        })
    }

    /// Returns the value of the header, `None` if it is not sent.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let is_signed = self.certificates.is_signed_by_another(&self.host);
        is_signed.then_some(STRICT_TRANSPORT)
    }
}
