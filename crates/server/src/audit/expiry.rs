//! The keys that expire, also while no server is running: each is in the log once, by the time of the last line.

use std::time::SystemTime;

use llamapool_identity::{AuditEvent, EventKind, Key, Snapshot};

use super::Audit;

/// The keys that expire.
pub(crate) struct ExpiredKeys {
    audit: Audit,
    /// Up to when they are written; `None` until the log is open.
    since: Option<SystemTime>,
    /// The keys that `next` was found in.
    seen: Option<Snapshot>,
    next: Option<SystemTime>,
}

impl ExpiredKeys {
    pub(crate) fn new(audit: Audit) -> Self {
        Self {
            audit,
            since: None,
            seen: None,
            next: None,
        }
    }

    /// Writes the keys that have expired since the last time. A look costs nothing unless keys have
    /// changed or one has expired.
    pub(crate) fn look(&mut self, snapshot: &Snapshot, now: SystemTime) {
        let Some(resumed) = self.audit.resumed() else {
            return;
        };
        let since = *self.since.get_or_insert(resumed.at.unwrap_or(now));
        let is_known = |seen: &Snapshot| seen.shares_keys_with(snapshot);
        if !self.seen.as_ref().is_some_and(is_known) {
            self.seen = Some(snapshot.clone());
            self.next = next_after(snapshot, since);
        }
        if self.next.is_none_or(|next| now < next) {
            return;
        }

        for key in snapshot.keys().filter(|key| key.revoked_at.is_none()) {
            if key.expires_at.is_some_and(|at| since < at && at <= now) {
                self.audit.write(|| expired(key));
            }
        }
        self.since = Some(now);
        self.next = next_after(snapshot, now);
    }
}

/// Returns when the next key expires.
fn next_after(snapshot: &Snapshot, since: SystemTime) -> Option<SystemTime> {
    let valid = snapshot.keys().filter(|key| key.revoked_at.is_none());
    let ends = valid.filter_map(|key| key.expires_at);
    ends.filter(|at| *at > since).min()
}

fn expired(key: &Key) -> AuditEvent {
    let at = key.expires_at.map(humantime::format_rfc3339_seconds);
    AuditEvent::new(EventKind::KeyExpired)
        .key(&key.id)
        .with("name", key.name.as_str())
        .with("expires_at", at.map(|at| at.to_string()))
}
