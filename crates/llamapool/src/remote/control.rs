//! `llamapool drain`, `undrain` and `kick`: hold an id or a relay back from calls, and close its connection.
//!
//! Before something is done that callers notice, its effect is named in numbers and asked for.

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Command};
use llamapool_wire::RelayId;
use serde::Deserialize;
use serde_json::Value;

use super::Finished;
use super::client::{Client, RemoteError};
use super::flags::{self, KeyOf, Target};
use super::prompt::{Consent, ask};
use super::state::State;
use super::text::shown;
use crate::cli::CliError;
use crate::runtime;
use crate::settings::Environment;

const ID: &str = "ID";
const RELAY: &str = "relay";
const YES: &str = "yes";
const JSON: &str = "json";
/// The digits of the id of a relay.
const RELAY_ID_DIGITS: usize = 16;
/// The longest name that is shown, in characters.
const MAX_NAME: usize = 64;

const EXIT_CODES: &str = "\
It needs the API key, or an admin key with the right `relays`; a relay is found by its name with the right \
`state`. Doing it again changes nothing.

The exit code is 0 if it is done, 1 if it is not, 69 if no server answers, and 77 if the key is not accepted.";

const ABOUT_DRAIN: &str = "\
Holds an id or a relay back from calls: new calls get 503 `relay_draining` or go to another relay of the id, and those \
that run may end. It holds until `undrain`, over reconnects of the relay, and ends when the server does.";

const ABOUT_UNDRAIN: &str = "\
Lets an id or a relay take calls again that was drained. What a relay drains by itself is not changed.";

const ABOUT_KICK: &str = "\
Closes the connection of a relay, or of all relays of an id: calls that run there end with 502 `tunnel_lost`. A relay \
with RECONNECT comes back, unless its key is revoked.";

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Undrain,
    Kick,
}

/// The command as it was typed.
#[derive(Debug)]
pub struct ControlCommand {
    verb: Verb,
    object: Object,
    target: Target,
    yes: bool,
    json: bool,
}

/// What it is done to.
#[derive(Debug, Clone)]
enum Object {
    Id(RelayId),
    /// The id of a relay, or its name.
    Relay(String),
}

/// What the server shows of the object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    drained: bool,
    calls: u64,
    relays: Vec<ShownRelay>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ShownRelay {
    relay_id: String,
    name: String,
    ids: Vec<String>,
}

impl Verb {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Kick => "kick",
        }
    }

    /// Returns the command.
    pub(super) fn command(self) -> Command {
        let (about, long) = match self {
            Self::Drain => ("Holds an id or a relay back from calls", ABOUT_DRAIN),
            Self::Undrain => ("Lets an id or a relay take calls again", ABOUT_UNDRAIN),
            Self::Kick => ("Closes the connection of a relay", ABOUT_KICK),
        };
        let word = self.word();
        let examples = format!(
            "Examples:\n  llamapool {word} notes --server https://pool.example\n  llamapool {word} --relay Alpha --yes"
        );
        let command = Command::new(word)
            .about(about)
            .long_about(format!("{long}\n\n{EXIT_CODES}\n\n{examples}"))
            .args([
                Arg::new(ID)
                    .required_unless_present(RELAY)
                    .conflicts_with(RELAY)
                    .help("Id whose relays it is done to"),
                Arg::new(RELAY)
                    .long(RELAY)
                    .value_name("RELAY")
                    .help("Name or id of one relay, as the state has them: under all its ids"),
                Arg::new(YES)
                    .long(YES)
                    .short('y')
                    .action(ArgAction::SetTrue)
                    .help("Does not ask"),
                Arg::new(JSON)
                    .long(JSON)
                    .action(ArgAction::SetTrue)
                    .help("Prints JSON"),
            ]);
        flags::add_key(command, KeyOf::Operator)
    }
}

/// Reads the command.
pub(super) fn read(
    verb: Verb,
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<ControlCommand, CliError> {
    let text = |name| matches.get_one::<String>(name).cloned();
    let object = match (text(ID), text(RELAY)) {
        (Some(id), _) => {
            let parsed = id.parse();
            Object::Id(
                parsed.map_err(|error| CliError::Usage(format!("{id:?} is no id: {error}")))?,
            )
        }
        (None, relay) => Object::Relay(relay.unwrap_or_default()),
    };
    Ok(ControlCommand {
        verb,
        object,
        target: flags::target(matches, environment, Some(KeyOf::Operator))?,
        yes: matches.get_flag(YES),
        json: matches.get_flag(JSON),
    })
}

impl ControlCommand {
    pub(super) fn run(self) -> anyhow::Result<Finished> {
        let mut finished = Finished::default();
        let client = Client::new(self.target.clone())?;
        runtime::on_one_thread(async {
            finished = match self.go(&client).await {
                Ok(finished) => finished,
                Err(Stop::Remote(error)) => Finished::failed(&error),
                Err(Stop::Here(error)) => return Err(error),
            };
            Ok(())
        })?;
        Ok(finished)
    }

    async fn go(&self, client: &Client) -> Result<Finished, Stop> {
        let path = self.path(client).await?;
        let before = client.get_json(&path).await?;
        let shown = Shown::deserialize(&before).unwrap_or_default();
        if self.verb != Verb::Undrain && !self.yes {
            match ask(&format!("{}\nGo on?", self.effect(&shown))) {
                Consent::Given => {}
                Consent::Refused => return Err(Stop::Here(anyhow::anyhow!("nothing was done"))),
                Consent::NotAsked => {
                    let error = anyhow::anyhow!(
                        "nothing was done, as there is no terminal to ask on: {} Pass --yes to do it",
                        self.effect(&shown)
                    );
                    return Err(Stop::Here(error));
                }
            }
        }

        let done = client
            .post_json(&format!("{path}/{}", self.verb.word()))
            .await?;
        if self.json {
            return Ok(Finished {
                output: format!("{done}\n"),
                ..Finished::default()
            });
        }
        Ok(Finished {
            notes: format!("{}\n", self.done(&shown, &done)),
            ..Finished::default()
        })
    }

    /// Returns the path of the object in the administration API.
    async fn path(&self, client: &Client) -> Result<String, Stop> {
        match &self.object {
            Object::Id(id) => Ok(format!("/api/admin/ids/{id}")),
            Object::Relay(text) if is_relay_id(text) => Ok(format!("/api/admin/relays/{text}")),
            Object::Relay(name) => {
                let json = client.get_json("/api/state").await?;
                let state = State::deserialize(&json).unwrap_or_default();
                let id = relay_named(&state, name).map_err(Stop::Here)?;
                Ok(format!("/api/admin/relays/{id}"))
            }
        }
    }

    /// Returns what callers will notice.
    fn effect(&self, before: &Shown) -> String {
        let name = self.name(before);
        match self.verb {
            Verb::Drain => format!(
                "Draining {name}: new calls get 503 relay_draining where no other relay takes them; {}.",
                calls(before.calls, ["may end", "may end"])
            ),
            Verb::Kick => {
                let ids: Vec<_> = before.relays.iter().flat_map(|relay| &relay.ids).collect();
                let ids = ids.iter().map(|id| shown(id, MAX_NAME));
                let ids = ids.collect::<Vec<_>>().join(", ");
                format!(
                    "Kicking {name}: the connection is closed for {ids}; {}. \
                     The relay comes back if it reconnects, unless its key is revoked.",
                    calls(
                        before.calls,
                        ["on it gets 502 tunnel_lost", "on it get 502 tunnel_lost"]
                    )
                )
            }
            Verb::Undrain => String::new(),
        }
    }

    fn done(&self, before: &Shown, done: &Value) -> String {
        let name = self.name(before);
        let number = done["calls"].as_u64().unwrap_or_default();
        let running = calls(number, ["goes on", "go on"]);
        let connected = done["connected"].as_u64().unwrap_or_default();
        match self.verb {
            Verb::Drain if before.drained => format!("{name} was drained already; {running}"),
            Verb::Drain => format!("{name} is drained; {running}"),
            Verb::Undrain if connected == 0 => {
                format!("{name} is not drained any more; no relay is connected now")
            }
            Verb::Undrain => format!("{name} takes calls again"),
            Verb::Kick if connected == 0 => format!("{name} has no connection now"),
            Verb::Kick => format!(
                "{name} was kicked; {}",
                calls(number, ["got tunnel_lost", "got tunnel_lost"])
            ),
        }
    }

    fn name(&self, before: &Shown) -> String {
        let relays = before.relays.iter().map(|relay| {
            let name = if relay.name.is_empty() {
                &relay.relay_id
            } else {
                &relay.name
            };
            shown(name, MAX_NAME)
        });
        let relays: Vec<_> = relays.collect();
        match (&self.object, &relays[..]) {
            (Object::Id(id), []) => id.to_string(),
            (Object::Id(id), [relay]) => format!("{id} (relay {relay})"),
            (Object::Id(id), relays) => format!("{id} ({} relays)", relays.len()),
            (Object::Relay(_), [relay, ..]) => format!("the relay {relay}"),
            (Object::Relay(text), []) => format!("the relay {}", shown(text, MAX_NAME)),
        }
    }
}

/// What ends a command early.
enum Stop {
    Remote(RemoteError),
    Here(anyhow::Error),
}

impl From<RemoteError> for Stop {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

/// Returns what becomes of running calls, in the words for one and for several.
fn calls(number: u64, [one, several]: [&str; 2]) -> String {
    match number {
        0 => "no call runs there".to_owned(),
        1 => format!("1 running call {one}"),
        number => format!("{number} running calls {several}"),
    }
}

fn is_relay_id(text: &str) -> bool {
    text.len() == RELAY_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the id of the only relay with a name.
fn relay_named(state: &State, name: &str) -> anyhow::Result<String> {
    let relays = state.mcp.clients.iter().flat_map(|id| &id.relays);
    let mut ids: Vec<_> = relays
        .filter(|relay| relay.name == name)
        .map(|relay| relay.relay_id.as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();

    let name = shown(name, MAX_NAME);
    match &ids[..] {
        [] => bail!("no relay {name:?} is connected; llamapool status lists them"),
        [only] if is_relay_id(only) => Ok((*only).to_owned()),
        [_] => bail!("the server is older than this command: it gives its relays no ids"),
        several => {
            let several = several.join(", ");
            bail!(
                "several relays are called {name:?}: pass --relay with one of {}",
                shown(&several, 200)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state() -> State {
        let relay = |name: &str, id: &str| json!({"name": name, "relay_id": id});
        let state = json!({
            "server": {},
            "mcp": {"clients": [
                {"id": "a", "relays": [relay("Alpha", "00000000000000a1")]},
                {"id": "b", "relays": [relay("Alpha", "00000000000000a1"), relay("Beta", "00000000000000b1")]},
                {"id": "c", "relays": [relay("Beta", "00000000000000b2")]},
            ]},
        });
        State::deserialize(&state).unwrap()
    }

    #[test]
    fn a_relay_is_found_by_its_name_if_only_one_has_it() {
        assert_eq!(relay_named(&state(), "Alpha").unwrap(), "00000000000000a1");
        let several = relay_named(&state(), "Beta").unwrap_err().to_string();
        assert!(
            several.contains("00000000000000b1, 00000000000000b2"),
            "{several}"
        );
        let none = relay_named(&state(), "Gamma\u{1b}")
            .unwrap_err()
            .to_string();
        assert!(
            none.contains("no relay") && !none.contains('\u{1b}'),
            "{none}"
        );
    }

    #[test]
    fn the_effect_is_named_in_numbers() {
        let before = Shown {
            calls: 3,
            relays: vec![ShownRelay {
                name: "Alpha".to_owned(),
                ids: vec!["notes".to_owned(), "wiki".to_owned()],
                ..ShownRelay::default()
            }],
            ..Shown::default()
        };
        let command = |verb| ControlCommand {
            verb,
            object: Object::Id("notes".parse().unwrap()),
            target: Target {
                address: super::super::address::ServerAddress::parse("http://localhost").unwrap(),
                key: None,
                ca_file: None,
                timeout: std::time::Duration::from_secs(1),
            },
            yes: false,
            json: false,
        };

        let kick = command(Verb::Kick).effect(&before);
        assert!(
            kick.contains("closed for notes, wiki; 3 running calls on it get 502 tunnel_lost"),
            "{kick}"
        );
        let drain = command(Verb::Drain).effect(&before);
        assert!(drain.contains("3 running calls may end"), "{drain}");
    }
}
