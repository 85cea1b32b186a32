//! One-time codes in the store. They are no part of what a call is decided with, and so no change.

use std::str::FromStr;
use std::time::SystemTime;

use rusqlite::{OptionalExtension, Transaction, params};

use super::rows::{parsed, seconds};
use super::{LoginStepError, Store, StoreError};
use crate::approver::Approver;
use crate::login_code::{LOGIN_CODE_LIFE, LoginCode, LoginCodeError, MAX_TRIES};

/// The most one-time codes that are valid at once.
pub(super) const MAX_LOGIN_CODES: i64 = 100;

impl Store {
    /// Makes a one-time code for an approver.
    ///
    /// # Errors
    ///
    /// If there are too many, or it cannot be written.
    pub fn create_login_code(
        &mut self,
        approver: &Approver,
        now: SystemTime,
    ) -> Result<LoginCode, StoreError> {
        let (code, _) = self.write_many(now, |transaction| {
            transaction.execute("DELETE FROM login_code WHERE until <= ?1", [seconds(now)])?;
            let sql = "SELECT count(*) FROM login_code";
            let count: i64 = transaction.query_row(sql, [], |row| row.get(0))?;
            if count >= MAX_LOGIN_CODES {
                return Ok(Err(StoreError::TooManyLoginCodes));
            }

            // Of 32 768 selectors a hundred are taken.
            let mut code = LoginCode::random();
            while is_taken(transaction, &code)? {
                code = LoginCode::random();
            }
            transaction.execute(
                "INSERT INTO login_code (selector, digest, approver, until) \
                 VALUES (?1, ?2, ?3, ?4)",
                params![
                    code.selector(),
                    code.digest(),
                    approver.to_string(),
                    seconds(now + LOGIN_CODE_LIFE),
                ],
            )?;
            Ok(Ok((code, Vec::new())))
        })?;
        Ok(code)
    }

    /// Uses a one-time code, once. Returns the approver that it is of.
    ///
    /// # Errors
    ///
    /// If it is not valid, which is counted against the code that was meant; or the store cannot be
    /// written.
    pub fn use_login_code(
        &mut self,
        code: &LoginCode,
        now: SystemTime,
    ) -> Result<Approver, LoginStepError> {
        let (approver, _) = self.write_many(now, |transaction| {
            let approver: Option<String> = transaction
                .query_row(
                    "UPDATE login_code SET used_at = ?3 WHERE selector = ?1 AND digest = ?2 \
                     AND used_at IS NULL AND until > ?3 AND tries < ?4 RETURNING approver",
                    params![code.selector(), code.digest(), seconds(now), MAX_TRIES],
                    |row| row.get(0),
                )
                .optional()?;
            if approver.is_none() {
                transaction.execute(
                    "UPDATE login_code SET tries = tries + 1 WHERE selector = ?1",
                    [code.selector()],
                )?;
            }
            Ok(Ok((approver, Vec::new())))
        })?;
        let approver = approver.and_then(|text| Approver::from_str(&text).ok());
        approver.ok_or(LoginCodeError::Invalid.into())
    }
}

fn is_taken(transaction: &Transaction<'_>, code: &LoginCode) -> rusqlite::Result<bool> {
    let taken: Option<String> = transaction
        .query_row(
            "SELECT selector FROM login_code WHERE selector = ?1",
            [code.selector()],
            |row| parsed(row, 0),
        )
        .optional()?;
    Ok(taken.is_some())
}
