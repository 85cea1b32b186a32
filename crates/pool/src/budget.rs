//! Rates and budgets of keys: requests and tokens per minute, tokens per day. Tokens are reserved before
//! a call runs, so that concurrent calls cannot overdraw, and settled when the counts have arrived.
//!
//! Each bound is a bucket that refills evenly. A call that used more than it reserved leaves a debt,
//! which later calls wait for.

use crate::settings::SECOND;
use crate::{IdMap, KeyId};

/// One minute in microseconds.
const MINUTE: u64 = 60 * SECOND;
/// One day in microseconds.
const DAY: u64 = 24 * 60 * MINUTE;

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
    /// What each bucket of tokens gave: no more than its size.
    taken: [u64; 2],
}

impl Reservation {
    /// Takes some of the tokens, at most all, into a reservation of their own. Both together are as
    /// much as before.
    pub fn split(&mut self, tokens: u64) -> Self {
        let tokens = tokens.min(self.tokens);
        let taken = self.taken.map(|taken| taken.min(tokens));
        self.tokens -= tokens;
        for (left, taken) in self.taken.iter_mut().zip(taken) {
            *left -= taken;
        }
        Self {
            key: self.key,
            tokens,
            taken,
        }
    }
}

/// The buckets of all keys.
#[derive(Debug, Default)]
pub struct Budget {
    keys: IdMap<KeyId, Buckets>,
}

/// The buckets of a key.
#[derive(Debug, Default)]
struct Buckets {
    requests: Option<Bucket>,
    /// Per minute and per day.
    tokens: [Option<Bucket>; 2],
}

/// A bucket that refills evenly in its period.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    size: u64,
    /// Microseconds in which an empty one becomes full.
    period: u64,
    /// What is in it, times the period, at the moment `filled_at`: refilling then loses nothing by
    /// rounding. Below 0 it is a debt.
    level: i128,
    /// `None` while nothing was taken ever: it is full.
    filled_at: Option<u64>,
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

    /// Sets the bounds of a key. Of a bound that stays the same, what was used stays used.
    pub fn set_key(&mut self, key: KeyId, limits: BudgetLimits) {
        let buckets = self.keys.entry(key).or_default();
        let [minute, day] = &mut buckets.tokens;
        resize(&mut buckets.requests, limits.requests_per_minute, MINUTE);
        resize(minute, limits.tokens_per_minute, MINUTE);
        resize(day, limits.tokens_per_day, DAY);
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
        let mut taken = [0; 2];
        let Some(buckets) = self.keys.get_mut(&key) else {
            return Ok(Reservation { key, tokens, taken });
        };

        for (kind, bucket) in buckets.iter_mut() {
            let wanted = if kind == BudgetKind::RequestsPerMinute {
                1
            } else {
                tokens
            };
            bucket.fill(now);
            let missing = bucket.missing(wanted);
            if missing > 0 {
                return Err(BudgetError {
                    kind,
                    limit: bucket.size,
                    retry_after: bucket.time_for(missing),
                });
            }
        }
        if let Some(requests) = &mut buckets.requests {
            requests.take(1);
        }
        for (taken, bucket) in taken.iter_mut().zip(&mut buckets.tokens) {
            *taken = bucket.as_mut().map_or(0, |bucket| bucket.take(tokens));
        }
        Ok(Reservation { key, tokens, taken })
    }

    /// Gives back what was reserved and not used, or takes what was used beyond it. The request stays
    /// counted.
    pub fn settle(&mut self, reservation: Reservation, used: u64, now: u64) {
        let Some(buckets) = self.keys.get_mut(&reservation.key) else {
            return;
        };
        for (taken, bucket) in reservation.taken.iter().zip(&mut buckets.tokens) {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                bucket.add(i128::from(*taken) - i128::from(used));
            }
        }
    }

    /// Returns what is left in a bucket, and the microseconds until it is full. `None` without a bound.
    pub fn remaining(&self, key: KeyId, kind: BudgetKind, now: u64) -> Option<(u64, u64)> {
        let buckets = self.keys.get(&key)?;
        let mut bucket = (*match kind {
            BudgetKind::RequestsPerMinute => &buckets.requests,
            BudgetKind::TokensPerMinute => &buckets.tokens[0],
            BudgetKind::TokensPerDay => &buckets.tokens[1],
        })?;
        bucket.fill(now);
        let left = u64::try_from(bucket.level / i128::from(bucket.period)).unwrap_or(0);
        Some((left, bucket.time_for(bucket.full() - bucket.level)))
    }
}

impl Buckets {
    fn iter_mut(&mut self) -> impl Iterator<Item = (BudgetKind, &mut Bucket)> {
        let [minute, day] = &mut self.tokens;
        let buckets = [
            (BudgetKind::RequestsPerMinute, &mut self.requests),
            (BudgetKind::TokensPerMinute, minute),
            (BudgetKind::TokensPerDay, day),
        ];
        let buckets = buckets.into_iter();
        buckets.filter_map(|(kind, bucket)| bucket.as_mut().map(|bucket| (kind, bucket)))
    }
}

impl Bucket {
    fn full(&self) -> i128 {
        i128::from(self.size) * i128::from(self.period)
    }

    /// Adds what has flowed in since the last time.
    fn fill(&mut self, now: u64) {
        match self.filled_at {
            None => self.level = self.full(),
            Some(at) => {
                let elapsed = now.saturating_sub(at);
                let level = self.level + i128::from(self.size) * i128::from(elapsed);
                self.level = level.min(self.full());
            }
        }
        self.filled_at = Some(now.max(self.filled_at.unwrap_or(0)));
    }

    /// Returns what is missing for a number of tokens, in the unit of the level. Never more than a full
    /// bucket is asked for: otherwise it would not fit for ever.
    fn missing(&self, wanted: u64) -> i128 {
        let wanted = i128::from(wanted.min(self.size)) * i128::from(self.period);
        (wanted - self.level).max(0)
    }

    /// Takes tokens, at most the size. Returns their number.
    fn take(&mut self, wanted: u64) -> u64 {
        let taken = wanted.min(self.size);
        self.add(-i128::from(taken));
        taken
    }

    fn add(&mut self, tokens: i128) {
        let level = self.level + tokens * i128::from(self.period);
        self.level = level.min(self.full());
    }

    /// Returns the microseconds in which so much flows in, rounded up.
    fn time_for(&self, amount: i128) -> u64 {
        let size = i128::from(self.size.max(1));
        u64::try_from((amount + size - 1) / size).unwrap_or(u64::MAX)
    }
}

/// Makes a bucket of a size, `None` for none. One that has the size already stays as it is.
fn resize(bucket: &mut Option<Bucket>, size: Option<u64>, period: u64) {
    if bucket.map(|bucket| bucket.size) != size {
        *bucket = size.map(|size| Bucket {
            size,
            period,
            level: 0,
            filled_at: None,
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId(1);

    fn budget(requests: Option<u64>, minute: Option<u64>, day: Option<u64>) -> Budget {
        let mut budget = Budget::default();
        budget.set_key(
            KEY,
            BudgetLimits {
                requests_per_minute: requests,
                tokens_per_minute: minute,
                tokens_per_day: day,
            },
        );
        budget
    }

    fn left(budget: &Budget, kind: BudgetKind, now: u64) -> u64 {
        budget.remaining(KEY, kind, now).unwrap().0
    }

    #[test]
    fn a_thousand_calls_never_reserve_beyond_the_budget() {
        let mut budget = budget(None, Some(100), None);

        let granted: Vec<Reservation> = (0..1000)
            .filter_map(|_| budget.reserve(KEY, 7, 0).ok())
            .collect();

        assert_eq!(granted.len(), 14);
        assert_eq!(left(&budget, BudgetKind::TokensPerMinute, 0), 2);
        assert_eq!(granted.iter().map(Reservation::tokens).sum::<u64>(), 98);
    }

    #[test]
    fn a_refusal_names_the_time_at_which_it_fits() {
        let mut budget = budget(None, Some(60), None);
        let first = budget.reserve(KEY, 60, 0).unwrap();

        let error = budget.reserve(KEY, 7, 0).unwrap_err();

        assert_eq!(error.kind, BudgetKind::TokensPerMinute);
        assert_eq!(error.retry_after, 7 * SECOND);
        assert!(budget.reserve(KEY, 7, 7 * SECOND - 1).is_err());
        let second = budget.reserve(KEY, 7, 7 * SECOND).unwrap();
        assert_eq!(first.key(), second.key());
    }

    #[test]
    fn unbounded_wishes_reserve_no_more_than_a_bucket() {
        let mut budget = budget(None, Some(10_000), None);

        let minus_one = reserved_tokens(100, Some(-1), 1, Some(32_768));
        let everything = reserved_tokens(100, Some(262_144), 1, None);
        let within = reserved_tokens(100, Some(262_144), 1, Some(4096));

        assert_eq!(minus_one, 100 + Budget::DEFAULT_OUTPUT);
        assert_eq!(within, 4096);
        assert_eq!(reserved_tokens(100, None, 3, None), 100 + 3 * 1024);
        assert_eq!(
            reserved_tokens(u64::MAX, Some(i64::MAX), u32::MAX, None),
            u64::MAX
        );
        assert!(budget.reserve(KEY, minus_one, 0).is_ok());
        assert!(budget.reserve(KEY, everything, MINUTE).is_ok());
        let all = (0..100).filter(|_| budget.reserve(KEY, minus_one, 3 * MINUTE).is_ok());
        assert_eq!(all.count(), 10_000 / 1124);
    }

    #[test]
    fn settling_gives_back_or_takes_the_difference() {
        let mut budget = budget(None, Some(1000), None);
        let low = budget.reserve(KEY, 300, 0).unwrap();
        let high = budget.reserve(KEY, 300, 0).unwrap();

        budget.settle(low, 100, 0);
        assert_eq!(left(&budget, BudgetKind::TokensPerMinute, 0), 600);
        budget.settle(high, 2000, 0);

        assert_eq!(left(&budget, BudgetKind::TokensPerMinute, 0), 0);
        let error = budget.reserve(KEY, 1, 0).unwrap_err();
        assert_eq!(error.retry_after, 66_060_000, "a debt of 1100, and 1");
    }

    #[test]
    fn one_empty_bucket_takes_nothing_from_the_others() {
        let mut budget = budget(Some(2), Some(1000), Some(100));

        let first = budget.reserve(KEY, 90, 0).unwrap();
        let error = budget.reserve(KEY, 20, 0).unwrap_err();

        assert_eq!(error.kind, BudgetKind::TokensPerDay);
        assert_eq!(left(&budget, BudgetKind::RequestsPerMinute, 0), 1);
        assert_eq!(left(&budget, BudgetKind::TokensPerMinute, 0), 910);
        budget.settle(first, 0, 0);
        assert_eq!(left(&budget, BudgetKind::TokensPerDay, 0), 100);
        assert_eq!(left(&budget, BudgetKind::RequestsPerMinute, 0), 1);
    }

    #[test]
    fn refilling_loses_nothing_by_rounding() {
        let mut budget = budget(None, None, Some(1));
        let _ = budget.reserve(KEY, 1, 0).unwrap();

        for now in (0..DAY).step_by(DAY as usize / 1000) {
            assert!(budget.reserve(KEY, 1, now).is_err());
        }

        assert!(budget.reserve(KEY, 1, DAY).is_ok());
    }

    #[test]
    fn keys_without_bounds_may_spend_anything() {
        let mut budget = Budget::default();

        let reservation = budget.reserve(KEY, u64::MAX, 0).unwrap();

        budget.settle(reservation, u64::MAX, 0);
        assert_eq!(budget.remaining(KEY, BudgetKind::TokensPerDay, 0), None);
    }

    #[test]
    fn the_same_bounds_set_again_forgive_nothing() {
        let mut budget = budget(None, Some(10), None);
        let limits = |tokens| BudgetLimits {
            tokens_per_minute: Some(tokens),
            ..BudgetLimits::default()
        };
        let _ = budget.reserve(KEY, 10, 0).unwrap();

        budget.set_key(KEY, limits(10));

        assert!(budget.reserve(KEY, 10, 0).is_err());
        budget.set_key(KEY, limits(20));
        assert!(budget.reserve(KEY, 10, 0).is_ok());
    }
}
