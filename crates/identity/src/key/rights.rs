//! What a key may do: one closed shape for each kind. A record with a member that this version does
//! not know is refused, never read as fewer restrictions.

use serde::{Deserialize, Serialize};

use super::{AdminRights, KeyKind};
use crate::limits::Limits;
use crate::networks::Networks;
use crate::pattern::Pattern;
use crate::scope::Scope;

/// The rights of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Rights {
    /// Those of a caller key.
    Caller(CallerRights),
    /// Those of a worker key.
    Worker(WorkerRights),
    /// Those of an admin key.
    Admin(AdminRights),
}

/// The rights of a caller key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerRights {
    /// The ids of MCP servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Pattern>,
    /// Whether messages to them may read and call no tool. It is not of the LLM API.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Patterns of models of the LLM API; `*` stands for anything, `!` in front leaves out. None: the
    /// key does not open the LLM API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Its bounds at the LLM API.
    #[serde(default, skip_serializing_if = "LlmLimits::is_default")]
    pub llm: LlmLimits,
    /// Its bounds at every door.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Box<Limits>,
    /// The addresses that it may be used from.
    #[serde(default, skip_serializing_if = "Networks::is_all")]
    pub networks: Networks,
}

/// The bounds of a key at the LLM API. `None` is no bound of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmLimits {
    /// The share of slot time, relative to other keys that wait; `None`: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The class of its calls.
    #[serde(default)]
    pub class: Class,
    /// The most calls at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// The most calls that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u32>,
    /// The most calls a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// The most tokens a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// The most tokens a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
}

/// The importance of the calls of a key at the LLM API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Runs when no other class waits.
    Low,
    /// The class of keys that have none.
    #[default]
    Normal,
    /// Goes before the others.
    High,
}

/// The rights of a worker key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerRights {
    /// The ids.
    pub ids: WorkerIds,
    /// The kinds of relays; both if there is none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<WorkerKind>,
    /// The most ids at once.
    #[serde(default = "max_ids")]
    pub max_ids: usize,
    /// The addresses that it may be used from.
    #[serde(default, skip_serializing_if = "Networks::is_all")]
    pub networks: Networks,
}

/// The ids that a worker key may serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerIds {
    /// Those of these patterns.
    Of(Vec<Pattern>),
    /// Random ones alone, which the server assigns.
    Assigned,
}

/// A kind of relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerKind {
    /// `llamapool mcp`.
    Mcp,
    /// `llamapool worker`.
    Llm,
}

/// Returns the default of [`WorkerRights::max_ids`].
fn max_ids() -> usize {
    WorkerRights::MAX_IDS
}

impl Rights {
    /// Returns those of a caller key; `None` for another kind.
    pub fn caller(&self) -> Option<&CallerRights> {
        match self {
            Self::Caller(rights) => Some(rights),
            Self::Worker(_) | Self::Admin(_) => None,
        }
    }

    /// Returns the addresses that their key may be used from.
    pub fn networks(&self) -> &Networks {
        match self {
            Self::Caller(rights) => &rights.networks,
            Self::Worker(rights) => &rights.networks,
            Self::Admin(rights) => &rights.networks,
        }
    }

    /// Returns how much messages to its ids may do. Other keys than those of callers send none.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Caller(rights) => rights.scope(),
            Self::Worker(_) | Self::Admin(_) => Scope::All,
        }
    }

    /// Returns whether what runs by these rights may go on with others: they differ in limits at most,
    /// also in those of the LLM API, which are for what begins.
    pub fn continue_as(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Caller(before), Self::Caller(next)) => {
                let next = CallerRights {
                    limits: before.limits.clone(),
                    llm: before.llm.clone(),
                    ..next.clone()
                };
                *before == next
            }
            _ => self == next,
        }
    }

    /// Returns the kind of key that has them.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Caller(_) => KeyKind::Caller,
            Self::Worker(_) => KeyKind::Worker,
            Self::Admin(_) => KeyKind::Admin,
        }
    }
}

impl CallerRights {
    /// Returns whether an id may be called.
    pub fn may_call(&self, id: &str) -> bool {
        self.ids.iter().any(|pattern| pattern.matches(id))
    }

    /// Returns whether there are models that it opens, so that it opens the LLM API.
    pub fn opens_llm(&self) -> bool {
        !self.models.is_empty()
    }

    /// Returns how much messages to its ids may do.
    pub fn scope(&self) -> Scope {
        if self.read_only {
            Scope::Read
        } else {
            Scope::All
        }
    }
}

impl LlmLimits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl WorkerKind {
    /// Returns the command that runs such a relay.
    pub fn command(self) -> &'static str {
        match self {
            Self::Mcp => "llamapool mcp",
            Self::Llm => "llamapool worker",
        }
    }
}

impl WorkerRights {
    /// The default of [`WorkerRights::max_ids`].
    pub const MAX_IDS: usize = 16;

    /// Returns rights to serve the ids of some patterns, with any kind of relay.
    pub fn of(patterns: Vec<Pattern>) -> Self {
        Self {
            ids: WorkerIds::Of(patterns),
            kinds: Vec::new(),
            max_ids: Self::MAX_IDS,
            networks: Networks::default(),
        }
    }

    /// Returns the patterns of the ids; none where the server assigns them.
    pub fn patterns(&self) -> &[Pattern] {
        match &self.ids {
            WorkerIds::Of(patterns) => patterns,
            WorkerIds::Assigned => &[],
        }
    }

    /// Returns whether a relay of a kind may connect.
    pub fn admits(&self, kind: WorkerKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_survive_their_record() {
        let pattern = |text: &str| text.parse::<Pattern>().unwrap();
        let caller = Rights::Caller(CallerRights {
            ids: vec![pattern("notes"), pattern("team-*")],
            read_only: true,
            models: vec!["qwen*".to_owned()],
            llm: LlmLimits {
                weight: Some(2),
                class: Class::High,
                ..LlmLimits::default()
            },
            limits: Box::new(Limits {
                rate: Some("120/min".parse().unwrap()),
                ..Limits::default()
            }),
            networks: "10.0.0.0/8".parse().unwrap(),
        });
        let worker = Rights::Worker(WorkerRights {
            kinds: vec![WorkerKind::Llm],
            ..WorkerRights::of(vec![pattern("notes")])
        });

        for rights in [caller, worker] {
            let record = serde_json::to_string(&rights).unwrap();
            assert_eq!(serde_json::from_str::<Rights>(&record).unwrap(), rights);
        }
    }

    #[test]
    fn a_restriction_of_a_later_version_is_refused() {
        let newer = r#"{"caller":{"ids":["notes"],"hours":["9-17"]}}"#;

        let error = serde_json::from_str::<Rights>(newer).unwrap_err();

        assert!(error.to_string().contains("hours"), "{error}");
    }

    #[test]
    fn a_record_of_before_is_not_read_only() {
        let record = r#"{"caller":{"ids":["notes"]}}"#;

        let rights = serde_json::from_str::<Rights>(record).unwrap();

        assert_eq!(serde_json::to_string(&rights).unwrap(), record);
        let Rights::Caller(before) = rights.clone() else {
            panic!("{rights:?}");
        };
        assert_eq!(before.scope(), Scope::All);
        let after = CallerRights {
            read_only: true,
            ..before
        };
        assert_eq!(after.scope(), Scope::Read);
        let after = Rights::Caller(after);
        assert!(!rights.continue_as(&after) && !after.continue_as(&rights));
        assert_eq!(
            serde_json::to_string(&after).unwrap(),
            r#"{"caller":{"ids":["notes"],"read_only":true}}"#
        );
    }

    #[test]
    fn a_key_covers_its_ids_alone() {
        let rights = CallerRights {
            ids: vec!["notes".parse().unwrap(), "team-*".parse().unwrap()],
            ..CallerRights::default()
        };

        assert!(rights.may_call("notes") && rights.may_call("team-a"));
        assert!(!rights.may_call("notes2") && !rights.may_call("team"));
        assert!(!CallerRights::default().may_call("notes"));
    }

    #[test]
    fn other_limits_end_nothing_and_other_networks_do() {
        let rights = CallerRights {
            ids: vec!["notes".parse().unwrap()],
            ..CallerRights::default()
        };
        let limited = CallerRights {
            limits: Box::new(Limits {
                concurrency: Some(1),
                ..Limits::default()
            }),
            ..rights.clone()
        };
        let heavier = CallerRights {
            llm: LlmLimits {
                weight: Some(4),
                ..LlmLimits::default()
            },
            ..rights.clone()
        };
        let elsewhere = CallerRights {
            networks: "10.0.0.0/8".parse().unwrap(),
            ..rights.clone()
        };
        let all = [rights, limited, heavier, elsewhere].map(Rights::Caller);
        let [rights, limited, heavier, elsewhere] = all;

        assert!(rights.continue_as(&limited) && limited.continue_as(&rights));
        assert!(rights.continue_as(&heavier) && heavier.continue_as(&rights));
        assert!(!rights.continue_as(&elsewhere) && !limited.continue_as(&elsewhere));
    }
}
