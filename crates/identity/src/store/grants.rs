//! Grants in the store. Each step is decided by one `UPDATE … WHERE` on one row, so that of several
//! processes that take it at once, one does.

use std::time::{Duration, SystemTime};

use rusqlite::{Transaction, params};

use super::events;
use super::oauth_rows;
use super::rows::seconds;
use super::{Changed, GrantStepError, Store, StoreError, Subject, clients};
use crate::audit::EventKind;
use crate::client::{Client, ClientOrigin};
use crate::grant::{
    Approved, CodeRedemption, EndReason, Grant, GrantError, GrantId, GrantState, Granted,
    IDLE_LIFE, Refresh, ReusePolicy, Turning, Turns,
};

/// The most grants of a store, those that ended lately included.
pub(super) const MAX_GRANTS: i64 = 200_000;
/// The most grants of one approver that have not ended.
pub(super) const MAX_GRANTS_OF_APPROVER: i64 = 10_000;
/// How long a grant that has ended is kept, for the list of grants.
const ENDED_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most grants that are ended or forgotten in one transaction.
const MAX_CLEANED: i64 = 1000;

/// A use of a grant, for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantUse {
    /// The grant.
    pub grant: GrantId,
    /// The greatest turn whose access token was used.
    pub turn: u32,
    /// When.
    pub at: SystemTime,
}

/// The end of grants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    why: EndReason,
    at: i64,
}

impl Ended {
    pub(super) fn now(why: EndReason, now: SystemTime) -> Self {
        Self {
            why,
            at: seconds(now),
        }
    }

    /// Ends the grants of a condition on `?3`. Returns those that had not ended.
    pub(super) fn all_where(
        self,
        transaction: &Transaction<'_>,
        condition: &str,
        value: &str,
    ) -> rusqlite::Result<Vec<Subject>> {
        let mut statement = transaction.prepare(&format!(
            "UPDATE grant SET state = 'ended', ended_why = ?1, ended_at = ?2 \
             WHERE state != 'ended' AND {condition} RETURNING id"
        ))?;
        let ids = statement.query_map(params![self.why.word(), self.at, value], |row| {
            Ok(GrantId::from_bytes(row.get(0)?))
        })?;
        let ids: Vec<_> = ids.collect::<Result<_, _>>()?;
        for id in &ids {
            events::note_ended(transaction, id, self.why)?;
        }
        Ok(ids.into_iter().map(Subject::Grant).collect())
    }

    /// Ends one grant. Returns whether it had not ended.
    fn one(self, transaction: &Transaction<'_>, id: &GrantId) -> rusqlite::Result<bool> {
        let changed = transaction.execute(
            "UPDATE grant SET state = 'ended', ended_why = ?1, ended_at = ?2 \
             WHERE state != 'ended' AND id = ?3",
            params![self.why.word(), self.at, id.as_bytes()],
        )?;
        if changed > 0 {
            events::note_ended(transaction, id, self.why)?;
        }
        Ok(changed > 0)
    }
}

impl Store {
    /// Stores a grant that was just allowed, before its code leaves. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there are too many, the id or the client is another one by now, or it cannot be written.
    pub fn create_grant(
        &mut self,
        approved: &Approved,
        client: &Client,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        let ((), sequence) = self.write_many(now, |transaction| {
            let mut subjects = match make_room(transaction, approved)? {
                Ok(forgotten) => forgotten,
                Err(error) => return Ok(Err(error)),
            };
            match touch_client(transaction, client, now)? {
                Ok(forgotten) => subjects.extend(forgotten),
                Err(error) => return Ok(Err(error)),
            }
            let created = create(transaction, approved)?;
            Ok(created.map(|((), created)| {
                subjects.extend(created);
                ((), subjects)
            }))
        })?;
        Ok(sequence.unwrap_or_default())
    }

    /// Redeems a code, once. A second time ends its grant.
    ///
    /// # Errors
    ///
    /// If the code does not fit or was redeemed, or the store cannot be written.
    pub fn redeem_code(
        &mut self,
        presented: &CodeRedemption,
        now: SystemTime,
    ) -> Result<Granted, GrantStepError> {
        let (granted, sequence) = self.write_many(now, |transaction| {
            let step = redeem(transaction, presented, now)?;
            Ok(Ok(step.with_subject(presented.grant)))
        })?;
        Ok(Granted {
            sequence,
            ..granted?
        })
    }

    /// Takes a turn of a grant: the next one, or the present one again.
    ///
    /// # Errors
    ///
    /// If the refresh token does not fit, or was replaced long ago, which ends the grant unless the
    /// policy refuses the token alone; or the store cannot be written.
    pub fn refresh_grant(
        &mut self,
        presented: &Refresh,
        policy: ReusePolicy,
        now: SystemTime,
    ) -> Result<Granted, GrantStepError> {
        let (granted, sequence) = self.write_many(now, |transaction| {
            let step = refresh(transaction, presented, policy, now)?;
            Ok(Ok(step.with_subject(presented.grant)))
        })?;
        Ok(Granted {
            sequence,
            ..granted?
        })
    }

    /// Ends a grant; one that has ended stays as it is. Returns the number of the change, `None` if
    /// there was none.
    ///
    /// # Errors
    ///
    /// If there is no such grant, or it cannot be written.
    pub fn end_grant(
        &mut self,
        id: &GrantId,
        why: EndReason,
        now: SystemTime,
    ) -> Result<Option<i64>, StoreError> {
        let ((), sequence) = self.write_many(now, |transaction| {
            if oauth_rows::grant(transaction, id)?.is_none() {
                return Ok(Err(StoreError::NoGrant(*id)));
            }
            let has_changed = Ended::now(why, now).one(transaction, id)?;
            let subjects = has_changed.then_some(Subject::Grant(*id));
            Ok(Ok(((), subjects.into_iter().collect())))
        })?;
        Ok(sequence)
    }

    /// Returns one grant.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        let grant = oauth_rows::grant(&self.connection, id);
        grant.map_err(|error| self.unreadable(error))
    }

    /// Returns all grants, also those that ended lately, the newest first.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn grants(&self) -> Result<Vec<Grant>, StoreError> {
        let grants = oauth_rows::grants(&self.connection);
        grants.map_err(|error| self.unreadable(error))
    }

    /// Stores when grants were used last, and that the answer of their turn has arrived.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn note_grant_use(&mut self, used: &[GrantUse], now: SystemTime) -> Result<(), StoreError> {
        // No change: calls are decided without it.
        let ((), _) = self.write_many(now, |transaction| {
            let mut statement = transaction.prepare(
                "UPDATE grant SET last_used_at = max(coalesce(last_used_at, 0), ?2), \
                 is_used = is_used OR turn = ?3 WHERE id = ?1",
            )?;
            for GrantUse { grant, turn, at } in used {
                statement.execute(params![grant.as_bytes(), seconds(*at), turn])?;
            }
            Ok(Ok(((), Vec::new())))
        })?;
        Ok(())
    }

    /// Ends grants whose time is over, and forgets those that ended long ago. Returns the number of
    /// the change, `None` if there was none.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn clean_grants(&mut self, now: SystemTime) -> Result<Option<i64>, StoreError> {
        let ((), sequence) = self.write_many(now, |transaction| {
            let mut expire = transaction.prepare(
                "UPDATE grant SET state = 'ended', ended_why = ?1, ended_at = ?2 WHERE id IN \
                 (SELECT id FROM grant WHERE state != 'ended' AND min(coalesce(ends_at, idle_until), \
                 CASE state WHEN 'code' THEN code_until ELSE idle_until END) <= ?2 LIMIT ?3) \
                 RETURNING id",
            )?;
            let subject = |row: &rusqlite::Row<'_>| {
                Ok(Subject::Grant(GrantId::from_bytes(row.get(0)?)))
            };
            let why = EndReason::Expired.word();
            let expired = expire.query_map(params![why, seconds(now), MAX_CLEANED], subject)?;
            let mut subjects: Vec<_> = expired.collect::<Result<_, _>>()?;
            for subject in &subjects {
                if let Subject::Grant(id) = subject {
                    events::note_ended(transaction, id, EndReason::Expired)?;
                }
            }

            let mut forget = transaction.prepare(
                "DELETE FROM grant WHERE id IN \
                 (SELECT id FROM grant WHERE state = 'ended' AND ended_at <= ?1 LIMIT ?2) \
                 RETURNING id",
            )?;
            let life = i64::try_from(ENDED_LIFE.as_secs()).unwrap_or(i64::MAX);
            let before = seconds(now) - life;
            let forgotten = forget.query_map([before, MAX_CLEANED], subject)?;
            for forgotten in forgotten {
                subjects.push(forgotten?);
            }
            Ok(Ok(((), subjects)))
        })?;
        Ok(sequence)
    }
}

/// What became of a step, and whether its grant has changed.
struct Step {
    result: Result<Granted, GrantError>,
    has_changed: bool,
}

impl Step {
    fn refused(error: GrantError) -> Self {
        Self {
            result: Err(error),
            has_changed: false,
        }
    }

    /// Ends the grant for an error.
    fn ended(
        transaction: &Transaction<'_>,
        id: &GrantId,
        ended: Ended,
        error: GrantError,
    ) -> rusqlite::Result<Self> {
        let has_changed = ended.one(transaction, id)?;
        Ok(Self {
            result: Err(error),
            has_changed,
        })
    }

    fn granted(grant: Grant, scope: crate::scope::Scope, has_changed: bool) -> Self {
        Self {
            result: Ok(Granted {
                turn: grant.turns.turn,
                grant,
                scope,
                sequence: None,
            }),
            has_changed,
        }
    }

    fn with_subject(self, id: GrantId) -> (Result<Granted, GrantError>, Vec<Subject>) {
        let subject = self.has_changed.then_some(Subject::Grant(id));
        (self.result, subject.into_iter().collect())
    }
}

fn redeem(
    transaction: &Transaction<'_>,
    presented: &CodeRedemption,
    now: SystemTime,
) -> rusqlite::Result<Step> {
    let id = &presented.grant;
    let Some(grant) = oauth_rows::grant(transaction, id)? else {
        return Ok(Step::refused(GrantError::Unknown));
    };
    match grant.check_code(presented, now) {
        Ok(()) => {}
        Err(GrantError::CodeReuse) => {
            let ended = Ended::now(EndReason::CodeReuse, now);
            return Step::ended(transaction, id, ended, GrantError::CodeReuse);
        }
        // A clock that is set back later does not revive it.
        Err(GrantError::CodeExpired) => {
            let ended = Ended::now(EndReason::Expired, now);
            return Step::ended(transaction, id, ended, GrantError::CodeExpired);
        }
        Err(error) => return Ok(Step::refused(error)),
    }

    let idle_until = now + IDLE_LIFE;
    let changed = transaction.execute(
        "UPDATE grant SET state = 'active', turned_at = ?3, idle_until = ?4 \
         WHERE id = ?1 AND state = 'code' AND code = ?2",
        params![
            id.as_bytes(),
            presented.code,
            seconds(now),
            seconds(idle_until)
        ],
    )?;
    if changed == 0 {
        return Ok(Step::refused(GrantError::CodeReuse));
    }
    let scope = grant.scope;
    let grant = Grant {
        state: GrantState::Active,
        turns: Turns::new(now),
        idle_until,
        ..grant
    };
    events::note(
        transaction,
        &events::of_grant(EventKind::GrantRedeemed, &grant),
    )?;
    Ok(Step::granted(grant, scope, true))
}

fn refresh(
    transaction: &Transaction<'_>,
    presented: &Refresh,
    policy: ReusePolicy,
    now: SystemTime,
) -> rusqlite::Result<Step> {
    let id = &presented.grant;
    let Some(grant) = oauth_rows::grant(transaction, id)? else {
        return Ok(Step::refused(GrantError::Unknown));
    };
    let (turning, scope) = match grant.check_refresh(presented, now) {
        Ok(checked) => checked,
        Err(error) if error == GrantError::Ended && grant.has_expired(now) => {
            let ended = Ended::now(EndReason::Expired, now);
            return Step::ended(transaction, id, ended, error);
        }
        Err(error) => return Ok(Step::refused(error)),
    };
    let turns = match (turning, policy) {
        (Turning::Next(turns), _) => turns,
        (Turning::Again, _) => return Ok(Step::granted(grant, scope, false)),
        (Turning::Ahead, _) => return Ok(Step::refused(GrantError::Unknown)),
        (Turning::Reuse, ReusePolicy::Refuse) => {
            return Ok(Step::refused(GrantError::RefreshReuse));
        }
        (Turning::Reuse, ReusePolicy::End) => {
            let ended = Ended::now(EndReason::RefreshReuse, now);
            return Step::ended(transaction, id, ended, GrantError::RefreshReuse);
        }
    };

    let idle_until = now + IDLE_LIFE;
    let changed = transaction.execute(
        "UPDATE grant SET turn = ?3, turned_at = ?4, is_used = 0, idle_until = ?5 \
         WHERE id = ?1 AND state = 'active' AND turn = ?2",
        params![
            id.as_bytes(),
            presented.turn,
            turns.turn,
            seconds(now),
            seconds(idle_until)
        ],
    )?;
    if changed == 0 {
        return Ok(Step::refused(GrantError::Ended));
    }
    let grant = Grant {
        turns,
        idle_until,
        ..grant
    };
    let refreshed =
        events::of_grant(EventKind::GrantRefreshed, &grant).with("turn", grant.turns.turn);
    events::note(transaction, &refreshed)?;
    Ok(Step::granted(grant, scope, true))
}

/// Makes room for one more grant: the oldest of those that have ended give way, so that a client that
/// asks for one after the other does not keep others from signing in. Returns those that are forgotten.
fn make_room(
    transaction: &Transaction<'_>,
    approved: &Approved,
) -> rusqlite::Result<Result<Vec<Subject>, StoreError>> {
    let approver = &approved.grant.approver;
    let own: i64 = transaction.query_row(
        "SELECT count(*) FROM grant WHERE approver = ?1 AND state != 'ended'",
        [approver.to_string()],
        |row| row.get(0),
    )?;
    if own >= MAX_GRANTS_OF_APPROVER {
        return Ok(Err(StoreError::TooManyGrantsOf(approver.clone())));
    }

    let sql = "SELECT count(*) FROM grant";
    let count: i64 = transaction.query_row(sql, [], |row| row.get(0))?;
    if count < MAX_GRANTS {
        return Ok(Ok(Vec::new()));
    }
    let mut statement = transaction.prepare(
        "DELETE FROM grant WHERE id IN \
         (SELECT id FROM grant WHERE state = 'ended' ORDER BY ended_at LIMIT ?1) RETURNING id",
    )?;
    let forgotten = statement.query_map([MAX_CLEANED], |row| {
        Ok(Subject::Grant(GrantId::from_bytes(row.get(0)?)))
    })?;
    let forgotten: Vec<_> = forgotten.collect::<Result<_, _>>()?;
    if forgotten.is_empty() {
        return Ok(Err(StoreError::TooManyGrants));
    }
    Ok(Ok(forgotten))
}

/// Notes that a client gets a grant. One with a document is stored by its first. Returns the records
/// that gave way.
fn touch_client(
    transaction: &Transaction<'_>,
    client: &Client,
    now: SystemTime,
) -> rusqlite::Result<Result<Vec<Subject>, StoreError>> {
    let mut forgotten = Vec::new();
    let known = oauth_rows::client(transaction, &client.id)?;
    match (&known, client.origin) {
        (Some(known), _) if known.blocked_at.is_some() => {
            return Ok(Err(StoreError::NoClient(client.id.clone())));
        }
        (_, ClientOrigin::Document) => {
            if known.is_none() {
                match clients::make_room(transaction)? {
                    Ok(subjects) => forgotten = subjects,
                    Err(error) => return Ok(Err(error)),
                }
            }
            oauth_rows::insert_client(transaction, client)?;
        }
        (None, ClientOrigin::Known | ClientOrigin::Registered) => {
            return Ok(Err(StoreError::NoClient(client.id.clone())));
        }
        (Some(_), ClientOrigin::Known | ClientOrigin::Registered) => {}
    }
    transaction.execute(
        "UPDATE client SET granted_at = ?2 WHERE id = ?1",
        params![client.id.as_str(), seconds(now)],
    )?;
    Ok(Ok(forgotten))
}

/// Writes a grant and the epoch of its id.
fn create(transaction: &Transaction<'_>, approved: &Approved) -> Changed<()> {
    let Approved { grant, epoch, .. } = approved;
    let mut subjects = vec![
        Subject::Client(grant.client.clone()),
        Subject::Grant(grant.id),
    ];
    match oauth_rows::epoch(transaction, &grant.resource)? {
        Some(known) if known.number != grant.epoch => {
            return Ok(Err(StoreError::OtherEpoch(grant.resource.clone())));
        }
        Some(_) => {}
        None => {
            oauth_rows::set_epoch(transaction, epoch)?;
            subjects.push(Subject::Epoch(epoch.id.clone()));
        }
    }
    oauth_rows::insert_grant(transaction, grant)?;
    events::note(transaction, &events::allowed(grant))?;
    Ok(Ok(((), subjects)))
}
