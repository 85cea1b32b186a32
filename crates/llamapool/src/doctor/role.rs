//! The doctor of a role: reads its settings as the start does, and makes its checks.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use llamapool_settings::{Sources, command_line};
use llamapool_wire::Secret;

use super::check::{FILE_MODE, FLAGS, GENERATION, MCP, SERVER, VARIABLES, WEAK_KEYS, WORKER};
use super::examination::Examination;
use super::recorder::Recorder;
use super::{preparation, relay, server};
use crate::roles::{Role, RoleSettings};
use crate::runtime;
use crate::settings::{ConfigError, Environment};

/// The flags that are about the report alone.
pub(crate) const OF_REPORT: [&str; 3] = [JSON, EXPLAIN, QUICK];

/// The roles that have a doctor.
pub(crate) const ROLES: [&str; 3] = [SERVER, MCP, WORKER];

const EXPLAIN: &str = "explain";
const JSON: &str = "json";
const QUICK: &str = "quick";
const KEY_FILE: &str = "key-file";
const GENERATE: &str = "generate";
/// The reason for which a role was chosen that the command does not name.
pub(crate) const GUESSED: &str = "guessed";

const TRAILING_HELP: &str = "Program to look at, and its arguments; as for llamapool mcp";

/// What a doctor is to do besides.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    /// Leaves out what takes long.
    pub(super) is_quick: bool,
    /// Has a model write a token.
    pub(super) generates: bool,
    key_file: Option<PathBuf>,
    /// The caller key of calls to the public URL.
    pub(super) key: Option<Secret>,
}

/// The doctor of a role, with the settings of that role.
pub struct RoleDoctor {
    role: &'static Role,
    pub(crate) sources: Sources,
    resolved: Result<RoleSettings, ConfigError>,
    options: Options,
    guessed: Option<String>,
    is_json: bool,
    explains: bool,
}

/// Without the settings, which have keys.
impl fmt::Debug for RoleDoctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleDoctor")
            .field("role", &self.role.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Returns the command for a role: its own flags, and those of the doctor.
pub(crate) fn command_of(role: &'static Role, about: String) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let flags_of_role =
        command_line::add_flags(Command::new(role.name), role.schema, TRAILING_HELP);
    let note = format!(
        "Every flag, variable and key of `llamapool {0}` is taken: `llamapool {0} --help` has them.",
        role.name
    );
    let command = flags_of_role
        // They are completed by shells, and would bury the others.
        .mut_args(|flag| flag.hide_short_help(true).hide_long_help(true))
        .about(about)
        .after_help(note)
        .next_help_heading("Doctor")
        .args([
            flag(JSON, "Prints JSON"),
            flag(EXPLAIN, "Says why each thing is looked at"),
            Arg::new(GUESSED).long(GUESSED).hide(true),
        ]);
    let quick = flag(QUICK, "Leaves out the 30 s of silence");
    match role.name {
        MCP => command.arg(quick).arg(
            Arg::new(KEY_FILE)
                .long(KEY_FILE)
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .help("File with a caller key, for calls to the public URL"),
        ),
        WORKER => command
            .arg(quick)
            .arg(flag(GENERATE, "Has the first model write one token")),
        _ => command,
    }
}

impl RoleDoctor {
    /// Reads the command of a role.
    pub(crate) fn read(
        role: &'static Role,
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Self {
        let flags = command_line::flag_values(role.schema, matches);
        let sources = Sources::collect_leniently(role.schema, flags, environment);
        let resolved = (role.resolve)(&sources);
        let resolved = ConfigError::all(sources.take_problems(), resolved);
        let is_set = |name: &str| matches!(matches.try_get_one::<bool>(name), Ok(Some(true)));
        let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten();
        Self {
            role,
            sources,
            resolved,
            options: Options {
                is_quick: is_set(QUICK),
                generates: is_set(GENERATE),
                key_file: text(KEY_FILE).map(PathBuf::from),
                key: None,
            },
            guessed: text(GUESSED).cloned(),
            is_json: is_set(JSON),
            explains: is_set(EXPLAIN),
        }
    }

    /// Makes the checks. Returns the report as it is printed, and the exit code.
    pub(super) fn run(mut self) -> anyhow::Result<(String, u8)> {
        let is_json = self.is_json;
        let explains = self.explains;
        let examination = self.examine(&Recorder::install())?;
        let output = if is_json {
            format!("{:#}\n", examination.json())
        } else {
            examination.text(explains)
        };
        Ok((output, examination.exit_code()))
    }

    /// Returns the report for programs, of a doctor without its long checks.
    pub(crate) fn quick_report(
        &mut self,
        recorder: &Recorder,
    ) -> anyhow::Result<serde_json::Value> {
        self.options.is_quick = true;
        Ok(self.examine(recorder)?.json())
    }

    /// Returns the role with its settings.
    pub(crate) fn role(&self) -> (&'static Role, Option<&RoleSettings>) {
        (self.role, self.resolved.as_ref().ok())
    }

    fn examine(&mut self, recorder: &Recorder) -> anyhow::Result<Examination> {
        if let Some(path) = &self.options.key_file {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read the key in {path:?}"))?;
            self.options.key = Some(Secret::new(text.trim()));
        }
        let mut examination = Examination::new(self.role.name, self.guessed.clone());
        let mut not_for = vec![&FILE_MODE, &FLAGS, &VARIABLES, &WEAK_KEYS];
        if !self.options.generates {
            not_for.push(&GENERATION);
        }
        preparation::look(&self.sources, self.resolved.as_ref(), &mut examination);
        let mut relay = |config, finds_runtime, examination: &mut Examination| {
            let looking = relay::Doctor {
                config,
                finds_runtime,
                options: &self.options,
                recorder,
                examination,
                not_for: &mut not_for,
            };
            runtime::on_one_thread(looking.look())
        };
        match &self.resolved {
            Err(_) => {}
            Ok(RoleSettings::Server(settings)) => {
                let looking = server::look(settings, &mut examination, &mut not_for);
                runtime::on_one_thread(looking)?;
            }
            Ok(RoleSettings::Relay(settings)) => {
                relay(settings.config.clone(), false, &mut examination)?;
            }
            Ok(RoleSettings::Worker(settings)) => {
                let config = settings.config.clone();
                relay(config, settings.finds_runtime, &mut examination)?;
            }
            Ok(RoleSettings::Bridge(_) | RoleSettings::Demo(_)) => {}
        }
        examination.finish(&not_for);
        Ok(examination)
    }
}
