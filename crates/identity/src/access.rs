//! The access of ids: what an id asks of its callers.
//!
//! The table is one of patterns, and independent of the relays that are connected: an answer that
//! depends on it alone does not depend on what exists.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::AccessLimits;
use crate::pattern::{Pattern, best_match};
use crate::policy::MessagePolicy;
use crate::reading::{MessageRules, RuleSource};

/// The demand of an id on its callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// Nothing. Its relay's `AUTH_TOKEN` or the provider itself decides.
    #[default]
    Open,
    /// A caller key that covers the id.
    Keys,
    /// A caller key that covers the id, or an access token that the own authorization server gave for
    /// it. Where that server is off, as [`AccessMode::Keys`].
    SignIn,
}

/// The access of the ids of one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// The ids.
    pub pattern: Pattern,
    /// The mode of access.
    pub mode: AccessMode,
    /// Their limits.
    pub limits: AccessLimits,
    /// The policy of messages to them.
    pub messages: MessagePolicy,
}

/// The access of all ids.
#[derive(Debug, Clone, Default)]
pub struct Access {
    rules: BTreeMap<Pattern, Rule>,
    /// The mode of ids that no rule covers.
    default: AccessMode,
}

/// What the ids of a pattern ask, and their limits and rules of messages, if they have any.
#[derive(Debug, Clone)]
struct Rule {
    mode: AccessMode,
    limits: Option<Arc<AccessLimits>>,
    messages: MessageRules,
}

impl AccessRule {
    /// Returns a rule without limits, for all messages.
    pub fn new(pattern: Pattern, mode: AccessMode) -> Self {
        Self {
            pattern,
            mode,
            limits: AccessLimits::default(),
            messages: MessagePolicy::default(),
        }
    }
}

impl Access {
    /// Returns a table of rules. Of two rules for one pattern the later one holds.
    pub fn new(default: AccessMode, rules: impl IntoIterator<Item = AccessRule>) -> Self {
        let rules = rules.into_iter().map(|rule| {
            let limits = (!rule.limits.is_empty()).then(|| Arc::new(rule.limits));
            let messages = Arc::new(rule.messages);
            let rest = Rule {
                mode: rule.mode,
                limits,
                messages: MessageRules::default().and(RuleSource::Id, messages),
            };
            (rule.pattern, rest)
        });
        Self {
            rules: rules.collect(),
            default,
        }
    }

    /// Returns what an id asks: the rule with the most exact pattern.
    pub fn mode(&self, id: &str) -> AccessMode {
        self.rule(id).map_or(self.default, |rule| rule.mode)
    }

    /// Returns the limits of an id: those of the rule with the most exact pattern.
    pub fn limits(&self, id: &str) -> Option<&Arc<AccessLimits>> {
        self.rule(id).and_then(|rule| rule.limits.as_ref())
    }

    /// Returns the rules of messages to an id: those of the rule with the most exact pattern.
    pub fn messages(&self, id: &str) -> MessageRules {
        self.rule(id)
            .map(|rule| rule.messages.clone())
            .unwrap_or_default()
    }

    /// Returns whether an id has rules of messages, so that a call needs a look at the table.
    pub fn has_messages(&self) -> bool {
        self.rules.values().any(|rule| !rule.messages.is_empty())
    }

    /// Returns whether every id is open, so that no call needs a look at the table.
    pub fn is_open(&self) -> bool {
        let mut modes = self.rules.values().map(|rule| rule.mode);
        self.default == AccessMode::Open && modes.all(|mode| mode == AccessMode::Open)
    }

    /// Returns whether an id has limits, so that a call needs a look at the table.
    pub fn has_limits(&self) -> bool {
        self.rules.values().any(|rule| rule.limits.is_some())
    }

    /// Returns the mode of ids that no rule covers.
    pub fn default_mode(&self) -> AccessMode {
        self.default
    }

    /// Returns the rules, by pattern.
    pub fn rules(&self) -> impl Iterator<Item = (&Pattern, AccessMode)> {
        self.rules
            .iter()
            .map(|(pattern, rule)| (pattern, rule.mode))
    }

    fn rule(&self, id: &str) -> Option<&Rule> {
        let best = best_match(self.rules.keys(), id);
        best.and_then(|pattern| self.rules.get(pattern))
    }
}

impl AccessMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Open, Self::Keys, Self::SignIn];

    /// Returns the word for it in settings, commands and the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Keys => "keys",
            Self::SignIn => "sign-in",
        }
    }
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Another word than that of a mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no access, expected open, keys or sign-in")]
pub struct AccessModeError(String);

impl FromStr for AccessMode {
    type Err = AccessModeError;

    fn from_str(word: &str) -> Result<Self, AccessModeError> {
        let mode = Self::ALL.into_iter().find(|mode| mode.word() == word);
        mode.ok_or_else(|| AccessModeError(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, mode: AccessMode) -> AccessRule {
        AccessRule::new(pattern.parse().unwrap(), mode)
    }

    #[test]
    fn the_most_exact_rule_holds() {
        let rules = [
            rule("public-*", AccessMode::Open),
            rule("public-secrets", AccessMode::Keys),
        ];
        let access = Access::new(AccessMode::Keys, rules);

        assert_eq!(access.mode("public-clock"), AccessMode::Open);
        assert_eq!(access.mode("public-secrets"), AccessMode::Keys);
        assert_eq!(access.mode("other"), AccessMode::Keys);
        assert!(!access.is_open());
        assert!(Access::default().is_open());
    }

    #[test]
    fn the_limits_are_those_of_the_most_exact_rule() {
        let limits = AccessLimits {
            concurrency: Some(2),
            ..AccessLimits::default()
        };
        let limited = AccessRule {
            limits: limits.clone(),
            ..rule("team-*", AccessMode::Open)
        };
        let access = Access::new(
            AccessMode::Open,
            [limited, rule("team-a", AccessMode::Open)],
        );

        assert_eq!(access.limits("team-b").map(Arc::as_ref), Some(&limits));
        assert_eq!(access.limits("team-a"), None);
        assert_eq!(access.limits("other"), None);
        assert!(access.is_open() && access.has_limits());
        assert!(!Access::default().has_limits());
    }

    #[test]
    fn the_messages_are_those_of_the_most_exact_rule() {
        let read = AccessRule {
            messages: MessagePolicy::read_only(),
            ..rule("team-*", AccessMode::Open)
        };
        let access = Access::new(AccessMode::Open, [read, rule("team-a", AccessMode::Open)]);

        assert!(!access.messages("team-b").is_empty());
        assert!(access.messages("team-a").is_empty());
        assert!(access.messages("other").is_empty());
        assert!(access.is_open() && access.has_messages());
        assert!(!Access::default().has_messages());
    }

    #[test]
    fn a_word_is_a_mode_and_another_is_named() {
        for mode in AccessMode::ALL {
            assert_eq!(mode.word().parse(), Ok(mode));
        }
        let error = "closed".parse::<AccessMode>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"closed\" is no access, expected open, keys or sign-in"
        );
    }
}
