//! The rights of an admin key.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::networks::Networks;

/// One thing that an admin key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRight {
    /// Read the state.
    State,
    /// Read the metrics of single ids, keys and models.
    Metrics,
    /// List and change keys, grants and clients.
    Keys,
    /// List and change the access of ids.
    Policy,
    /// Drain and kick ids and relays.
    Relays,
}

/// The rights of an admin key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRights {
    /// What it may do.
    pub may: BTreeSet<AdminRight>,
    /// The addresses that it may be used from.
    #[serde(default, skip_serializing_if = "Networks::is_all")]
    pub networks: Networks,
}

/// Another word than that of a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no right of an admin key, expected state, metrics, keys, policy or relays")]
pub struct AdminRightError(String);

/// To watch, and to change nothing.
impl Default for AdminRights {
    fn default() -> Self {
        Self::of([AdminRight::State, AdminRight::Metrics])
    }
}

impl AdminRights {
    /// Returns these rights, from any address.
    pub fn of(may: impl IntoIterator<Item = AdminRight>) -> Self {
        Self {
            may: may.into_iter().collect(),
            networks: Networks::default(),
        }
    }

    /// Returns whether it may do something.
    pub fn includes(&self, right: AdminRight) -> bool {
        self.may.contains(&right)
    }

    /// Returns whether other rights are no more than these. One address list is not compared with
    /// another: it is all, or the same.
    pub fn cover(&self, other: &Self) -> bool {
        let is_near = self.networks.is_all() || self.networks == other.networks;
        is_near && other.may.is_subset(&self.may)
    }
}

impl AdminRight {
    /// All rights.
    pub const ALL: [Self; 5] = [
        Self::State,
        Self::Metrics,
        Self::Keys,
        Self::Policy,
        Self::Relays,
    ];

    /// Returns the word for it in commands, in the API and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Metrics => "metrics",
            Self::Keys => "keys",
            Self::Policy => "policy",
            Self::Relays => "relays",
        }
    }
}

impl fmt::Display for AdminRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for AdminRight {
    type Err = AdminRightError;

    fn from_str(word: &str) -> Result<Self, AdminRightError> {
        let right = Self::ALL.into_iter().find(|right| right.word() == word);
        right.ok_or_else(|| AdminRightError(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_cover_no_more_than_themselves() {
        let all = AdminRights::of(AdminRight::ALL);
        let watch = AdminRights::default();
        let near = |networks: &str| AdminRights {
            networks: networks.parse().unwrap(),
            ..watch.clone()
        };

        assert!(all.cover(&watch) && watch.cover(&watch));
        assert!(!watch.cover(&all), "it has no right to change keys");
        assert!(watch.cover(&near("10.0.0.0/8")));
        assert!(!near("10.0.0.0/8").cover(&watch), "it is for one network");
        assert!(near("10.0.0.0/8").cover(&near("10.0.0.0/8")));
    }

    #[test]
    fn rights_survive_their_record_and_a_later_one_is_refused() {
        let rights = AdminRights::default();

        let record = serde_json::to_string(&rights).unwrap();

        assert_eq!(record, r#"{"may":["state","metrics"]}"#);
        assert_eq!(
            serde_json::from_str::<AdminRights>(&record).unwrap(),
            rights
        );
        for newer in [r#"{"may":["drain"]}"#, r#"{"may":[],"hours":[]}"#] {
            assert!(
                serde_json::from_str::<AdminRights>(newer).is_err(),
                "{newer}"
            );
        }
        for right in AdminRight::ALL {
            assert_eq!(right.word().parse(), Ok(right));
            assert_eq!(serde_json::to_value(right).unwrap(), right.word());
        }
        let error = "root".parse::<AdminRight>().unwrap_err().to_string();
        assert!(error.contains("root"), "{error}");
    }
}
