//! The certificates of a server: where they come from, and which one a client gets.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use crate::certificate::{Certificate, normal};
use crate::challenge::{ACME_TLS_ALPN, Challenge, Challenges};
use crate::http_challenge::HttpAnswers;

/// The origin of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Files that another program keeps.
    File,
    /// An authority that is asked by ACME.
    Acme,
}

/// The certificates that a server presents. Clones are the same ones.
///
/// Every source takes a [`Slot`] for each certificate that it keeps, in the order of its settings.
/// A client gets the certificate of the name that it asks for: the one with exactly that name, else
/// one with a wildcard for its last label but none deeper (RFC 9525, section 6.3). Of several the one
/// of the earliest slot counts, and of several from an authority the one that ends last. A client that
/// asks for no name gets the certificate of the earliest slot that has one, and a client that asks for
/// an unknown name none.
#[derive(Clone)]
pub struct Certificates {
    table: Arc<RwLock<Table>>,
    challenges: Challenges,
    pub(crate) http_answers: HttpAnswers,
}

/// The place of one certificate among those of a server. Dropping it takes the certificate away.
#[must_use = "dropping it takes the certificate away"]
#[derive(Debug)]
pub struct Slot {
    certificates: Certificates,
    id: u64,
}

/// The status of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Its origin.
    pub source: Source,
    /// The name that its source gives it: the path of its file, or the names that are asked for.
    pub label: String,
    /// The names that it is for; empty as long as there is none.
    pub names: Vec<String>,
    /// The end of its life; `None` as long as there is none.
    pub not_after: Option<SystemTime>,
    /// Why the newest try of its source failed; `None` after one that succeeded.
    pub last_error: Option<LastError>,
    /// The tries of its source that failed, since the start.
    pub failures: u64,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The reason.
    pub text: String,
    /// The time of it.
    pub at: SystemTime,
}

/// All slots, in their order, and the certificates by name.
#[derive(Default)]
struct Table {
    next_id: u64,
    slots: Vec<Entry>,
    /// By the exact name.
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the name behind `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

struct Entry {
    id: u64,
    source: Source,
    label: String,
    certificate: Option<Certificate>,
    last_error: Option<LastError>,
    failures: u64,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificates {
    /// Returns an empty set: every handshake with it fails.
    pub fn new() -> Self {
        Self {
            table: Arc::default(),
            challenges: Arc::default(),
            http_answers: Arc::default(),
        }
    }

    /// Adds a place behind all others. It is empty until [`Slot::publish`].
    pub fn slot(&self, source: Source, label: impl Into<String>) -> Slot {
        let mut table = self.table.write();
        let id = table.next_id;
        table.next_id += 1;
        table.slots.push(Entry {
            id,
            source,
            label: label.into(),
            certificate: None,
            last_error: None,
            failures: 0,
        });
        drop(table);

        Slot {
            certificates: self.clone(),
            id,
        }
    }

    /// Answers the check of an authority for `name` with this certificate until the value is dropped.
    /// An authority comes several times for one challenge, so it stays until the order is settled.
    ///
    /// The certificate is one for [`CertifiedKey::new`]: `from_der` compares it with its key by a
    /// reader that refuses the critical extension of a challenge.
    pub fn challenge(&self, name: &str, certificate: CertifiedKey) -> Challenge {
        Challenge::open(self.challenges.clone(), name, certificate)
    }

    /// Returns how TLS is spoken with these certificates: TLS 1.2 and 1.3; `h2`, then `http/1.1`, and
    /// `acme-tls/1` for challenges; session tickets whose keys rustls replaces, so that a
    /// certificate's change ends no session; no early data, as a call must not be replayed.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into(), ACME_TLS_ALPN.into()];
        config.ticketer = Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// Returns the status of every certificate, in the order of the slots.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let table = self.table.read();
        table.slots.iter().map(Entry::status).collect()
    }

    /// Returns whether there is a certificate.
    pub fn is_ready(&self) -> bool {
        let table = self.table.read();
        table.slots.iter().any(|entry| entry.certificate.is_some())
    }

    /// Returns whether a certificate is for this name.
    pub fn is_for(&self, name: &str) -> bool {
        self.find(Some(name)).is_some()
    }

    /// Returns whether the certificate for a client that asks for this name is there, and signed by
    /// another one than itself.
    pub fn is_signed_by_another(&self, name: &str) -> bool {
        let Some(key) = self.find(Some(name)) else {
            return false;
        };
        let table = self.table.read();
        let certificates = table.slots.iter().filter_map(|it| it.certificate.as_ref());
        let mut of_key = certificates.filter(|it| Arc::ptr_eq(it.key(), &key));
        of_key.any(|certificate| !certificate.is_self_signed())
    }

    /// Returns the certificate for a client that asks for this name, or for none.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.read();
        name.map_or_else(|| table.first(), |name| table.by_name(&normal(name)))
    }

    /// Returns the certificate of the open challenge for this name.
    fn find_challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.challenges.read().get(&normal(name)).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_challenge(&hello) {
            return self.find_challenge(hello.server_name()?);
        }
        self.find(hello.server_name())
    }
}

/// Returns whether a handshake is the check of an authority, which names its protocol alone.
pub(crate) fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let protocols = hello.alpn();
    protocols.is_some_and(|protocols| protocols.eq([ACME_TLS_ALPN]))
}

impl Slot {
    /// Presents this certificate from now on. Connections that are open keep what they have.
    pub fn publish(&self, certificate: Certificate) {
        self.change(|entry| {
            entry.certificate = Some(certificate);
            entry.last_error = None;
        });
    }

    /// Reports that a new certificate could not be had. The present one stays.
    pub fn report_failure(&self, reason: impl fmt::Display, now: SystemTime) {
        self.change(|entry| {
            entry.failures += 1;
            entry.last_error = Some(LastError {
                text: reason.to_string(),
                at: now,
            });
        });
    }

    /// Returns the status of this certificate.
    pub fn status(&self) -> Option<CertificateStatus> {
        let table = self.certificates.table.read();
        let entry = table.slots.iter().find(|entry| entry.id == self.id);
        entry.map(Entry::status)
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        let mut table = self.certificates.table.write();
        if let Some(entry) = table.slots.iter_mut().find(|entry| entry.id == self.id) {
            change(entry);
        }
        table.index();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.certificates.table.write();
        table.slots.retain(|entry| entry.id != self.id);
        table.index();
    }
}

impl Table {
    fn first(&self) -> Option<Arc<CertifiedKey>> {
        let certificate = self
            .slots
            .iter()
            .find_map(|entry| entry.certificate.as_ref());
        certificate.map(|certificate| certificate.key().clone())
    }

    fn by_name(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let by_wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        };
        self.exact.get(name).or_else(by_wildcard).cloned()
    }

    /// Makes the tables of names anew.
    fn index(&mut self) {
        self.exact.clear();
        self.wildcard.clear();
        let mut slots: Vec<&Entry> = self.slots.iter().collect();
        slots.sort_by_key(|entry| entry.precedence());
        let certificates = slots.into_iter().filter_map(|it| it.certificate.as_ref());
        for certificate in certificates {
            for name in certificate.names() {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut self.wildcard, parent),
                    None => (&mut self.exact, name.as_str()),
                };
                let entry = table.entry(name.to_owned());
                entry.or_insert_with(|| certificate.key().clone());
            }
        }
    }
}

impl Entry {
    /// Returns what orders the slots where several have a name: those of files come first, in their
    /// order; of those of an authority, the one that ends last.
    fn precedence(&self) -> Option<Reverse<SystemTime>> {
        let certificate = self.certificate.as_ref()?;
        (self.source == Source::Acme).then(|| Reverse(certificate.not_after()))
    }

    fn status(&self) -> CertificateStatus {
        let certificate = self.certificate.as_ref();
        CertificateStatus {
            source: self.source,
            label: self.label.clone(),
            names: certificate.map_or_else(Vec::new, |it| it.names().to_vec()),
            not_after: certificate.map(Certificate::not_after),
            last_error: self.last_error.clone(),
            failures: self.failures,
        }
    }
}

#[cfg(test)]
mod tests;
