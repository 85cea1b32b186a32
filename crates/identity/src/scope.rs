//! Scopes: how much of what its key may do a grant gives.

use std::fmt;
use std::str::FromStr;

/// How much a grant gives. The lesser one is the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Methods that read (`mcp:read`).
    Read,
    /// All that the key may do (`mcp`).
    All,
}

impl Scope {
    /// Returns what a `scope` parameter asks for. None, and one with only unknown words, asks for
    /// [`Scope::All`]: clients send words of other servers, and the answer names what was granted.
    pub fn asked(parameter: Option<&str>) -> Self {
        Self::named(parameter).unwrap_or(Self::All)
    }

    /// Returns the greatest scope that a `scope` parameter names, `None` if it names none.
    pub fn named(parameter: Option<&str>) -> Option<Self> {
        let words = parameter.unwrap_or_default().split(' ');
        words.filter_map(|word| word.parse().ok()).max()
    }

    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "mcp:read",
            Self::All => "mcp",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope, expected mcp or mcp:read")]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(word: &str) -> Result<Self, ScopeError> {
        match word {
            "mcp" => Ok(Self::All),
            "mcp:read" => Ok(Self::Read),
            _ => Err(ScopeError(word.chars().take(40).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_scopes_are_ignored_and_none_is_everything() {
        for (asked, expected) in [
            (None, Scope::All),
            (Some(""), Scope::All),
            (Some("offline_access"), Scope::All),
            (Some("openid mcp:read"), Scope::Read),
            (Some("mcp:read mcp"), Scope::All),
            (Some("mcp:write"), Scope::All),
        ] {
            assert_eq!(Scope::asked(asked), expected, "{asked:?}");
        }
        assert_eq!(Scope::named(Some("openid")), None);
        assert!(Scope::Read < Scope::All);
        let error = "mcp:write".parse::<Scope>().unwrap_err();
        assert!(error.to_string().contains("mcp:write"));
    }
}
