//! Settings of a provider that is a program, with MCP on its standard input and output.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use llamapool_bridge::{BridgeConfig, SessionLimits, StartLimits};
use llamapool_limits::MemoryBudget;
use llamapool_settings::value::{
    ARGUMENTS, COMMAND, COUNT, DURATION, MEMORY, MEMORY_OR_ZERO, PATH, POSITIVE_DURATION, SWITCH,
    VARIABLES, Variable,
};
use llamapool_settings::{EntryScope, EntrySources, Setting, SettingsError, Sources, TypedSetting};

use super::program_environment::ProgramEnvironment;
use crate::settings::error::{ConfigError, ProgramHint};
use crate::settings::group::{MAIN, PROGRAM};

pub(super) static PROVIDER_COMMAND: TypedSetting<Vec<String>> = TypedSetting::new(
    "PROVIDER_COMMAND",
    MAIN,
    COMMAND,
    "Program to run as the MCP server (stdio transport); also the words after --.",
)
.entry("provider", "command", EntryScope::PerEntry);
pub(super) static PROVIDER_ARGS: TypedSetting<Vec<String>> = TypedSetting::new(
    "PROVIDER_ARGS",
    MAIN,
    ARGUMENTS,
    "Arguments of the program, as an array; `command` is then the program alone.",
)
.entry("provider", "args", EntryScope::TablesOnly);
static PROVIDER_DIR: TypedSetting<Option<PathBuf>> = TypedSetting::new(
    "PROVIDER_DIR",
    PROGRAM,
    PATH,
    "Working directory of the program.",
)
.described_default("that of llamapool")
.entry("provider", "directory", EntryScope::Shared)
.entry_alias("cwd");
static PROVIDER_ENV: TypedSetting<Vec<Variable>> = TypedSetting::new(
    "PROVIDER_ENV",
    PROGRAM,
    VARIABLES,
    "Environment variables of the program besides PATH, HOME and the like: NAME to inherit or \
     NAME=value; those of all sources add up.",
)
.entry("provider", "env", EntryScope::Shared);
static MAX_SESSIONS: TypedSetting<usize> = TypedSetting::new(
    "MAX_SESSIONS",
    PROGRAM,
    COUNT,
    "Most open sessions of one provider, each with a process of its own, which callers share fairly.",
)
.default("64")
.entry("provider", "max_sessions", EntryScope::Shared);
static SESSION_IDLE_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "SESSION_IDLE_TIMEOUT",
    PROGRAM,
    POSITIVE_DURATION,
    "Ends a session after this long without a message of its client, unless the client has an open \
     stream and answers a ping.",
)
.default("30m")
.entry("provider", "session_idle_timeout", EntryScope::Shared);
static SESSION_YIELD_AFTER: TypedSetting<Duration> = TypedSetting::new(
    "SESSION_YIELD_AFTER",
    PROGRAM,
    POSITIVE_DURATION,
    "Idle time after which a session can be ended for a new one while MAX_SESSIONS are open; one \
     whose client made no request yet can after a fifteenth of it.",
)
.default("30s")
.entry("provider", "session_yield_after", EntryScope::Shared);
static SESSION_MAX_AGE: TypedSetting<Duration> = TypedSetting::new(
    "SESSION_MAX_AGE",
    PROGRAM,
    DURATION,
    "Longest life of a session; 0: no limit.",
)
.default("24h")
.entry("provider", "session_max_age", EntryScope::Shared);
static SHARED_SESSION: TypedSetting<bool> = TypedSetting::new(
    "SHARED_SESSION",
    PROGRAM,
    SWITCH,
    "Serves callers that start no session, such as plain curl, in one session that they share.",
)
.default("false")
.entry("provider", "shared_session", EntryScope::Shared);
static SHARED_CALL_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "SHARED_CALL_TIMEOUT",
    PROGRAM,
    DURATION,
    "Longest time for the answer to a request when callers share the program (SHARED_SESSION, MCP \
     2026-07-28), except for subscriptions; 0: no limit.",
)
.default("1h")
.entry("provider", "shared_call_timeout", EntryScope::Shared);
static PROVIDER_MAX_STARTS: TypedSetting<usize> = TypedSetting::new(
    "PROVIDER_MAX_STARTS",
    PROGRAM,
    COUNT,
    "Most starts of the program per minute, which callers share fairly.",
)
.default("120")
.entry("provider", "max_starts", EntryScope::Shared);
static PROVIDER_MAX_STARTING: TypedSetting<usize> = TypedSetting::new(
    "PROVIDER_MAX_STARTING",
    PROGRAM,
    COUNT,
    "Most programs that start at the same time, over all providers; a program starts until its \
     first message, or for 10s. Further starts wait.",
)
.described_default("two per core, at least 4");
static PROVIDER_START_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "PROVIDER_START_TIMEOUT",
    PROGRAM,
    POSITIVE_DURATION,
    "Longest wait for the first message of a program that the relay starts by itself: a package \
     runner downloads the program first.",
)
.default("10m")
.entry("provider", "start_timeout", EntryScope::Shared);
static PROVIDER_MAX_MESSAGE_BYTES: TypedSetting<usize> = TypedSetting::new(
    "PROVIDER_MAX_MESSAGE_BYTES",
    PROGRAM,
    MEMORY,
    "Longest message to or from the program; a program that writes a longer one is ended.",
)
.default("64MiB")
.entry("provider", "max_message_bytes", EntryScope::Shared);
static PROVIDER_REPLAY_BYTES: TypedSetting<usize> = TypedSetting::new(
    "PROVIDER_REPLAY_BYTES",
    PROGRAM,
    MEMORY_OR_ZERO,
    "Size of the events kept per session, for clients that resume a stream (Last-Event-ID).",
)
.default("1MiB")
.entry("provider", "replay_bytes", EntryScope::Shared);
static PROVIDER_ERA_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "PROVIDER_ERA_TIMEOUT",
    PROGRAM,
    POSITIVE_DURATION,
    "Longest wait for the program to confirm that it supports MCP 2026-07-28; without an answer it \
     does not.",
)
.default("30s")
.entry("provider", "era_timeout", EntryScope::Shared);

/// The settings declared here.
pub(in crate::settings) static SETTINGS: &[&Setting] = &[
    &PROVIDER_COMMAND.setting,
    &PROVIDER_ARGS.setting,
    &PROVIDER_DIR.setting,
    &PROVIDER_ENV.setting,
    &MAX_SESSIONS.setting,
    &SESSION_IDLE_TIMEOUT.setting,
    &SESSION_YIELD_AFTER.setting,
    &SESSION_MAX_AGE.setting,
    &SHARED_SESSION.setting,
    &SHARED_CALL_TIMEOUT.setting,
    &PROVIDER_MAX_STARTS.setting,
    &PROVIDER_MAX_STARTING.setting,
    &PROVIDER_START_TIMEOUT.setting,
    &PROVIDER_MAX_MESSAGE_BYTES.setting,
    &PROVIDER_REPLAY_BYTES.setting,
    &PROVIDER_ERA_TIMEOUT.setting,
];

/// Returns the most programs of the process that start at the same time, `None` if the number
/// depends on the machine.
pub(in crate::settings) fn max_starting(sources: &Sources) -> Result<Option<usize>, SettingsError> {
    sources.explicit(&PROVIDER_MAX_STARTING)
}

/// Returns the configuration of a provider that is a program, `None` if this provider is none.
///
/// All settings are read in both cases: a wrong value is an error although there is no program.
pub(in crate::settings) fn resolve(
    sources: &Sources,
    entry: &EntrySources<'_>,
) -> Result<Option<BridgeConfig>, ConfigError> {
    let mut command = entry.explicit(&PROVIDER_COMMAND)?.unwrap_or_default();
    let arguments = entry.explicit(&PROVIDER_ARGS)?.unwrap_or_default();
    if !command.is_empty() {
        command.extend(arguments);
    }
    let max_age = entry.value(&SESSION_MAX_AGE)?;
    let environment = ProgramEnvironment::new(sources, entry.all(&PROVIDER_ENV)?);
    let shared_call_timeout = entry.value(&SHARED_CALL_TIMEOUT)?;
    let limits = SessionLimits {
        max_sessions: entry.value(&MAX_SESSIONS)?,
        idle: entry.value(&SESSION_IDLE_TIMEOUT)?,
        yield_after: entry.value(&SESSION_YIELD_AFTER)?,
        max_age: Some(max_age).filter(|max_age| !max_age.is_zero()),
    };
    let starts = StartLimits {
        max_per_minute: entry.value(&PROVIDER_MAX_STARTS)?,
        patience: entry.value(&PROVIDER_START_TIMEOUT)?,
    };
    let directory = entry.value(&PROVIDER_DIR)?;
    let max_message_bytes = entry.value(&PROVIDER_MAX_MESSAGE_BYTES)?;
    let replay_bytes = entry.value(&PROVIDER_REPLAY_BYTES)?;
    let era_patience = entry.value(&PROVIDER_ERA_TIMEOUT)?;
    let shared_session = entry.value(&SHARED_SESSION)?;

    let Some(program) = command.first() else {
        environment?;
        return Ok(None);
    };
    if cfg!(not(unix)) {
        return Err(ConfigError::ProgramsUnsupported);
    }
    let environment = check(program, directory.as_deref(), environment)?;

    Ok(Some(BridgeConfig {
        label: None,
        command: command.iter().map(OsString::from).collect(),
        directory,
        environment: environment.variables,
        unset_variables: environment.unset,
        withheld_variables: environment.withheld,
        guard: env::current_exe().map_err(ConfigError::UnknownExecutable)?,
        sessions: limits,
        starts,
        max_message_bytes,
        replay_bytes,
        asks_for_facts: false,
        era_patience,
        shared_call_timeout: Some(shared_call_timeout).filter(|timeout| !timeout.is_zero()),
        shared_session,
        memory: MemoryBudget::default(),
    }))
}

/// Checks what a program needs to start, and returns its environment, or all that is wrong.
fn check(
    program: &str,
    directory: Option<&Path>,
    environment: Result<ProgramEnvironment, ConfigError>,
) -> Result<ProgramEnvironment, ConfigError> {
    let mut errors = Vec::new();
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        errors.push(ConfigError::DirectoryNotFound {
            directory: directory.to_owned(),
        });
    }

    let environment = match environment {
        Ok(environment) => environment,
        Err(error) => {
            errors.push(error);
            return Err(ConfigError::one_or_several(errors));
        }
    };
    let search_path = environment.get("PATH");
    if !is_found(program, directory, search_path) {
        errors.push(not_found(program, directory, search_path));
    }

    if errors.is_empty() {
        Ok(environment)
    } else {
        Err(ConfigError::one_or_several(errors))
    }
}

/// Returns the error for a program that does not exist, with the cause if the word shows it.
fn not_found(program: &str, directory: Option<&Path>, search_path: Option<&OsStr>) -> ConfigError {
    let first_word = program.split_whitespace().next().unwrap_or_default();
    let is_name = |name: &str| {
        let mut characters = name.chars();
        characters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };

    let variable = program.split_once('=').filter(|(name, _)| is_name(name));
    let hint = if program.starts_with('~') {
        ProgramHint::Home
    } else if variable.is_some() {
        ProgramHint::Variable
    } else if first_word != program && is_found(first_word, directory, search_path) {
        ProgramHint::OneWord
    } else {
        ProgramHint::None
    };

    // The value of a variable, or an argument, may be a secret.
    let shown = match (hint, variable) {
        (ProgramHint::Variable, Some((name, _))) => format!("{name}=…"),
        (ProgramHint::OneWord, _) => format!("{first_word} …"),
        _ => program.to_owned(),
    };
    ConfigError::ProgramNotFound {
        program: shown,
        hint,
    }
}

/// Returns whether the program exists and is executable, by its path or in the `PATH` that it gets.
fn is_found(program: &str, directory: Option<&Path>, search_path: Option<&OsStr>) -> bool {
    let from_directory = |path: &Path| match directory {
        Some(directory) => directory.join(path),
        None => path.to_owned(),
    };

    if program.contains(std::path::MAIN_SEPARATOR) {
        return is_executable(&from_directory(Path::new(program)));
    }
    let Some(search_path) = search_path else {
        return false;
    };
    env::split_paths(search_path)
        .any(|folder| is_executable(&from_directory(&folder.join(program))))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    file.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    true
}
