//! The command line of `llamapool doctor`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use llamapool_wire::{RelayId, Secret};

use super::guess;
use super::origin::Origin;
use super::report::Report;
use super::role::{self, RoleDoctor};
use super::walk::Walk;
use crate::cli::CliError;
use crate::roles::Role;
use crate::runtime;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const DOCTOR: &str = "doctor";

const CONNECT: &str = "connect";
const ID: &str = "ID";
const SERVER: &str = "server";
const KEY_FILE: &str = "key-file";
const CA_FILE: &str = "ca-file";
const HTTP_PORT: &str = "http-port";
const TIMEOUT: &str = "timeout";
const JSON: &str = "json";
/// The time for each request, unless the command names another.
const DEFAULT_TIMEOUT: &str = "10s";

const ABOUT: &str = "\
Looks for what would keep a server, a relay or a worker from starting and clients from their calls: \
with the settings of that role, and its flags. Without a role the one is looked at that what is set is \
for.

A doctor of a relay connects under a temporary id, and starts the program of a provider once, for \
`initialize`, `ping` and `tools/list`. It displaces no relay and calls no tool.

The exit code is 0 if all is well, 1 if something fails, and 2 if there are warnings alone.

Examples:
  llamapool doctor server
  llamapool doctor mcp --server-url wss://pool.example -- npx -y my-server
  llamapool doctor worker --generate
  llamapool doctor connect notes --server https://pool.example";

const ABOUT_CONNECT: &str = "\
Goes the way of Claude, ChatGPT and other clients to an id of a public server: name, connection, \
certificate, the refusal that leads to sign-in, the documents behind it, the page; and with a key \
also the first calls. Prints a line for each step, and what to do where one fails. It signs in \
nowhere, registers nothing and calls no tool.

Run it on another network than the server's: what a firewall or a CDN refuses is not seen from inside.

The exit code is 0 if all is well, 1 if a step fails, and 2 if there are warnings alone.

Examples:
  llamapool doctor connect notes --server https://pool.example
  llamapool doctor connect notes --server https://pool.example --key-file caller.key --json";

/// The command as it was typed.
#[derive(Debug)]
pub enum DoctorCommand {
    /// Go the way of a client.
    Connect(Box<ConnectCommand>),
    /// Look at what a role would meet.
    Role(Box<RoleDoctor>),
}

/// The way of a client, as it was typed.
#[derive(Debug)]
pub struct ConnectCommand {
    id: RelayId,
    origin: Origin,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    http_port: Option<u16>,
    timeout: Duration,
    json: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Diagnosis {
    /// On standard output.
    pub output: String,
    /// The exit code.
    pub code: u8,
}

/// What a walk begins with.
pub(super) struct Options {
    pub(super) id: RelayId,
    pub(super) origin: Origin,
    /// The key of the calls.
    pub(super) key: Option<Secret>,
    /// A private authority to trust as well.
    pub(super) ca_file: Option<PathBuf>,
    /// The port of plain HTTP, if one is to be looked at.
    pub(super) http_port: Option<u16>,
    pub(super) timeout: Duration,
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let id = Arg::new(ID).required(true).help("Id that clients use");
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let connect = Command::new(CONNECT)
        .about("Goes the way of a client to an id")
        .long_about(ABOUT_CONNECT)
        .args([
            id,
            option(
                SERVER,
                "URL",
                "Public URL of the server; otherwise PUBLIC_URL of the environment",
            )
            .value_hint(ValueHint::Url),
            option(KEY_FILE, "FILE", "File with a caller key, for the calls")
                .value_hint(ValueHint::FilePath),
            option(
                CA_FILE,
                "FILE",
                "File with a private authority's certificate in PEM, to trust as well",
            )
            .value_hint(ValueHint::FilePath),
            option(
                HTTP_PORT,
                "PORT",
                "Port of plain HTTP to look at [default: 80 beside 443]",
            ),
            option(TIMEOUT, "DURATION", "Time for each step").default_value(DEFAULT_TIMEOUT),
            Arg::new(JSON)
                .long(JSON)
                .action(ArgAction::SetTrue)
                .help("Prints JSON"),
        ]);
    Command::new(DOCTOR)
        .about("Looks for what keeps a role from starting, and clients from their calls")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(roles())
        .subcommand(connect)
}

/// Returns the commands of the roles that have a doctor.
fn roles() -> impl Iterator<Item = Command> {
    let roles = role::ROLES.iter().filter_map(|name| Role::by_name(name));
    roles.map(|role| {
        let about = format!(
            "Looks for what keeps `llamapool {}` from its work",
            role.name
        );
        role::command_of(role, about)
    })
}

/// Puts the role into a command line that has none.
pub(crate) fn with_role(arguments: Vec<OsString>, environment: &Environment) -> Vec<OsString> {
    guess::with_role(arguments, &[CONNECT], environment)
}

/// Reads the command.
pub(crate) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<DoctorCommand, CliError> {
    let matches = match matches.subcommand() {
        Some((CONNECT, matches)) => matches,
        Some((name, matches)) => {
            let role = Role::by_name(name).ok_or(CliError::MissingCommand)?;
            let doctor = RoleDoctor::read(role, matches, environment);
            return Ok(DoctorCommand::Role(Box::new(doctor)));
        }
        None => return Err(CliError::MissingCommand),
    };
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let usage = |text: String| CliError::Usage(text);

    let id = text(ID).unwrap_or_default();
    let id = id
        .parse()
        .map_err(|error| usage(format!("{id:?} is no id: {error}")))?;
    let of_environment = environment.get("PUBLIC_URL").and_then(|url| url.to_str());
    let server = text(SERVER).or(of_environment).ok_or_else(|| {
        usage("missing --server, expected the public URL, such as https://pool.example".to_owned())
    })?;
    let origin = Origin::parse(server).map_err(|error| usage(format!("--server: {error}")))?;

    let http_port = text(HTTP_PORT).map(|port| {
        let parsed = port.parse::<u16>().ok().filter(|port| *port > 0);
        parsed.ok_or_else(|| {
            usage(format!(
                "invalid --http-port: {port:?}, expected 1 to 65535"
            ))
        })
    });
    let timeout = text(TIMEOUT).unwrap_or(DEFAULT_TIMEOUT);
    let parse = llamapool_settings::value::POSITIVE_DURATION.parse;
    let timeout = parse(timeout).map_err(|_| {
        usage(format!(
            "invalid --timeout: {timeout:?}, expected a duration such as 10s"
        ))
    })?;
    Ok(DoctorCommand::Connect(Box::new(ConnectCommand {
        id,
        origin,
        key_file: text(KEY_FILE).map(PathBuf::from),
        ca_file: text(CA_FILE).map(PathBuf::from),
        http_port: http_port.transpose()?,
        timeout,
        json: matches.get_flag(JSON),
    })))
}

impl DoctorCommand {
    /// Looks, and reports what was found.
    ///
    /// # Errors
    ///
    /// If a file of the command cannot be read.
    pub fn run(self) -> anyhow::Result<Diagnosis> {
        match self {
            Self::Connect(command) => command.run(),
            Self::Role(doctor) => {
                let (output, code) = doctor.run()?;
                Ok(Diagnosis { output, code })
            }
        }
    }
}

impl ConnectCommand {
    fn run(self) -> anyhow::Result<Diagnosis> {
        let key = match &self.key_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.with_context(|| format!("cannot read the key in {path:?}"))?;
                Some(Secret::new(text.trim().to_owned()))
            }
        };
        let of_scheme = (self.origin.is_tls() && self.origin.port() == 443).then_some(80);
        let options = Options {
            id: self.id,
            http_port: self.http_port.or(of_scheme),
            origin: self.origin,
            key,
            ca_file: self.ca_file,
            timeout: self.timeout,
        };

        let mut report = Report::new(options.url());
        let walk = Walk::new(options, &mut report);
        runtime::on_one_thread(walk.go())?;
        let output = if self.json {
            report.json()
        } else {
            report.text()
        };
        Ok(Diagnosis {
            output,
            code: report.exit_code(),
        })
    }
}

impl Options {
    /// Returns the URL that a person types into a client.
    pub(super) fn url(&self) -> String {
        let path = format!("{}{}", llamapool_wire::path::MCP_BY_ID, self.id);
        self.origin.url(&path)
    }
}
