//! The flags that the commands have in common: which server, with which key, and how long to wait.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, ValueHint};
use llamapool_wire::Secret;

use super::address::ServerAddress;
use crate::cli::CliError;
use crate::settings::Environment;

const SERVER: &str = "server";
const API_KEY: &str = "api-key";
const API_KEY_FILE: &str = "api-key-file";
const KEY_FILE: &str = "key-file";
const CA_FILE: &str = "ca-file";
const TIMEOUT: &str = "timeout";
/// The server that is meant where none is named: one on this machine, with its default port.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// The time for each request, unless the command names another.
const DEFAULT_TIMEOUT: &str = "10s";

/// The server that a command is about.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: ServerAddress,
    /// The key to present.
    pub(super) key: Option<Secret>,
    /// A private authority to trust as well.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) timeout: Duration,
}

/// Whose key a command presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyOf {
    /// An operator's: `API_KEY`, or an admin key.
    Operator,
    /// A caller's: `CALLER_KEY`.
    Caller,
}

/// Adds the flags that name the server.
pub(super) fn add_server(command: Command) -> Command {
    command.args([
        Arg::new(SERVER)
            .long(SERVER)
            .value_name("URL")
            .value_hint(ValueHint::Url)
            .help("URL of the server; otherwise PUBLIC_URL of the environment, otherwise http://127.0.0.1:8080"),
        Arg::new(CA_FILE)
            .long(CA_FILE)
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .help("File with a private authority's certificate in PEM, to trust as well"),
        Arg::new(TIMEOUT)
            .long(TIMEOUT)
            .value_name("DURATION")
            .default_value(DEFAULT_TIMEOUT)
            .help("Time for each request"),
    ])
}

/// Adds the flags of the key as well.
pub(super) fn add_key(command: Command, key: KeyOf) -> Command {
    let command = match key {
        KeyOf::Operator => command.args([
            Arg::new(API_KEY)
                .long(API_KEY)
                .value_name("KEY")
                .help("API key or admin key; others on this machine can see it, so better API_KEY of the environment"),
            Arg::new(API_KEY_FILE)
                .long(API_KEY_FILE)
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .help("File with the key; otherwise API_KEY_FILE of the environment"),
        ]),
        KeyOf::Caller => command.arg(
            Arg::new(KEY_FILE)
                .long(KEY_FILE)
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .help("File with the key or token to call with; otherwise CALLER_KEY of the environment"),
        ),
    };
    add_server(command)
}

/// Reads the flags.
pub(super) fn target(
    matches: &ArgMatches,
    environment: &Environment,
    key: Option<KeyOf>,
) -> Result<Target, CliError> {
    let of_environment = |name: &str| {
        let value = environment.get(name).and_then(|value| value.to_str());
        value.filter(|value| !value.is_empty())
    };
    let flag = |name| matches.get_one::<String>(name).map(String::as_str);

    let server = flag(SERVER).or_else(|| of_environment("PUBLIC_URL"));
    let address = ServerAddress::parse(server.unwrap_or(DEFAULT_SERVER));
    let address = address.map_err(|error| CliError::Usage(format!("--server: {error}")))?;

    let key = match key {
        None => None,
        Some(KeyOf::Operator) => read_key(
            flag(API_KEY).or_else(|| of_environment("API_KEY")),
            flag(API_KEY_FILE).or_else(|| of_environment("API_KEY_FILE")),
            flag(API_KEY_FILE).is_some(),
        )?,
        Some(KeyOf::Caller) => read_key(
            of_environment("CALLER_KEY"),
            flag(KEY_FILE),
            flag(KEY_FILE).is_some(),
        )?,
    };
    Ok(Target {
        address,
        key,
        ca_file: flag(CA_FILE).map(PathBuf::from),
        timeout: duration(TIMEOUT, flag(TIMEOUT).unwrap_or(DEFAULT_TIMEOUT))?,
    })
}

/// Reads a duration that is not zero.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, CliError> {
    let parse = llamapool_settings::value::POSITIVE_DURATION.parse;
    parse(text).map_err(|_| {
        CliError::Usage(format!(
            "invalid --{name}: {text:?}, expected a duration such as 10s"
        ))
    })
}

fn read_key(
    text: Option<&str>,
    file: Option<&str>,
    prefers_file: bool,
) -> Result<Option<Secret>, CliError> {
    let text = text.filter(|_| !prefers_file);
    let key = match (text, file) {
        (Some(text), _) => text.to_owned(),
        (None, None) => return Ok(None),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            CliError::Usage(format!("cannot read the key in {path:?}: {error}"))
        })?,
    };
    let key = key.trim();
    let is_sendable = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || !is_sendable {
        let expected = "the key is empty, or has a character that no key has";
        return Err(CliError::Usage(expected.to_owned()));
    }
    Ok(Some(Secret::new(key.to_owned())))
}
