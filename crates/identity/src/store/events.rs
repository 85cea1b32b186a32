//! The events of writes, stored with them for the audit log: so a change is in the log once, also if it was
//! made while no server was running.

use std::time::SystemTime;

use rusqlite::{Transaction, params};
use serde::Serialize;
use serde_json::Value;

use super::rows::{moment, seconds, wrong};
use super::{KeyEdit, NewKey, Store, StoreError, oauth_rows};
use crate::access::{AccessMode, AccessRule};
use crate::audit::{AuditEvent, EventKind};
use crate::client::{Client, ClientOrigin};
use crate::grant::{EndReason, Grant, GrantId};
use crate::key::KeyId;

/// The actor unless another one is set.
pub(super) const COMMAND_LINE: &str = "command_line";
/// The events that are kept until a server with an audit log has written them. One change may end
/// 10 000 grants.
const KEPT_EVENTS: i64 = 20_000;

/// An event of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its number; a later one has a greater number.
    pub number: i64,
    /// When it was written.
    pub at: SystemTime,
    /// What happened.
    pub event: AuditEvent,
}

impl Store {
    /// Sets who writes from now on, for the audit log: `command_line` unless it is set.
    pub fn set_actor(&mut self, actor: &str) {
        actor.clone_into(&mut self.actor);
    }

    /// Writes for another actor, such as `key:7k3x`.
    pub fn acting_as<T>(&mut self, actor: &str, write: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.actor, actor.to_owned());
        let written = write(self);
        self.actor = own;
        written
    }

    /// Returns events after a number, the oldest first.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn events_after(&self, number: i64, most: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare(
                "SELECT number, at, actor, event FROM event WHERE number > ?1 AND at IS NOT NULL \
                 ORDER BY number LIMIT ?2",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let events = statement.query_map(params![number, most], |row| {
                let text: String = row.get(3)?;
                let event: AuditEvent =
                    serde_json::from_str(&text).map_err(|error| wrong(3, error))?;
                let actor: String = row.get(2)?;
                let number = row.get(0)?;
                Ok(StoredEvent {
                    number,
                    at: moment(row.get(1)?),
                    event: event.or_actor(&actor).of_change(number),
                })
            })?;
            events.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.unreadable(error))
    }
}

impl NewKey {
    /// Returns the event of its creation.
    pub(super) fn event(&self) -> AuditEvent {
        AuditEvent::new(EventKind::KeyCreated)
            .key(&self.id)
            .with("name", self.name.as_str())
            .with("kind", self.rights.kind().word())
            .with("rights", json(&self.rights))
            .with("expires_at", self.expires_at.map(seconds))
    }
}

impl KeyEdit {
    /// Returns the event of this change of a key.
    pub(super) fn event(&self, id: &KeyId) -> AuditEvent {
        let mut event = AuditEvent::new(EventKind::KeyChanged).key(id);
        if let Some(name) = &self.name {
            event = event.with("name", name.as_str());
        }
        if let Some(rights) = &self.rights {
            event = event.with("rights", json(rights));
        }
        if let Some(expires_at) = self.expires_at {
            event = event.with("expires_at", expires_at.map(seconds));
        }
        event
    }
}

impl AccessRule {
    /// Returns the event of setting it.
    pub(super) fn event(&self) -> AuditEvent {
        AuditEvent::new(EventKind::AccessChanged)
            .id(&self.pattern)
            .with("mode", self.mode.word())
            .with("limits", json(&self.limits))
            .with("messages", json(&self.messages))
    }
}

/// Returns the event of another mode of a pattern, or of the removal of its rule.
pub(super) fn mode_changed(pattern: &str, mode: Option<AccessMode>) -> AuditEvent {
    AuditEvent::new(EventKind::AccessChanged)
        .id(pattern)
        .with("mode", mode.map(AccessMode::word))
}

/// Returns the event of another secret of a key.
pub(super) fn rotated(id: &KeyId, old_until: SystemTime) -> AuditEvent {
    AuditEvent::new(EventKind::KeyRotated)
        .key(id)
        .with("old_until", seconds(old_until))
}

/// Returns the event of a client that is stored.
pub(super) fn added(client: &Client) -> AuditEvent {
    let kind = match client.origin {
        ClientOrigin::Registered => EventKind::ClientRegistered,
        ClientOrigin::Known | ClientOrigin::Document => EventKind::ClientAdded,
    };
    let redirects = client.redirects.iter().map(ToString::to_string);
    AuditEvent::new(kind)
        .client(client.id.as_str())
        .with("name", client.name.as_str())
        .with("redirects", redirects.collect::<Vec<_>>())
}

/// Returns an event of a grant.
pub(super) fn of_grant(kind: EventKind, grant: &Grant) -> AuditEvent {
    AuditEvent::new(kind)
        .client(grant.client.as_str())
        .grant(grant.id)
        .id(&grant.resource)
}

/// Returns the event of a grant that was allowed.
pub(super) fn allowed(grant: &Grant) -> AuditEvent {
    of_grant(EventKind::GrantCreated, grant)
        .with("approver", grant.approver.to_string())
        .with("scope", grant.scope.word())
        .with("ends_at", grant.ends_at.map(seconds))
}

/// Returns rights or limits as the audit log has them.
fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Notes what a write does.
pub(super) fn note(transaction: &Transaction<'_>, event: &AuditEvent) -> rusqlite::Result<()> {
    let text = super::rows::json_text(event);
    let sql = "INSERT INTO event (event) VALUES (?1)";
    transaction.execute(sql, [text]).map(drop)
}

/// Notes the end of a grant.
pub(super) fn note_ended(
    transaction: &Transaction<'_>,
    id: &GrantId,
    why: EndReason,
) -> rusqlite::Result<()> {
    let kind = match why {
        EndReason::CodeReuse | EndReason::RefreshReuse => EventKind::GrantReuse,
        _ => EventKind::GrantEnded,
    };
    let Some(grant) = oauth_rows::grant(transaction, id)? else {
        return Ok(());
    };
    let event = of_grant(kind, &grant)
        .outcome(why.word())
        .with("approver", grant.approver.to_string());
    note(transaction, &event)
}

/// Completes the events of a write, before it is committed.
pub(super) fn complete(
    transaction: &Transaction<'_>,
    actor: &str,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let sql = "UPDATE event SET at = ?1, actor = ?2 WHERE at IS NULL";
    let completed = transaction.execute(sql, params![seconds(now), actor])?;
    if completed > 0 {
        let sql = "DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?1";
        transaction.execute(sql, [KEPT_EVENTS])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::{CallerRights, KeyKind, KeyText, Rights};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in(folder.path()).unwrap();
        (folder, store)
    }

    fn key() -> NewKey {
        let text = KeyText::random(KeyKind::Caller);
        NewKey {
            id: text.id().clone(),
            name: "laptop".to_owned(),
            rights: Rights::Caller(CallerRights::default()),
            digest: text.digest(),
            expires_at: None,
        }
    }

    #[test]
    fn every_write_has_its_event_with_who_wrote_it() {
        let (_folder, mut store) = store();
        let key = key();
        store.create_key(&key, at(1)).unwrap();
        let edit = KeyEdit {
            name: Some("desk".to_owned()),
            ..KeyEdit::default()
        };
        store.set_actor("server");
        store.edit_key(&key.id, &edit, at(2)).unwrap();
        let pattern = "notes".parse().unwrap();
        let set = |store: &mut Store| store.set_access(&pattern, Some(AccessMode::Keys), at(3));
        store.acting_as("key:a", set).unwrap();
        store.revoke_key(&key.id, at(4)).unwrap();

        let events = store.events_after(0, 10).unwrap();

        let expected = [
            AuditEvent::new(EventKind::KeyCreated)
                .actor("command_line")
                .key(&key.id)
                .with("name", "laptop")
                .with("kind", "caller")
                .with("rights", json(&key.rights))
                .with("expires_at", None::<i64>)
                .of_change(1),
            AuditEvent::new(EventKind::KeyChanged)
                .actor("server")
                .key(&key.id)
                .with("name", "desk")
                .of_change(2),
            AuditEvent::new(EventKind::AccessChanged)
                .actor("key:a")
                .id("notes")
                .with("mode", "keys")
                .of_change(3),
            AuditEvent::new(EventKind::KeyRevoked)
                .actor("server")
                .key(&key.id)
                .of_change(4),
        ];
        let found: Vec<_> = events.iter().map(|stored| stored.event.clone()).collect();
        assert_eq!(found, expected);
        assert_eq!(events[3].at, at(4));
        assert_eq!(store.events_after(2, 1).unwrap()[0].number, 3);
        assert_eq!(store.events_after(4, 10).unwrap(), []);
    }

    #[test]
    fn a_write_that_fails_has_no_event() {
        let (_folder, mut store) = store();

        let refused = store.revoke_key(&"none".parse().unwrap(), at(1));

        assert!(refused.is_err());
        assert_eq!(store.events_after(0, 10).unwrap(), []);
    }

    #[test]
    fn events_that_are_not_fetched_are_bounded() {
        let (_folder, mut store) = store();
        let more = KEPT_EVENTS + 10;
        store
            .write_many(at(1), |transaction| {
                for _ in 0..more {
                    note(transaction, &AuditEvent::new(EventKind::IdEpoch))?;
                }
                Ok(Ok(((), Vec::new())))
            })
            .unwrap();

        let events = store.events_after(0, usize::MAX).unwrap();

        assert_eq!(events.len(), usize::try_from(KEPT_EVENTS).unwrap());
        assert_eq!(events[0].number, 11);
    }
}
