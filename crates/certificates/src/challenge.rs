//! Certificates by which an authority checks that this server has a name (RFC 8737).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::sign::CertifiedKey;

use crate::certificate::normal;

/// The protocol that an authority's check names, alone, in its handshake (RFC 8737, section 3).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// The challenges that are open, by name.
pub(crate) type Challenges = Arc<RwLock<HashMap<String, Arc<CertifiedKey>>>>;

/// An open challenge. Dropping it closes the challenge: from then on its name is refused again.
#[must_use = "dropping it closes the challenge"]
#[derive(Debug)]
pub struct Challenge {
    challenges: Challenges,
    name: String,
    certificate: Arc<CertifiedKey>,
}

impl Challenge {
    /// Answers handshakes for `name` with this certificate, in place of an earlier one for it.
    pub(crate) fn open(challenges: Challenges, name: &str, certificate: CertifiedKey) -> Self {
        let name = normal(name);
        let certificate = Arc::new(certificate);
        challenges.write().insert(name.clone(), certificate.clone());
        Self {
            challenges,
            name,
            certificate,
        }
    }
}

impl Drop for Challenge {
    fn drop(&mut self) {
        let mut challenges = self.challenges.write();
        let current = challenges.get(&self.name);
        // A later challenge for the name stays.
        if current.is_some_and(|current| Arc::ptr_eq(current, &self.certificate)) {
            challenges.remove(&self.name);
        }
    }
}
