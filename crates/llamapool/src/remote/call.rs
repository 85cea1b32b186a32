//! `llamapool call`: lists the tools of an id, or calls one, as any MCP client would.

mod arguments;
mod param_headers;
mod session;
mod shown;

use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command};
use llamapool_wire::RelayId;
use serde_json::{Map, Value};

use self::session::{CallFailure, Session};
use super::Finished;
use super::client::Client;
use super::flags::{self, KeyOf, Target};
use crate::cli::CliError;
use crate::runtime;
use crate::settings::Environment;

const ID: &str = "ID";
const TOOL: &str = "TOOL";
const ARG: &str = "arg";
const JSON: &str = "json";
const RAW: &str = "raw";

const ABOUT: &str = "\
Lists the tools of an id, or calls one, over Streamable HTTP in the revision that the MCP server speaks: 2026-07-28, or \
2025-11-25 and older. The result is on standard output, how long it took on standard error.

The key is a caller key of the server, a token of the relay (AUTH_TOKEN), or one that the MCP server itself wants.

The exit code is 0 if the tool gave a result, 1 if it reports an error or does not exist, 69 if the call did not get to the MCP \
server or its answer not back, and 77 if the key is not accepted.

Examples:
  llamapool call notes --server https://pool.example
  llamapool call notes search --arg query=llama --arg limit=3
  CALLER_KEY=llp_c_… llamapool call notes search --json '{\"query\": \"llama\"}' --raw | jq .";

/// The command as it was typed.
#[derive(Debug)]
pub struct CallCommand {
    id: RelayId,
    target: Target,
    tool: Option<String>,
    arguments: Vec<(String, String)>,
    /// All arguments at once.
    json: Option<Map<String, Value>>,
    raw: bool,
}

/// Returns the command.
pub(super) fn command() -> Command {
    let command = Command::new("call")
        .about("Lists the tools of an id, or calls one")
        .long_about(ABOUT)
        .args([
            Arg::new(ID).required(true).help("Id to call"),
            Arg::new(TOOL).help("Tool to call; without one, the tools are listed"),
            Arg::new(ARG)
                .long(ARG)
                .short('a')
                .action(ArgAction::Append)
                .value_name("NAME=VALUE")
                .requires(TOOL)
                .help("Argument of the tool, as text or JSON, by the type that the tool declares; several times for several"),
            Arg::new(JSON)
                .long(JSON)
                .value_name("JSON")
                .requires(TOOL)
                .conflicts_with(ARG)
                .help("All arguments of the tool as one JSON object"),
            Arg::new(RAW)
                .long(RAW)
                .action(ArgAction::SetTrue)
                .help("Prints the result as JSON, as the MCP server gives it"),
        ]);
    flags::add_key(command, KeyOf::Caller)
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<CallCommand, CliError> {
    let text = |name| matches.get_one::<String>(name);
    let id = text(ID).map(String::as_str).unwrap_or_default();
    let id = id
        .parse()
        .map_err(|error| CliError::Usage(format!("{id:?} is no id: {error}")))?;
    let pairs = matches.get_many::<String>(ARG).unwrap_or_default();
    let pairs = pairs.map(|pair| arguments::pair(pair));
    let json = text(JSON).map(|json| arguments::object(json));

    Ok(CallCommand {
        id,
        target: flags::target(matches, environment, Some(KeyOf::Caller))?,
        tool: text(TOOL).cloned(),
        arguments: pairs.collect::<Result<_, _>>()?,
        json: json.transpose()?,
        raw: matches.get_flag(RAW),
    })
}

impl CallCommand {
    pub(super) fn run(self) -> anyhow::Result<Finished> {
        let mut finished = Finished::default();
        let client = Client::new(self.target.clone())?;
        runtime::on_one_thread(async {
            finished = match self.go(&client).await {
                Ok(finished) => finished,
                Err(failure) => failure.finished(),
            };
            Ok(())
        })?;
        Ok(finished)
    }

    async fn go(&self, client: &Client) -> Result<Finished, CallFailure> {
        let begun = Instant::now();
        let mut session = Session::begin(client, &self.id).await?;
        let ready = begun.elapsed();
        let result = self.exchange(&mut session).await;
        // It would end by itself, and the result counts, not its end.
        session.end().await;

        let (output, code, took) = result?;
        let notes = format!(
            "{}; {:.0} ms until it was ready, {:.0} ms for the answer\n",
            session.server(),
            ready.as_secs_f64() * 1000.0,
            took.as_secs_f64() * 1000.0,
        );
        Ok(Finished {
            output,
            notes,
            code,
        })
    }

    /// Lists, or calls. Returns what to print, the exit code, and how long it took.
    async fn exchange(
        &self,
        session: &mut Session<'_>,
    ) -> Result<(String, u8, std::time::Duration), CallFailure> {
        let begun = Instant::now();
        let tools = match (&self.tool, &self.json) {
            // What is typed whole needs no declaration, unless headers are to repeat some of it.
            (Some(_), Some(_)) if !session.repeats_arguments() => Vec::new(),
            _ => session.tools().await?,
        };
        let Some(name) = &self.tool else {
            let output = if self.raw {
                format!("{}\n", Value::from(tools))
            } else {
                shown::tools(&tools)
            };
            return Ok((output, 0, begun.elapsed()));
        };

        let declared = tools.iter().find(|tool| tool["name"] == name.as_str());
        if declared.is_none() && !tools.is_empty() {
            return Err(CallFailure::no_tool(name, &tools));
        }
        let schema = declared.map_or(&Value::Null, |tool| &tool["inputSchema"]);
        let arguments = match &self.json {
            Some(json) => json.clone(),
            None => arguments::typed(&self.arguments, schema)?,
        };
        let begun = Instant::now();
        let result = session.call(name, arguments, schema).await?;
        let took = begun.elapsed();

        let has_failed = result["isError"] == true;
        let output = if self.raw {
            format!("{result}\n")
        } else {
            shown::result(&result)
        };
        Ok((output, u8::from(has_failed), took))
    }
}
