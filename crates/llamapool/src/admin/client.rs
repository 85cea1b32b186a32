//! `llamapool client`: the OAuth clients of a server.

use std::collections::HashMap;
use std::time::SystemTime;

use clap::{Arg, ArgAction, ArgMatches, Command};
use llamapool_identity::{
    Client, ClientAuthMethod, ClientId, Grant, RedirectUri, Store, shown_time,
};
use serde_json::json;

use super::Printed;
use super::place::{self, Place};
use super::table::table;
use crate::cli::CliError;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const CLIENT: &str = "client";

const ID: &str = "ID";
const NAME: &str = "name";
const REDIRECT: &str = "redirect";
const SECRET: &str = "secret";
const JSON: &str = "json";

const ABOUT: &str = "\
Lists, adds and blocks the apps that people sign in with, such as Claude. Most apps register \
themselves or publish a document about themselves; those that can do neither are added here, and \
get their client id from this command.

Examples:
  llamapool client list
  llamapool client add --name Wiki --redirect https://wiki.example.com/oauth/callback --secret
  llamapool client block client_4sqgzk2mbdrta7k3xq2mbdrta7";

/// The command as it was typed.
#[derive(Debug)]
pub struct ClientCommand {
    place: Place,
    action: Action,
}

#[derive(Debug)]
enum Action {
    List {
        json: bool,
    },
    Add {
        name: String,
        redirects: Vec<RedirectUri>,
        auth_method: ClientAuthMethod,
        json: bool,
    },
    Remove(ClientId),
    Block(ClientId),
    Unblock(ClientId),
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let id = || {
        Arg::new(ID)
            .required(true)
            .help("Id of the client, as `client list` shows it, or the URL of its document")
    };
    let list = Command::new("list")
        .about("Lists the clients")
        .arg(json_flag());
    let remove = Command::new("remove")
        .about("Removes a client that was added: its grants and what runs by them end at once")
        .arg(id());
    let block = Command::new("block")
        .about("Blocks a client: its grants and what runs by them end at once")
        .arg(id());
    let unblock = Command::new("unblock")
        .about("Unblocks a client: people can sign in with it again")
        .arg(id());
    Command::new(CLIENT)
        .about("Lists, adds and blocks the apps that people sign in with")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands([list, add(), remove, block, unblock].map(place::add_flags))
}

fn add() -> Command {
    let name = Arg::new(NAME)
        .long(NAME)
        .required(true)
        .value_name("NAME")
        .help("Name for people, which the consent page shows");
    let redirect = Arg::new(REDIRECT)
        .long(REDIRECT)
        .required(true)
        .action(ArgAction::Append)
        .value_name("URI")
        .help("Redirect URI of the client; several times for several");
    let secret = Arg::new(SECRET)
        .long(SECRET)
        .action(ArgAction::SetTrue)
        .help("Makes a secret for the client too, and prints it this once");
    Command::new("add")
        .about("Adds a client, and prints its id")
        .args([name, redirect, secret, json_flag()])
}

fn json_flag() -> Arg {
    Arg::new(JSON)
        .long(JSON)
        .action(ArgAction::SetTrue)
        .help("Prints JSON")
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<ClientCommand, CliError> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(CliError::MissingCommand);
    };
    let action = match name {
        "list" => Action::List {
            json: matches.get_flag(JSON),
        },
        "add" => added(matches)?,
        "remove" => Action::Remove(id_of(matches)?),
        "block" => Action::Block(id_of(matches)?),
        _ => Action::Unblock(id_of(matches)?),
    };
    Ok(ClientCommand {
        place: Place::find(matches, environment)?,
        action,
    })
}

fn added(matches: &ArgMatches) -> Result<Action, CliError> {
    let texts = matches.get_many::<String>(REDIRECT).unwrap_or_default();
    let redirects = texts
        .map(|text| redirect_of(text))
        .collect::<Result<_, _>>()?;
    let auth_method = if matches.get_flag(SECRET) {
        ClientAuthMethod::Basic
    } else {
        ClientAuthMethod::None
    };
    Ok(Action::Add {
        name: matches.get_one::<String>(NAME).cloned().unwrap_or_default(),
        redirects,
        auth_method,
        json: matches.get_flag(JSON),
    })
}

fn redirect_of(text: &str) -> Result<RedirectUri, CliError> {
    let redirect = Client::known_redirect(text);
    redirect.map_err(|error| CliError::Usage(format!("--{REDIRECT} {text:?}: {error}")))
}

fn id_of(matches: &ArgMatches) -> Result<ClientId, CliError> {
    let id = matches.get_one::<String>(ID).map_or("", |id| id);
    id.parse()
        .map_err(|error| CliError::Usage(format!("{error}")))
}

impl ClientCommand {
    /// Runs the command.
    pub(super) fn run(self) -> anyhow::Result<Printed> {
        let mut store = self.place.store()?;
        let now = SystemTime::now();
        match self.action {
            Action::List { json } => list(&store, json, now),
            Action::Add {
                name,
                redirects,
                auth_method,
                json,
            } => {
                let new = Client::known(&name, redirects, auth_method, now);
                store.add_client(&new.client, now)?;
                let id = &new.client.id;
                let secret = new.secret.as_ref().map(|secret| secret.expose());
                let output = match (json, secret) {
                    (true, secret) => {
                        format!(
                            "{}\n",
                            json!({"client_id": id.as_str(), "client_secret": secret})
                        )
                    }
                    (false, None) => format!("{id}\n"),
                    (false, Some(secret)) => format!("{id}\n{secret}\n"),
                };
                let hint = match secret {
                    None => "it has no secret",
                    Some(_) => "its secret follows its id, and is shown this once",
                };
                Ok(Printed {
                    output,
                    notes: format!("added the client {:?}; {hint}\n", new.client.name),
                })
            }
            Action::Remove(id) => {
                let sequence = store.remove_client(&id, now)?;
                let applied = self.place.applied(&store, sequence)?;
                Ok(noted(format!("the client {id} is removed; {applied}\n")))
            }
            Action::Block(id) => {
                let sequence = store.block_client(&id, now)?;
                let applied = self.place.applied(&store, sequence)?;
                Ok(noted(format!("the client {id} is blocked; {applied}\n")))
            }
            Action::Unblock(id) => {
                let sequence = store.unblock_client(&id, now)?;
                let applied = self.place.applied(&store, sequence)?;
                Ok(noted(format!(
                    "the client {id} is not blocked any more; {applied}\n"
                )))
            }
        }
    }
}

/// Returns the list of clients, the newest first.
fn list(store: &Store, json: bool, now: SystemTime) -> anyhow::Result<Printed> {
    let records = store.load()?;
    let mut grants: HashMap<&ClientId, usize> = HashMap::new();
    let active = |grant: &&Grant| grant.is_active(now);
    for grant in records.grants.iter().filter(active) {
        *grants.entry(&grant.client).or_default() += 1;
    }
    let mut clients: Vec<_> = records.clients.iter().collect();
    clients.sort_by_key(|client| (std::cmp::Reverse(client.created_at), &client.id));

    let count = |client: &Client| grants.get(&client.id).copied().unwrap_or_default();
    let output = if json {
        let clients = clients.iter().map(|client| client.shown(count(client)));
        format!("{}\n", json!(clients.collect::<Vec<_>>()))
    } else {
        let rows: Vec<_> = clients
            .iter()
            .map(|client| {
                [
                    client.id.to_string(),
                    client.origin.to_string(),
                    client.name.clone(),
                    count(client).to_string(),
                    shown_time(client.created_at),
                    client.status().to_owned(),
                ]
            })
            .collect();
        table(
            ["ID", "ORIGIN", "NAME", "GRANTS", "CREATED", "STATUS"],
            &rows,
        )
    };
    Ok(Printed {
        output,
        notes: String::new(),
    })
}

fn noted(notes: String) -> Printed {
    Printed {
        output: String::new(),
        notes,
    }
}
