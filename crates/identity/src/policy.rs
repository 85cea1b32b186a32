//! The policy of messages: the methods, tools, prompts and resources that callers of an id may name.
//!
//! It is what an operator writes. `reading` finds in a message what is compared with it.

mod name;

use serde::{Deserialize, Deserializer, Serialize};

use crate::pattern::{Pattern, PatternError};

pub use name::{NamePattern, NamePatternError};

/// The most patterns of one list.
const MAX_PATTERNS: usize = 256;
/// The word for the methods that change nothing, in place of a method.
const READ: &str = "read";
/// The methods that change nothing at a provider which keeps to MCP: beginning a session, signs of
/// life, lists, reading, and the notifications of clients. Every revision's (MCP 2024-11-05 to
/// 2026-07-28). Notifications are named one by one: a provider may act on one of its own.
const READ_METHODS: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/list",
    "roots/list",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "notifications/elicitation/complete",
];

/// The policy of messages of an id. Without a rule it allows all.
///
/// A record with a member of a later version is an error, never a policy with fewer
/// rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessagePolicy {
    /// The methods; `None`: all, also those that MCP does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<MethodList>,
    /// The tools that `tools/call` may name.
    #[serde(default, skip_serializing_if = "NameRules::is_empty")]
    pub tools: NameRules,
    /// The prompts that `prompts/get` and `completion/complete` may name.
    #[serde(default, skip_serializing_if = "NameRules::is_empty")]
    pub prompts: NameRules,
    /// The URIs of resources that may be read, completed, subscribed to and listened for.
    #[serde(default, skip_serializing_if = "NameRules::is_empty")]
    pub resources: NameRules,
}

/// The methods that are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MethodList(Vec<AllowedMethods>);

/// Methods that are allowed: those that change nothing, or those of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
enum AllowedMethods {
    Read,
    Of(Pattern),
}

/// The names that are allowed and denied. A name that is denied is not allowed, whatever else is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRules {
    /// The names that are allowed; `None`: all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_names"
    )]
    pub allow: Option<Vec<NamePattern>>,
    /// The names that are denied.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "names"
    )]
    pub deny: Vec<NamePattern>,
}

/// The kind of rule that does not allow a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// That of methods.
    Method,
    /// That of tools.
    Tool,
    /// That of prompts.
    Prompt,
    /// That of resources.
    Resource,
}

/// The reasons why a list of methods is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MethodListError {
    /// A method is no pattern.
    #[error("{0:?} is no method: {1}")]
    Pattern(String, PatternError),
    /// There are too many of them.
    #[error("there are {0} methods, expected {MAX_PATTERNS} at most")]
    TooMany(usize),
}

impl MessagePolicy {
    /// Returns the policy of the scope `mcp:read`: what changes nothing is allowed.
    pub fn read_only() -> Self {
        Self {
            methods: Some(MethodList(vec![AllowedMethods::Read])),
            ..Self::default()
        }
    }

    /// Returns whether it allows every message, so that none needs to be read.
    pub fn is_empty(&self) -> bool {
        let rules = [&self.tools, &self.prompts, &self.resources];
        self.methods.is_none() && rules.into_iter().all(NameRules::is_empty)
    }

    /// Returns whether a method is allowed.
    pub(crate) fn allows_method(&self, method: &str) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|methods| methods.contains(method))
    }
}

impl MethodList {
    /// Returns the list of these methods, each a pattern or the word `read`.
    ///
    /// # Errors
    ///
    /// If one is no pattern, or there are too many.
    pub fn new(methods: Vec<String>) -> Result<Self, MethodListError> {
        if methods.len() > MAX_PATTERNS {
            return Err(MethodListError::TooMany(methods.len()));
        }
        let parsed = methods.into_iter().map(|method| match method.as_str() {
            READ => Ok(AllowedMethods::Read),
            text => match text.parse() {
                Ok(pattern) => Ok(AllowedMethods::Of(pattern)),
                Err(error) => Err(MethodListError::Pattern(method, error)),
            },
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the methods as they are written.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().cloned().map(String::from)
    }

    fn contains(&self, method: &str) -> bool {
        self.0.iter().any(|allowed| match allowed {
            AllowedMethods::Read => READ_METHODS.contains(&method),
            AllowedMethods::Of(pattern) => pattern.matches(method),
        })
    }
}

impl From<AllowedMethods> for String {
    fn from(allowed: AllowedMethods) -> Self {
        match allowed {
            AllowedMethods::Read => READ.to_owned(),
            AllowedMethods::Of(pattern) => pattern.to_string(),
        }
    }
}

/// One method, or a list of them.
impl<'de> Deserialize<'de> for MethodList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"read\", or a list of methods")]
        enum Written {
            One(String),
            Many(Vec<String>),
        }

        let methods = match Written::deserialize(deserializer)? {
            Written::One(method) => vec![method],
            Written::Many(methods) => methods,
        };
        Self::new(methods).map_err(serde::de::Error::custom)
    }
}

impl NameRules {
    /// Returns whether it allows every name.
    pub fn is_empty(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Returns whether a name is allowed.
    pub(crate) fn allows(&self, name: &str) -> bool {
        let is_one_of = |patterns: &[NamePattern]| patterns.iter().any(|one| one.matches(name));
        let is_allowed = self.allow.as_deref().is_none_or(is_one_of);
        is_allowed && !is_one_of(&self.deny)
    }
}

impl RuleKind {
    /// Returns the word for it in errors and the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NamePattern>, D::Error> {
    let names = Vec::<NamePattern>::deserialize(deserializer)?;
    if names.len() > MAX_PATTERNS {
        let count = names.len();
        let message = format!("there are {count} names, expected {MAX_PATTERNS} at most");
        return Err(serde::de::Error::custom(message));
    }
    Ok(names)
}

fn some_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<NamePattern>>, D::Error> {
    names(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> MessagePolicy {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn read_allows_what_changes_nothing() {
        let policy = policy(r#"{"methods":"read"}"#);

        assert_eq!(policy, MessagePolicy::read_only());
        for allowed in ["initialize", "tools/list", "notifications/progress"] {
            assert!(policy.allows_method(allowed), "{allowed}");
        }
        for denied in ["tools/call", "tasks/cancel", "notifications/own", "read"] {
            assert!(!policy.allows_method(denied), "{denied}");
        }
    }

    #[test]
    fn a_list_of_methods_is_all_that_is_allowed() {
        let some = policy(r#"{"methods":["read","tools/call","x/*"]}"#);

        for allowed in ["ping", "tools/call", "x/own"] {
            assert!(some.allows_method(allowed), "{allowed}");
        }
        assert!(!some.allows_method("y/own"));
        assert!(!policy(r#"{"methods":[]}"#).allows_method("ping"));
        assert!(policy("{}").allows_method("y/own"));
    }

    #[test]
    fn deny_beats_allow() {
        let rules = policy(r#"{"tools":{"allow":["time/*","search"],"deny":["*delete*"]}}"#).tools;

        assert!(rules.allows("time/now") && rules.allows("search"));
        assert!(!rules.allows("time/delete_all") && !rules.allows("other"));
        assert!(!rules.allows("Search"));
        let none = policy(r#"{"tools":{"allow":[]}}"#).tools;
        assert!(!none.allows("search") && !none.is_empty());
    }

    #[test]
    fn a_policy_survives_its_record() {
        let written = r#"{"methods":["read","tools/call"],"tools":{"allow":["a*b"],"deny":["ä"]},"resources":{"allow":["file:///docs/*"]}}"#;

        let policy = policy(written);

        assert_eq!(serde_json::to_string(&policy).unwrap(), written);
        assert!(!policy.is_empty() && MessagePolicy::default().is_empty());
    }

    #[test]
    fn a_rule_of_a_later_version_is_refused() {
        for (newer, named) in [
            (r#"{"arguments":{}}"#, "arguments"),
            (r#"{"tools":{"allow":[],"only":[]}}"#, "only"),
            (r#"{"methods":["a b"]}"#, "a b"),
            (r#"{"methods":7}"#, "expected"),
            (r#"{"tools":{"deny":[""]}}"#, "empty"),
        ] {
            let error = serde_json::from_str::<MessagePolicy>(newer).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
        let many = vec!["a"; MAX_PATTERNS + 1];
        let many = serde_json::json!({"tools": {"allow": many}}).to_string();
        let error = serde_json::from_str::<MessagePolicy>(&many).unwrap_err();
        assert!(error.to_string().contains("257"), "{error}");
    }
}
