//! The flags of the policy of messages, and how it is shown.

use clap::{Arg, ArgAction, ArgMatches};
use llamapool_identity::{MessagePolicy, MethodList, NamePattern, NameRules};

use crate::cli::CliError;

const METHODS: &str = "methods";
const ALL: &str = "all-messages";
/// The word that removes the rule of methods.
const ANY: &str = "all";

/// The names that rules are for: the flag's word, and what it names.
const KINDS: [(&str, &str); 3] = [
    ("tool", "tools"),
    ("prompt", "prompts"),
    ("resource", "URIs of resources"),
];

/// What is changed of a policy of messages; `None` leaves it as it is.
#[derive(Debug, Default)]
pub(super) struct MessageEdit {
    /// Begins with a policy without rules.
    is_new: bool,
    /// The inner `None`: all methods.
    methods: Option<Option<MethodList>>,
    names: [NameEdit; 3],
}

/// What is changed of the rules of names.
#[derive(Debug, Default)]
struct NameEdit {
    allow: Option<Vec<NamePattern>>,
    deny: Option<Vec<NamePattern>>,
}

/// Returns the flags.
pub(super) fn arguments() -> Vec<Arg> {
    let methods = Arg::new(METHODS)
        .long(METHODS)
        .value_name("METHODS")
        .help("Methods that are allowed, separated by commas: names, beginnings followed by *, or read (what changes nothing); all removes the rule");
    let all = Arg::new(ALL)
        .long(ALL)
        .action(ArgAction::SetTrue)
        .help("Removes all rules of messages, before others are set");
    let names = KINDS.into_iter().flat_map(|(word, what)| {
        ["allow", "deny"].map(|verb| {
            let name = format!("{verb}-{word}");
            let help = format!(
                "Names of {what} to {verb}, in which * stands for anything; may be repeated"
            );
            Arg::new(name.clone())
                .long(name)
                .value_name("NAME")
                .action(ArgAction::Append)
                .help(help)
        })
    });
    [methods].into_iter().chain(names).chain([all]).collect()
}

impl MessageEdit {
    /// Reads the flags.
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, CliError> {
        let methods = matches.get_one::<String>(METHODS);
        let methods = methods.map(|text| methods_of(text)).transpose()?;
        let mut names = <[NameEdit; 3]>::default();
        for (edit, (word, _)) in names.iter_mut().zip(KINDS) {
            edit.allow = names_of(matches, &format!("allow-{word}"))?;
            edit.deny = names_of(matches, &format!("deny-{word}"))?;
        }
        Ok(Self {
            is_new: matches.get_flag(ALL),
            methods,
            names,
        })
    }

    /// Returns a policy with the changes.
    pub(super) fn apply(self, before: MessagePolicy) -> MessagePolicy {
        let before = if self.is_new {
            MessagePolicy::default()
        } else {
            before
        };
        let [tools, prompts, resources] = self.names;
        MessagePolicy {
            methods: self.methods.unwrap_or(before.methods),
            tools: tools.apply(before.tools),
            prompts: prompts.apply(before.prompts),
            resources: resources.apply(before.resources),
        }
    }
}

impl NameEdit {
    fn apply(self, before: NameRules) -> NameRules {
        NameRules {
            allow: self.allow.or(before.allow),
            deny: self.deny.unwrap_or(before.deny),
        }
    }
}

/// Returns what a policy has rules of; `None` if it allows all.
pub(super) fn summary(policy: &MessagePolicy) -> Option<String> {
    let has = [
        ("methods", policy.methods.is_some()),
        ("tools", !policy.tools.is_empty()),
        ("prompts", !policy.prompts.is_empty()),
        ("resources", !policy.resources.is_empty()),
    ];
    let ruled = has.into_iter().filter(|(_, has)| *has);
    let ruled: Vec<_> = ruled.map(|(word, _)| word).collect();
    (!ruled.is_empty()).then(|| ruled.join(", "))
}

/// Returns a policy with a line for each rule.
pub(super) fn in_lines(policy: &MessagePolicy) -> String {
    let mut lines = String::new();
    if let Some(methods) = &policy.methods {
        let methods: Vec<_> = methods.iter().collect();
        lines.push_str(&format!("methods   {}\n", methods.join(", ")));
    }
    let names = [&policy.tools, &policy.prompts, &policy.resources];
    for ((word, _), rules) in KINDS.into_iter().zip(names) {
        let allow = rules.allow.as_ref().map(|names| ("allow", names));
        let deny = (!rules.deny.is_empty()).then_some(("deny", &rules.deny));
        for (verb, names) in allow.into_iter().chain(deny) {
            let names: Vec<_> = names.iter().map(NamePattern::to_string).collect();
            let flag = format!("{verb} {word}");
            lines.push_str(&format!("{flag:<15} {}\n", names.join(", ")));
        }
    }
    if lines.is_empty() {
        return "messages  all\n".to_owned();
    }
    lines
}

fn methods_of(text: &str) -> Result<Option<MethodList>, CliError> {
    if text == ANY {
        return Ok(None);
    }
    let methods = text.split(',').map(str::trim).map(str::to_owned);
    let methods = MethodList::new(methods.collect());
    methods.map(Some).map_err(usage)
}

fn names_of(matches: &ArgMatches, flag: &str) -> Result<Option<Vec<NamePattern>>, CliError> {
    let Some(names) = matches.get_many::<String>(flag) else {
        return Ok(None);
    };
    let names = names.map(|name| name.parse());
    names.collect::<Result<_, _>>().map(Some).map_err(usage)
}

fn usage(error: impl std::fmt::Display) -> CliError {
    CliError::Usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn edit(flags: &[&str]) -> Result<MessageEdit, CliError> {
        let command = Command::new("set").no_binary_name(true).args(arguments());
        MessageEdit::read(&command.try_get_matches_from(flags).unwrap())
    }

    fn applied(flags: &[&str], before: MessagePolicy) -> serde_json::Value {
        let policy = edit(flags).unwrap().apply(before);
        serde_json::to_value(policy).unwrap()
    }

    #[test]
    fn flags_make_a_policy() {
        let flags = [
            "--methods",
            "read, tools/call",
            "--allow-tool",
            "a*",
            "--allow-tool",
            "b",
            "--deny-tool",
            "*x*",
            "--allow-resource",
            "file:///docs/*",
        ];

        let policy = applied(&flags, MessagePolicy::default());

        let expected = serde_json::json!({
            "methods": ["read", "tools/call"],
            "tools": { "allow": ["a*", "b"], "deny": ["*x*"] },
            "resources": { "allow": ["file:///docs/*"] },
        });
        assert_eq!(policy, expected);
    }

    #[test]
    fn a_flag_that_is_left_out_changes_nothing() {
        let before = edit(&["--methods", "read", "--deny-tool", "x"]).unwrap();
        let before = || before_policy(&before);

        let more = applied(&["--deny-prompt", "y"], before());
        assert_eq!(more["methods"], serde_json::json!(["read"]));
        assert_eq!(more["tools"]["deny"], serde_json::json!(["x"]));
        let any = applied(&["--methods", "all"], before());
        assert_eq!(any, serde_json::json!({"tools": {"deny": ["x"]}}));
        let none = applied(&["--all-messages"], before());
        assert_eq!(none, serde_json::json!({}));
    }

    fn before_policy(edit: &MessageEdit) -> MessagePolicy {
        MessagePolicy {
            methods: edit.methods.clone().flatten(),
            tools: NameRules {
                allow: None,
                deny: edit.names[0].deny.clone().unwrap_or_default(),
            },
            ..MessagePolicy::default()
        }
    }

    #[test]
    fn a_wrong_rule_of_messages_is_named() {
        for (flags, named) in [
            (["--methods", "a b"], "a b"),
            (["--methods", ""], "empty"),
            (["--allow-tool", ""], "empty"),
        ] {
            let error = edit(&flags).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
