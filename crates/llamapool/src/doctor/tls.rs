//! The certificate of the server, judged as clients on the internet would, which trust the public
//! authorities alone.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::report::Finding;

const TLS: &str = "tls";
const DAY: u64 = 24 * 60 * 60;
/// The days before the end of a certificate at which its renewal has plainly failed.
const FEW_DAYS: u64 = 7;

/// The authorities that are trusted.
pub(super) struct Authorities {
    /// Those of every client.
    public: TlsConnector,
    /// Those of this machine and of the command as well.
    all: TlsConnector,
}

impl Authorities {
    pub(super) fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let public = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let mut all = public.clone();
        all.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let pem = fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
            let mut added = 0;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.with_context(|| format!("{path:?} is no PEM"))?;
                all.add(certificate)
                    .with_context(|| format!("{path:?} has no certificate of an authority"))?;
                added += 1;
            }
            if added == 0 {
                anyhow::bail!("{path:?} has no certificate, expected PEM with BEGIN CERTIFICATE");
            }
        }
        Ok(Self {
            public: connector(public)?,
            all: connector(all)?,
        })
    }

    /// Looks at the certificate. Returns how to speak TLS with the server.
    pub(super) async fn checked(
        &self,
        address: SocketAddr,
        host: &str,
        within: Duration,
    ) -> (Option<(TlsConnector, ServerName<'static>)>, Finding) {
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            let found = format!("{host} is no name that a certificate can have");
            return (None, Finding::fail(TLS, found, "Use a DNS name."));
        };
        if let Ok(leaf) = handshake(&self.public, address, &name, within).await {
            let finding = judged(&leaf, SystemTime::now());
            return (Some((self.public.clone(), name)), finding);
        }
        match handshake(&self.all, address, &name, within).await {
            Err(error) => (None, refused(&error, host)),
            // Trusted here only: the walk can go on, and clients elsewhere cannot.
            Ok(_) => {
                let found =
                    "the certificate is of an authority that this machine knows, and no public one";
                let remedy = "Clients on the internet, such as Claude, refuse it: get one by \
                              ACME_DOMAINS, or of a public authority.";
                let finding = Finding::warn(TLS, found, remedy);
                (Some((self.all.clone(), name)), finding)
            }
        }
    }
}

fn connector(roots: RootCertStore) -> anyhow::Result<TlsConnector> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Does one handshake. Returns the server's own certificate.
async fn handshake(
    tls: &TlsConnector,
    address: SocketAddr,
    name: &ServerName<'static>,
    within: Duration,
) -> std::io::Result<CertificateDer<'static>> {
    let handshake = async {
        let stream = TcpStream::connect(address).await?;
        tls.connect(name.clone(), stream).await
    };
    let stream = timeout(within, handshake).await;
    let stream = stream.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or_else(|| std::io::Error::other("there is no certificate"))?;
    Ok(leaf.clone().into_owned())
}

/// Judges a certificate that was accepted.
fn judged(leaf: &CertificateDer<'_>, now: SystemTime) -> Finding {
    let Ok(certificate) = Certificate::from_der(leaf) else {
        return Finding::ok(TLS, "the certificate is accepted");
    };
    let end = certificate.tbs_certificate().validity().not_after;
    let left = end.to_system_time().duration_since(now).unwrap_or_default();
    let days = left.as_secs() / DAY;
    let found = format!("the certificate is accepted, and valid for {days} days");
    if days <= FEW_DAYS {
        let remedy =
            "Its renewal should have succeeded by now: the log of the server says why not.";
        return Finding::warn(TLS, found, remedy);
    }
    Finding::ok(TLS, found)
}

/// Returns what an error of the handshake means.
fn refused(error: &std::io::Error, host: &str) -> Finding {
    let cause = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
    let (found, remedy) = match cause {
        Some(Error::InvalidCertificate(CertificateError::Expired)
        | Error::InvalidCertificate(CertificateError::ExpiredContext { .. })) => (
            "the certificate has expired".to_owned(),
            "Renew it. With ACME_DOMAINS the server does it by itself; its log says why it could not."
                .to_owned(),
        ),
        Some(Error::InvalidCertificate(CertificateError::NotValidYet)
        | Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })) => (
            "the certificate is not valid yet".to_owned(),
            "Is the clock of this machine right?".to_owned(),
        ),
        Some(Error::InvalidCertificate(CertificateError::NotValidForName)
        | Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) => (
            format!("the certificate is of another name than {host}"),
            format!("Get one for {host}: ACME_DOMAINS={host}, or TLS_CERT_FILE."),
        ),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => (
            "the certificate is of an unknown authority, or its chain is not whole".to_owned(),
            "TLS_CERT_FILE must have the whole chain (fullchain.pem), of a public authority."
                .to_owned(),
        ),
        Some(Error::AlertReceived(alert)) => (
            format!("the server ends the handshake: {alert:?}"),
            format!("Has it a certificate for {host} yet? Its log says what the authority answers."),
        ),
        Some(Error::InvalidMessage(_)) => (
            "the port does not speak TLS".to_owned(),
            "Give the server a certificate (ACME_DOMAINS or TLS_CERT_FILE), or put a reverse proxy in \
             front."
                .to_owned(),
        ),
        _ => (
            format!("the handshake failed: {error}"),
            "Something between may end it: look at firewalls and proxies.".to_owned(),
        ),
    };
    Finding::fail(TLS, found, remedy)
}
