//! One certificate with its chain and key, read and checked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The most certificates of a chain: public chains have three or four.
const MAX_CHAIN: usize = 16;

/// The reason why a certificate and its key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The chain contains no certificate.
    #[error("there is no certificate, expected PEM with BEGIN CERTIFICATE")]
    NoCertificate,
    /// The chain is too long.
    #[error("the chain has {0} certificates, expected at most {MAX_CHAIN}")]
    LongChain(usize),
    /// The text is no valid PEM: it may be half written.
    #[error("invalid PEM: {0}")]
    Pem(String),
    /// The first certificate of the chain cannot be read.
    #[error("the first certificate cannot be read: {0}")]
    Certificate(String),
    /// The certificate is for no name.
    #[error("the certificate has no subjectAltName with a DNS name or an IP address")]
    NoName,
    /// There is no key.
    #[error(
        "there is no private key, expected PEM with BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or \
         BEGIN RSA PRIVATE KEY, not encrypted"
    )]
    NoKey,
    /// The key is of a kind that cannot sign here.
    #[error(
        "the private key cannot be used, expected RSA of at least 2048 bits, ECDSA P-256 or \
             P-384, or Ed25519: {0}"
    )]
    Key(String),
    /// The key is that of another certificate.
    #[error(
        "the private key does not belong to the first certificate, expected the server's own \
         certificate first, then its issuers"
    )]
    OtherKey,
    /// The certificate has ended.
    #[error("the certificate expired {} ago", .0.as_text())]
    Expired(Age),
}

/// The time since a certificate ended, in whole minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(u64);

impl Age {
    fn of(time: Duration) -> Self {
        Self(time.as_secs() / 60)
    }

    fn as_text(self) -> String {
        let minutes = self.0;
        match minutes {
            0..120 => format!("{minutes} minutes"),
            120..2880 => format!("{} hours", minutes / 60),
            _ => format!("{} days", minutes / 1440),
        }
    }
}

/// A certificate with its chain and its key, which belong together. It was valid when it was read.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    is_self_signed: bool,
}

impl Certificate {
    /// Reads a chain and a key from PEM: PKCS#8, SEC1 or PKCS#1. The server's own certificate is the
    /// first of the chain.
    ///
    /// # Errors
    ///
    /// Any [`CertificateError`]; [`CertificateError::Expired`] as of `now`.
    pub fn from_pem(chain: &[u8], key: &[u8], now: SystemTime) -> Result<Self, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| CertificateError::Pem(error.to_string()))?;

        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => CertificateError::NoKey,
            error => CertificateError::Pem(error.to_string()),
        })?;
        Self::from_der(chain, key, now)
    }

    /// Takes a chain and a key that were already taken out of their text.
    ///
    /// # Errors
    ///
    /// Those of [`Certificate::from_pem`] but [`CertificateError::Pem`].
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        if chain.len() > MAX_CHAIN {
            return Err(CertificateError::LongChain(chain.len()));
        }
        let leaf = Leaf::read(leaf)?;

        let key =
            CertifiedKey::from_der(chain, key, &default_provider()).map_err(
                |error| match error {
                    Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        CertificateError::OtherKey
                    }
                    error => CertificateError::Key(error.to_string()),
                },
            )?;
        if let Ok(since) = now.duration_since(leaf.not_after) {
            return Err(CertificateError::Expired(Age::of(since)));
        }

        Ok(Self {
            key: Arc::new(key),
            names: leaf.names,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            is_self_signed: leaf.is_self_signed,
        })
    }

    /// Returns the names that the certificate is for, in lower case: DNS names, of which one may
    /// begin with `*.`, and IP addresses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the beginning of the certificate's life.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Returns the end of the certificate's life.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Returns whether the certificate names itself as its issuer, so that no authority has checked
    /// its names.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_signed
    }

    /// Returns the chain and the key as TLS takes them.
    pub(crate) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

/// The content of the server's own certificate.
struct Leaf {
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    is_self_signed: bool,
}

impl Leaf {
    fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let invalid =
            |error: x509_cert::der::Error| CertificateError::Certificate(error.to_string());
        let certificate = X509::from_der(der).map_err(invalid)?;
        let content = certificate.tbs_certificate();

        let names = content.get_extension::<SubjectAltName>().map_err(invalid)?;
        let names = names.map_or_else(Vec::new, |(_, names)| names.0);
        let names: Vec<String> = names.iter().filter_map(text_of).collect();
        if names.is_empty() {
            return Err(CertificateError::NoName);
        }

        Ok(Self {
            names,
            not_before: content.validity().not_before.to_system_time(),
            not_after: content.validity().not_after.to_system_time(),
            is_self_signed: content.subject() == content.issuer(),
        })
    }
}

/// Returns the text of a name that TLS can ask for, `None` for an address of mail and its like.
fn text_of(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(normal(name.as_str())),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
            v4().or_else(v6).map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Returns a DNS name as it is compared: in lower case, without a dot at its end.
pub(crate) fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
