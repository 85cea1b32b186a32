//! Patterns of names: an exact name, the beginning of a name followed by `*`, or `*`.
//!
//! Nothing more, so that an operator sees from the text which names it covers, and so that of two
//! patterns it is plain which is the more exact one. Names are compared byte by byte.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 256;

/// A pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    /// The name, or its beginning.
    text: Box<str>,
    is_prefix: bool,
}

/// How exact a pattern is: an exact name before any beginning, and a longer beginning before a
/// shorter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exactness {
    /// The beginning of a name, of so many bytes.
    Prefix(usize),
    /// A whole name.
    Exact,
}

/// The reasons why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("the pattern is empty, expected a name, a name's beginning followed by *, or *")]
    Empty,
    /// It is longer than names are.
    #[error("the pattern has {0} bytes, expected {MAX_BYTES} at most")]
    TooLong(usize),
    /// A star stands elsewhere than at the end.
    #[error("the pattern {0:?} has a * that is not at its end")]
    Star(String),
    /// It has a character that no name has.
    #[error("the pattern {0:?} has a character that is not printable ASCII")]
    Character(String),
}

impl Pattern {
    /// Returns the pattern of all names.
    pub fn all() -> Self {
        Self {
            text: "".into(),
            is_prefix: true,
        }
    }

    /// Returns whether a name is one of the pattern.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_prefix {
            name.starts_with(&*self.text)
        } else {
            *self.text == *name
        }
    }

    /// Returns how exact it is.
    pub(crate) fn exactness(&self) -> Exactness {
        if self.is_prefix {
            Exactness::Prefix(self.text.len())
        } else {
            Exactness::Exact
        }
    }
}

/// Returns the most exact of some patterns that a name is one of, `None` if it is of none.
pub fn best_match<'a>(
    patterns: impl IntoIterator<Item = &'a Pattern>,
    name: &str,
) -> Option<&'a Pattern> {
    let matching = patterns.into_iter().filter(|pattern| pattern.matches(name));
    matching.max_by_key(|pattern| pattern.exactness())
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(PatternError::TooLong(text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PatternError::Character(text.to_owned()));
        }

        let prefix = text.strip_suffix('*');
        let name = prefix.unwrap_or(text);
        if name.contains('*') {
            return Err(PatternError::Star(text.to_owned()));
        }
        Ok(Self {
            text: name.into(),
            is_prefix: prefix.is_some(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.is_prefix {
            f.write_str("*")
        } else {
            Ok(())
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        for (text, name, expected) in [
            ("notes", "notes", true),
            ("notes", "notes2", false),
            ("notes", "Notes", false),
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "team", false),
            ("*", "anything", true),
            ("*", "", true),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn the_most_exact_pattern_wins() {
        let patterns = ["*", "team-*", "team-a", "team-a*"].map(pattern);

        let best = |name| best_match(&patterns, name).map(ToString::to_string);

        assert_eq!(best("team-a").as_deref(), Some("team-a"));
        assert_eq!(best("team-ab").as_deref(), Some("team-a*"));
        assert_eq!(best("team-b").as_deref(), Some("team-*"));
        assert_eq!(best("other").as_deref(), Some("*"));
        assert_eq!(best_match(&patterns[1..], "other"), None);
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();

        assert!(error("").contains("empty"));
        assert!(error("a*b").contains("\"a*b\""));
        assert!(error("**").contains("\"**\""));
        assert!(error("a b").contains("\"a b\""));
        assert!(error(&"a".repeat(257)).contains("257 bytes"));
    }

    proptest! {
        #[test]
        fn a_pattern_survives_its_text(text in "[!-)+-~]{1,40}\\*?") {
            let parsed = pattern(&text);
            prop_assert_eq!(parsed.to_string(), text.clone());
            let json = serde_json::to_string(&parsed).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pattern>(&json).unwrap(), parsed);
        }
    }
}
