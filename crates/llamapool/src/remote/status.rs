//! `llamapool status`: what a server serves, and what needs attention, in one table.

mod shown;

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, RemoteError};
use super::flags::{self, KeyOf, Target};
use super::state::State;
use super::text::{Paint, lines};
use super::{Finished, PROBLEM};
use crate::cli::CliError;
use crate::runtime;
use crate::settings::Environment;

const WATCH: &str = "watch";
const JSON: &str = "json";
const INTERVAL: &str = "interval";
const DEFAULT_INTERVAL: &str = "1s";
/// The beginning of a redrawn screen: the cursor goes home.
const HOME: &str = "\x1b[H";
/// Behind each line, and behind the last: what stood there before is erased.
const ERASE_LINE: &str = "\x1b[K";
const ERASE_BELOW: &str = "\x1b[J";

const ABOUT: &str = "\
Shows what a server serves and what needs attention, the worst first, as the server itself computes it. \
It needs the API key, or an admin key with the right `state`.

The exit code is 0 if nothing needs attention, 1 if something does (a note, such as an id that drains, does \
not count), 69 if no server answers, and 77 if the key is not accepted.

Examples:
  API_KEY=test123 llamapool status --server https://pool.example
  llamapool status --watch
  llamapool status --json | jq '.problems[]'";

/// The command as it was typed.
#[derive(Debug)]
pub struct StatusCommand {
    target: Target,
    watch: bool,
    json: bool,
    interval: Duration,
    paint: Paint,
}

/// Returns the command.
pub(super) fn command() -> Command {
    let command = Command::new("status")
        .about("Shows what a server serves, and what needs attention")
        .long_about(ABOUT)
        .args([
            Arg::new(WATCH)
                .long(WATCH)
                .short('w')
                .action(ArgAction::SetTrue)
                .help("Shows it again and again, until Ctrl-C"),
            Arg::new(INTERVAL)
                .long(INTERVAL)
                .value_name("DURATION")
                .default_value(DEFAULT_INTERVAL)
                .help("Time between two looks of --watch"),
            Arg::new(JSON)
                .long(JSON)
                .action(ArgAction::SetTrue)
                .help("Prints the state as the server has it, as JSON; with --watch one line for each look"),
        ]);
    flags::add_key(command, KeyOf::Operator)
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<StatusCommand, CliError> {
    let interval = matches.get_one::<String>(INTERVAL).map(String::as_str);
    let variable = |name: &str| {
        let value = environment.get(name)?;
        value.to_str().map(str::to_owned)
    };
    Ok(StatusCommand {
        target: flags::target(matches, environment, Some(KeyOf::Operator))?,
        watch: matches.get_flag(WATCH),
        json: matches.get_flag(JSON),
        interval: flags::duration(INTERVAL, interval.unwrap_or(DEFAULT_INTERVAL))?,
        paint: Paint::of(variable),
    })
}

impl StatusCommand {
    pub(super) fn run(self) -> anyhow::Result<Finished> {
        let mut finished = Finished::default();
        let client = Client::new(self.target.clone())?;
        runtime::on_one_thread(async {
            finished = if self.watch {
                self.watch(&client).await
            } else {
                self.look(&client)
                    .await
                    .unwrap_or_else(|error| Finished::failed(&error))
            };
            Ok(())
        })?;
        Ok(finished)
    }

    /// Looks once.
    async fn look(&self, client: &Client) -> Result<Finished, RemoteError> {
        let (json, text) = client.get_text("/api/state").await?;
        let state = state_of(&json, client)?;
        let output = if self.json {
            // As it came, to a program.
            let text = format!("{}\n", String::from_utf8_lossy(&text).trim_end());
            if stdout().is_terminal() {
                lines(&text)
            } else {
                text
            }
        } else {
            shown::page(&state, &self.target.address, self.paint)
        };
        Ok(Finished {
            output,
            notes: String::new(),
            code: code(&state),
        })
    }

    /// Looks again and again, and shows each time what it sees. A server that does not answer may come back; a key that
    /// is not accepted does not.
    async fn watch(&self, client: &Client) -> Finished {
        let is_screen = stdout().is_terminal() && !self.json;
        if is_screen && stdout().write_all(b"\x1b[2J").is_err() {
            return Finished::default();
        }
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

        loop {
            ticks.tick().await;
            let shown = match self.look(client).await {
                Ok(looked) => looked.output,
                Err(error @ RemoteError::Refused { .. }) => return Finished::failed(&error),
                Err(error) if self.json => {
                    serde_json::json!({ "error": error.to_string() }).to_string() + "\n"
                }
                Err(error) => shown::lost(&error, self.paint),
            };
            let shown = if is_screen { redrawn(&shown) } else { shown };
            let written = stdout().write_all(shown.as_bytes());
            // A reader that has gone wants no more.
            if written.and_then(|()| stdout().flush()).is_err() {
                return Finished::default();
            }
        }
    }
}

/// Returns a page over what stood on the screen before, without a moment of nothing in between.
fn redrawn(page: &str) -> String {
    let page = page.replace('\n', &format!("{ERASE_LINE}\n"));
    format!("{HOME}{page}{ERASE_BELOW}")
}

fn state_of(json: &Value, client: &Client) -> Result<State, RemoteError> {
    State::deserialize(json).map_err(|error| RemoteError::Strange {
        url: client.target().address.url("/api/state"),
        what: format!("another state ({error})"),
    })
}

fn code(state: &State) -> u8 {
    let problems = state.problems.iter().flatten();
    let needs_attention = problems.into_iter().any(|problem| problem.level != "note");
    if needs_attention { PROBLEM } else { 0 }
}
