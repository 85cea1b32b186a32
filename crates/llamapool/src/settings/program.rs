//! The settings of a provider that is a program, spoken to on standard input and output.
//!
//! What the numbers do is in the relay's crate. The one rule: the program sees of the relay's environment what it needs to
//! run and what `PROVIDER_ENV` names, and never a secret of llamapool's own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use llamapool_bridge::BridgeConfig;

use super::error::SettingsError;
use super::given::{Given, OfProvider};
use super::kind::{
    COMMAND, COUNT, FILE, MEMORY, MEMORY_OR_NONE, POSITIVE_SPAN, SPAN, SWITCH, VARIABLES, Variable,
};
use super::setting::{Group, Reach, Setting, Typed};

/// What every program gets of the relay's environment: where things are, who runs it, and how people write there.
const ALWAYS: &[&str] = &[
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

pub(super) static PROVIDER_COMMAND: Typed<Vec<String>> = Typed::new(
    "PROVIDER_COMMAND",
    Group::Main,
    COMMAND,
    "A program that is the MCP server, spoken to on standard input and output; also what follows -- on the command line.",
)
.per_provider("command", Reach::Own);
pub(super) static PROVIDER_DIR: Typed<Option<PathBuf>> = Typed::new(
    "PROVIDER_DIR",
    Group::Program,
    FILE,
    "The directory in which the program runs.",
)
.otherwise("that of the relay")
.per_provider("directory", Reach::All);
pub(super) static PROVIDER_ENV: Typed<Vec<Variable>> = Typed::new(
    "PROVIDER_ENV",
    Group::Program,
    VARIABLES,
    "The variables of the relay's environment that the program gets besides PATH, HOME and the like, or variables with \
     values; separated by commas.",
)
.per_provider("env", Reach::All);
pub(super) static MAX_SESSIONS: Typed<usize> = Typed::new(
    "MAX_SESSIONS",
    Group::Program,
    COUNT,
    "How many sessions of one provider are open at once, each with a program of its own.",
)
.default("64")
.per_provider("max_sessions", Reach::All);
pub(super) static SESSION_IDLE_TIMEOUT: Typed<Duration> = Typed::new(
    "SESSION_IDLE_TIMEOUT",
    Group::Program,
    POSITIVE_SPAN,
    "After this long without a message of its client a session ends, unless the client listens and answers a ping.",
)
.default("30m")
.per_provider("session_idle_timeout", Reach::All);
pub(super) static SESSION_MAX_AGE: Typed<Duration> = Typed::new(
    "SESSION_MAX_AGE",
    Group::Program,
    SPAN,
    "How old a session may become; 0: as old as it will.",
)
.default("24h")
.per_provider("session_max_age", Reach::All);
pub(super) static PROVIDER_MAX_STARTS: Typed<usize> = Typed::new(
    "PROVIDER_MAX_STARTS",
    Group::Program,
    COUNT,
    "How many programs of one provider are started within a minute.",
)
.default("120")
.per_provider("max_starts", Reach::All);
pub(super) static PROVIDER_MAX_MESSAGE_BYTES: Typed<usize> = Typed::new(
    "PROVIDER_MAX_MESSAGE_BYTES",
    Group::Program,
    MEMORY,
    "The longest message to or from the program; a program that writes a longer one is ended.",
)
.default("64MiB")
.per_provider("max_message_bytes", Reach::All);
pub(super) static PROVIDER_REPLAY_BYTES: Typed<usize> = Typed::new(
    "PROVIDER_REPLAY_BYTES",
    Group::Program,
    MEMORY_OR_NONE,
    "How much of what a session's streams have said is kept for clients who resume them.",
)
.default("1MiB")
.per_provider("replay_bytes", Reach::All);
pub(super) static PROVIDER_ERA_TIMEOUT: Typed<Duration> = Typed::new(
    "PROVIDER_ERA_TIMEOUT",
    Group::Program,
    POSITIVE_SPAN,
    "How long the program may take to say that it knows MCP 2026-07-28; one that says nothing does not.",
)
.default("30s")
.per_provider("era_timeout", Reach::All);
pub(super) static SHARED_SESSION: Typed<bool> = Typed::new(
    "SHARED_SESSION",
    Group::Program,
    SWITCH,
    "Serves callers that have no session and begin none, such as plain curl, in a session that they all share.",
)
.default("false")
.per_provider("shared_session", Reach::All);

/// The program of a provider, if it is one.
pub(super) fn resolve(
    given: &Given,
    of: &OfProvider<'_>,
    secrets: &[&Setting],
) -> Result<Option<BridgeConfig>, SettingsError> {
    let command = of.asked(&PROVIDER_COMMAND)?.unwrap_or_default();
    let max_age = of.value(&SESSION_MAX_AGE)?;
    // All of it is read first: a value that means nothing stops the start also where there is no program.
    let mut config = BridgeConfig {
        command: command.iter().map(OsString::from).collect(),
        directory: of.value(&PROVIDER_DIR)?,
        environment: environment(given, of, secrets)?,
        guard: PathBuf::new(),
        max_sessions: of.value(&MAX_SESSIONS)?,
        session_idle: of.value(&SESSION_IDLE_TIMEOUT)?,
        session_max_age: Some(max_age).filter(|max_age| !max_age.is_zero()),
        max_starts_per_minute: of.value(&PROVIDER_MAX_STARTS)?,
        max_message_bytes: of.value(&PROVIDER_MAX_MESSAGE_BYTES)?,
        replay_bytes: of.value(&PROVIDER_REPLAY_BYTES)?,
        era_patience: of.value(&PROVIDER_ERA_TIMEOUT)?,
        shared_session: of.value(&SHARED_SESSION)?,
    };
    let Some(program) = command.first() else {
        return Ok(None);
    };
    if cfg!(not(unix)) {
        return Err(SettingsError::NoPrograms);
    }
    let path = config
        .environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, path)| path.as_os_str());
    if !is_there(program, path, config.directory.as_deref()) {
        return Err(SettingsError::NoProgram {
            program: program.clone(),
        });
    }
    config.guard = env::current_exe().map_err(SettingsError::NoGuard)?;
    Ok(Some(config))
}

/// The program's whole environment.
fn environment(
    given: &Given,
    of: &OfProvider<'_>,
    secrets: &[&Setting],
) -> Result<Vec<(OsString, OsString)>, SettingsError> {
    let inherited = |name: &str| {
        given
            .inherited()
            .raw(name)
            .map(|value| (name.into(), value.to_owned()))
    };
    let mut environment: Vec<(OsString, OsString)> =
        ALWAYS.iter().filter_map(|name| inherited(name)).collect();
    for Variable { name, value } in of.value(&PROVIDER_ENV)? {
        if value.is_none()
            && secrets
                .iter()
                .any(|secret| secret.variables().contains(&name))
        {
            return Err(SettingsError::OwnSecret(name));
        }
        environment.retain(|(known, _)| *known != *name);
        environment.extend(match value {
            Some(value) => Some((name.into(), value.into())),
            None => inherited(&name),
        });
    }
    Ok(environment)
}

/// Whether a program is there, where a shell would look for it.
fn is_there(program: &str, path: Option<&OsStr>, directory: Option<&Path>) -> bool {
    let place = |place: PathBuf| directory.map_or(place.clone(), |directory| directory.join(place));
    if program.contains(std::path::MAIN_SEPARATOR) {
        return is_executable(&place(PathBuf::from(program)));
    }
    path.is_some_and(|path| {
        env::split_paths(path).any(|folder| is_executable(&place(folder.join(program))))
    })
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
