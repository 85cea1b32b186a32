//! The data directory that a command works on, and the server that may run there.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Arg, ArgMatches, Command, ValueHint};
use llamapool_identity::Store;
use llamapool_server::{DataDirConfig, is_in_use};
use llamapool_settings::{FlagForm, FlagValue, Sources, flag_name};

use super::Printed;
use crate::cli::CliError;
use crate::settings::{Environment, SERVER, server_data_dir};

/// The settings of the server by which its data directory is found.
const SETTINGS: [(&str, &str); 3] = [
    (
        "DATA_DIR",
        "Data directory of the server; otherwise as the server finds it",
    ),
    ("CONFIG_FILE", "File with the settings of the server"),
    (
        "PORT",
        "Port of the server, which its default directory is named for",
    ),
];
/// How long a command waits for a server to apply its change.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);
/// The time between two looks whether it has.
const LOOKS: Duration = Duration::from_millis(10);

/// The data directory of a server.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

/// Adds the flags by which the data directory is found.
pub(super) fn add_flags(command: Command) -> Command {
    let flags = SETTINGS.map(|(name, help)| {
        Arg::new(name)
            .long(flag_name(name).trim_start_matches('-').to_owned())
            .value_hint(ValueHint::AnyPath)
            .value_name(name)
            .help(help)
    });
    command.args(flags)
}

impl Place {
    /// Finds the directory that the server of these flags and this environment has.
    pub(super) fn find(matches: &ArgMatches, environment: &Environment) -> Result<Self, CliError> {
        let flags = SETTINGS.iter().filter_map(|(name, _)| {
            let text = matches.get_one::<String>(name)?;
            let setting = SERVER.settings().find(|setting| setting.name == *name)?;
            Some(FlagValue {
                flag: flag_name(name),
                setting,
                text: text.clone(),
                form: FlagForm::Value,
            })
        });
        let sources = Sources::collect(&SERVER, flags, environment);
        let sources = sources.map_err(crate::settings::ConfigError::from)?;
        match server_data_dir(&sources)? {
            DataDirConfig::Required(path) | DataDirConfig::Default(path) => Ok(Self(path)),
            DataDirConfig::None | DataDirConfig::NoPlace => Err(CliError::Usage(
                "the server has no data directory, where keys are kept: set DATA_DIR, or \
                 --data-dir"
                    .to_owned(),
            )),
        }
    }

    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Opens the store, and makes it if there is none.
    pub(super) fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open_in(&self.0)?)
    }

    /// Waits until the server has applied a change. Returns what was done, with a sentence about that.
    pub(super) fn noted(
        &self,
        store: &Store,
        sequence: i64,
        done: &str,
    ) -> anyhow::Result<Printed> {
        let applied = self.applied(store, sequence)?;
        Ok(Printed {
            output: String::new(),
            notes: format!("{done}; {applied}\n"),
        })
    }

    /// Waits until the server has applied a change. Returns a sentence about that.
    #[expect(
        clippy::disallowed_methods,
        reason = "a command serves nothing while it waits"
    )]
    pub(super) fn applied(&self, store: &Store, sequence: i64) -> anyhow::Result<String> {
        if !is_in_use(&self.0) {
            return Ok(format!("no server is running on {}", self.0.display()));
        }

        let since = Instant::now();
        while since.elapsed() < APPLIED_WITHIN {
            if let Some(applied) = store.acknowledgement(sequence)? {
                let ended = match applied.ended {
                    0 => String::new(),
                    1 => ", 1 call or connection ended".to_owned(),
                    ended => format!(", {ended} calls and connections ended"),
                };
                return Ok(format!("the server has applied it{ended}"));
            }
            thread::sleep(LOOKS);
        }
        bail!(
            "the change is stored, and the server on {} has not applied it within {APPLIED_WITHIN:?}; \
             its log says why",
            self.0.display()
        )
    }
}
