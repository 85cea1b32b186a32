//! Certificates for tests, of an authority of their own.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;

use crate::certificate::Certificate;

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key in PEM.
pub(crate) struct Pem {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = "an authority of tests";
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// The authority's own certificate.
    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for names, valid for an hour.
    pub(crate) fn issue(&self, names: &[&str]) -> Pem {
        self.issue_until(names, SystemTime::now() + Duration::from_secs(3600))
    }

    pub(crate) fn issue_until(&self, names: &[&str], not_after: SystemTime) -> Pem {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = (not_after - Duration::from_secs(48 * 3600)).into();
        params.not_after = not_after.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pem {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pem {
    pub(crate) fn read(&self) -> Certificate {
        let now = SystemTime::now();
        Certificate::from_pem(self.chain.as_bytes(), self.key.as_bytes(), now).unwrap()
    }
}
