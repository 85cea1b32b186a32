//! A certificate in use, with what is needed to renew it.

use std::time::SystemTime;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, Der};
use x509_cert::Certificate as X509;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::failure::Failure;
use super::life::{Life, place_of};
use super::name::DomainName;
use super::order::Issued;
use super::plan::Held;
use super::storage::{Storage, StorageError, StoredCertificate};
use crate::certificate::{Certificate, CertificateError};

/// A certificate in use.
pub(super) struct Present {
    /// Its number in this run.
    pub(super) number: u64,
    /// The names that it was ordered for, in one text.
    pub(super) label: String,
    pub(super) certificate: Certificate,
    pub(super) life: Life,
    /// What the authority calls it; `None` if it has no name of its own (RFC 9773, section 4.1).
    pub(super) identifier: Option<CertificateIdentifier<'static>>,
    /// Set if the authority has a successor of it already.
    pub(super) is_replaced: bool,
    /// `None` if it could not be stored.
    pub(super) file: Option<String>,
}

impl Present {
    /// Reads a certificate that was issued. One that has ended by the clock of this machine is taken:
    /// rather the clock is wrong.
    pub(super) fn of(issued: &Issued, number: u64, now: SystemTime) -> Result<Self, Failure> {
        let present = Self::read(&issued.to_pem(), number, now);
        let present = present.map_err(|error| Failure::of(format!("the certificate: {error}")))?;
        let has = |name: &DomainName| {
            let names = present.certificate.names();
            names.iter().any(|it| it == name.as_str())
        };
        if issued.names.iter().all(has) {
            Ok(Self {
                label: issued.label(),
                ..present
            })
        } else {
            let reason = "the certificate is not for all names that were ordered";
            Err(Failure::of(reason))
        }
    }

    fn read(pem: &str, number: u64, obtained_at: SystemTime) -> Result<Self, CertificateError> {
        let always = SystemTime::UNIX_EPOCH;
        let certificate = Certificate::from_pem(pem.as_bytes(), pem.as_bytes(), always)?;
        let leaf = CertificateDer::from_pem_slice(pem.as_bytes());
        let leaf = leaf.map_err(|error| CertificateError::Pem(error.to_string()))?;
        Ok(Self {
            number,
            label: certificate.names().join(","),
            life: Life {
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
                obtained_at,
                place: place_of(&leaf),
            },
            identifier: identifier_of(&leaf),
            is_replaced: false,
            file: None,
            certificate,
        })
    }

    /// Returns what the plan has of it: at first the authority is asked about its renewal.
    pub(super) fn held(&self, names: &[DomainName]) -> Held {
        Held {
            number: self.number,
            names: names.to_vec(),
            life: self.life.clone(),
            window: None,
            ask_at: SystemTime::UNIX_EPOCH,
        }
    }
}

/// Reads the certificates that are stored. One that cannot be used is reported and left out: it is
/// ordered anew.
pub(super) fn read_stored(
    storage: &Storage,
    now: SystemTime,
) -> Result<(Vec<Present>, Vec<Held>), StorageError> {
    let mut present = Vec::new();
    let mut held = Vec::new();
    for stored in storage.certificates()? {
        match read_one(&stored, present.len() as u64, now) {
            Ok(one) => {
                let names = one.certificate.names().iter();
                let names: Vec<DomainName> = names.filter_map(|it| it.parse().ok()).collect();
                held.push(one.held(&names));
                present.push(one);
            }
            Err(error) => tracing::warn!(
                file = stored.file,
                %error,
                "a stored certificate cannot be used, another one is ordered"
            ),
        }
    }
    Ok((present, held))
}

fn read_one(
    stored: &StoredCertificate,
    number: u64,
    now: SystemTime,
) -> Result<Present, CertificateError> {
    Certificate::from_pem(&stored.pem, &stored.pem, now)?;
    let pem = String::from_utf8_lossy(&stored.pem);
    Ok(Present {
        file: Some(stored.file.clone()),
        ..Present::read(&pem, number, stored.written)?
    })
}

/// Returns what an authority calls a certificate: its issuer's key, and its serial number
/// (RFC 9773, section 4.1).
fn identifier_of(leaf: &CertificateDer<'_>) -> Option<CertificateIdentifier<'static>> {
    let certificate = X509::from_der(leaf).ok()?;
    let content = certificate.tbs_certificate();
    let (_, issuer) = content.get_extension::<AuthorityKeyIdentifier>().ok()??;
    let key = issuer.key_identifier?;

    // The content of the serial number's encoding, behind its tag and its length of one byte.
    let serial = content.serial_number().to_der().ok()?;
    let serial = serial.get(2..)?;
    let identifier =
        CertificateIdentifier::new(Der::from_slice(key.as_bytes()), Der::from_slice(serial));
    Some(identifier.into_owned())
}
