//! Settings of a provider that is a program, with MCP on its standard input and output.
//!
//! Of the relay's environment the program gets what it needs to run and what `PROVIDER_ENV` names,
//! and never a secret of llamapool's own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use llamapool_bridge::BridgeConfig;
use llamapool_limits::MemoryBudget;
use llamapool_settings::value::{
    COMMAND, COUNT, DURATION, MEMORY, MEMORY_OR_ZERO, PATH, POSITIVE_DURATION, SWITCH, VARIABLES,
    Variable,
};
use llamapool_settings::{EntryScope, EntrySources, Setting, Sources, TypedSetting};

use crate::settings::error::ConfigError;
use crate::settings::group::{MAIN, PROGRAM};

/// Variables of the relay's environment that every program gets: paths, user, terminal, language.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];

pub(super) static PROVIDER_COMMAND: TypedSetting<Vec<String>> = TypedSetting::new(
    "PROVIDER_COMMAND",
    MAIN,
    COMMAND,
    "Program to run as the MCP server (stdio transport); also the words after --.",
)
.entry("command", EntryScope::PerEntry);
static PROVIDER_DIR: TypedSetting<Option<PathBuf>> = TypedSetting::new(
    "PROVIDER_DIR",
    PROGRAM,
    PATH,
    "Working directory of the program.",
)
.described_default("that of llamapool")
.entry("directory", EntryScope::Shared);
static PROVIDER_ENV: TypedSetting<Vec<Variable>> = TypedSetting::new(
    "PROVIDER_ENV",
    PROGRAM,
    VARIABLES,
    "Environment variables of the program besides PATH, HOME and the like: NAME to inherit or \
     NAME=value, separated by commas.",
)
.entry("env", EntryScope::Shared);
static MAX_SESSIONS: TypedSetting<usize> = TypedSetting::new(
    "MAX_SESSIONS",
    PROGRAM,
    COUNT,
    "Most open sessions of one provider, each with a process of its own.",
)
.default("64")
.entry("max_sessions", EntryScope::Shared);
static SESSION_IDLE_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "SESSION_IDLE_TIMEOUT",
    PROGRAM,
    POSITIVE_DURATION,
    "Ends a session after this long without a message of its client, unless the client has an open \
     stream and answers a ping.",
)
.default("30m")
.entry("session_idle_timeout", EntryScope::Shared);
static SESSION_MAX_AGE: TypedSetting<Duration> = TypedSetting::new(
    "SESSION_MAX_AGE",
    PROGRAM,
    DURATION,
    "Longest life of a session; 0: no limit.",
)
.default("24h")
.entry("session_max_age", EntryScope::Shared);
static SHARED_SESSION: TypedSetting<bool> = TypedSetting::new(
    "SHARED_SESSION",
    PROGRAM,
    SWITCH,
    "Serves callers that start no session, such as plain curl, in one session that they share.",
)
.default("false")
.entry("shared_session", EntryScope::Shared);
static SHARED_CALL_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "SHARED_CALL_TIMEOUT",
    PROGRAM,
    DURATION,
    "Longest time for the answer to a request when callers share the program (SHARED_SESSION, MCP \
     2026-07-28), except for subscriptions; 0: no limit.",
)
.default("1h")
.entry("shared_call_timeout", EntryScope::Shared);
static PROVIDER_MAX_STARTS: TypedSetting<usize> = TypedSetting::new(
    "PROVIDER_MAX_STARTS",
    PROGRAM,
    COUNT,
    "Most starts of the program per minute.",
)
.default("120")
.entry("max_starts", EntryScope::Shared);
static PROVIDER_MAX_MESSAGE_BYTES: TypedSetting<usize> = TypedSetting::new(
    "PROVIDER_MAX_MESSAGE_BYTES",
    PROGRAM,
    MEMORY,
    "Longest message to or from the program; a program that writes a longer one is ended.",
)
.default("64MiB")
.entry("max_message_bytes", EntryScope::Shared);
static PROVIDER_REPLAY_BYTES: TypedSetting<usize> = TypedSetting::new(
    "PROVIDER_REPLAY_BYTES",
    PROGRAM,
    MEMORY_OR_ZERO,
    "Size of the events kept per session, for clients that resume a stream (Last-Event-ID).",
)
.default("1MiB")
.entry("replay_bytes", EntryScope::Shared);
static PROVIDER_ERA_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "PROVIDER_ERA_TIMEOUT",
    PROGRAM,
    POSITIVE_DURATION,
    "Longest wait for the program to confirm that it supports MCP 2026-07-28; without an answer it \
     does not.",
)
.default("30s")
.entry("era_timeout", EntryScope::Shared);

/// The settings declared here.
pub(in crate::settings) static SETTINGS: &[&Setting] = &[
    &PROVIDER_COMMAND.setting,
    &PROVIDER_DIR.setting,
    &PROVIDER_ENV.setting,
    &MAX_SESSIONS.setting,
    &SESSION_IDLE_TIMEOUT.setting,
    &SESSION_MAX_AGE.setting,
    &SHARED_SESSION.setting,
    &SHARED_CALL_TIMEOUT.setting,
    &PROVIDER_MAX_STARTS.setting,
    &PROVIDER_MAX_MESSAGE_BYTES.setting,
    &PROVIDER_REPLAY_BYTES.setting,
    &PROVIDER_ERA_TIMEOUT.setting,
];

/// Returns the configuration of a provider that is a program, `None` if this provider is none.
///
/// All settings are read in both cases: a wrong value is an error although there is no program.
pub(in crate::settings) fn resolve(
    sources: &Sources,
    entry: &EntrySources<'_>,
) -> Result<Option<BridgeConfig>, ConfigError> {
    let command = entry.explicit(&PROVIDER_COMMAND)?.unwrap_or_default();
    let max_age = entry.value(&SESSION_MAX_AGE)?;
    let shared_call_timeout = entry.value(&SHARED_CALL_TIMEOUT)?;
    let mut config = BridgeConfig {
        command: command.iter().map(OsString::from).collect(),
        directory: entry.value(&PROVIDER_DIR)?,
        environment: environment(sources, entry)?,
        guard: PathBuf::new(),
        max_sessions: entry.value(&MAX_SESSIONS)?,
        session_idle: entry.value(&SESSION_IDLE_TIMEOUT)?,
        session_max_age: Some(max_age).filter(|max_age| !max_age.is_zero()),
        max_starts_per_minute: entry.value(&PROVIDER_MAX_STARTS)?,
        max_message_bytes: entry.value(&PROVIDER_MAX_MESSAGE_BYTES)?,
        replay_bytes: entry.value(&PROVIDER_REPLAY_BYTES)?,
        era_patience: entry.value(&PROVIDER_ERA_TIMEOUT)?,
        shared_call_timeout: Some(shared_call_timeout).filter(|timeout| !timeout.is_zero()),
        shared_session: entry.value(&SHARED_SESSION)?,
        memory: MemoryBudget::default(),
    };
    let Some(program) = command.first() else {
        return Ok(None);
    };

    if cfg!(not(unix)) {
        return Err(ConfigError::ProgramsUnsupported);
    }
    if !is_found(program, &config) {
        return Err(ConfigError::ProgramNotFound {
            program: program.clone(),
        });
    }
    config.guard = env::current_exe().map_err(ConfigError::UnknownExecutable)?;

    Ok(Some(config))
}

/// Returns the whole environment of the program.
fn environment(
    sources: &Sources,
    entry: &EntrySources<'_>,
) -> Result<Vec<(OsString, OsString)>, ConfigError> {
    let inherit = |name: &str| {
        let value = sources.environment().raw(name)?;
        Some((OsString::from(name), value.to_owned()))
    };

    let mut environment: Vec<_> = INHERITED.iter().filter_map(|name| inherit(name)).collect();
    for Variable { name, value } in entry.value(&PROVIDER_ENV)? {
        if value.is_none() && sources.schema().is_secret_variable(&name) {
            return Err(ConfigError::SecretForProgram(name));
        }
        environment.retain(|(known, _)| *known != *name);
        environment.extend(match value {
            Some(value) => Some((name.into(), value.into())),
            None => inherit(&name),
        });
    }

    Ok(environment)
}

/// Returns whether the program exists and is executable, by its path or in the `PATH` that it gets.
fn is_found(program: &str, config: &BridgeConfig) -> bool {
    let directory = config.directory.as_deref();
    let from_directory = |path: &Path| match directory {
        Some(directory) => directory.join(path),
        None => path.to_owned(),
    };

    if program.contains(std::path::MAIN_SEPARATOR) {
        return is_executable(&from_directory(Path::new(program)));
    }
    let Some(search_path) = variable(&config.environment, "PATH") else {
        return false;
    };
    env::split_paths(search_path)
        .any(|folder| is_executable(&from_directory(&folder.join(program))))
}

fn variable<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let (_, value) = environment.iter().find(|(known, _)| known == name)?;
    Some(value)
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
