//! The settings of a role: whether the start takes them, and what is unwise in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use llamapool_relay::{ProviderKind, RelayConfig};
use llamapool_settings::{Location, SetValue, Sources, Syntax};
use llamapool_wire::Secret;

use super::check::{FILE_MODE, FLAGS, PROGRAM, SETTINGS, VARIABLES, WEAK_KEYS};
use super::examination::Examination;
use crate::roles::RoleSettings;
use crate::settings::ConfigError;
use crate::weak_keys::is_weak;

/// Looks at the settings.
pub(super) fn look(
    sources: &Sources,
    resolved: Result<&RoleSettings, &ConfigError>,
    examination: &mut Examination,
) {
    let values = sources.set_values();
    match resolved {
        Ok(_) => examination.add(SETTINGS.ok(read_from(&values))),
        Err(error) if is_missing_program(error) => {
            examination.add(SETTINGS.ok(read_from(&values)));
            let remedy =
                "Install it, or give its whole path. It is looked for on the PATH of llamapool.";
            examination.add(PROGRAM.fail(error.to_string(), remedy))
        }
        Err(error) => {
            let remedy = "`llamapool ROLE --help` has every setting with its form.";
            examination.add(SETTINGS.fail(error.to_string(), remedy))
        }
    };

    for path in files_with_secrets(&values) {
        look_at_mode(&path, examination);
    }
    let flags = sources.secret_flags();
    if !flags.is_empty() {
        let found = format!(
            "{} has a secret that every user of this machine can read",
            flags.join(", ")
        );
        let remedy = format!("Set a variable of the environment, or {}-file.", flags[0]);
        examination.add(FLAGS.warn(found, remedy));
    }
    if let Ok(settings) = resolved {
        look_at_variables(settings, examination);
        if is_reached_by_others(settings) {
            look_at_keys(&values, examination);
        }
    }
}

/// Returns whether the only problem is that a program is not there.
fn is_missing_program(error: &ConfigError) -> bool {
    matches!(error, ConfigError::ProgramNotFound { .. })
}

/// Returns where the settings come from.
fn read_from(values: &[SetValue]) -> String {
    let mut flags = 0;
    let mut variables = BTreeSet::new();
    let mut files = BTreeSet::new();
    for value in values {
        match origin(&value.location) {
            Location::Flag(_) => flags += 1,
            Location::Variable(name) => {
                variables.insert(name.clone());
            }
            Location::Key { file, .. } | Location::File { file, .. } => {
                files.insert(file.display().to_string());
            }
            Location::Default => {}
        }
    }
    let mut parts = Vec::new();
    if flags > 0 {
        parts.push(super::report::counted(flags, "flag"));
    }
    if !variables.is_empty() {
        let names: Vec<_> = variables.into_iter().collect();
        parts.push(names.join(", "));
    }
    parts.extend(files);
    match &parts[..] {
        [] => "nothing is set: the defaults".to_owned(),
        parts => format!("read: {}", parts.join("; ")),
    }
}

/// Returns where a value was set, or the path of the file with it.
fn origin(location: &Location) -> &Location {
    match location {
        Location::File { named_by, .. } => origin(named_by),
        other => other,
    }
}

/// Returns the files that have a secret.
fn files_with_secrets(values: &[SetValue]) -> BTreeSet<PathBuf> {
    let secrets = values
        .iter()
        .filter(|value| value.setting.syntax.is_secret());
    let files = secrets.filter_map(|value| match &value.location {
        Location::Key { file, .. } if value.setting.syntax != Syntax::Command => Some(file.clone()),
        Location::File { file, .. } => Some(file.clone()),
        _ => None,
    });
    files.collect()
}

#[cfg(unix)]
fn look_at_mode(path: &Path, examination: &mut Examination) {
    use std::os::unix::fs::PermissionsExt;

    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    let shown = path.display();
    if mode & 0o044 == 0 {
        examination.add(FILE_MODE.ok(format!("{shown} has a secret and mode {mode:04o}")));
    } else {
        let found = format!("{shown} has a secret and mode {mode:04o}: others can read it");
        examination.add(FILE_MODE.warn(found, format!("chmod 600 {shown}")));
    }
}

#[cfg(not(unix))]
fn look_at_mode(_: &Path, _: &mut Examination) {}

fn look_at_variables(settings: &RoleSettings, examination: &mut Examination) {
    let RoleSettings::Relay(settings) = settings else {
        return;
    };
    let mut unset = Vec::new();
    for provider in &settings.config.providers {
        if let ProviderKind::Stdio(bridge) = &provider.kind {
            unset.extend(bridge.unset_variables.iter().cloned());
        }
    }
    if !unset.is_empty() {
        let found = format!("PROVIDER_ENV names {}, not set here", unset.join(", "));
        let remedy = "Set it for llamapool, or write NAME=value.";
        examination.add(VARIABLES.warn(found, remedy));
    }
}

/// Returns whether other machines reach what the keys of these settings protect.
fn is_reached_by_others(settings: &RoleSettings) -> bool {
    let is_remote = |config: &RelayConfig| {
        let server = config.dial.server_url.host().unwrap_or_default();
        !llamapool_http::host::is_loopback(server)
    };
    match settings {
        RoleSettings::Server(settings) => !settings.config.listen.bind.ip().is_loopback(),
        RoleSettings::Relay(settings) => is_remote(&settings.config),
        RoleSettings::Worker(settings) => is_remote(&settings.config),
        RoleSettings::Bridge(_) | RoleSettings::Demo(_) => false,
    }
}

fn look_at_keys(values: &[SetValue], examination: &mut Examination) {
    let secrets = values
        .iter()
        .filter(|it| it.setting.syntax == Syntax::Secret);
    // Keys of other systems are theirs to judge.
    let own = secrets.filter(|it| it.setting.name != "COMPLETION_API_KEY");
    let weak = own.filter(|it| is_weak(&Secret::new(it.text.as_str())));
    let weak: BTreeSet<_> = weak.map(|it| it.name.clone()).collect();
    if !weak.is_empty() {
        let names: Vec<_> = weak.into_iter().collect();
        let found = format!(
            "{} can be guessed: fewer than 16 characters",
            names.join(", ")
        );
        examination.add(WEAK_KEYS.warn(found, "Take the output of `openssl rand -hex 24`."));
    }
}
