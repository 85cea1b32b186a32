//! The command `service`: prints the units by which systemd runs a role.
//!
//! The Debian package has the same units: it is built by this command.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use crate::cli::CliError;

/// The name of the command.
pub(crate) const SERVICE: &str = "service";

const PRINT: &str = "print";
const ROLE: &str = "ROLE";
const USER: &str = "user";
const PROGRAM: &str = "program";

/// The place of the program's path in a unit.
const PROGRAM_PLACE: &str = "@PROGRAM@";

const ABOUT: &str = "\
Prints the unit by which systemd runs a role as a service.

Examples:
  llamapool service print server | sudo tee /etc/systemd/system/llamapool-server.service
  llamapool service print mcp --user > ~/.config/systemd/user/llamapool-relay@.service";

const ABOUT_PRINT: &str = "\
Prints the unit by which systemd runs a role as a service. Its comments name the files that it reads.

The unit of a relay, the role mcp, is a template: llamapool-relay@notes.service is the relay of \
relay-notes.toml. With --user it is one of the user that runs it, which needs no root.";

/// A role as a service.
struct Unit {
    role: &'static str,
    is_of_user: bool,
    text: &'static str,
}

static UNITS: &[Unit] = &[
    Unit {
        role: "server",
        is_of_user: false,
        text: include_str!("service/llamapool-server.service"),
    },
    Unit {
        role: "mcp",
        is_of_user: false,
        text: include_str!("service/llamapool-relay@.service"),
    },
    Unit {
        role: "worker",
        is_of_user: false,
        text: include_str!("service/llamapool-worker.service"),
    },
    Unit {
        role: "mcp",
        is_of_user: true,
        text: include_str!("service/user-llamapool-relay@.service"),
    },
];

/// Returns the command for the command line.
pub(crate) fn command() -> Command {
    let role = Arg::new(ROLE)
        .required(true)
        .value_parser(PossibleValuesParser::new(["server", "mcp", "worker"]))
        .help("Role to run");
    let user = Arg::new(USER)
        .long(USER)
        .action(ArgAction::SetTrue)
        .help("Print a unit of the user's own service manager; for mcp alone");
    let program = Arg::new(PROGRAM)
        .long(PROGRAM)
        .value_name("PATH")
        .value_hint(ValueHint::ExecutablePath)
        .value_parser(value_parser!(PathBuf))
        .help("Path of llamapool in the unit [default: this one's]");

    let print = Command::new(PRINT)
        .about("Prints the unit by which systemd runs a role")
        .long_about(ABOUT_PRINT)
        .arg(role)
        .arg(user)
        .arg(program);
    Command::new(SERVICE)
        .about("Prints a unit for systemd")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(print)
}

/// Returns the unit of a command line.
///
/// # Errors
///
/// If there is no such unit, or no path to write into it.
pub(crate) fn read(matches: &ArgMatches) -> Result<String, CliError> {
    let Some((_, matches)) = matches.subcommand() else {
        return Err(CliError::MissingCommand);
    };
    let role = matches.get_one::<String>(ROLE);
    let is_of_user = matches.get_flag(USER);
    let unit = UNITS
        .iter()
        .find(|unit| role.is_some_and(|role| role == unit.role) && unit.is_of_user == is_of_user);
    let Some(unit) = unit else {
        return Err(usage(
            "--user is for mcp alone: the others run as services of the system",
        ));
    };

    let program = match matches.get_one::<PathBuf>(PROGRAM) {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .map_err(|_| usage("the path of this program is not known: use --program"))?,
    };
    // systemd takes the path of a program to the first space, and a percent sign for a specifier.
    let path = program.to_str().filter(|path| {
        path.starts_with('/') && !path.contains(|c: char| c.is_whitespace() || "%\"'\\".contains(c))
    });
    match path {
        Some(path) => Ok(unit.text.replace(PROGRAM_PLACE, path)),
        None => Err(usage(&format!(
            "the program is {program:?}, expected an absolute path without spaces, quotes and percent \
             signs: use --program"
        ))),
    }
}

fn usage(text: &str) -> CliError {
    CliError::Usage(text.to_owned())
}
