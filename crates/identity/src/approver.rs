//! The approver of a grant: who allowed it, and whose rights it has.

use std::fmt;
use std::str::FromStr;

use crate::key::KeyId;

/// The word for the owner, and what is in front of the id of a key.
const OWNER: &str = "owner";
const KEY: &str = "key:";

/// Who allowed a grant. A grant never has more rights than its approver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Approver {
    /// The owner of the server, who proves it by a one-time code. May allow every id.
    Owner,
    /// The holder of a caller key.
    Key(KeyId),
}

/// A text that is no approver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no approver, expected owner or key:<id>")]
pub struct ApproverError(String);

impl Approver {
    /// Returns the id of its key.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Owner => None,
            Self::Key(id) => Some(id),
        }
    }
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str(OWNER),
            Self::Key(id) => write!(f, "{KEY}{id}"),
        }
    }
}

impl FromStr for Approver {
    type Err = ApproverError;

    fn from_str(text: &str) -> Result<Self, ApproverError> {
        if text == OWNER {
            return Ok(Self::Owner);
        }
        let id = text.strip_prefix(KEY).and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| ApproverError(text.chars().take(100).collect()))?;
        Ok(Self::Key(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approver_survives_its_text() {
        for approver in [Approver::Owner, Approver::Key("7k3x".parse().unwrap())] {
            assert_eq!(approver.to_string().parse(), Ok(approver));
        }
        for wrong in ["", "key:", "key:a b", "Owner", "person:a"] {
            assert!(wrong.parse::<Approver>().is_err(), "{wrong}");
        }
    }
}
