//! `llamapool key`: the keys of callers, relays and operators.

mod flags;
mod shown;

use std::time::{Duration, SystemTime};

use clap::{ArgMatches, Command};
use llamapool_identity::{
    Day, Key, KeyEdit, KeyId, KeyKind, KeyText, NewKey, Rights, Store, Usage, UsageLedger,
    shown_time,
};

use self::flags::{
    Changes, DEFAULT_OVERLAP, IF_MISSING, JSON, NAME, OVERLAP, QUIET, changes, duration_of, id_of,
    kind_of,
};
use super::Printed;
use super::place::{self, Place};
use crate::cli::CliError;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const KEY: &str = "key";

const ABOUT: &str = "\
Creates, lists, changes and revokes the keys of a server, in its data directory, whether it runs or \
not. A caller key opens the MCP servers of its ids, and the LLM API for its models; a worker key lets relays \
serve its ids; an admin key opens the state, the metrics and the administration API, as far as --may says. The \
key itself is printed once and kept nowhere. Keys that the settings file declares, in [[key]] tables, are not among \
those listed here.

Examples:
  llamapool key create caller --name laptop --ids 'notes,team-*' --expires 90d
  llamapool key create worker --name home --ids notes
  llamapool key create caller --name agent --models 'qwen*' --tokens-per-day 2000000
  llamapool key create admin --name grafana --may state,metrics
  llamapool key create caller --name watcher --ids notes --read-only
  llamapool key create caller --name ci --ids '*' --rate 120/min --concurrency 4 --networks 10.0.0.0/8
  llamapool key list
  llamapool key rotate 7k3xq2mbdrta --overlap 24h
  llamapool key revoke 7k3xq2mbdrta";

/// The command as it was typed.
#[derive(Debug)]
pub struct KeyCommand {
    place: Place,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Create(Create),
    List { json: bool },
    Show { id: KeyId, json: bool },
    Revoke(KeyId),
    Rotate { id: KeyId, overlap: Duration },
    Edit { id: KeyId, changes: Changes },
}

#[derive(Debug)]
struct Create {
    /// `None`: its id.
    name: Option<String>,
    rights: Rights,
    expires_at: Option<SystemTime>,
    if_missing: bool,
    quiet: bool,
    json: bool,
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let create = flags::create();
    let list = Command::new("list")
        .about("Lists the keys, and what they may do")
        .arg(flags::json());
    let show = Command::new("show")
        .about("Shows one key")
        .arg(flags::id())
        .arg(flags::json());
    let revoke = Command::new("revoke")
        .about("Revokes a key: what runs by it ends at once")
        .arg(flags::id());
    let rotate = flags::rotate();
    let edit = flags::edit();

    let all = [create, list, show, revoke, rotate, edit];
    Command::new(KEY)
        .about("Creates, lists, changes and revokes the keys of a server")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(all.map(place::add_flags))
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<KeyCommand, CliError> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(CliError::MissingCommand);
    };
    let now = SystemTime::now();
    let action = match name {
        "create" => Action::Create(created(matches, now)?),
        "list" => Action::List {
            json: matches.get_flag(JSON),
        },
        "show" => Action::Show {
            id: id_of(matches)?,
            json: matches.get_flag(JSON),
        },
        "revoke" => Action::Revoke(id_of(matches)?),
        "rotate" => Action::Rotate {
            id: id_of(matches)?,
            overlap: duration_of(matches, OVERLAP)?.unwrap_or(DEFAULT_OVERLAP),
        },
        _ => Action::Edit {
            id: id_of(matches)?,
            changes: changes(matches, now)?,
        },
    };
    Ok(KeyCommand {
        place: Place::find(matches, environment)?,
        action,
    })
}

fn created(matches: &ArgMatches, now: SystemTime) -> Result<Create, CliError> {
    let kind = kind_of(matches)?;
    let changes = changes(matches, now)?;
    let rights = changes.rights_of_new(kind)?;
    let name = matches.get_one::<String>(NAME).cloned();
    let if_missing = matches.get_flag(IF_MISSING);
    if if_missing && name.is_none() {
        let message = "--if-missing looks for a key of the same name: set --name";
        return Err(CliError::Usage(message.to_owned()));
    }
    Ok(Create {
        name,
        rights,
        expires_at: changes.expires_at.flatten(),
        if_missing,
        quiet: matches.get_flag(QUIET),
        json: matches.get_flag(JSON),
    })
}

impl KeyCommand {
    /// Runs the command.
    pub(super) fn run(self) -> anyhow::Result<Printed> {
        let mut store = self.place.store()?;
        let now = SystemTime::now();
        match self.action {
            Action::Create(create) => create.run(&self.place, &mut store, now),
            Action::List { json } => {
                let mut keys = store.load()?.keys;
                keys.sort_by_key(|key| key.created_at);
                Ok(printed(if json {
                    shown::all_as_json(&keys, now)
                } else {
                    shown::all(&keys, now)
                }))
            }
            Action::Show { id, json } => {
                let key = one(&store, &id)?;
                let used = used(&store, &id, now)?;
                Ok(printed(if json {
                    format!("{}\n", key.shown_with_usage(&used, now))
                } else {
                    shown::one(&key, &used, now)
                }))
            }
            Action::Revoke(id) => {
                let sequence = store.revoke_key(&id, now)?;
                noted(&format!(
                    "the key {id} is revoked; {}",
                    self.place.applied(&store, sequence)?
                ))
            }
            Action::Rotate { id, overlap } => {
                let key = one(&store, &id)?;
                let text = KeyText::rotated(&id, key.kind());
                let until = now + overlap;
                let sequence = store.rotate_key(&id, &text.digest(), until, now)?;
                let applied = applied_or_why_not(&self.place, &store, sequence);
                Ok(Printed {
                    output: format!("{}\n", text.expose()),
                    notes: format!(
                        "the key {id} has this new secret; the old one ends at {}; {applied}\n",
                        shown_time(until)
                    ),
                })
            }
            Action::Edit { id, changes } => {
                let key = one(&store, &id)?;
                let edit = KeyEdit {
                    name: changes.name.clone(),
                    rights: changes.rights_of(&key.rights)?,
                    expires_at: changes.expires_at,
                };
                let sequence = store.edit_key(&id, &edit, now)?;
                noted(&format!(
                    "the key {id} is changed; {}",
                    self.place.applied(&store, sequence)?
                ))
            }
        }
    }
}

impl Create {
    fn run(self, place: &Place, store: &mut Store, now: SystemTime) -> anyhow::Result<Printed> {
        let kind = self.rights.kind();
        if self.if_missing {
            let keys = store.load()?.keys;
            let is_it = |key: &&Key| key.kind() == kind && Some(&key.name) == self.name.as_ref();
            let found = keys.iter().filter(|key| key.is_valid(now)).find(is_it);
            if let Some(key) = found {
                return noted(&format!("the {kind} key {:?} exists: {}", key.name, key.id));
            }
        }

        let text = KeyText::random(kind);
        let key = NewKey {
            id: text.id().clone(),
            name: self.name.unwrap_or_else(|| text.id().to_string()),
            rights: self.rights,
            digest: text.digest(),
            expires_at: self.expires_at,
        };
        let sequence = store.create_key(&key, now)?;
        let applied = applied_or_why_not(place, store, sequence);
        if self.json {
            let json = serde_json::json!({"id": text.id().as_str(), "key": text.expose()});
            return Ok(printed(format!("{json}\n")));
        }

        let hint = match kind {
            KeyKind::Caller => {
                "callers send it as Authorization: Bearer <key>; it is shown this once"
            }
            KeyKind::Worker => "relays take it as WORKER_KEY; it is shown this once",
            KeyKind::Admin => {
                "the state, the metrics and the administration API take it as Authorization: Bearer \
                 <key>; it is shown this once"
            }
        };
        let created = format!("created {kind} key {} ({:?})", key.id, key.name);
        let notes = format!("{created}: {hint}; {applied}\n");
        Ok(Printed {
            output: format!("{}\n", text.expose()),
            notes: if self.quiet { String::new() } else { notes },
        })
    }
}

/// Waits until the server knows a new secret, so that it can be used at once. A secret is printed also
/// if the server does not answer: it is shown this once.
fn applied_or_why_not(place: &Place, store: &Store, sequence: i64) -> String {
    let applied = place.applied(store, sequence);
    applied.unwrap_or_else(|error| error.to_string())
}

/// Returns one key of a store.
fn one(store: &Store, id: &KeyId) -> anyhow::Result<Key> {
    Ok(store.key(id)?)
}

/// Returns what a key has used today and in this month, as far as it is stored.
fn used(store: &Store, id: &KeyId, now: SystemTime) -> anyhow::Result<[Usage; 2]> {
    let month = Day::of(now).month_start();
    let stored = store.usage_since(month)?.into_iter();
    let of_key = stored.filter(|(other, _, _)| other == id);
    let ledger = UsageLedger::new(of_key.map(|(_, day, usage)| (day, usage)), now);
    Ok(ledger.used(now))
}

fn printed(output: String) -> Printed {
    Printed {
        output,
        notes: String::new(),
    }
}

fn noted(note: &str) -> anyhow::Result<Printed> {
    Ok(Printed {
        output: String::new(),
        notes: format!("{note}\n"),
    })
}
