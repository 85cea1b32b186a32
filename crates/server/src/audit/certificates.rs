//! The certificates that a server gets, read from their state.

use std::collections::HashMap;
use std::time::SystemTime;

use llamapool_certificates::CertificateStatus;
use llamapool_identity::{AuditEvent, EventKind};

use super::Audit;

/// The certificates as they were at the last look.
#[derive(Default)]
pub(crate) struct CertificateEvents {
    audit: Audit,
    seen: HashMap<String, Seen>,
}

#[derive(Default, PartialEq)]
struct Seen {
    not_after: Option<SystemTime>,
    failures: u64,
}

impl CertificateEvents {
    pub(crate) fn new(audit: Audit) -> Self {
        Self {
            audit,
            seen: HashMap::new(),
        }
    }

    /// Writes that the operator had the files read again.
    pub(crate) fn reloaded(&self) {
        self.audit
            .write(|| AuditEvent::new(EventKind::CertificatesReloaded));
    }

    /// Writes what has changed.
    pub(crate) fn look(&mut self, certificates: &[CertificateStatus]) {
        if !self.audit.is_on() {
            return;
        }
        for status in certificates {
            let now = Seen {
                not_after: status.not_after,
                failures: status.failures,
            };
            let before = self.seen.get(&status.label);
            let not_after = before.and_then(|seen| seen.not_after);
            let failures = before.map_or(0, |seen| seen.failures);
            if let Some(end) = now.not_after.filter(|end| Some(*end) != not_after) {
                let end = humantime::format_rfc3339_seconds(end).to_string();
                let event = || of(EventKind::CertificateObtained, status).with("not_after", end);
                self.audit.write(event);
            }
            if now.failures > failures {
                let error = status.last_error.as_ref().map(|error| error.text.as_str());
                self.audit
                    .write(|| of(EventKind::CertificateFailed, status).with("error", error));
            }
            self.seen.insert(status.label.clone(), now);
        }
    }
}

fn of(kind: EventKind, status: &CertificateStatus) -> AuditEvent {
    AuditEvent::new(kind)
        .with("certificate", status.label.as_str())
        .with("names", status.names.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llamapool_certificates::Source;
    use llamapool_identity::{AUDIT_FOLDER, audit_files};
    use llamapool_wire::Secret;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::audit::AuditConfig;

    fn status(days: u64, failures: u64) -> CertificateStatus {
        let day = Duration::from_secs(86_400);
        CertificateStatus {
            source: Source::File,
            label: "cert.pem".to_owned(),
            names: vec!["pool.example".to_owned()],
            not_after: Some(SystemTime::UNIX_EPOCH + day * u32::try_from(days).unwrap()),
            last_error: None,
            failures,
        }
    }

    #[tokio::test]
    async fn a_certificate_is_written_when_it_changes_or_fails() {
        let folder = tempfile::tempdir().unwrap();
        let config = AuditConfig::default();
        let opened = Audit::open_in(folder.path(), &config, &Secret::new("key"));
        let (audit, keeper) = opened.unwrap();
        let mut events = CertificateEvents::new(audit);

        for seen in [status(1, 0), status(1, 0), status(2, 0), status(2, 1)] {
            events.look(&[seen]);
        }
        events.reloaded();
        let end = CancellationToken::new();
        end.cancel();
        keeper.unwrap().run(end).await;

        let file = &audit_files(&folder.path().join(AUDIT_FOLDER)).unwrap()[0];
        let text = std::fs::read_to_string(&file.path).unwrap();
        let count = |word: &str| text.matches(&format!("\"event\":\"{word}\"")).count();
        assert_eq!(count("certificate.obtained"), 2);
        assert_eq!(count("certificate.failed"), 1);
        assert_eq!(count("certificates.reloaded"), 1);
        assert!(text.contains("1970-01-03T00:00:00Z") && text.contains("pool.example"));
    }
}
