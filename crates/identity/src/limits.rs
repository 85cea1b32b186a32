//! The limits of a caller key, and those of an id: how fast, how many at once, how much, from where.
//!
//! They hold at every door. The importance of a key among others that wait for an LLM is
//! not a limit, and stands in [`LlmLimits`](crate::LlmLimits).

use serde::{Deserialize, Serialize};

use crate::networks::Networks;
use crate::rate::{Rate, RateLimit};

/// The limits of a caller key. `None` is no limit, except for event streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How fast its calls may come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The most calls at once after a pause; `None`: as many as the rate has in its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// The most calls that run at once, each until the end of its answer; event streams that only
    /// listen are not among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The most event streams of one id that are open at once; `None`: [`Limits::STREAMS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// How much it may use in a day or month.
    #[serde(default, skip_serializing_if = "Quotas::is_empty")]
    pub quotas: Quotas,
}

/// The use of a key that is allowed in a day and in a month, in UTC. `None` is no limit. The tokens of a day are in
/// [`LlmLimits`](crate::LlmLimits), as they are reserved before a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// The calls of a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_day: Option<u64>,
    /// The calls of a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_month: Option<u64>,
    /// The bytes of request bodies of a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in_per_day: Option<u64>,
    /// The bytes of request bodies of a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in_per_month: Option<u64>,
    /// The bytes of answers of a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out_per_day: Option<u64>,
    /// The bytes of answers of a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out_per_month: Option<u64>,
    /// The tokens of LLMs of a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_month: Option<u64>,
}

/// The limits of the ids of one rule of access. Each id has its own count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLimits {
    /// How fast the calls of all callers may come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The most calls at once after a pause; `None`: as many as the rate has in its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// How fast the calls of one key may come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_key: Option<Rate>,
    /// The most calls of all callers that run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The addresses that may call.
    #[serde(default, skip_serializing_if = "Networks::is_all")]
    pub networks: Networks,
}

impl Limits {
    /// The default of [`Limits::streams`]: as many as an agent has windows, and few enough that a
    /// client which forgets its streams is stopped.
    pub const STREAMS: u32 = 8;

    /// Returns the rate with its burst.
    pub fn rate(&self) -> Option<RateLimit> {
        self.rate.map(|rate| RateLimit::new(rate, self.burst))
    }

    /// Returns the most event streams of one id.
    pub fn streams(&self) -> u32 {
        self.streams.unwrap_or(Self::STREAMS)
    }

    /// Returns whether there are none but the default ones.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Quotas {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AccessLimits {
    /// Returns the rate of all callers with its burst.
    pub fn rate(&self) -> Option<RateLimit> {
        self.rate.map(|rate| RateLimit::new(rate, self.burst))
    }

    /// Returns the rate of one key.
    pub fn rate_per_key(&self) -> Option<RateLimit> {
        self.rate_per_key.map(|rate| RateLimit::new(rate, None))
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_their_record() {
        let limits = Limits {
            rate: Some("120/min".parse().unwrap()),
            burst: Some(10),
            quotas: Quotas {
                calls_per_day: Some(1000),
                ..Quotas::default()
            },
            ..Limits::default()
        };

        let record = serde_json::to_string(&limits).unwrap();

        let expected = r#"{"rate":"120/min","burst":10,"quotas":{"calls_per_day":1000}}"#;
        assert_eq!(record, expected);
        assert_eq!(serde_json::from_str::<Limits>(&record).unwrap(), limits);
        assert_eq!(serde_json::to_string(&Limits::default()).unwrap(), "{}");
        assert!(Limits::default().is_empty() && !limits.is_empty());
    }

    #[test]
    fn a_limit_of_a_later_version_is_refused() {
        for newer in [
            r#"{"rate_of_errors":"1/s"}"#,
            r#"{"quotas":{"watts_per_day":1}}"#,
        ] {
            assert!(serde_json::from_str::<Limits>(newer).is_err(), "{newer}");
        }
        let newer = r#"{"hours":"9-17"}"#;
        assert!(serde_json::from_str::<AccessLimits>(newer).is_err());
    }
}
