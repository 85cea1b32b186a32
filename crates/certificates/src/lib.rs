//! The certificates that a server presents: reading and checking them, ordering them from an authority,
//! choosing one for a client, and the handshake with it.
//!
//! No word of calls, and no listener: a source of certificates (files, an authority) publishes into a
//! [`Slot`], the listener accepts by [`Certificates::accept`], and the state reads
//! [`Certificates::status`].

mod accept;
mod acme;
mod certificate;
mod challenge;
mod expiry;
mod files;
mod http_challenge;
mod resolver;
#[cfg(test)]
mod test_certificates;

pub use accept::AcceptError;
pub use acme::{
    Acme, AcmeConfig, AcmeDirectory, AcmeError, CaFileError, CheckKind, DomainName,
    DomainNameError, ExternalAccount, ExternalAccountError, StorageError,
};
pub use certificate::{Certificate, CertificateError};
pub use challenge::{ACME_TLS_ALPN, Challenge};
pub use expiry::{EXPIRES_SOON, ExpiryReports};
pub use files::{CertificateFiles, FileError, FileKind, Look, WatchedFiles};
pub use http_challenge::{HTTP_CHALLENGE_PATH, HttpChallenge};
pub use resolver::{CertificateStatus, Certificates, LastError, Slot, Source};
pub use rustls::ServerConfig;
pub use tokio_rustls::server::TlsStream;
