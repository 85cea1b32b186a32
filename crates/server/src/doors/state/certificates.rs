//! The certificates in the state. The field names are a contract with users.

use std::time::SystemTime;

use llamapool_certificates::{CertificateStatus, Certificates, Source};
use serde::Serialize;

use super::snapshot::time;

/// The seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// One certificate.
#[derive(Serialize)]
pub(super) struct CertificateState {
    source: &'static str,
    /// The path of its file, or what is asked of an authority.
    label: String,
    names: Vec<String>,
    not_after: Option<String>,
    /// Whole days until then, 0 if it has ended.
    days_left: Option<u64>,
    last_error: Option<CertificateErrorState>,
    failures_total: u64,
}

#[derive(Serialize)]
struct CertificateErrorState {
    at: String,
    message: String,
}

/// Returns the certificates that the server presents.
pub(super) fn certificates(certificates: &Certificates) -> Vec<CertificateState> {
    let now = SystemTime::now();
    let all = certificates.status().into_iter();
    all.map(|status| state(status, now)).collect()
}

fn state(status: CertificateStatus, now: SystemTime) -> CertificateState {
    let days_left = |end: SystemTime| {
        end.duration_since(now)
            .map_or(0, |left| left.as_secs() / DAY)
    };
    CertificateState {
        source: match status.source {
            Source::File => "file",
            Source::Acme => "acme",
        },
        label: status.label,
        names: status.names,
        not_after: status.not_after.map(time),
        days_left: status.not_after.map(days_left),
        last_error: status.last_error.map(|error| CertificateErrorState {
            at: time(error.at),
            message: error.text,
        }),
        failures_total: status.failures,
    }
}
