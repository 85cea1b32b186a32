//! OAuth clients in the store.

use std::time::{Duration, SystemTime};

use rusqlite::{Transaction, params};

use super::events;
use super::grants::Ended;
use super::oauth_rows;
use super::rows::{parsed, seconds};
use super::{Store, StoreError, Subject};
use crate::audit::{AuditEvent, EventKind};
use crate::client::{Client, ClientAuthMethod, ClientId, ClientOrigin};
use crate::grant::{EndReason, GrantId};

/// The most clients of a store.
pub(super) const MAX_CLIENTS: i64 = 50_000;
/// The most registered clients that never got a grant. Anybody may register, so the oldest one gives
/// way; it had hours, and a sign-in takes minutes.
const MAX_NEVER_GRANTED: i64 = 10_000;
/// How long such a client is kept.
const NEVER_GRANTED_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a registered client is kept after its last grant was allowed, if none is left.
const GRANTED_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The most clients that are forgotten in one transaction.
const MAX_FORGOTTEN: i64 = 1000;
/// The most clients that give way for another at once.
const MAX_REPLACED: i64 = 100;

impl Store {
    /// Stores a client that has registered or that the operator names. Returns the number of the
    /// change.
    ///
    /// # Errors
    ///
    /// If there are too many, or it cannot be written.
    pub fn add_client(&mut self, client: &Client, now: SystemTime) -> Result<i64, StoreError> {
        let subject = Subject::Client(client.id.clone());
        let ((), sequence) = self.write_many(now, |transaction| {
            let mut subjects = match client.origin {
                ClientOrigin::Registered => forget_never_granted(transaction)?,
                ClientOrigin::Known | ClientOrigin::Document => Vec::new(),
            };
            match make_room(transaction)? {
                Ok(forgotten) => subjects.extend(forgotten),
                Err(error) => return Ok(Err(error)),
            }
            oauth_rows::insert_client(transaction, client)?;
            events::note(transaction, &events::added(client))?;
            subjects.push(subject);
            Ok(Ok(((), subjects)))
        })?;
        Ok(sequence.unwrap_or_default())
    }

    /// Returns one client.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        let client = oauth_rows::client(&self.connection, id);
        client.map_err(|error| self.unreadable(error))
    }

    /// Blocks a client, and ends its grants. The URL of a document is blocked also before its client
    /// was ever here. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there is no such client, or it cannot be written.
    pub fn block_client(&mut self, id: &ClientId, now: SystemTime) -> Result<i64, StoreError> {
        let subject = Subject::Client(id.clone());
        let ((), sequence) = self.write_many(now, |transaction| {
            let is_known = oauth_rows::client(transaction, id)?.is_some();
            if !is_known && !id.is_document() {
                return Ok(Err(StoreError::NoClient(id.clone())));
            }
            if !is_known {
                oauth_rows::insert_client(transaction, &unseen_document(id, now))?;
            }
            transaction.execute(
                "UPDATE client SET blocked_at = coalesce(blocked_at, ?2) WHERE id = ?1",
                params![id.as_str(), seconds(now)],
            )?;
            let blocked = AuditEvent::new(EventKind::ClientBlocked).client(id.as_str());
            events::note(transaction, &blocked)?;
            let ended = Ended::now(EndReason::ClientBlocked, now);
            let mut subjects = ended.all_where(transaction, "client = ?3", id.as_str())?;
            subjects.push(subject);
            Ok(Ok(((), subjects)))
        })?;
        Ok(sequence.unwrap_or_default())
    }

    /// Stores a client that the operator names, unless another one of this name was added before: a
    /// request that is sent twice adds one. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If the name is taken, there are too many, or it cannot be written.
    pub fn add_known_client(
        &mut self,
        client: &Client,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        let subject = Subject::Client(client.id.clone());
        let ((), sequence) = self.write_many(now, |transaction| {
            if let Some(id) = oauth_rows::known_client(transaction, &client.name)? {
                let name = client.name.clone();
                return Ok(Err(StoreError::ClientNameTaken { name, id }));
            }
            let mut subjects = match make_room(transaction)? {
                Ok(forgotten) => forgotten,
                Err(error) => return Ok(Err(error)),
            };
            oauth_rows::insert_client(transaction, client)?;
            events::note(transaction, &events::added(client))?;
            subjects.push(subject);
            Ok(Ok(((), subjects)))
        })?;
        Ok(sequence.unwrap_or_default())
    }

    /// Removes a client that the operator added, with its grants. Others come back by themselves: they
    /// are blocked instead. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there is no such client, it was not added, or it cannot be written.
    pub fn remove_client(&mut self, id: &ClientId, now: SystemTime) -> Result<i64, StoreError> {
        let ((), sequence) = self.write_many(now, |transaction| {
            match oauth_rows::client(transaction, id)? {
                None => return Ok(Err(StoreError::NoClient(id.clone()))),
                Some(client) if client.origin != ClientOrigin::Known => {
                    return Ok(Err(StoreError::NotKnown(id.clone())));
                }
                Some(_) => {}
            }
            let removed = AuditEvent::new(EventKind::ClientRemoved).client(id.as_str());
            events::note(transaction, &removed)?;
            Ok(Ok(((), forget(transaction, id)?)))
        })?;
        Ok(sequence.unwrap_or_default())
    }

    /// Unblocks a client; its ended grants stay ended. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there is no such client, or it cannot be written.
    pub fn unblock_client(&mut self, id: &ClientId, now: SystemTime) -> Result<i64, StoreError> {
        self.write(now, Subject::Client(id.clone()), |transaction| {
            let changed = transaction.execute(
                "UPDATE client SET blocked_at = NULL WHERE id = ?1",
                [id.as_str()],
            )?;
            let unblocked = AuditEvent::new(EventKind::ClientUnblocked).client(id.as_str());
            events::note(transaction, &unblocked)?;
            Ok(match changed {
                0 => Err(StoreError::NoClient(id.clone())),
                _ => Ok(()),
            })
        })
    }

    /// Forgets registered clients that never got a grant, or have none left. Returns the number of the
    /// change, `None` if there was none.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn forget_clients(&mut self, now: SystemTime) -> Result<Option<i64>, StoreError> {
        let life = |life: Duration| i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        let lives = [
            life(GRANTED_LIFE),
            life(NEVER_GRANTED_LIFE),
            seconds(now),
            MAX_FORGOTTEN,
        ];
        let ((), sequence) = self.write_many(now, |transaction| {
            let mut statement = transaction.prepare(
                "DELETE FROM client WHERE id IN (SELECT id FROM client WHERE \
                 origin = 'registered' AND blocked_at IS NULL \
                 AND coalesce(granted_at + ?1, created_at + ?2) <= ?3 \
                 AND NOT EXISTS (SELECT 1 FROM grant WHERE grant.client = client.id) \
                 LIMIT ?4) RETURNING id",
            )?;
            let ids = statement.query_map(lives, |row| parsed(row, 0).map(Subject::Client))?;
            let subjects: Vec<_> = ids.collect::<Result<_, _>>()?;
            Ok(Ok(((), subjects)))
        })?;
        Ok(sequence)
    }
}

/// Forgets the oldest registered client that never got a grant, if there are as many as may be.
fn forget_never_granted(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Subject>> {
    let mut statement = transaction.prepare(
        "DELETE FROM client WHERE id IN (SELECT id FROM client WHERE origin = 'registered' \
         AND granted_at IS NULL AND blocked_at IS NULL ORDER BY created_at DESC \
         LIMIT -1 OFFSET ?1) RETURNING id",
    )?;
    let forgotten = statement.query_map([MAX_NEVER_GRANTED - 1], |row| {
        parsed(row, 0).map(Subject::Client)
    })?;
    forgotten.collect()
}

/// Makes room for one more client: those that have no grant left give way, the one first whose last
/// grant is the oldest. Returns the records that are forgotten.
pub(super) fn make_room(
    transaction: &Transaction<'_>,
) -> rusqlite::Result<Result<Vec<Subject>, StoreError>> {
    let sql = "SELECT count(*) FROM client";
    let count: i64 = transaction.query_row(sql, [], |row| row.get(0))?;
    if count < MAX_CLIENTS {
        return Ok(Ok(Vec::new()));
    }

    let mut statement = transaction.prepare(
        "SELECT id FROM client WHERE origin != 'known' AND blocked_at IS NULL AND NOT EXISTS \
         (SELECT 1 FROM grant WHERE grant.client = client.id AND state != 'ended') \
         ORDER BY coalesce(granted_at, created_at) LIMIT ?1",
    )?;
    let ids = statement.query_map([MAX_REPLACED], |row| parsed::<ClientId>(row, 0))?;
    let mut forgotten = Vec::new();
    for id in ids {
        forgotten.extend(forget(transaction, &id?)?);
    }
    if forgotten.is_empty() {
        return Ok(Err(StoreError::TooManyClients));
    }
    Ok(Ok(forgotten))
}

/// Forgets a client with its grants. Returns the records that are forgotten.
fn forget(transaction: &Transaction<'_>, id: &ClientId) -> rusqlite::Result<Vec<Subject>> {
    let mut grants = transaction.prepare("DELETE FROM grant WHERE client = ?1 RETURNING id")?;
    let grants = grants.query_map([id.as_str()], |row| {
        Ok(Subject::Grant(GrantId::from_bytes(row.get(0)?)))
    })?;
    let mut forgotten: Vec<_> = grants.collect::<Result<_, _>>()?;
    transaction.execute("DELETE FROM client WHERE id = ?1", [id.as_str()])?;
    forgotten.push(Subject::Client(id.clone()));
    Ok(forgotten)
}

/// Returns the record of a client whose document was never fetched.
fn unseen_document(id: &ClientId, now: SystemTime) -> Client {
    Client {
        id: id.clone(),
        origin: ClientOrigin::Document,
        name: id.document_host().unwrap_or_default(),
        redirects: Vec::new(),
        auth_method: ClientAuthMethod::None,
        secret: None,
        created_at: now,
        granted_at: None,
        blocked_at: None,
    }
}
