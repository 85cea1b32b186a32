//! Patterns of names that providers give: of tools, prompts and resources. A `*` may stand anywhere.
//!
//! Unlike an id, such a name may have any characters, and the words in it stand in any order, so that
//! `*delete*` is worth writing. It is compared byte by byte, never folded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes: URIs are longer than ids.
const MAX_BYTES: usize = 1024;
/// The most stars of a pattern.
const MAX_STARS: usize = 8;

/// A pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    /// The beginning of the names.
    start: Box<str>,
    /// What stands behind each star, in their order.
    behind: Vec<Box<str>>,
}

/// The reasons why a text is no pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamePatternError {
    /// There is nothing in it.
    #[error("the pattern is empty, expected a name in which * stands for anything")]
    Empty,
    /// It is longer than names are.
    #[error("the pattern has {0} bytes, expected {MAX_BYTES} at most")]
    TooLong(usize),
    /// It has more stars than anything needs.
    #[error("the pattern {0:?} has more than {MAX_STARS} *")]
    Stars(String),
    /// It has a control character, which no message may have in a name.
    #[error("the pattern {0:?} has a control character")]
    Control(String),
}

impl NamePattern {
    /// Returns whether a name is one of the pattern.
    pub fn matches(&self, name: &str) -> bool {
        let Some((last, middle)) = self.behind.split_last() else {
            return *self.start == *name;
        };
        let Some(mut rest) = name.strip_prefix(&*self.start) else {
            return false;
        };
        // The first place of each part leaves most to the parts behind it.
        for part in middle {
            match rest.split_once(&**part) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        rest.ends_with(&**last)
    }
}

impl FromStr for NamePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<Self, NamePatternError> {
        if text.is_empty() {
            return Err(NamePatternError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(NamePatternError::TooLong(text.len()));
        }
        if text.contains(char::is_control) {
            return Err(NamePatternError::Control(text.to_owned()));
        }

        let mut parts = text.split('*').map(Box::from);
        let pattern = Self {
            start: parts.next().unwrap_or_default(),
            behind: parts.collect(),
        };
        if pattern.behind.len() > MAX_STARS {
            return Err(NamePatternError::Stars(text.to_owned()));
        }
        Ok(pattern)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start)?;
        for part in &self.behind {
            write!(f, "*{part}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for NamePattern {
    type Error = NamePatternError;

    fn try_from(text: String) -> Result<Self, NamePatternError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (text, name, expected) in [
            ("search", "search", true),
            ("search", "searching", false),
            ("search", "Search", false),
            ("time/*", "time/now", true),
            ("*_delete", "file_delete", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*z", "a-ä-z", true),
            ("*delete*", "delete", true),
            ("*delete*", "file_delete_all", true),
            ("*delete*", "file_dele_te", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
            ("*", "", true),
            ("ä b", "ä b", true),
        ] {
            let pattern: NamePattern = text.parse().unwrap();
            assert_eq!(pattern.matches(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn a_wrong_pattern_of_names_is_named() {
        let error = |text: &str| text.parse::<NamePattern>().unwrap_err().to_string();

        assert!(error("").contains("empty"));
        assert!(error("*********").contains("more than 8"));
        assert!(error("a\u{7f}").contains("control"));
        assert!(error(&"a".repeat(1025)).contains("1025 bytes"));
    }

    proptest! {
        #[test]
        fn a_pattern_of_names_survives_its_text(text in "[^*\\pC]{1,9}(\\*[^*\\pC]{0,9}){0,8}") {
            let parsed: NamePattern = text.parse().unwrap();
            prop_assert_eq!(parsed.to_string(), text.clone());
            prop_assert!(parsed.matches(&text.replace('*', "any thing")));
        }
    }
}
