//! The file of the store: its creation, its settings and its tables, by version.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

use super::{BUSY_TIMEOUT, Store, StoreError, sqlite};

/// The tables of version 1.
const VERSION_1: &str = "
CREATE TABLE key (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('caller', 'worker')),
  name TEXT NOT NULL,
  rights TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER
) STRICT;
CREATE UNIQUE INDEX key_by_name ON key (kind, name) WHERE revoked_at IS NULL;
CREATE TABLE key_secret (
  digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
  key_id TEXT NOT NULL REFERENCES key (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX key_secret_by_key ON key_secret (key_id);
CREATE TABLE access (
  pattern TEXT PRIMARY KEY,
  mode TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE change (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  what TEXT NOT NULL,
  subject TEXT NOT NULL
) STRICT;
CREATE TABLE applied (
  sequence INTEGER NOT NULL,
  ended INTEGER NOT NULL
) STRICT;
INSERT INTO applied VALUES (0, 0);
";

/// Clients, grants, epochs and one-time codes. A code and a secret are
/// kept as their SHA-256, a refresh token not at all.
const SIGN_IN: &str = "
CREATE TABLE client (
  id TEXT PRIMARY KEY,
  origin TEXT NOT NULL CHECK (origin IN ('known', 'document', 'registered')),
  name TEXT NOT NULL,
  redirects TEXT NOT NULL,
  auth_method TEXT NOT NULL,
  secret BLOB CHECK (length(secret) = 32),
  created_at INTEGER NOT NULL,
  granted_at INTEGER,
  blocked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX client_never_granted ON client (created_at)
  WHERE origin = 'registered' AND granted_at IS NULL AND blocked_at IS NULL;
CREATE TABLE grant (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  client TEXT NOT NULL REFERENCES client (id),
  approver TEXT NOT NULL,
  resource TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  scope TEXT NOT NULL,
  redirect TEXT NOT NULL,
  challenge TEXT NOT NULL,
  code BLOB NOT NULL CHECK (length(code) = 32),
  state TEXT NOT NULL CHECK (state IN ('code', 'active', 'ended')),
  code_until INTEGER NOT NULL,
  turn INTEGER NOT NULL DEFAULT 0,
  turned_at INTEGER NOT NULL,
  is_used INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  idle_until INTEGER NOT NULL,
  ends_at INTEGER,
  last_used_at INTEGER,
  ended_at INTEGER,
  ended_why TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX grant_by_approver ON grant (approver);
CREATE INDEX grant_by_client ON grant (client);
CREATE INDEX grant_by_resource ON grant (resource);
CREATE TABLE id_epoch (
  id TEXT PRIMARY KEY,
  number INTEGER NOT NULL,
  served_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE login_code (
  selector TEXT PRIMARY KEY,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  approver TEXT NOT NULL,
  until INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  used_at INTEGER
) STRICT, WITHOUT ROWID;
";

/// The limits of ids, and the use of keys on each day, as days since 1970-01-01. Declared keys have
/// usage as well and no row in `key`.
const LIMITS_AND_USAGE: &str = "
ALTER TABLE access ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
CREATE TABLE usage (
  key_id TEXT NOT NULL,
  day INTEGER NOT NULL,
  calls INTEGER NOT NULL,
  bytes_in INTEGER NOT NULL,
  bytes_out INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  PRIMARY KEY (key_id, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_day ON usage (day);
";

/// The policies of messages.
const MESSAGES: &str = "ALTER TABLE access ADD COLUMN messages TEXT NOT NULL DEFAULT '{}';";

/// The events of writes, for the audit log. While their write runs they have no time.
const EVENTS: &str = "
CREATE TABLE event (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER,
  actor TEXT,
  event TEXT NOT NULL
) STRICT;
CREATE INDEX event_of_this_write ON event (number) WHERE at IS NULL;
";

/// Admin keys. A check cannot be changed, so the tables are written anew: first those that refer to
/// others, as a deletion of a key deletes its secrets.
const ADMIN_KEYS: &str = "
CREATE TABLE new_key (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('caller', 'worker', 'admin')),
  name TEXT NOT NULL,
  rights TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER
) STRICT;
INSERT INTO new_key (id, kind, name, rights, created_at, expires_at, revoked_at, last_used_at)
  SELECT id, kind, name, rights, created_at, expires_at, revoked_at, last_used_at FROM key;
CREATE TABLE new_key_secret (
  digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
  key_id TEXT NOT NULL REFERENCES new_key (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO new_key_secret (digest, key_id, created_at, expires_at)
  SELECT digest, key_id, created_at, expires_at FROM key_secret;
DROP TABLE key_secret;
DROP TABLE key;
ALTER TABLE new_key RENAME TO key;
ALTER TABLE new_key_secret RENAME TO key_secret;
CREATE UNIQUE INDEX key_by_name ON key (kind, name) WHERE revoked_at IS NULL;
CREATE INDEX key_secret_by_key ON key_secret (key_id);
";

/// The steps from each version to the next.
pub(super) const STEPS: &[&str] = &[
    VERSION_1,
    SIGN_IN,
    LIMITS_AND_USAGE,
    MESSAGES,
    EVENTS,
    ADMIN_KEYS,
];

/// Makes a folder that only the user of this process can enter, with its parents. One that exists stays
/// as it is.
pub(super) fn create_private_folder(path: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| io_error(path, error))
}

/// Makes an empty file that only the user of this process can read, unless there is one. Refuses one
/// that others can read.
pub(super) fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| io_error(path, error))?;

    #[cfg(unix)]
    {
        let metadata = file.metadata().map_err(|error| io_error(path, error))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Permissions {
                path: path.to_owned(),
                mode,
            });
        }
    }
    drop(file);
    Ok(())
}

/// Sets a connection up, checks the file and brings its tables to the newest version.
pub(super) fn prepare(store: &Store) -> Result<(), StoreError> {
    let connection = &store.connection;
    let failed = |error| store.failed(error);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;

    // A commit is durable when it returns: a revocation must not be lost with the power.
    let settings = [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("secure_delete", "ON"),
        ("trusted_schema", "OFF"),
    ];
    for (name, value) in settings {
        let set = connection.pragma_update_and_check(None, name, value, |_| Ok(()));
        match set {
            // Most of them return no row.
            Ok(()) | Err(rusqlite::Error::QueryReturnedNoRows) => {}
            Err(error) => return Err(damaged_or(store, error)),
        }
    }

    let found: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(|error| damaged_or(store, error))?;
    if found != "ok" {
        return Err(damaged(store, found));
    }
    migrate(store)
}

/// Takes the steps that a file lacks, each in a transaction with its number.
fn migrate(store: &Store) -> Result<(), StoreError> {
    let newest = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    loop {
        let connection = &store.connection;
        let failed = |error| store.failed(error);
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(failed)?;
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed)?;

        let step = usize::try_from(version).ok().and_then(|at| STEPS.get(at));
        let Some(step) = step else {
            connection.execute_batch("ROLLBACK").map_err(failed)?;
            if version == newest {
                return Ok(());
            }
            return Err(StoreError::Newer {
                path: store.path.clone(),
                found: version,
                expected: newest,
            });
        };
        connection.execute_batch(step).map_err(failed)?;
        connection
            .pragma_update(None, "user_version", version + 1)
            .map_err(failed)?;
        connection.execute_batch("COMMIT").map_err(failed)?;
    }
}

fn damaged_or(store: &Store, error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};

    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => damaged(store, error.to_string()),
        _ => store.failed(error),
    }
}

fn damaged(store: &Store, found: String) -> StoreError {
    StoreError::Damaged {
        path: store.path.clone(),
        found,
    }
}

fn io_error(path: &Path, error: io::Error) -> StoreError {
    let error = rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    sqlite(path, error)
}
