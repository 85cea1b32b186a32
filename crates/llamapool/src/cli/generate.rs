//! Completion scripts and man pages, made from the commands.

use std::path::Path;

use anyhow::Context;
use clap::{ArgMatches, Command};
use clap_mangen::Man;

use super::command::{self, PAGE, SHELL, SHELLS};
use super::error::CliError;

/// Returns the completion script for the shell of the command line.
pub(super) fn completions(matches: &ArgMatches) -> String {
    let mut script = Vec::new();

    let asked = matches.get_one::<String>(SHELL);
    let shell = SHELLS
        .iter()
        .find(|(name, _)| asked.is_some_and(|asked| asked == name));
    if let Some((_, shell)) = shell {
        clap_complete::generate(*shell, &mut command::top(), "llamapool", &mut script);
    }

    String::from_utf8_lossy(&script).into_owned()
}

/// Returns the man page of the command line, of the program if it names no command.
pub(super) fn man(matches: &ArgMatches) -> Result<String, CliError> {
    let mut top = command::top();
    top.build();

    match matches.get_one::<String>(PAGE) {
        None => render(top),
        Some(name) => match top.find_subcommand(name) {
            Some(command) => render(command.clone()),
            None => Err(CliError::unknown_command(name)),
        },
    }
}

/// Writes the man pages of all commands into a directory, which is created.
///
/// # Errors
///
/// If a file cannot be written.
pub fn write_man_pages(directory: &Path) -> anyhow::Result<()> {
    let pages = || {
        std::fs::create_dir_all(directory)?;
        clap_mangen::generate_to(command::top(), directory)
    };
    pages().with_context(|| format!("cannot write the man pages into {directory:?}"))
}

fn render(command: Command) -> Result<String, CliError> {
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .map_err(|error| CliError::Usage(error.to_string()))?;

    Ok(String::from_utf8_lossy(&page).into_owned())
}
