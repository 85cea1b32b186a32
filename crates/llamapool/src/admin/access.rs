//! `llamapool access`: what ids ask of their callers, and which messages they take.

mod messages;

use std::time::SystemTime;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use llamapool_identity::{AccessMode, AccessRule, Pattern, Store};
use serde_json::json;

use self::messages::MessageEdit;
use super::Printed;
use super::limit_flags;
use super::place::{self, Place};
use super::table::table;
use crate::cli::CliError;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const ACCESS: &str = "access";

const PATTERN: &str = "PATTERN";
const MODE: &str = "MODE";
const JSON: &str = "json";

const ABOUT: &str = "\
Shows and changes what the ids of MCP servers ask of their callers: open asks nothing (the \
AUTH_TOKEN of a relay or the MCP server itself may), keys asks for a caller key that covers the id. \
A rule may also refuse messages by their method, tool, prompt or resource. Of several patterns the \
most exact one holds, with all that it says and nothing of the others.

Examples:
  llamapool access set 'team-*' keys
  llamapool access set notes keys --methods read
  llamapool access set files open --allow-tool 'read_*' --deny-tool '*secret*'
  llamapool access list";

/// The command as it was typed.
#[derive(Debug)]
pub struct AccessCommand {
    place: Place,
    action: Action,
}

#[derive(Debug)]
enum Action {
    List {
        json: bool,
    },
    Show {
        pattern: Pattern,
        json: bool,
    },
    Set {
        pattern: Pattern,
        mode: Option<AccessMode>,
        messages: Box<MessageEdit>,
        /// The flags of limits.
        flags: Box<ArgMatches>,
    },
    Remove(Pattern),
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let pattern = || {
        Arg::new(PATTERN)
            .required(true)
            .help("Id, the beginning of ids followed by *, or *")
    };
    let modes = AccessMode::ALL.map(AccessMode::word);
    let mode = Arg::new(MODE)
        .value_parser(PossibleValuesParser::new(modes))
        .help("What the ids ask of their callers; a rule that exists keeps it if it is left out");
    let json = || {
        Arg::new(JSON)
            .long(JSON)
            .action(ArgAction::SetTrue)
            .help("Prints JSON")
    };

    let list = Command::new("list").about("Lists the rules").arg(json());
    let show = Command::new("show")
        .about("Shows a rule")
        .arg(pattern())
        .arg(json());
    let set = Command::new("set")
        .about("Sets the access of ids, their limits, and the messages that they take")
        .arg(pattern())
        .arg(mode)
        .args(limit_flags::of_access())
        .args(messages::arguments());
    let remove = Command::new("remove")
        .about("Removes a rule")
        .arg(pattern());
    Command::new(ACCESS)
        .about("Shows and changes what ids ask of their callers")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands([list, show, set, remove].map(place::add_flags))
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<AccessCommand, CliError> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(CliError::MissingCommand);
    };
    let action = match name {
        "list" => Action::List {
            json: matches.get_flag(JSON),
        },
        "show" => Action::Show {
            pattern: pattern(matches)?,
            json: matches.get_flag(JSON),
        },
        "set" => set(matches)?,
        _ => Action::Remove(pattern(matches)?),
    };
    Ok(AccessCommand {
        place: Place::find(matches, environment)?,
        action,
    })
}

fn pattern(matches: &ArgMatches) -> Result<Pattern, CliError> {
    let pattern = matches.get_one::<String>(PATTERN).map_or("", |text| text);
    let pattern = pattern.parse();
    pattern.map_err(|error| CliError::Usage(format!("{error}")))
}

fn set(matches: &ArgMatches) -> Result<Action, CliError> {
    let mode = matches.get_one::<String>(MODE);
    let mode = mode.map(|mode| mode.parse()).transpose();
    let mode = mode.map_err(|error| CliError::Usage(format!("{error}")))?;
    let messages = MessageEdit::read(matches)?;
    Ok(Action::Set {
        pattern: pattern(matches)?,
        mode,
        messages: Box::new(messages),
        flags: Box::new(matches.clone()),
    })
}

impl AccessCommand {
    /// Runs the command.
    pub(super) fn run(self) -> anyhow::Result<Printed> {
        let mut store = self.place.store()?;
        let now = SystemTime::now();
        match self.action {
            Action::List { json: true } => {
                let rules = store.load()?.access;
                let rules: Vec<_> = rules.iter().map(AccessRule::shown).collect();
                Ok(printed(format!("{}\n", json!(rules))))
            }
            Action::List { json: false } => list(&store.load()?.access),
            Action::Show { pattern, json } => {
                let rule = rule_of(&store, &pattern)?;
                let rule = rule.ok_or_else(|| anyhow::anyhow!("there is no rule for {pattern}"))?;
                if json {
                    return Ok(printed(format!("{}\n", rule.shown())));
                }
                let AccessRule { pattern, mode, .. } = &rule;
                let limits = limits(&rule);
                let messages = messages::in_lines(&rule.messages);
                let head = format!("ids       {pattern}\naccess    {mode}\nlimits    {limits}\n");
                Ok(printed(format!("{head}{messages}")))
            }
            Action::Set {
                pattern,
                mode,
                messages,
                flags,
            } => {
                let before = rule_of(&store, &pattern)?;
                let mut rule = begun(before, pattern, mode)?;
                rule.messages = messages.apply(rule.messages);
                limit_flags::change_access(&flags, &mut rule.limits)?;
                let sequence = store.set_rule(&rule, now)?;
                let AccessRule { pattern, mode, .. } = &rule;
                let done = match messages::summary(&rule.messages) {
                    None => format!("{pattern} is {mode} now"),
                    Some(rules) => format!("{pattern} is {mode} now, with rules of {rules}"),
                };
                self.place.noted(&store, sequence, &done)
            }
            Action::Remove(pattern) => {
                let sequence = store.set_access(&pattern, None, now)?;
                let done = format!("{pattern} has no rule any more");
                self.place.noted(&store, sequence, &done)
            }
        }
    }
}

/// Returns the rule of exactly this pattern.
fn rule_of(store: &Store, pattern: &Pattern) -> anyhow::Result<Option<AccessRule>> {
    let mut rules = store.load()?.access.into_iter();
    Ok(rules.find(|rule| rule.pattern == *pattern))
}

/// Returns the rule of a pattern in another mode, or a new one.
fn begun(
    before: Option<AccessRule>,
    pattern: Pattern,
    mode: Option<AccessMode>,
) -> anyhow::Result<AccessRule> {
    match (before, mode) {
        (Some(rule), mode) => Ok(AccessRule {
            mode: mode.unwrap_or(rule.mode),
            ..rule
        }),
        (None, Some(mode)) => Ok(AccessRule::new(pattern, mode)),
        (None, None) => anyhow::bail!(
            "{pattern} has no rule yet; say also what it asks of its callers, open or keys"
        ),
    }
}

/// Returns the limits of a rule as people read them.
fn limits(rule: &AccessRule) -> String {
    if rule.limits.is_empty() {
        return "-".to_owned();
    }
    json!(rule.limits).to_string()
}

fn list(rules: &[AccessRule]) -> anyhow::Result<Printed> {
    let rows: Vec<_> = rules
        .iter()
        .map(|rule| {
            [
                rule.pattern.to_string(),
                rule.mode.to_string(),
                messages::summary(&rule.messages).unwrap_or_else(|| "all".to_owned()),
                limits(rule),
            ]
        })
        .collect();
    Ok(Printed {
        output: table(["IDS", "ACCESS", "MESSAGES", "LIMITS"], &rows),
        notes: "ids that no rule covers have the access of the server's MCP_ACCESS\n".to_owned(),
    })
}

fn printed(output: String) -> Printed {
    Printed {
        output,
        notes: String::new(),
    }
}
