//! `llamapool grant`: what people have allowed apps to do.

use std::collections::HashMap;
use std::time::SystemTime;

use clap::{Arg, ArgAction, ArgMatches, Command};
use llamapool_identity::{ClientId, EndReason, Grant, GrantId, KeyId, Store, shown_time};
use serde_json::json;

use super::Printed;
use super::place::{self, Place};
use super::table::table;
use crate::cli::CliError;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const GRANT: &str = "grant";

const ID: &str = "ID";
const KEY: &str = "key";
const ALL: &str = "all";
const JSON: &str = "json";

const ABOUT: &str = "\
Lists and revokes grants: what somebody has allowed an app to do at an id, by their caller key or by \
a one-time code. A grant never gives more than its key, and ends with it.

Examples:
  llamapool grant list
  llamapool grant list --key 7k3xq2mbdrta
  llamapool grant revoke 4sqgzk2mbdrta7k3xq2mbdrta7";

/// The command as it was typed.
#[derive(Debug)]
pub struct GrantCommand {
    place: Place,
    action: Action,
}

#[derive(Debug)]
enum Action {
    List {
        key: Option<KeyId>,
        all: bool,
        json: bool,
    },
    Revoke(GrantId),
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let flag = |name, help| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let key = Arg::new(KEY)
        .long(KEY)
        .value_name("ID")
        .help("Lists the grants of this caller key alone");
    let list = Command::new("list")
        .about("Lists the grants, the newest first")
        .arg(key)
        .arg(flag(ALL, "Lists also those that ended in the last 30 days"))
        .arg(flag(JSON, "Prints JSON"));
    let id = Arg::new(ID)
        .required(true)
        .help("Id of the grant, as `grant list` shows it");
    let revoke = Command::new("revoke")
        .about("Revokes a grant: what runs by it ends at once")
        .arg(id);
    Command::new(GRANT)
        .about("Lists and revokes what people have allowed apps to do")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands([list, revoke].map(place::add_flags))
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<GrantCommand, CliError> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(CliError::MissingCommand);
    };
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
    let action = match name {
        "list" => {
            let key = matches.get_one::<String>(KEY);
            let key: Option<Result<KeyId, _>> = key.map(|text| text.parse());
            Action::List {
                key: key.transpose().map_err(|error| usage(&error))?,
                all: matches.get_flag(ALL),
                json: matches.get_flag(JSON),
            }
        }
        _ => {
            let id = matches.get_one::<String>(ID).map_or("", |id| id);
            let id: Result<GrantId, _> = id.parse();
            Action::Revoke(id.map_err(|error| usage(&error))?)
        }
    };
    Ok(GrantCommand {
        place: Place::find(matches, environment)?,
        action,
    })
}

impl GrantCommand {
    /// Runs the command.
    pub(super) fn run(self) -> anyhow::Result<Printed> {
        let mut store = self.place.store()?;
        let now = SystemTime::now();
        match self.action {
            Action::List { key, all, json } => {
                let mut grants = store.grants()?;
                grants.retain(|grant| {
                    let is_of_key = key
                        .as_ref()
                        .is_none_or(|key| grant.approver.key() == Some(key));
                    is_of_key && (all || grant.is_live(now))
                });
                let names = names(&store)?;
                let output = if json {
                    let grants = grants.iter().map(|grant| {
                        let name = names.get(&grant.client).map(String::as_str);
                        grant.shown(name, now)
                    });
                    format!("{}\n", json!(grants.collect::<Vec<_>>()))
                } else {
                    as_table(&grants, &names, now)
                };
                Ok(Printed {
                    output,
                    notes: String::new(),
                })
            }
            Action::Revoke(id) => {
                let ended = store.end_grant(&id, EndReason::Revoked, now)?;
                let notes = match ended {
                    Some(sequence) => {
                        let applied = self.place.applied(&store, sequence)?;
                        format!("the grant {id} is revoked; {applied}\n")
                    }
                    None => format!("the grant {id} has ended before\n"),
                };
                Ok(Printed {
                    output: String::new(),
                    notes,
                })
            }
        }
    }
}

/// Returns the names of all clients.
fn names(store: &Store) -> anyhow::Result<HashMap<ClientId, String>> {
    let clients = store.load()?.clients.into_iter();
    Ok(clients.map(|client| (client.id, client.name)).collect())
}

fn as_table(grants: &[Grant], names: &HashMap<ClientId, String>, now: SystemTime) -> String {
    let rows: Vec<_> = grants
        .iter()
        .map(|grant| {
            [
                grant.id.to_string(),
                names.get(&grant.client).cloned().unwrap_or_default(),
                grant.resource.to_string(),
                grant.approver.to_string(),
                grant.scope.to_string(),
                shown_time(grant.created_at),
                grant.last_used_at.map_or("-".to_owned(), shown_time),
                shown_time(grant.end()),
                grant.status(now).to_owned(),
            ]
        })
        .collect();
    let head = [
        "ID",
        "CLIENT",
        "OPENS",
        "ALLOWED BY",
        "SCOPE",
        "CREATED",
        "LAST USED",
        "ENDS",
        "STATUS",
    ];
    table(head, &rows)
}
