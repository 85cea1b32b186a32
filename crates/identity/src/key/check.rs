//! What a key and a rule of access must have to mean something, however they were written: by a
//! command or through the API.

use super::{AdminRights, CallerRights, LlmLimits, Rights, WorkerIds, WorkerRights};
use crate::access::AccessRule;
use crate::limits::{AccessLimits, Limits, Quotas};

/// The most characters of the name of a key.
const MAX_NAME_CHARS: usize = 80;

/// A text that is no name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MAX_NAME_CHARS} characters without control characters")]
pub struct KeyNameError;

/// The reasons why rights or limits mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RightsError {
    /// A caller key without ids and models.
    #[error(
        "the key would open nothing: expected ids, such as notes or team-*, or models, such as qwen*"
    )]
    OpensNothing,
    /// A worker key without ids.
    #[error("the key would serve no id: expected ids, such as notes or *, or assigned")]
    ServesNothing,
    /// An admin key without rights.
    #[error("the key may do nothing: expected one of state, metrics, keys and policy")]
    MayNothing,
    /// A key that only reads, and has no ids.
    #[error("read_only is for the ids of a key, and this one has none")]
    ReadsNothing,
    /// A burst that limits nothing.
    #[error("burst is for a key or an id with a rate, and this one has none")]
    BurstWithoutRate,
    /// A number that would let nothing in.
    #[error("{0} is 0, expected a whole number of at least 1, or nothing for no limit")]
    Zero(&'static str),
}

/// Checks the name of a key.
///
/// # Errors
///
/// If it is empty, too long, or has control characters.
pub fn check_key_name(name: &str) -> Result<(), KeyNameError> {
    let is_plain = name.chars().all(|character| !character.is_control());
    let length = name.chars().count();
    if !is_plain || !(1..=MAX_NAME_CHARS).contains(&length) {
        return Err(KeyNameError);
    }
    Ok(())
}

impl Rights {
    /// Checks that a key with these rights could be used for something, and that its limits are some.
    ///
    /// # Errors
    ///
    /// If they mean nothing.
    pub fn check(&self) -> Result<(), RightsError> {
        match self {
            Self::Caller(rights) => rights.check(),
            Self::Worker(rights) => rights.check(),
            Self::Admin(rights) => rights.check(),
        }
    }
}

impl CallerRights {
    fn check(&self) -> Result<(), RightsError> {
        if self.ids.is_empty() && self.models.is_empty() {
            return Err(RightsError::OpensNothing);
        }
        if self.read_only && self.ids.is_empty() {
            return Err(RightsError::ReadsNothing);
        }
        self.limits.check()?;
        self.llm.check()
    }
}

impl WorkerRights {
    fn check(&self) -> Result<(), RightsError> {
        if self.ids != WorkerIds::Assigned && self.patterns().is_empty() {
            return Err(RightsError::ServesNothing);
        }
        not_zero([("max_ids", Some(self.max_ids as u64))])
    }
}

impl AdminRights {
    fn check(&self) -> Result<(), RightsError> {
        if self.may.is_empty() {
            return Err(RightsError::MayNothing);
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Result<(), RightsError> {
        if self.burst.is_some() && self.rate.is_none() {
            return Err(RightsError::BurstWithoutRate);
        }
        not_zero([
            ("burst", self.burst.map(u64::from)),
            ("concurrency", self.concurrency.map(u64::from)),
            ("streams", self.streams.map(u64::from)),
        ])?;
        self.quotas.check()
    }
}

impl Quotas {
    fn check(&self) -> Result<(), RightsError> {
        not_zero([
            ("calls_per_day", self.calls_per_day),
            ("calls_per_month", self.calls_per_month),
            ("bytes_in_per_day", self.bytes_in_per_day),
            ("bytes_in_per_month", self.bytes_in_per_month),
            ("bytes_out_per_day", self.bytes_out_per_day),
            ("bytes_out_per_month", self.bytes_out_per_month),
            ("tokens_per_month", self.tokens_per_month),
        ])
    }
}

impl LlmLimits {
    fn check(&self) -> Result<(), RightsError> {
        not_zero([
            ("weight", self.weight.map(u64::from)),
            ("max_concurrency", self.max_concurrency.map(u64::from)),
            ("max_queued", self.max_queued.map(u64::from)),
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
        ])
    }
}

impl AccessRule {
    /// Checks that its limits are some.
    ///
    /// # Errors
    ///
    /// If they mean nothing.
    pub fn check(&self) -> Result<(), RightsError> {
        let AccessLimits {
            rate,
            burst,
            concurrency,
            ..
        } = &self.limits;
        if burst.is_some() && rate.is_none() {
            return Err(RightsError::BurstWithoutRate);
        }
        not_zero([
            ("burst", burst.map(u64::from)),
            ("concurrency", concurrency.map(u64::from)),
        ])
    }
}

fn not_zero<const N: usize>(counts: [(&'static str, Option<u64>); N]) -> Result<(), RightsError> {
    let zero = counts.into_iter().find(|(_, count)| *count == Some(0));
    zero.map_or(Ok(()), |(name, _)| Err(RightsError::Zero(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AccessMode;

    fn rights(record: &str) -> Rights {
        serde_json::from_str(record).unwrap()
    }

    #[test]
    fn rights_that_mean_nothing_are_refused() {
        use RightsError::{
            BurstWithoutRate, MayNothing, OpensNothing, ReadsNothing, ServesNothing, Zero,
        };

        for (record, error) in [
            (r#"{"caller":{}}"#, OpensNothing),
            (
                r#"{"caller":{"models":["*"],"read_only":true}}"#,
                ReadsNothing,
            ),
            (
                r#"{"caller":{"ids":["a"],"limits":{"burst":3}}}"#,
                BurstWithoutRate,
            ),
            (
                r#"{"caller":{"ids":["a"],"limits":{"concurrency":0}}}"#,
                Zero("concurrency"),
            ),
            (
                r#"{"caller":{"ids":["a"],"limits":{"quotas":{"calls_per_day":0}}}}"#,
                Zero("calls_per_day"),
            ),
            (
                r#"{"caller":{"models":["a"],"llm":{"weight":0}}}"#,
                Zero("weight"),
            ),
            (r#"{"worker":{"ids":{"of":[]}}}"#, ServesNothing),
            (
                r#"{"worker":{"ids":"assigned","max_ids":0}}"#,
                Zero("max_ids"),
            ),
            (r#"{"admin":{"may":[]}}"#, MayNothing),
        ] {
            assert_eq!(rights(record).check(), Err(error), "{record}");
        }
        for record in [
            r#"{"caller":{"ids":["a"],"limits":{"rate":"1/s","burst":3}}}"#,
            r#"{"worker":{"ids":"assigned"}}"#,
            r#"{"admin":{"may":["keys"]}}"#,
        ] {
            assert_eq!(rights(record).check(), Ok(()), "{record}");
        }
    }

    #[test]
    fn limits_of_ids_that_mean_nothing_are_refused() {
        let rule = |limits: &str| AccessRule {
            limits: serde_json::from_str(limits).unwrap(),
            ..AccessRule::new("notes".parse().unwrap(), AccessMode::Keys)
        };

        let burst = rule(r#"{"burst":3}"#).check();
        assert_eq!(burst, Err(RightsError::BurstWithoutRate));
        let none = rule(r#"{"concurrency":0}"#).check();
        assert_eq!(none, Err(RightsError::Zero("concurrency")));
        assert_eq!(rule(r#"{"rate":"1/s","burst":3}"#).check(), Ok(()));
    }

    #[test]
    fn a_name_is_short_and_plain() {
        assert_eq!(check_key_name("my laptop"), Ok(()));
        for wrong in ["", "a\nb", &"x".repeat(81)] {
            assert_eq!(check_key_name(wrong), Err(KeyNameError), "{wrong:?}");
        }
    }
}
