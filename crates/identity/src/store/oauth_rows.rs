//! The rows of clients, grants and epochs as values, and back.

use std::str::FromStr;

use llamapool_wire::RelayId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{moment, parsed, seconds, wrong};
use crate::client::{Client, ClientId};
use crate::epoch::Epoch;
use crate::grant::{EndReason, Grant, GrantId, GrantState, Turns};
use crate::redirect::RedirectUri;

/// The columns of [`client_of`].
const CLIENT_COLUMNS: &str =
    "id, origin, name, redirects, auth_method, secret, created_at, granted_at, blocked_at";
/// The columns of [`grant_of`].
const GRANT_COLUMNS: &str = "id, client, approver, resource, epoch, scope, redirect, challenge, \
     code, state, code_until, turn, turned_at, is_used, created_at, idle_until, ends_at, \
     last_used_at, ended_why";

/// Reads all clients.
pub(super) fn clients(connection: &Connection) -> rusqlite::Result<Vec<Client>> {
    let sql = format!("SELECT {CLIENT_COLUMNS} FROM client");
    let mut statement = connection.prepare(&sql)?;
    let clients = statement.query_map([], client_of)?;
    clients.collect()
}

/// Reads one client.
pub(super) fn client(connection: &Connection, id: &ClientId) -> rusqlite::Result<Option<Client>> {
    let sql = format!("SELECT {CLIENT_COLUMNS} FROM client WHERE id = ?1");
    let mut statement = connection.prepare(&sql)?;
    statement.query_row([id.as_str()], client_of).optional()
}

/// Returns the client of a name that the operator added.
pub(super) fn known_client(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<ClientId>> {
    let sql = "SELECT id FROM client WHERE origin = 'known' AND name = ?1";
    let id = connection.query_row(sql, [name], |row| parsed(row, 0));
    id.optional()
}

/// Writes a client; one that is there keeps what is not part of its own description.
pub(super) fn insert_client(connection: &Connection, client: &Client) -> rusqlite::Result<()> {
    let redirects: Vec<_> = client.redirects.iter().map(RedirectUri::as_str).collect();
    // Texts always have a JSON text.
    let redirects = serde_json::to_string(&redirects).unwrap_or_default();
    connection.execute(
        "INSERT INTO client (id, origin, name, redirects, auth_method, secret, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, redirects = excluded.redirects",
        params![
            client.id.as_str(),
            client.origin.word(),
            client.name,
            redirects,
            client.auth_method.word(),
            client.secret,
            seconds(client.created_at),
        ],
    )?;
    Ok(())
}

/// Reads the grants that have not ended.
pub(super) fn live_grants(connection: &Connection) -> rusqlite::Result<Vec<Grant>> {
    let sql = format!("SELECT {GRANT_COLUMNS} FROM grant WHERE state != 'ended'");
    let mut statement = connection.prepare(&sql)?;
    let grants = statement.query_map([], grant_of)?;
    grants.collect()
}

/// Reads all grants, also those that have ended, the newest first.
pub(super) fn grants(connection: &Connection) -> rusqlite::Result<Vec<Grant>> {
    let sql = format!("SELECT {GRANT_COLUMNS} FROM grant ORDER BY created_at DESC, id");
    let mut statement = connection.prepare(&sql)?;
    let grants = statement.query_map([], grant_of)?;
    grants.collect()
}

/// Reads one grant.
pub(super) fn grant(connection: &Connection, id: &GrantId) -> rusqlite::Result<Option<Grant>> {
    let sql = format!("SELECT {GRANT_COLUMNS} FROM grant WHERE id = ?1");
    let mut statement = connection.prepare(&sql)?;
    statement.query_row([id.as_bytes()], grant_of).optional()
}

/// Writes a new grant.
pub(super) fn insert_grant(connection: &Connection, grant: &Grant) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO grant (id, client, approver, resource, epoch, scope, redirect, challenge, \
         code, state, code_until, turned_at, created_at, idle_until, ends_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'code', ?10, ?11, ?12, ?13, ?14)",
        params![
            grant.id.as_bytes(),
            grant.client.as_str(),
            grant.approver.to_string(),
            grant.resource.as_str(),
            grant.epoch,
            grant.scope.word(),
            grant.redirect,
            grant.challenge.text(),
            grant.code,
            seconds(grant.code_until),
            seconds(grant.turns.turned_at),
            seconds(grant.created_at),
            seconds(grant.idle_until),
            grant.ends_at.map(seconds),
        ],
    )?;
    Ok(())
}

/// Reads all epochs.
pub(super) fn epochs(connection: &Connection) -> rusqlite::Result<Vec<Epoch>> {
    let mut statement = connection.prepare("SELECT id, number, served_by FROM id_epoch")?;
    let epochs = statement.query_map([], epoch_of)?;
    epochs.collect()
}

/// Reads the epoch of an id.
pub(super) fn epoch(connection: &Connection, id: &RelayId) -> rusqlite::Result<Option<Epoch>> {
    let sql = "SELECT id, number, served_by FROM id_epoch WHERE id = ?1";
    let mut statement = connection.prepare(sql)?;
    statement.query_row([id.as_str()], epoch_of).optional()
}

/// Writes an epoch, unless a later one is there. Returns whether it is written.
pub(super) fn set_epoch(connection: &Connection, epoch: &Epoch) -> rusqlite::Result<bool> {
    // Texts always have a JSON text.
    let served_by = serde_json::to_string(&epoch.served_by).unwrap_or_default();
    let changed = connection.execute(
        "INSERT INTO id_epoch (id, number, served_by) VALUES (?1, ?2, ?3) \
         ON CONFLICT (id) DO UPDATE SET number = excluded.number, served_by = excluded.served_by \
         WHERE number <= excluded.number",
        params![epoch.id.as_str(), epoch.number, served_by],
    )?;
    Ok(changed > 0)
}

fn client_of(row: &Row<'_>) -> rusqlite::Result<Client> {
    let redirects: String = row.get(3)?;
    let redirects: Vec<String> =
        serde_json::from_str(&redirects).map_err(|error| wrong(3, error))?;
    let redirects = redirects.iter().map(|text| RedirectUri::read(text));
    let redirects: Result<_, _> = redirects.collect();
    Ok(Client {
        id: parsed(row, 0)?,
        origin: parsed(row, 1)?,
        name: row.get(2)?,
        redirects: redirects.map_err(|error| wrong(3, error))?,
        auth_method: parsed(row, 4)?,
        secret: row.get(5)?,
        created_at: moment(row.get(6)?),
        granted_at: row.get::<_, Option<i64>>(7)?.map(moment),
        blocked_at: row.get::<_, Option<i64>>(8)?.map(moment),
    })
}

fn grant_of(row: &Row<'_>) -> rusqlite::Result<Grant> {
    Ok(Grant {
        id: GrantId::from_bytes(row.get(0)?),
        client: parsed(row, 1)?,
        approver: parsed(row, 2)?,
        resource: parsed(row, 3)?,
        epoch: row.get(4)?,
        scope: parsed(row, 5)?,
        redirect: row.get(6)?,
        challenge: parsed(row, 7)?,
        code: row.get(8)?,
        state: state_of(row)?,
        code_until: moment(row.get(10)?),
        turns: Turns {
            turn: row.get(11)?,
            turned_at: moment(row.get(12)?),
            is_used: row.get(13)?,
        },
        created_at: moment(row.get(14)?),
        idle_until: moment(row.get(15)?),
        ends_at: row.get::<_, Option<i64>>(16)?.map(moment),
        last_used_at: row.get::<_, Option<i64>>(17)?.map(moment),
    })
}

fn state_of(row: &Row<'_>) -> rusqlite::Result<GrantState> {
    let word: String = row.get(9)?;
    Ok(match word.as_str() {
        "code" => GrantState::Code,
        "active" => GrantState::Active,
        _ => {
            let why: Option<String> = row.get(18)?;
            let why = EndReason::from_str(why.as_deref().unwrap_or_default());
            GrantState::Ended(why.map_err(|error| wrong(18, error))?)
        }
    })
}

fn epoch_of(row: &Row<'_>) -> rusqlite::Result<Epoch> {
    let served_by: String = row.get(2)?;
    Ok(Epoch {
        id: parsed(row, 0)?,
        number: row.get(1)?,
        served_by: serde_json::from_str(&served_by).map_err(|error| wrong(2, error))?,
    })
}
