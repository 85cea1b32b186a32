//! The use of keys, and its time, in the store. It is no change of what they may do, so it has no
//! number.

use std::time::SystemTime;

use rusqlite::{TransactionBehavior, params};

use super::rows::{self, seconds};
use super::{Store, StoreError, sqlite};
use crate::key::KeyId;
use crate::usage::{Day, Usage};

impl Store {
    /// The days for which it is kept what a key has used: the current month and the one before.
    pub const USAGE_DAYS: i64 = 62;

    /// Stores when keys were used last.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn note_use(&mut self, used: &[(KeyId, SystemTime)]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let mut note = || {
            let transaction = self.connection.transaction()?;
            for (id, at) in used {
                transaction.execute(
                    "UPDATE key SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1",
                    params![id.as_str(), seconds(*at)],
                )?;
            }
            transaction.commit()
        };
        note().map_err(|error| sqlite(&path, error))
    }

    /// Returns what keys have used since a day, by key and day in no order.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn usage_since(&self, day: Day) -> Result<Vec<(KeyId, Day, Usage)>, StoreError> {
        let usage = rows::usage(&self.connection, day);
        usage.map_err(|error| self.unreadable(error))
    }

    /// Adds to what keys have used, and forgets what is older than [`Store::USAGE_DAYS`].
    ///
    /// # Errors
    ///
    /// If it cannot be written; then nothing is.
    pub fn add_usage(
        &mut self,
        used: &[(KeyId, Day, Usage)],
        today: Day,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let mut add = || {
            let behavior = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            rows::add_usage(&transaction, used)?;
            let oldest = today.0 - Self::USAGE_DAYS;
            transaction.execute("DELETE FROM usage WHERE day < ?1", [oldest])?;
            transaction.commit()
        };
        add().map_err(|error| sqlite(&path, error))
    }
}
