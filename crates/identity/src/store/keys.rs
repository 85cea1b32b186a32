//! Keys in the store.

use std::time::SystemTime;

use rusqlite::{Transaction, params};

use super::grants::Ended;
use super::rows::{self, seconds};
use super::{Store, StoreError, Subject, events};
use crate::approver::Approver;
use crate::audit::{AuditEvent, EventKind};
use crate::grant::EndReason;
use crate::key::{AdminRight, AdminRights, Key, KeyDigest, KeyId, KeyKind, RecordTag, Rights};

/// The most keys of a store.
const MAX_KEYS: i64 = 100_000;
/// The most secrets of a key that are valid at once.
pub(super) const MAX_SECRETS: i64 = 4;

/// A key that is to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its public id.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
    /// The SHA-256 of its secret.
    pub digest: KeyDigest,
    /// When it ends; `None`: never.
    pub expires_at: Option<SystemTime>,
}

/// What is changed of a key; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct KeyEdit {
    /// Its name.
    pub name: Option<String>,
    /// What it may do, of the same kind.
    pub rights: Option<Rights>,
    /// When it ends; the inner `None`: never.
    pub expires_at: Option<Option<SystemTime>>,
}

/// Under what a key is changed. The default is nothing, as the command line has the file anyway.
#[derive(Debug, Clone, Default)]
pub struct KeyCondition {
    /// The key as it was read.
    pub tag: Option<RecordTag>,
    /// The admin key that changes it; `None`: the owner of the server does.
    pub by: Option<ActingKey>,
}

/// The admin key that changes another key, or itself. It gives no more than it has, and touches no
/// admin key that has more.
#[derive(Debug, Clone)]
pub struct ActingKey {
    /// Its rights.
    pub rights: AdminRights,
    /// When it ends; `None`: never.
    pub expires_at: Option<SystemTime>,
}

impl ActingKey {
    /// Checks that a key of these rights and this life has no more than this one.
    ///
    /// # Errors
    ///
    /// If it has. Keys of callers and relays never have.
    pub fn check_covers(
        &self,
        rights: &Rights,
        expires_at: Option<SystemTime>,
    ) -> Result<(), StoreError> {
        let Rights::Admin(rights) = rights else {
            return Ok(());
        };
        let ends_before = self
            .expires_at
            .is_none_or(|own| expires_at.is_some_and(|other| other <= own));
        if !self.rights.cover(rights) || !ends_before {
            return Err(StoreError::MoreRights);
        }
        Ok(())
    }
}

impl Store {
    /// Returns one key.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read.
    pub fn key(&self, id: &KeyId) -> Result<Key, StoreError> {
        let key = rows::key(&self.connection, id);
        let key = key.map_err(|error| self.unreadable(error))?;
        key.ok_or_else(|| StoreError::NoKey(id.clone()))
    }

    /// Stores a new key. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If its name is taken, there are too many keys, or it cannot be written.
    pub fn create_key(&mut self, key: &NewKey, now: SystemTime) -> Result<i64, StoreError> {
        let kind = key.rights.kind();
        let rights = rows::json_text(&key.rights);
        self.write(now, Subject::Key(key.id.clone()), |transaction| {
            let taken = rows::id_of_name(transaction, kind, &key.name)?;
            if let Some(id) = taken {
                return Ok(Err(StoreError::NameTaken {
                    kind,
                    name: key.name.clone(),
                    id,
                }));
            }
            let count: i64 =
                transaction.query_row("SELECT count(*) FROM key", [], |row| row.get(0))?;
            if count >= MAX_KEYS {
                return Ok(Err(StoreError::TooManyKeys(count)));
            }

            transaction.execute(
                "INSERT INTO key (id, kind, name, rights, created_at, expires_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    key.id.as_str(),
                    kind.word(),
                    key.name,
                    rights,
                    seconds(now),
                    key.expires_at.map(seconds),
                ],
            )?;
            rows::insert_secret(transaction, &key.id, &key.digest, now)?;
            events::note(transaction, &key.event())?;
            Ok(Ok(()))
        })
    }

    /// Revokes a key, and ends the grants that it allowed; revoking it again changes nothing. Returns
    /// the number of the change.
    ///
    /// # Errors
    ///
    /// If there is no such key, or it cannot be written.
    pub fn revoke_key(&mut self, id: &KeyId, now: SystemTime) -> Result<i64, StoreError> {
        self.revoke_key_if(id, &KeyCondition::default(), now)
    }

    /// Revokes a key under a condition, as [`Store::revoke_key`].
    ///
    /// # Errors
    ///
    /// As there, or if the condition does not hold.
    pub fn revoke_key_if(
        &mut self,
        id: &KeyId,
        condition: &KeyCondition,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        let approver = Approver::Key(id.clone()).to_string();
        let subject = Subject::Key(id.clone());
        let ((), sequence) = self.write_many(now, |transaction| {
            if let Err(error) = condition.check(transaction, id)? {
                return Ok(Err(error));
            }
            let changed = transaction.execute(
                "UPDATE key SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1",
                params![id.as_str(), seconds(now)],
            )?;
            if changed == 0 {
                return Ok(Err(StoreError::NoKey(id.clone())));
            }
            if let Err(error) = condition.check_after(transaction, id, now)? {
                return Ok(Err(error));
            }
            events::note(transaction, &AuditEvent::new(EventKind::KeyRevoked).key(id))?;
            let ended = Ended::now(EndReason::KeyRevoked, now);
            let mut subjects = ended.all_where(transaction, "approver = ?3", &approver)?;
            subjects.push(subject);
            Ok(Ok(((), subjects)))
        })?;
        // The key itself is a change.
        Ok(sequence.unwrap_or_default())
    }

    /// Gives a key another secret; the others end at `old_until`. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there is no such key, it was revoked, it has too many secrets, or it cannot be written.
    pub fn rotate_key(
        &mut self,
        id: &KeyId,
        digest: &KeyDigest,
        old_until: SystemTime,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        let nothing = KeyCondition::default();
        self.rotate_key_if(id, (digest, old_until), &nothing, now)
    }

    /// Gives a key another secret under a condition, as [`Store::rotate_key`].
    ///
    /// # Errors
    ///
    /// As there, or if the condition does not hold.
    pub fn rotate_key_if(
        &mut self,
        id: &KeyId,
        (digest, old_until): (&KeyDigest, SystemTime),
        condition: &KeyCondition,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        self.write(now, Subject::Key(id.clone()), |transaction| {
            if let Err(error) = rows::check_live(transaction, id)? {
                return Ok(Err(error));
            }
            if let Err(error) = condition.check(transaction, id)? {
                return Ok(Err(error));
            }

            transaction.execute(
                "DELETE FROM key_secret WHERE key_id = ?1 AND expires_at <= ?2",
                params![id.as_str(), seconds(now)],
            )?;
            let count: i64 = transaction.query_row(
                "SELECT count(*) FROM key_secret WHERE key_id = ?1",
                [id.as_str()],
                |row| row.get(0),
            )?;
            if count >= MAX_SECRETS {
                return Ok(Err(StoreError::TooManySecrets));
            }
            transaction.execute(
                "UPDATE key_secret SET expires_at = min(coalesce(expires_at, ?2), ?2) \
                 WHERE key_id = ?1",
                params![id.as_str(), seconds(old_until)],
            )?;
            rows::insert_secret(transaction, id, digest, now)?;
            events::note(transaction, &events::rotated(id, old_until))?;
            Ok(Ok(()))
        })
    }

    /// Changes a key. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there is no such key, it was revoked, its new name is taken, the rights are of another kind,
    /// or it cannot be written.
    pub fn edit_key(
        &mut self,
        id: &KeyId,
        edit: &KeyEdit,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        self.edit_key_if(id, edit, &KeyCondition::default(), now)
    }

    /// Changes a key under a condition, as [`Store::edit_key`].
    ///
    /// # Errors
    ///
    /// As there, or if the condition does not hold.
    pub fn edit_key_if(
        &mut self,
        id: &KeyId,
        edit: &KeyEdit,
        condition: &KeyCondition,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        self.write(now, Subject::Key(id.clone()), |transaction| {
            let kind = match rows::check_live(transaction, id)? {
                Ok(kind) => kind,
                Err(error) => return Ok(Err(error)),
            };
            if let Err(error) = condition.check(transaction, id)? {
                return Ok(Err(error));
            }
            if let Err(error) = write_edit(transaction, (id, kind), edit)? {
                return Ok(Err(error));
            }
            events::note(transaction, &edit.event(id))?;
            condition.check_after(transaction, id, now)
        })
    }
}

fn write_edit(
    transaction: &Transaction<'_>,
    (id, kind): (&KeyId, KeyKind),
    edit: &KeyEdit,
) -> rusqlite::Result<Result<(), StoreError>> {
    if let Some(name) = &edit.name {
        let taken = rows::id_of_name(transaction, kind, name)?;
        if let Some(other) = taken.filter(|other| other != id) {
            let name = name.clone();
            return Ok(Err(StoreError::NameTaken {
                kind,
                name,
                id: other,
            }));
        }
        let parameters = params![id.as_str(), name];
        transaction.execute("UPDATE key SET name = ?2 WHERE id = ?1", parameters)?;
    }
    if let Some(rights) = &edit.rights {
        if rights.kind() != kind {
            return Ok(Err(StoreError::OtherKind(id.clone())));
        }
        let parameters = params![id.as_str(), rows::json_text(rights)];
        transaction.execute("UPDATE key SET rights = ?2 WHERE id = ?1", parameters)?;
    }
    if let Some(expires_at) = edit.expires_at {
        let parameters = params![id.as_str(), expires_at.map(seconds)];
        transaction.execute("UPDATE key SET expires_at = ?2 WHERE id = ?1", parameters)?;
    }
    Ok(Ok(()))
}

impl KeyCondition {
    /// Checks a key before it is changed, in the transaction that changes it.
    fn check(
        &self,
        transaction: &Transaction<'_>,
        id: &KeyId,
    ) -> rusqlite::Result<Result<(), StoreError>> {
        if self.tag.is_none() && self.by.is_none() {
            return Ok(Ok(()));
        }
        let Some(key) = rows::key(transaction, id)? else {
            return Ok(Err(StoreError::NoKey(id.clone())));
        };
        if self.tag.is_some_and(|tag| tag != key.tag()) {
            return Ok(Err(StoreError::Changed));
        }
        Ok(self.check_covered(&key))
    }

    /// Checks a key after it was changed: an error takes the change back.
    fn check_after(
        &self,
        transaction: &Transaction<'_>,
        id: &KeyId,
        now: SystemTime,
    ) -> rusqlite::Result<Result<(), StoreError>> {
        if self.by.is_none() {
            return Ok(Ok(()));
        }
        let Some(key) = rows::key(transaction, id)? else {
            return Ok(Err(StoreError::NoKey(id.clone())));
        };
        let covered = match key.revoked_at {
            Some(_) => Ok(()),
            None => self.check_covered(&key),
        };
        if covered.is_err() || key.kind() != KeyKind::Admin {
            return Ok(covered);
        }

        let changes_keys = |key: &Key| match &key.rights {
            Rights::Admin(rights) => key.is_valid(now) && rights.includes(AdminRight::Keys),
            Rights::Caller(_) | Rights::Worker(_) => false,
        };
        let admins = rows::keys_of_kind(transaction, KeyKind::Admin)?;
        if admins.iter().any(changes_keys) {
            return Ok(Ok(()));
        }
        Ok(Err(StoreError::LastAdmin))
    }

    fn check_covered(&self, key: &Key) -> Result<(), StoreError> {
        match &self.by {
            Some(by) => by.check_covers(&key.rights, key.expires_at),
            None => Ok(()),
        }
    }
}
