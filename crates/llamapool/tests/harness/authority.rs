//! A private authority that signs certificates.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// The life of a certificate, back and ahead.
const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub struct Issued {
    /// The certificate.
    pub chain: String,
    /// The key, in PKCS#8.
    pub key: String,
}

impl Authority {
    /// Creates an authority.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = "an authority of tests";
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Returns the authority's own certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Returns the authority's own certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Signs a certificate for names.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, SystemTime::now() + LIFE)
    }

    /// Signs a certificate for names that ends at this time.
    pub fn issue_until(&self, names: &[&str], not_after: SystemTime) -> Issued {
        let key = KeyPair::generate().expect("a key");
        Issued {
            chain: self.sign(names, not_after, &key),
            key: key.serialize_pem(),
        }
    }

    /// Signs a certificate for this key, in PEM.
    pub fn sign(&self, names: &[&str], not_after: SystemTime, key: &KeyPair) -> String {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = (not_after.min(SystemTime::now()) - LIFE).into();
        params.not_after = not_after.into();
        let certificate = params.signed_by(key, &self.0).expect("a certificate");
        certificate.pem()
    }
}
