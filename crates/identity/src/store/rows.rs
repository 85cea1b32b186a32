//! The rows of the tables as values, and back.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{Change, StoreError, Subject};
use crate::access::AccessRule;
use crate::key::{Key, KeyDigest, KeyId, KeyKind, KeyOrigin, KeySecret, Rights};
use crate::pattern::Pattern;
use crate::usage::{Day, Usage};

/// The changes that are read one by one; beyond them everything is read.
const MAX_CHANGES: usize = 1000;

/// The columns of [`key_of`].
const KEY_COLUMNS: &str =
    "id, kind, name, rights, created_at, expires_at, revoked_at, last_used_at";

/// The columns of [`rule_of`].
const RULE_COLUMNS: &str = "pattern, mode, limits, messages";

/// Returns a moment in seconds since the epoch.
pub(super) fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Returns rights or limits as they are stored.
pub(super) fn json_text(value: &impl Serialize) -> String {
    // They have no maps with keys that are no texts, so they always have a text.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads all keys.
pub(super) fn keys(connection: &Connection) -> rusqlite::Result<Vec<Key>> {
    let mut secrets: HashMap<String, Vec<KeySecret>> = HashMap::new();
    let mut statement = connection.prepare("SELECT key_id, digest, expires_at FROM key_secret")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        secrets
            .entry(row.get(0)?)
            .or_default()
            .push(secret_of(row, 1)?);
    }

    let mut statement = connection.prepare(&format!("SELECT {KEY_COLUMNS} FROM key"))?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let mut key = key_of(row)?;
        key.secrets = secrets.remove(key.id.as_str()).unwrap_or_default();
        keys.push(key);
    }
    Ok(keys)
}

/// Reads one key.
pub(super) fn key(connection: &Connection, id: &KeyId) -> rusqlite::Result<Option<Key>> {
    let sql = format!("SELECT {KEY_COLUMNS} FROM key WHERE id = ?1");
    let key = connection
        .query_row(&sql, [id.as_str()], key_of)
        .optional()?;
    let Some(mut key) = key else {
        return Ok(None);
    };

    let mut statement =
        connection.prepare("SELECT digest, expires_at FROM key_secret WHERE key_id = ?1")?;
    let secrets = statement.query_map([id.as_str()], |row| secret_of(row, 0))?;
    key.secrets = secrets.collect::<Result<_, _>>()?;
    Ok(Some(key))
}

/// Reads the keys of a kind, without their secrets.
pub(super) fn keys_of_kind(connection: &Connection, kind: KeyKind) -> rusqlite::Result<Vec<Key>> {
    let sql = format!("SELECT {KEY_COLUMNS} FROM key WHERE kind = ?1");
    let mut statement = connection.prepare(&sql)?;
    let keys = statement.query_map([kind.word()], key_of)?;
    keys.collect()
}

/// Reads the rules of access.
pub(super) fn access(connection: &Connection) -> rusqlite::Result<Vec<AccessRule>> {
    let sql = format!("SELECT {RULE_COLUMNS} FROM access ORDER BY pattern");
    let mut statement = connection.prepare(&sql)?;
    let rules = statement.query_map([], rule_of)?;
    rules.collect()
}

/// Reads the rule of exactly this pattern.
pub(super) fn access_rule(
    connection: &Connection,
    pattern: &Pattern,
) -> rusqlite::Result<Option<AccessRule>> {
    let sql = format!("SELECT {RULE_COLUMNS} FROM access WHERE pattern = ?1");
    let rule = connection.query_row(&sql, [pattern.to_string()], rule_of);
    rule.optional()
}

/// Reads what keys have used since a day.
pub(super) fn usage(
    connection: &Connection,
    since: Day,
) -> rusqlite::Result<Vec<(KeyId, Day, Usage)>> {
    let sql = "SELECT key_id, day, calls, bytes_in, bytes_out, tokens FROM usage WHERE day >= ?1";
    let mut statement = connection.prepare(sql)?;
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    let rows = statement.query_map([since.0], |row| {
        let usage = Usage {
            calls: number(row.get(2)?),
            bytes_in: number(row.get(3)?),
            bytes_out: number(row.get(4)?),
            tokens: number(row.get(5)?),
        };
        Ok((parsed(row, 0)?, Day(row.get(1)?), usage))
    })?;
    rows.collect()
}

/// Adds to what keys have used.
pub(super) fn add_usage(
    connection: &Connection,
    used: &[(KeyId, Day, Usage)],
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "INSERT INTO usage (key_id, day, calls, bytes_in, bytes_out, tokens) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (key_id, day) DO UPDATE SET calls = calls + excluded.calls, \
         bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out, \
         tokens = tokens + excluded.tokens",
    )?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for (id, day, usage) in used {
        statement.execute(params![
            id.as_str(),
            day.0,
            number(usage.calls),
            number(usage.bytes_in),
            number(usage.bytes_out),
            number(usage.tokens),
        ])?;
    }
    Ok(())
}

/// Reads the changes after a number; `None` if they are too many, or some are gone.
pub(super) fn changes(
    connection: &Connection,
    after: i64,
) -> rusqlite::Result<Option<Vec<Change>>> {
    let mut statement = connection.prepare(
        "SELECT sequence, what, subject FROM change WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let limit = i64::try_from(MAX_CHANGES + 1).unwrap_or(i64::MAX);
    let changes = statement.query_map(params![after, limit], |row| {
        let what: String = row.get(1)?;
        let subject = match what.as_str() {
            "access" => Subject::Access,
            "client" => Subject::Client(parsed(row, 2)?),
            "epoch" => Subject::Epoch(parsed(row, 2)?),
            "grant" => Subject::Grant(parsed(row, 2)?),
            _ => Subject::Key(parsed(row, 2)?),
        };
        Ok(Change {
            sequence: row.get(0)?,
            subject,
        })
    })?;
    let changes: Vec<_> = changes.collect::<Result<_, _>>()?;

    let is_whole = match changes.first() {
        Some(first) => first.sequence == after + 1 && changes.len() <= MAX_CHANGES,
        None => last_change(connection)? == after,
    };
    Ok(is_whole.then_some(changes))
}

/// Returns the number of the last change, 0 before the first.
pub(super) fn last_change(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(sequence), 0) FROM change";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Adds the row of a change. Returns its number.
pub(super) fn insert_change(
    connection: &Connection,
    subject: &Subject,
    now: SystemTime,
) -> rusqlite::Result<i64> {
    let (what, name) = match subject {
        Subject::Access => ("access", String::new()),
        Subject::Key(id) => ("key", id.to_string()),
        Subject::Client(id) => ("client", id.to_string()),
        Subject::Epoch(id) => ("epoch", id.to_string()),
        Subject::Grant(id) => ("grant", id.to_string()),
    };
    connection.execute(
        "INSERT INTO change (at, what, subject) VALUES (?1, ?2, ?3)",
        params![seconds(now), what, name],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Adds a secret to a key.
pub(super) fn insert_secret(
    connection: &Connection,
    id: &KeyId,
    digest: &KeyDigest,
    now: SystemTime,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO key_secret (digest, key_id, created_at) VALUES (?1, ?2, ?3)",
        params![digest, id.as_str(), seconds(now)],
    )?;
    Ok(())
}

/// Returns the id of the key of a kind that has a name and is not revoked.
pub(super) fn id_of_name(
    connection: &Connection,
    kind: KeyKind,
    name: &str,
) -> rusqlite::Result<Option<KeyId>> {
    connection
        .query_row(
            "SELECT id FROM key WHERE kind = ?1 AND name = ?2 AND revoked_at IS NULL",
            params![kind.word(), name],
            |row| parsed(row, 0),
        )
        .optional()
}

/// Returns the kind of a key that may be changed, or why it may not.
pub(super) fn check_live(
    connection: &Connection,
    id: &KeyId,
) -> rusqlite::Result<Result<KeyKind, StoreError>> {
    let row = connection
        .query_row(
            "SELECT kind, revoked_at FROM key WHERE id = ?1",
            [id.as_str()],
            |row| Ok((parsed(row, 0)?, row.get::<_, Option<i64>>(1)?)),
        )
        .optional()?;
    Ok(match row {
        None => Err(StoreError::NoKey(id.clone())),
        Some((_, Some(_))) => Err(StoreError::Revoked(id.clone())),
        Some((kind, None)) => Ok(kind),
    })
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<Key> {
    let rights: String = row.get(3)?;
    let rights: Rights = serde_json::from_str(&rights).map_err(|error| wrong(3, error))?;
    Ok(Key {
        id: parsed(row, 0)?,
        name: row.get(2)?,
        rights,
        origin: KeyOrigin::Stored,
        created_at: moment(row.get(4)?),
        expires_at: row.get::<_, Option<i64>>(5)?.map(moment),
        revoked_at: row.get::<_, Option<i64>>(6)?.map(moment),
        last_used_at: row.get::<_, Option<i64>>(7)?.map(moment),
        secrets: Vec::new(),
    })
}

fn rule_of(row: &Row<'_>) -> rusqlite::Result<AccessRule> {
    let limits: String = row.get(2)?;
    let messages: String = row.get(3)?;
    Ok(AccessRule {
        pattern: parsed(row, 0)?,
        mode: parsed(row, 1)?,
        limits: serde_json::from_str(&limits).map_err(|error| wrong(2, error))?,
        messages: serde_json::from_str(&messages).map_err(|error| wrong(3, error))?,
    })
}

fn secret_of(row: &Row<'_>, first: usize) -> rusqlite::Result<KeySecret> {
    Ok(KeySecret {
        digest: row.get(first)?,
        expires_at: row.get::<_, Option<i64>>(first + 1)?.map(moment),
    })
}

pub(super) fn moment(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// Parses a column of text.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| wrong(column, error))
}

pub(super) fn wrong(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
