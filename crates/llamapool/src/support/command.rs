//! The command line of `llamapool support`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Arg, ArgMatches, Command, ValueHint};

use super::archive;
use super::collect::collect;
use crate::cli::CliError;
use crate::doctor::{OF_REPORT, ROLES, RoleDoctor, command_of, with_guessed_role};
use crate::roles::Role;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const SUPPORT: &str = "support";

const OUTPUT: &str = "output";
const LOG_FILE: &str = "log-file";
/// The archive, unless the command names another.
const DEFAULT_OUTPUT: &str = "llamapool-support.tar.gz";

const ABOUT: &str = "\
Collects what helps to find a fault, in a .tar.gz: the version, the system, the settings with their \
sources, what `llamapool doctor` finds, the state of the running process, the end of a log. Keys, tokens, \
headers, arguments and variables of programs, and passwords in URLs are left out, and searched for in \
everything else. Look into it before you send it.

It takes the flags of the role, as `llamapool doctor` does.

Examples:
  llamapool support mcp --config-file relay.toml --output support.tar.gz
  llamapool support server --log-file /var/log/llamapool.log > support.tar.gz";

/// The command as it was typed.
#[derive(Debug)]
pub struct SupportCommand {
    doctor: Box<RoleDoctor>,
    environment: Variables,
    output: Option<PathBuf>,
    log_file: Option<PathBuf>,
}

/// The environment, which has secrets.
struct Variables(Environment);

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Variables")
    }
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let option = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .help(help)
    };
    let roles = ROLES.iter().filter_map(|name| Role::by_name(name));
    let roles = roles.map(|role| {
        let about = format!(
            "Collects what helps to find a fault of `llamapool {}`",
            role.name
        );
        let of_doctor = command_of(role, about).mut_args(|flag| {
            let is_of_report = OF_REPORT.contains(&flag.get_id().as_str());
            if is_of_report { flag.hide(true) } else { flag }
        });
        of_doctor.args([
            option(
                OUTPUT,
                "File to write, which must not exist; - for standard output",
            ),
            option(LOG_FILE, "Log of the process, whose last lines are added"),
        ])
    });
    Command::new(SUPPORT)
        .about("Collects what helps to find a fault, without secrets")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(roles)
}

/// Puts the role into a command line that has none.
pub(crate) fn with_role(arguments: Vec<OsString>, environment: &Environment) -> Vec<OsString> {
    with_guessed_role(arguments, &[], environment)
}

/// Reads the command.
pub(crate) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<SupportCommand, CliError> {
    let (name, matches) = matches.subcommand().ok_or(CliError::MissingCommand)?;
    let role = Role::by_name(name).ok_or(CliError::MissingCommand)?;
    let path = |name| matches.get_one::<String>(name).map(PathBuf::from);
    Ok(SupportCommand {
        doctor: Box::new(RoleDoctor::read(role, matches, environment)),
        environment: Variables(environment.clone()),
        output: path(OUTPUT),
        log_file: path(LOG_FILE),
    })
}

impl SupportCommand {
    /// Collects, and writes the archive. Returns what to print.
    ///
    /// # Errors
    ///
    /// If the archive cannot be written, or the log not be read.
    pub fn run(mut self) -> anyhow::Result<String> {
        let to_stdout = match &self.output {
            Some(path) => path == Path::new("-"),
            None => !io::stdout().is_terminal(),
        };
        let files = collect(
            &mut self.doctor,
            &self.environment.0,
            self.log_file.as_deref(),
        )?;
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        let bytes = archive::made_of(&files).context("the archive")?;
        if to_stdout {
            io::stdout().write_all(&bytes).context("standard output")?;
            return Ok(String::new());
        }
        let path = self.output.unwrap_or_else(|| DEFAULT_OUTPUT.into());
        let written = private_file(&path).and_then(|mut file| file.write_all(&bytes));
        written.with_context(|| format!("{path:?} cannot be written"))?;
        Ok(format!(
            "{} has {}. Secrets are left out; look into it before you send it.\n",
            path.display(),
            names.join(", ")
        ))
    }
}

/// Creates a file that only its owner can read.
fn private_file(path: &Path) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
