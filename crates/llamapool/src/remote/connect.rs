//! `llamapool connect`: what to paste into a client so that it reaches an id; and the edit of its file, after it was
//! shown and allowed.

mod write;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use http::header::WWW_AUTHENTICATE;
use http::{Method, StatusCode};
use llamapool_wire::RelayId;

use super::client::{Client as HttpClient, RemoteError};
use super::flags::{self, Target};
use super::text::shown;
use super::{Finished, PROBLEM};
use crate::cli::CliError;
use crate::clients::{Asks, CLIENTS, Client, Place, Reach, Step, name_for};
use crate::runtime;
use crate::settings::Environment;

const ID: &str = "ID";
const CLIENT: &str = "client";
const NAME: &str = "name";
const ASKS: &str = "asks";
const WRITE: &str = "write";
const YES: &str = "yes";
/// The words for what an id asks of its callers.
const ASKS_WORDS: [(&str, Asks); 3] = [
    ("nothing", Asks::Nothing),
    ("key", Asks::Key),
    ("sign-in", Asks::SignIn),
];
/// The longest name of an entry, in characters.
const MAX_NAME: usize = 64;

const ABOUT: &str = "\
Shows what to paste into a client so that it reaches an id: a command, an entry of a file, or where to click. It asks the server \
what the id wants of its callers, by one request without a key. A key is in nothing of it: the client asks for it, or reads it \
from a variable.

With --write it adds the entry to the client's file: it shows the difference first, keeps everything else byte for byte, and leaves \
the file of before beside it.

Examples:
  llamapool connect notes --server https://pool.example
  llamapool connect notes --client cursor --write
  llamapool connect notes --client codex --asks key";

/// The command as it was typed.
#[derive(Debug)]
pub struct ConnectCommand {
    id: RelayId,
    target: Target,
    client: Option<&'static str>,
    name: String,
    asks: Option<Asks>,
    write: bool,
    yes: bool,
    home: Option<PathBuf>,
}

/// Returns the command.
pub(super) fn command() -> Command {
    let words = CLIENTS.iter().map(|client| client.word);
    let command = Command::new("connect")
        .about("Shows what to paste into a client so that it reaches an id")
        .long_about(ABOUT)
        .args([
            Arg::new(ID).required(true).help("Id to reach"),
            Arg::new(CLIENT)
                .long(CLIENT)
                .short('c')
                .value_name("CLIENT")
                .value_parser(PossibleValuesParser::new(words))
                .help("Client to connect; without one, they are listed"),
            Arg::new(NAME)
                .long(NAME)
                .value_name("NAME")
                .help("Name under which the client lists it [default: made of the id]"),
            Arg::new(ASKS)
                .long(ASKS)
                .value_name("WHAT")
                .value_parser(PossibleValuesParser::new(ASKS_WORDS.map(|(word, _)| word)))
                .help("What the id asks of its callers; otherwise the server is asked"),
            Arg::new(WRITE)
                .long(WRITE)
                .action(ArgAction::SetTrue)
                .requires(CLIENT)
                .help("Adds the entry to the client's file, after showing the difference"),
            Arg::new(YES)
                .long(YES)
                .short('y')
                .action(ArgAction::SetTrue)
                .requires(WRITE)
                .help("Does not ask before it writes"),
        ]);
    flags::add_server(command)
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<ConnectCommand, CliError> {
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let usage = |text: String| CliError::Usage(text);
    let id = text(ID).unwrap_or_default();
    let id: RelayId = id
        .parse()
        .map_err(|error| usage(format!("{id:?} is no id: {error}")))?;
    let name = text(NAME).map_or_else(|| name_for(id.as_str()), str::to_owned);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_name) {
        let expected = "invalid --name, expected 1 to 64 of A-Z a-z 0-9 - _";
        return Err(usage(expected.to_owned()));
    }
    let client = text(CLIENT).and_then(Client::by_word);
    let write = matches.get_flag(WRITE);
    if let Some(client) = client.filter(|client| write && client.file.is_none()) {
        return Err(usage(format!(
            "--write: {} has no file to edit",
            client.name
        )));
    }
    let asks = text(ASKS).and_then(|asks| ASKS_WORDS.iter().find(|(word, _)| *word == asks));

    Ok(ConnectCommand {
        id,
        target: flags::target(matches, environment, None)?,
        client: client.map(|client| client.word),
        name,
        asks: asks.map(|(_, asks)| *asks),
        write,
        yes: matches.get_flag(YES),
        home: environment.get("HOME").map(PathBuf::from),
    })
}

impl ConnectCommand {
    pub(super) fn run(self) -> anyhow::Result<Finished> {
        let mut notes = String::new();
        let mut asks = self.asks;
        if asks.is_none() {
            let http = HttpClient::new(self.target.clone())?;
            runtime::on_one_thread(async {
                match asked(&http, &self.id).await {
                    Ok((found, note)) => {
                        asks = Some(found);
                        notes.push_str(note);
                    }
                    Err(error) => notes.push_str(&format!(
                        "The server was not asked what the id wants, as {}; --asks says it.\n",
                        shown(&error.to_string(), 300)
                    )),
                }
                Ok(())
            })?;
        }
        let place = Place {
            url: self.target.address.url_of(&self.id),
            name: self.name.clone(),
            asks: asks.unwrap_or(Asks::Nothing),
        };

        let Some(client) = self.client.and_then(Client::by_word) else {
            return Ok(Finished {
                output: self.listed(&place),
                notes,
                code: 0,
            });
        };
        if client.reach == Reach::Internet && !self.target.address.is_public() {
            notes.push_str(&format!(
                "{} connects from the internet, and cannot reach {}: it needs https on port 443 under a public name (--server).\n",
                client.name, self.target.address
            ));
        }
        match client.file.filter(|_| self.write) {
            Some(file) => self.write(file, &place, notes),
            None => Ok(Finished {
                output: recipe(client, &place),
                notes,
                code: 0,
            }),
        }
    }

    /// Returns the URL and the clients.
    fn listed(&self, place: &Place) -> String {
        let asks = match place.asks {
            Asks::Nothing => "nothing: whoever knows the URL can call it",
            Asks::Key => "a key",
            Asks::SignIn => "a sign-in in a browser, or a key",
        };
        let mut text = format!("url     {}\nasks    {asks}\n\n", place.url);
        for client in CLIENTS {
            let what = client.place.replace(['*', '`'], "");
            text.push_str(&format!("{:<31}{:<13}{what}\n", client.name, client.word));
        }
        text.push_str(&format!(
            "\nWhat to paste: llamapool connect {} --client cursor\n",
            self.id
        ));
        text
    }

    fn write(
        &self,
        file: crate::clients::files::ClientFile,
        place: &Place,
        notes: String,
    ) -> anyhow::Result<Finished> {
        let path = file.path(self.home.as_deref());
        let path =
            path.ok_or_else(|| anyhow::anyhow!("HOME is not set, below which {} is", file.shown))?;
        let done = write::edit(&path, self.yes, |text| file.edited(text, place))?;
        let code = if done.is_written { 0 } else { PROBLEM };
        let mut notes = notes + &done.note;
        if done.is_written && place.asks == Asks::Key {
            notes.push_str(&format!(
                "The key is not in the file: it is asked for, or read from {} of the environment.\n",
                place.variable()
            ));
        }
        Ok(Finished {
            output: String::new(),
            notes,
            code,
        })
    }
}

/// Returns what an id asks of its callers, and what is to be said about it.
async fn asked(http: &HttpClient, id: &RelayId) -> Result<(Asks, &'static str), RemoteError> {
    let url = http.target().address.url_of(id);
    // Without a body and without a session: an MCP server does nothing for it. Its head is enough.
    let head = http.within(&url, http.send(Method::GET, &url, &[], bytes::Bytes::new()));
    let head = head.await?;

    let challenge = head.headers().get(WWW_AUTHENTICATE);
    let challenge = challenge
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let cause = head.headers().get("llamapool-error");
    let cause = cause.and_then(|value| value.to_str().ok());
    Ok(match (head.status(), cause) {
        (StatusCode::UNAUTHORIZED, _) if challenge.contains("resource_metadata") => {
            (Asks::SignIn, "")
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => (Asks::Key, ""),
        (_, Some("relay_offline")) => (
            Asks::Nothing,
            "No relay serves this id now: what the client finds there is known when one does.\n",
        ),
        _ => (Asks::Nothing, ""),
    })
}

/// Returns the steps as people read them.
fn recipe(client: &Client, place: &Place) -> String {
    let mut text = String::new();
    for step in (client.recipe)(place) {
        match step {
            Step::Do(step) => text.push_str(&format!("# {}\n", step.replace(['*', '`'], ""))),
            Step::Shell(command) => text.push_str(&format!("{command}\n")),
            Step::File {
                path,
                text: content,
                ..
            } => text.push_str(&format!("# in {path}\n{content}\n")),
        }
    }
    text
}
