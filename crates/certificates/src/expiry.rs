//! The last days of certificates.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::resolver::CertificateStatus;

/// A certificate with less of its life left is reported.
pub const EXPIRES_SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The time between two reports of one certificate.
const REPORT_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Decides when the end of a certificate is to be reported: once a day in its last week, and on.
#[derive(Debug, Default)]
pub struct ExpiryReports {
    /// The last report, by label.
    reported: HashMap<String, SystemTime>,
}

impl ExpiryReports {
    /// Returns the certificates whose end is to be reported now.
    pub fn due<'a>(
        &mut self,
        certificates: &'a [CertificateStatus],
        now: SystemTime,
    ) -> Vec<&'a CertificateStatus> {
        let ends_soon = |status: &&CertificateStatus| {
            let not_after = status.not_after;
            not_after.is_some_and(|not_after| not_after <= now + EXPIRES_SOON)
        };
        let soon: Vec<_> = certificates.iter().filter(ends_soon).collect();

        // Bounded by the certificates that there are.
        let is_soon = |label: &String| soon.iter().any(|status| status.label == *label);
        self.reported.retain(|label, _| is_soon(label));

        let mut due = Vec::new();
        for status in soon {
            let last = self.reported.get(&status.label);
            if last.is_none_or(|last| *last + REPORT_INTERVAL <= now) {
                self.reported.insert(status.label.clone(), now);
                due.push(status);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::Source;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn ending(label: &str, not_after: SystemTime) -> CertificateStatus {
        CertificateStatus {
            source: Source::File,
            label: label.to_owned(),
            names: Vec::new(),
            not_after: Some(not_after),
            last_error: None,
            failures: 0,
        }
    }

    fn labels(due: Vec<&CertificateStatus>) -> Vec<&str> {
        due.into_iter().map(|status| &*status.label).collect()
    }

    #[test]
    fn the_last_week_is_reported_once_a_day() {
        let now = SystemTime::now();
        let all = [
            ending("soon", now + 7 * DAY),
            ending("later", now + 8 * DAY),
        ];
        let mut reports = ExpiryReports::default();

        assert_eq!(labels(reports.due(&all, now)), ["soon"]);
        assert!(reports.due(&all, now + DAY / 2).is_empty());
        assert_eq!(labels(reports.due(&all, now + DAY)), ["soon", "later"]);
        assert_eq!(labels(reports.due(&all, now + 9 * DAY)), ["soon", "later"]);
    }

    #[test]
    fn a_renewed_certificate_is_reported_anew_at_its_own_end() {
        let now = SystemTime::now();
        let mut reports = ExpiryReports::default();
        assert_eq!(reports.due(&[ending("a", now)], now).len(), 1);

        let renewed = [ending("a", now + 30 * DAY)];
        assert!(reports.due(&renewed, now).is_empty());

        let again = [ending("a", now + DAY)];
        assert_eq!(reports.due(&again, now + DAY / 2).len(), 1);
    }
}
