//! The commands as clap has them, from which help, completions and man pages are made.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;
use llamapool_settings::{Naming, command_line};

use crate::admin::{
    ACCESS, AUDIT, CLIENT, GRANT, KEY, LOGIN, access_command, audit_command, client_command,
    grant_command, key_command, login_command,
};
use crate::doctor;
use crate::remote;
use crate::roles::{RELAY, ROLES, Role};
use crate::service;
use crate::support;

/// The command that prints a completion script.
pub(super) const COMPLETIONS: &str = "completions";
/// The command that prints help.
pub(super) const HELP: &str = "help";
/// The command that prints a man page.
pub(super) const MAN: &str = "man";
/// The argument of [`COMPLETIONS`].
pub(super) const SHELL: &str = "SHELL";
/// Flag of a relay that prints its file of MCP servers; not in the place of a setting's name.
const PRINT: &str = "print";
/// The argument of [`MAN`].
pub(super) const PAGE: &str = "COMMAND";
/// The flag of [`MAN`] by which all pages are written.
pub(super) const DIRECTORY: &str = "directory";

/// The shells that have completions, by the names of their programs.
pub(super) const SHELLS: &[(&str, Shell)] = &[
    ("bash", Shell::Bash),
    ("zsh", Shell::Zsh),
    ("fish", Shell::Fish),
    ("powershell", Shell::PowerShell),
    ("elvish", Shell::Elvish),
];

/// Returns the names of the shells that have completions.
pub(super) fn shells() -> impl Iterator<Item = &'static str> {
    SHELLS.iter().map(|(name, _)| *name)
}

const ABOUT: &str = "\
Makes private MCP servers reachable: a relay next to each of them connects to one public server, \
which gives every MCP server a URL and forwards each call through the relay's connection, streaming \
in both directions.";

const EXAMPLES: &str = "\
Examples:
  llamapool server --api-key test123 --worker-key secret
  llamapool mcp --server-url wss://llamapool.example --worker-key secret --client-id clock -r

Every command has its own help: llamapool server --help";

const ABOUT_SETTINGS: &str = "\
Every setting is a flag, an environment variable, or a key of a TOML file; a flag overrides the \
environment, and the environment overrides the file. Durations: 500ms, 20s, 5m, 1h, or seconds. \
Sizes: 512KiB, 64MiB, 1GiB, or bytes.";

const TRAILING_HELP: &str =
    "Program to run as the MCP server, and its arguments; the same as --provider-command";

const ABOUT_COMPLETIONS: &str = "\
Prints a completion script for a shell.

Examples:
  llamapool completions bash > ~/.local/share/bash-completion/completions/llamapool
  llamapool completions zsh > ~/.zfunc/_llamapool
  llamapool completions fish > ~/.config/fish/completions/llamapool.fish";

const ABOUT_MAN: &str = "\
Prints a man page in roff, of the program or of one of its commands, or writes all of them into a \
directory.

Examples:
  llamapool man > llamapool.1
  llamapool man server | man -l -
  llamapool man --directory ~/.local/share/man/man1";

/// Returns the names of all commands.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let roles = ROLES.iter().map(|role| role.name);
    let others = [
        KEY,
        ACCESS,
        CLIENT,
        GRANT,
        LOGIN,
        AUDIT,
        doctor::DOCTOR,
        support::SUPPORT,
        service::SERVICE,
        HELP,
        COMPLETIONS,
        MAN,
    ];
    let roles = roles.chain(remote::NAMES);
    roles.chain(others)
}

/// Returns the command `llamapool` with all commands below it.
pub(super) fn top() -> Command {
    let roles = ROLES.iter().map(|role| of_role(role, role.name.to_owned()));

    Command::new("llamapool")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(roles)
        .subcommands(remote::commands())
        .subcommand(key_command())
        .subcommand(access_command())
        .subcommand(client_command())
        .subcommand(grant_command())
        .subcommand(login_command())
        .subcommand(audit_command())
        .subcommand(doctor::command())
        .subcommand(support::command())
        .subcommand(service::command())
        .subcommand(help())
        .subcommand(completions())
        .subcommand(man())
}

/// Returns the command of a role under this name.
pub(super) fn of_role(role: &Role, name: String) -> Command {
    let command = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(role.summary)
        .long_about(introduction(role))
        .next_line_help(true)
        .next_help_heading("Other");

    let command = command_line::add_flags(command, role.schema, TRAILING_HELP);
    if role.name == RELAY.name {
        command.arg(print_argument())
    } else {
        command
    }
}

fn print_argument() -> Arg {
    Arg::new(PRINT)
        .long(PRINT)
        .action(ArgAction::SetTrue)
        .help("Prints the file of --mcp-servers as TOML, with all values, and exits")
}

/// Returns whether a file is only to be printed.
pub(super) fn is_printing(matches: &ArgMatches) -> bool {
    // An error for commands without the flag.
    matches!(matches.try_get_one(PRINT), Ok(Some(true)))
}

/// Returns the text at the top of a role's own help.
fn introduction(role: &Role) -> String {
    let has_file = role
        .schema
        .settings()
        .any(|setting| setting.naming == Naming::ConfigFile);

    let mut text = role.introduction.to_owned();
    if has_file {
        text.push_str("\n\n");
        text.push_str(ABOUT_SETTINGS);
    }
    text.push_str("\n\nExamples:");
    for example in role.examples {
        text.push_str("\n  ");
        text.push_str(example);
    }
    text
}

fn help() -> Command {
    let command = Arg::new(PAGE)
        .num_args(0..)
        .help("Command to explain; without one, the program");

    Command::new(HELP)
        .about("Prints help")
        .long_about(
            "Prints help, of the program or of one of its commands: the same as --help behind it.",
        )
        .disable_help_flag(true)
        .arg(command)
}

fn completions() -> Command {
    let shell = Arg::new(SHELL)
        .required(true)
        .value_parser(PossibleValuesParser::new(shells()))
        .help("Shell to complete in");

    Command::new(COMPLETIONS)
        .about("Prints a completion script for a shell")
        .long_about(ABOUT_COMPLETIONS)
        .arg(shell)
}

fn man() -> Command {
    let page = Arg::new(PAGE)
        .value_hint(ValueHint::Other)
        .help("Command to describe; without one, the program");
    let directory = Arg::new(DIRECTORY)
        .long(DIRECTORY)
        .value_name("DIR")
        .value_hint(ValueHint::DirPath)
        .value_parser(value_parser!(PathBuf))
        .conflicts_with(PAGE)
        .help("Directory to write the pages of all commands into; it is created");

    Command::new(MAN)
        .about("Prints a man page")
        .long_about(ABOUT_MAN)
        .arg(page)
        .arg(directory)
}
