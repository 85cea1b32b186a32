//! The command line: which role, which flags, and the errors of usage.
//!
//! What help says is in `help`, what settings mean in `settings`. The one rule: every flag is derived from the entry
//! of its setting, and no value that was typed is repeated here.

mod help;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::settings::{
    DemoSettings, Environment, Flag, Form, Given, Meant, RelaySettings, Role, ServerSettings,
    Setting, SettingsError, flag_of, nearest,
};
use crate::version::version_line;

/// The name of what follows `--`, which is no setting's.
const PROGRAM: &str = "--";

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To say something, such as the help, and to end.
    Say(String),
    /// To be the server.
    Server(Box<ServerSettings>),
    /// To be the relay of an MCP provider.
    Relay(Box<RelaySettings>),
    /// To show everything on one machine.
    Demo(DemoSettings),
}

/// Why the command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No role.
    #[error(
        "a command is missing, expected one of {} (see llamapool --help)",
        roles()
    )]
    NoCommand,
    /// A role that does not exist.
    #[error(
        "unknown command {name:?}, expected one of {} (see llamapool --help)",
        roles()
    )]
    UnknownCommand {
        /// What stands there instead.
        name: String,
    },
    /// The role that an image is built for already, and that this version does not have.
    #[error(
        "LLM workers are not in this version, expected one of {} (see llamapool --help)",
        roles()
    )]
    NoWorker,
    /// A flag that does not exist.
    #[error("unknown flag {}{}", flag.escape_debug(), Meant(nearest.as_deref()))]
    UnknownFlag {
        /// The flag, without its value.
        flag: String,
        /// The known flag that may be meant.
        nearest: Option<String>,
    },
    /// Something without a flag in front; it is not repeated, because it may be the value of a mistyped one.
    #[error(
        "an argument stands without a flag, expected only flags, or for a relay a program behind --"
    )]
    Stray,
    /// Anything else that is wrong with the form of the command line.
    #[error("{0}")]
    Usage(String),
    /// A setting that is wrong, wherever it comes from.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Reads the command line, its first argument being the name under which the program was called, and the settings
/// of the role that it asks for.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Invocation, CliError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called_as = arguments
        .first()
        .map_or(Ok(None), |name| role_by_name(name))?;
    let command = match called_as {
        Some(role) => role_command(role, format!("llamapool-{}", role.name())),
        None => top_command(),
    };
    let matches = match command.try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return refused(&error, &arguments, called_as),
    };
    match (called_as, matches.subcommand()) {
        (Some(role), _) => resolve(role, &matches, environment),
        (None, Some((name, matches))) => resolve(
            Role::by_name(name).ok_or(CliError::NoCommand)?,
            matches,
            environment,
        ),
        (None, None) => Err(CliError::NoCommand),
    }
}

fn resolve(
    role: Role,
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Invocation, CliError> {
    let given = Given::gather(role.table(), flags(role, matches), environment)?;
    Ok(match role {
        Role::Server => Invocation::Server(Box::new(ServerSettings::resolve(&given)?)),
        Role::Mcp => Invocation::Relay(Box::new(RelaySettings::resolve(&given)?)),
        Role::Demo => Invocation::Demo(DemoSettings::resolve(&given)?),
    })
}

/// The role that the program's name stands for, as a symlink `llamapool-server` does.
fn role_by_name(program: &OsStr) -> Result<Option<Role>, CliError> {
    let name = Path::new(program)
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    let Some(name) = name
        .strip_suffix(".exe")
        .unwrap_or(name)
        .strip_prefix("llamapool-")
    else {
        return Ok(None);
    };
    Role::by_name(name)
        .map(Some)
        .ok_or_else(|| unknown_command(name.to_owned()))
}

fn unknown_command(name: String) -> CliError {
    if name == "worker" {
        CliError::NoWorker
    } else {
        CliError::UnknownCommand { name }
    }
}

fn top_command() -> Command {
    let command = Command::new("llamapool")
        .version(env!("CARGO_PKG_VERSION"))
        .about(help::TOP)
        .after_help(help::TOP_EXAMPLES)
        .subcommand_required(true)
        .disable_help_subcommand(true);
    let subcommand = |role: &Role| role_command(*role, role.name().to_owned());
    command.subcommands(Role::ALL.iter().map(subcommand))
}

fn role_command(role: Role, name: String) -> Command {
    let command = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(help::summary(role))
        .long_about(help::introduction(role))
        .next_line_help(true)
        .next_help_heading("Other");
    let command = if role == Role::Mcp {
        command.arg(program_argument())
    } else {
        command
    };
    role.table().iter().fold(command, |command, setting| {
        command.args(arguments_of(setting))
    })
}

/// What follows `--`: the program that is the provider, already in words.
fn program_argument() -> Arg {
    Arg::new(PROGRAM)
        .last(true)
        .num_args(1..)
        .value_name("COMMAND")
        .help(help::PROGRAM)
}

/// One argument for each name of a setting: the first is shown, the aliases work.
fn arguments_of(setting: &'static Setting) -> Vec<Arg> {
    let argument = |name: &'static str| {
        let argument = Arg::new(name)
            .long(flag_of(name))
            .value_name(setting.form.placeholder())
            .help(help::meaning(setting))
            .help_heading(setting.group.heading())
            .hide(name != setting.name);
        match setting.form {
            Form::Switch => argument
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_possible_values(true),
            form if form.separator().is_some() => argument.action(ArgAction::Append),
            _ => argument,
        }
    };
    let mut arguments: Vec<Arg> = setting.names().map(argument).collect();
    if let Some(first) = arguments.first_mut() {
        let mut named = first.clone();
        if let Some(alias) = setting.flag_alias {
            named = named.visible_alias(alias);
        }
        if let Some(letter) = setting.short {
            named = named.short(letter);
        }
        *first = named;
    }
    arguments
}

fn flags(role: Role, matches: &ArgMatches) -> Vec<Flag> {
    let names = role
        .table()
        .iter()
        .flat_map(|setting| setting.names().map(move |name| (*setting, name)));
    let given = names.filter_map(|(setting, name)| {
        let texts: Vec<&str> = matches
            .get_many::<String>(name)?
            .map(String::as_str)
            .collect();
        let text = texts.join(setting.form.separator().unwrap_or_default());
        Some(Flag {
            flag: format!("--{}", flag_of(name)),
            setting,
            text,
        })
    });
    given.chain(program(role, matches)).collect()
}

/// What follows `--`, as the flag that it stands for.
fn program(role: Role, matches: &ArgMatches) -> Option<Flag> {
    let setting = role
        .table()
        .iter()
        .find(|setting| setting.form == Form::Command)?;
    let words: Vec<&str> = matches
        .get_many::<String>(PROGRAM)?
        .map(String::as_str)
        .collect();
    // No argument of a command line has a zero byte in it.
    Some(Flag {
        flag: "--".to_owned(),
        setting,
        text: shlex::try_join(words).ok()?,
    })
}

/// What clap stops at: help and version are answers, everything else is an error in one line.
fn refused(
    error: &clap::Error,
    arguments: &[OsString],
    called_as: Option<Role>,
) -> Result<Invocation, CliError> {
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    Err(match error.kind() {
        ErrorKind::DisplayHelp => return Ok(Invocation::Say(error.to_string())),
        ErrorKind::DisplayVersion => return Ok(Invocation::Say(format!("{}\n", version_line()))),
        ErrorKind::MissingSubcommand => CliError::NoCommand,
        ErrorKind::InvalidSubcommand => {
            unknown_command(context(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::UnknownArgument => {
            let flag = context(ContextKind::InvalidArg).unwrap_or_default();
            if flag.starts_with('-') {
                unknown_flag(&flag, arguments, called_as)
            } else {
                CliError::Stray
            }
        }
        _ => CliError::Usage(first_line(error)),
    })
}

fn unknown_flag(flag: &str, arguments: &[OsString], called_as: Option<Role>) -> CliError {
    let named = || {
        arguments
            .get(1)
            .and_then(|name| Role::by_name(name.to_str()?))
    };
    let Some(role) = called_as.or_else(named) else {
        return CliError::NoCommand;
    };
    let known: Vec<String> = role
        .table()
        .iter()
        .flat_map(|setting| setting.names())
        .map(flag_of)
        .collect();
    let known = known.iter().map(String::as_str).chain(["help", "version"]);
    let nearest = flag
        .strip_prefix("--")
        .and_then(|word| nearest(word, known))
        .map(|flag| format!("--{flag}"));
    CliError::UnknownFlag {
        flag: flag.to_owned(),
        nearest,
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn roles() -> String {
    Role::ALL
        .iter()
        .map(|role| role.name())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests;
