//! The keeper of certificates: one task that looks at their files, and reports their end.

use std::time::{Duration, SystemTime};

use llamapool_certificates::{Certificates, ExpiryReports, Look, WatchedFiles};
use tokio::time::{MissedTickBehavior, interval};

use super::{CertificateReload, OpenedTls};
use crate::audit::{Audit, CertificateEvents};

/// The keeper of the certificates of a server.
pub(crate) struct CertificateKeeper {
    certificates: Certificates,
    /// Lent to the thread of each look.
    files: Vec<WatchedFiles>,
    interval: Duration,
    reload: CertificateReload,
    expiry: ExpiryReports,
    events: CertificateEvents,
}

/// How files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They are read if they have changed.
    Changed,
    /// They are read.
    All,
}

impl CertificateKeeper {
    /// Returns the keeper of certificates that were read before.
    pub(crate) fn new(tls: OpenedTls, reload: CertificateReload, audit: Audit) -> Self {
        Self {
            certificates: tls.certificates,
            files: tls.files,
            interval: tls.reload_interval,
            reload,
            expiry: ExpiryReports::default(),
            events: CertificateEvents::new(audit),
        }
    }

    /// Looks at the files again and again. Never returns.
    pub(crate) async fn run(mut self) {
        let mut looks = interval(self.interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mode = tokio::select! {
                // Biased towards the request, which covers what a look would find.
                biased;
                () = self.reload.requested() => Mode::All,
                _ = looks.tick() => Mode::Changed,
            };
            if mode == Mode::All {
                self.events.reloaded();
            }
            self.look(mode).await;
            self.events.look(&self.certificates.status());
            self.report_expiry();
        }
    }

    async fn look(&mut self, mode: Mode) {
        let mut files = std::mem::take(&mut self.files);
        // A network file system may take its time.
        let looked = tokio::task::spawn_blocking(move || {
            let now = SystemTime::now();
            for watched in &mut files {
                let look = match mode {
                    Mode::Changed => watched.look(now),
                    Mode::All => watched.reload(now),
                };
                report(watched, &look);
            }
            files
        });
        // The thread does not panic, and the runtime outlives this task.
        if let Ok(files) = looked.await {
            self.files = files;
        }
    }

    fn report_expiry(&mut self) {
        let now = SystemTime::now();
        let status = self.certificates.status();
        for certificate in self.expiry.due(&status, now) {
            let not_after = certificate.not_after.unwrap_or(now);
            tracing::warn!(
                certificate = certificate.label,
                names = certificate.names.join(", "),
                not_after = %humantime::format_rfc3339_seconds(not_after),
                "a certificate ends within a week, or has ended"
            );
        }
    }
}

fn report(watched: &WatchedFiles, look: &Look) {
    let chain = watched.files().chain.display();
    match look {
        Look::Unchanged => {}
        Look::Renewed(not_after) => tracing::info!(
            %chain,
            not_after = %humantime::format_rfc3339_seconds(*not_after),
            "a certificate was read anew and is presented"
        ),
        Look::Failed(error) => tracing::error!(
            %chain,
            %error,
            "a new certificate cannot be used: the one of before stays"
        ),
    }
}
