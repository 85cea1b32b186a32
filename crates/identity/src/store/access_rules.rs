//! The rules of access in the store.

use std::time::SystemTime;

use rusqlite::{Transaction, params};

use super::rows;
use super::{Store, StoreError, Subject, events};
use crate::access::{AccessMode, AccessRule};
use crate::key::RecordTag;
use crate::pattern::Pattern;

/// The most rules of a store.
const MAX_RULES: i64 = 10_000;

/// Under what a rule is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuleCondition {
    /// Nothing.
    #[default]
    Any,
    /// It is as it was read.
    Is(RecordTag),
    /// There is none for the pattern.
    Absent,
}

impl Store {
    /// Sets the access of a pattern, or with `None` removes its rule. Returns the number of the
    /// change.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn set_access(
        &mut self,
        pattern: &Pattern,
        mode: Option<AccessMode>,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        let pattern = pattern.to_string();
        self.write(now, Subject::Access, |transaction| {
            match mode {
                Some(mode) => transaction.execute(
                    "INSERT INTO access (pattern, mode) VALUES (?1, ?2) \
                     ON CONFLICT (pattern) DO UPDATE SET mode = excluded.mode",
                    params![pattern, mode.word()],
                )?,
                None => transaction.execute("DELETE FROM access WHERE pattern = ?1", [&pattern])?,
            };
            events::note(transaction, &events::mode_changed(&pattern, mode))?;
            Ok(Ok(()))
        })
    }

    /// Sets a rule of access, with its limits and its policy of messages. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there are too many, or it cannot be written.
    pub fn set_rule(&mut self, rule: &AccessRule, now: SystemTime) -> Result<i64, StoreError> {
        self.set_rule_if(rule, RuleCondition::Any, now)
    }

    /// Sets a rule of access under a condition, as [`Store::set_rule`].
    ///
    /// # Errors
    ///
    /// As there, or if the condition does not hold.
    pub fn set_rule_if(
        &mut self,
        rule: &AccessRule,
        condition: RuleCondition,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        let limits = rows::json_text(&rule.limits);
        let messages = rows::json_text(&rule.messages);
        self.write(now, Subject::Access, |transaction| {
            let before = rows::access_rule(transaction, &rule.pattern)?;
            if let Err(error) = condition.check(before.as_ref()) {
                return Ok(Err(error));
            }
            if before.is_none() && count(transaction)? >= MAX_RULES {
                return Ok(Err(StoreError::TooManyRules(MAX_RULES)));
            }
            transaction.execute(
                "INSERT INTO access (pattern, mode, limits, messages) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (pattern) DO UPDATE SET mode = excluded.mode, \
                 limits = excluded.limits, messages = excluded.messages",
                params![rule.pattern.to_string(), rule.mode.word(), limits, messages],
            )?;
            events::note(transaction, &rule.event())?;
            Ok(Ok(()))
        })
    }

    /// Removes a rule of access under a condition. Returns the number of the change.
    ///
    /// # Errors
    ///
    /// If there is none for the pattern, the condition does not hold, or it cannot be written.
    pub fn remove_rule_if(
        &mut self,
        pattern: &Pattern,
        condition: RuleCondition,
        now: SystemTime,
    ) -> Result<i64, StoreError> {
        self.write(now, Subject::Access, |transaction| {
            let before = rows::access_rule(transaction, pattern)?;
            if before.is_none() {
                return Ok(Err(StoreError::NoRule(pattern.clone())));
            }
            if let Err(error) = condition.check(before.as_ref()) {
                return Ok(Err(error));
            }
            let pattern = pattern.to_string();
            transaction.execute("DELETE FROM access WHERE pattern = ?1", [&pattern])?;
            events::note(transaction, &events::mode_changed(&pattern, None))?;
            Ok(Ok(()))
        })
    }
}

impl RuleCondition {
    fn check(self, found: Option<&AccessRule>) -> Result<(), StoreError> {
        let holds = match (self, found) {
            (Self::Any, _) | (Self::Absent, None) => true,
            (Self::Is(tag), Some(rule)) => rule.tag() == tag,
            (Self::Is(_), None) | (Self::Absent, Some(_)) => false,
        };
        if holds {
            return Ok(());
        }
        Err(StoreError::Changed)
    }
}

fn count(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    transaction.query_row("SELECT count(*) FROM access", [], |row| row.get(0))
}
