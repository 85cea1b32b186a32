//! The store: keys, access, clients and grants in one SQLite file, the only place with SQL.
//!
//! SQLite, because the command line writes the file while a server has it open. Every write of
//! consequence adds a row to `change` in its transaction; a server looks at `PRAGMA data_version`,
//! which is cheap, reads what changed, and acknowledges it, which the command line waits for.

mod access_rules;
mod clients;
mod epochs;
mod error;
mod events;
mod grants;
mod keys;
mod login_codes;
mod oauth_rows;
mod rows;
mod schema;
mod usage;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use llamapool_wire::RelayId;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::access::AccessRule;
use crate::client::{Client, ClientId};
use crate::epoch::Epoch;
use crate::grant::{Grant, GrantId};
use crate::key::{Key, KeyId};
use crate::snapshot::Records;

pub use access_rules::RuleCondition;
pub use error::{GrantStepError, LoginStepError, StoreError};
pub use events::StoredEvent;
pub use grants::GrantUse;
pub use keys::{ActingKey, KeyCondition, KeyEdit, NewKey};

/// How long a write waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The changes that are kept. A server that has missed more reads everything.
const KEPT_CHANGES: i64 = 10_000;

/// What a write returns, and the records that it changed.
type Changed<T> = rusqlite::Result<Result<(T, Vec<Subject>), StoreError>>;

/// The store of one data directory.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    actor: String,
}

/// What a change was about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The rules of access.
    Access,
    /// A key.
    Key(KeyId),
    /// An OAuth client.
    Client(ClientId),
    /// The epoch of an id.
    Epoch(RelayId),
    /// A grant.
    Grant(GrantId),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number; a later change has a greater one.
    pub sequence: i64,
    /// What it was about.
    pub subject: Subject,
}

/// A record as it is after its change.
#[derive(Debug, Clone)]
pub enum ChangedRecord {
    /// A key.
    Key(Box<Key>),
    /// All rules of access.
    Access(Vec<AccessRule>),
    /// An OAuth client.
    Client(Box<Client>),
    /// An OAuth client that is forgotten.
    ClientForgotten(ClientId),
    /// The epoch of an id.
    Epoch(Epoch),
    /// A grant.
    Grant(Box<Grant>),
    /// A grant that ended long ago.
    GrantForgotten(GrantId),
}

/// What a server reads after a change.
#[derive(Debug)]
pub enum Reload {
    /// The records that changed, and the number of the last change.
    Some(Vec<ChangedRecord>, i64),
    /// Everything: too much has changed.
    All(Records),
}

/// A server has applied a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The calls and tunnels that it ended for it.
    pub ended: u64,
}

impl Store {
    /// The name of its file in a data directory.
    pub const FILE: &str = "identity.db";

    /// Opens the store of a data directory, and makes both if they are missing.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made, or as [`Store::open`].
    pub fn open_in(directory: &Path) -> Result<Self, StoreError> {
        schema::create_private_folder(directory)?;
        Self::open(&directory.join(Self::FILE))
    }

    /// Opens the store in a file, and makes it if there is none. The folder must exist.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, is damaged or newer, or can be read by others.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        schema::create_private(path)?;
        let connection = Connection::open(path).map_err(|error| sqlite(path, error))?;
        let store = Self {
            connection,
            path: path.to_owned(),
            actor: events::COMMAND_LINE.to_owned(),
        };
        schema::prepare(&store)?;
        Ok(store)
    }

    /// Returns all records.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn load(&self) -> Result<Records, StoreError> {
        // One transaction: the number fits the records.
        let transaction = self.connection.unchecked_transaction();
        let transaction = transaction.map_err(|error| self.failed(error))?;
        let keys = rows::keys(&transaction).map_err(|error| self.unreadable(error))?;
        let access = rows::access(&transaction).map_err(|error| self.unreadable(error))?;
        let unreadable = |error| self.unreadable(error);
        Ok(Records {
            keys,
            access,
            clients: oauth_rows::clients(&transaction).map_err(unreadable)?,
            grants: oauth_rows::live_grants(&transaction).map_err(unreadable)?,
            epochs: oauth_rows::epochs(&transaction).map_err(unreadable)?,
            sequence: rows::last_change(&transaction).map_err(unreadable)?,
        })
    }

    /// Returns a number that differs from the last one if another process has written. Cheap enough
    /// to be asked for several times a second.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        let version = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0));
        version.map_err(|error| self.failed(error))
    }

    /// Returns what has changed since a number.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn changes_since(&self, sequence: i64) -> Result<Reload, StoreError> {
        let changes = rows::changes(&self.connection, sequence);
        let Some(changes) = changes.map_err(|error| self.failed(error))? else {
            return self.load().map(Reload::All);
        };

        let last = changes.last().map_or(sequence, |change| change.sequence);
        let mut subjects: Vec<_> = changes.into_iter().map(|change| change.subject).collect();
        subjects.sort();
        subjects.dedup();

        let mut records = Vec::new();
        for subject in subjects {
            let record = self.changed_record(subject);
            records.extend(record.map_err(|error| self.unreadable(error))?);
        }
        Ok(Reload::Some(records, last))
    }

    /// Returns a record as it is now.
    fn changed_record(&self, subject: Subject) -> rusqlite::Result<Option<ChangedRecord>> {
        let connection = &self.connection;
        Ok(match subject {
            Subject::Access => Some(ChangedRecord::Access(rows::access(connection)?)),
            Subject::Key(id) => {
                let key = rows::key(connection, &id)?;
                key.map(|key| ChangedRecord::Key(Box::new(key)))
            }
            Subject::Client(id) => Some(match oauth_rows::client(connection, &id)? {
                Some(client) => ChangedRecord::Client(Box::new(client)),
                None => ChangedRecord::ClientForgotten(id),
            }),
            Subject::Epoch(id) => oauth_rows::epoch(connection, &id)?.map(ChangedRecord::Epoch),
            Subject::Grant(id) => Some(match oauth_rows::grant(connection, &id)? {
                Some(grant) => ChangedRecord::Grant(Box::new(grant)),
                None => ChangedRecord::GrantForgotten(id),
            }),
        })
    }

    /// Records that a server has applied all changes up to a number.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn acknowledge(&mut self, sequence: i64, ended: u64) -> Result<(), StoreError> {
        let done = self.connection.execute(
            "UPDATE applied SET sequence = ?1, ended = ?2",
            params![sequence, i64::try_from(ended).unwrap_or(i64::MAX)],
        );
        done.map(drop).map_err(|error| self.failed(error))
    }

    /// Returns what the server ended for a change, once it has applied it.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn acknowledgement(&self, sequence: i64) -> Result<Option<Acknowledgement>, StoreError> {
        let row = self
            .connection
            .query_row(
                "SELECT ended FROM applied WHERE sequence >= ?1",
                [sequence],
                |row| row.get::<_, i64>(0),
            )
            .optional();
        let ended = row.map_err(|error| self.failed(error))?;
        Ok(ended.map(|ended| Acknowledgement {
            ended: u64::try_from(ended).unwrap_or_default(),
        }))
    }

    /// Writes a copy of the store into a file that does not exist yet.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written.
    pub fn back_up(&self, copy: &Path) -> Result<(), StoreError> {
        schema::create_private(copy)?;
        let target = copy.to_string_lossy();
        let done = self.connection.execute("VACUUM INTO ?1", [&*target]);
        done.map(drop).map_err(|error| sqlite(copy, error))
    }

    /// Writes in one transaction, with the row of its change. Returns the number of the change.
    fn write(
        &mut self,
        now: SystemTime,
        subject: Subject,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<(), StoreError>>,
    ) -> Result<i64, StoreError> {
        let ((), sequence) = self.write_many(now, |transaction| {
            let changed = change(transaction)?;
            Ok(changed.map(|()| ((), vec![subject])))
        })?;
        Ok(sequence.unwrap_or_default())
    }

    /// Writes in one transaction, with a row for each record that changed. Returns the number of the
    /// last change, `None` if there was none.
    fn write_many<T>(
        &mut self,
        now: SystemTime,
        change: impl FnOnce(&Transaction<'_>) -> Changed<T>,
    ) -> Result<(T, Option<i64>), StoreError> {
        let path = self.path.clone();
        let failed = |error| failure(&path, error);
        // Immediately: two processes that both read before they write would both fail otherwise.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;

        let (value, subjects) = change(&transaction).map_err(failed)??;
        events::complete(&transaction, &self.actor, now).map_err(failed)?;
        let mut last = None;
        for subject in &subjects {
            last = Some(rows::insert_change(&transaction, subject, now).map_err(failed)?);
        }
        if let Some(last) = last {
            transaction
                .execute(
                    "DELETE FROM change WHERE sequence <= ?1",
                    [last - KEPT_CHANGES],
                )
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok((value, last))
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        sqlite(&self.path, error)
    }

    fn unreadable(&self, error: rusqlite::Error) -> StoreError {
        failure(&self.path, error)
    }
}

/// Returns why a read or a write has failed.
fn failure(path: &Path, error: rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, reason) => StoreError::Record {
            path: path.to_owned(),
            reason: reason.to_string(),
        },
        error => sqlite(path, error),
    }
}

fn sqlite(path: &Path, error: rusqlite::Error) -> StoreError {
    StoreError::Sqlite {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod oauth_tests;

#[cfg(test)]
mod admin_tests;
