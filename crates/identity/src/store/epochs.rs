//! Epochs of ids in the store.

use std::time::SystemTime;

use rusqlite::params;

use super::events;
use super::oauth_rows;
use super::rows::seconds;
use super::{Store, StoreError, Subject};
use crate::audit::{AuditEvent, EventKind};
use crate::epoch::Epoch;
use crate::grant::{EndReason, GrantId};

impl Store {
    /// Stores epochs, and ends the grants of earlier ones. Returns the number of the change, `None` if
    /// there was none.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn set_epochs(
        &mut self,
        epochs: &[Epoch],
        now: SystemTime,
    ) -> Result<Option<i64>, StoreError> {
        let ((), sequence) = self.write_many(now, |transaction| {
            let mut end = transaction.prepare(
                "UPDATE grant SET state = 'ended', ended_why = ?1, ended_at = ?2 \
                 WHERE state != 'ended' AND resource = ?3 AND epoch < ?4 RETURNING id",
            )?;
            let mut subjects = Vec::new();
            for epoch in epochs {
                if !oauth_rows::set_epoch(transaction, epoch)? {
                    continue;
                }
                subjects.push(Subject::Epoch(epoch.id.clone()));
                let begun = AuditEvent::new(EventKind::IdEpoch).id(&epoch.id);
                events::note(transaction, &begun.with("epoch", epoch.number))?;
                let why = EndReason::Epoch.word();
                let parameters = params![why, seconds(now), epoch.id.as_str(), epoch.number];
                let ended =
                    end.query_map(parameters, |row| Ok(GrantId::from_bytes(row.get(0)?)))?;
                for ended in ended {
                    let id = ended?;
                    events::note_ended(transaction, &id, EndReason::Epoch)?;
                    subjects.push(Subject::Grant(id));
                }
            }
            Ok(Ok(((), subjects)))
        })?;
        Ok(sequence)
    }
}
