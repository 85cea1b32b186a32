//! The events of the store, in their order and once each, whoever has written them and whether or not
//! a server was running: the log itself has the number of the last one.

use std::time::{Duration, SystemTime};

use llamapool_identity::{AuditEvent, EventKind, Store, StoreError, StoredEvent};

use super::Audit;

/// The events that are read at once.
const PAGE: usize = 500;
/// The age of a change from which on its line has its time.
const LATE: Duration = Duration::from_secs(5);

/// The events of the store that are still to be written.
#[derive(Clone, Default)]
pub(crate) struct StoredEvents {
    audit: Audit,
    /// The number of the last one that was given to the log; `None` until the log is open.
    last: Option<i64>,
    is_behind: bool,
}

impl StoredEvents {
    /// Returns the events of a store, none of which is written yet by this run.
    pub(crate) fn new(audit: Audit) -> Self {
        Self {
            is_behind: audit.is_on(),
            audit,
            last: None,
        }
    }

    /// Returns whether there is something left that had no room before.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Gives the log what it does not have, as far as there is room.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn write_new(&mut self, store: &Store, now: SystemTime) -> Result<(), StoreError> {
        if !self.audit.is_on() {
            return Ok(());
        }
        self.is_behind = true;
        let resumed = self.audit.resumed().map(|resumed| resumed.change);
        let Some(mut last) = self.last.or(resumed) else {
            return Ok(());
        };
        loop {
            let page = store.events_after(last, PAGE)?;
            if page.is_empty() {
                self.is_behind = false;
                self.last = Some(last);
                return Ok(());
            }
            for stored in page {
                let number = stored.number;
                let has_room = self.offer_gap(last, number) && self.audit.offer(line(stored, now));
                if !has_room {
                    self.last = Some(last);
                    return Ok(());
                }
                last = number;
            }
        }
    }

    /// Gives the log a line for the events that the store no longer has.
    fn offer_gap(&self, last: i64, number: i64) -> bool {
        let missing = number - last - 1;
        if missing <= 0 {
            return true;
        }
        let lost = AuditEvent::new(EventKind::AuditLost)
            .with("count", missing)
            .with("reason", "more was changed than the store keeps")
            .of_change(number - 1);
        self.audit.offer(lost)
    }
}

/// Returns the event as it is written, with its time if it is old.
fn line(stored: StoredEvent, now: SystemTime) -> AuditEvent {
    let StoredEvent { at, event, .. } = stored;
    let age = now.duration_since(at).unwrap_or_default();
    if age < LATE {
        return event;
    }
    event.with("done_at", humantime::format_rfc3339_seconds(at).to_string())
}
