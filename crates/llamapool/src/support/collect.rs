//! What is in the archive.

use std::fmt::Write;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use llamapool_relay::{StatusBind, StatusConfig};
use llamapool_settings::{SetValue, ShownValue};
use llamapool_wire::Secret;
use serde_json::{Value, json};

use super::redact::Redactor;
use crate::doctor::{Recorder, RoleDoctor, local_json};
use crate::roles::RoleSettings;
use crate::runtime;
use crate::settings::Environment;
use crate::version::version_line;

/// The most bytes of a log that are read, from its end.
const MAX_LOG_BYTES: u64 = 256 * 1024;
/// The longest time for the state of the running process.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Collects all files of the archive, without secrets.
///
/// # Errors
///
/// If the log cannot be read.
pub(super) fn collect(
    doctor: &mut RoleDoctor,
    environment: &Environment,
    log_file: Option<&Path>,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let values = doctor.sources.set_values();
    let redactor = Redactor::new(&values, environment);
    let recorder = Recorder::install();
    let mut found = doctor.quick_report(&recorder)?;
    redactor.value(&mut found);

    let mut files = vec![
        ("version.txt", format!("{}\n", version_line())),
        ("system.txt", system()),
        ("settings.json", settings(&values, &redactor)),
        ("doctor.json", format!("{found:#}\n")),
        ("doctor-log.txt", lines(&recorder.lines(), &redactor)),
    ];
    let (_, resolved) = doctor.role();
    if let Some((address, path, token)) = resolved.and_then(state_of) {
        let mut state = state(address, path, token.as_ref())?;
        redactor.value(&mut state);
        files.push(("state.json", format!("{state:#}\n")));
    }
    if let Some(path) = log_file {
        let text = end_of(path).with_context(|| format!("cannot read the log {path:?}"))?;
        files.push(("log.txt", redactor.text(&text)));
    }
    for (_, content) in &mut files {
        *content = redactor.text(content);
    }
    Ok(files)
}

fn system() -> String {
    let mut text = format!("{} {}\n", std::env::consts::OS, std::env::consts::ARCH);
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    if let Some(name) = name {
        let _ = writeln!(text, "{}", name.trim_matches('"'));
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.push_str(&kernel);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let _ = writeln!(text, "{cores} cores");
    text
}

/// Returns every value that is set, with its source; secrets without the value.
fn settings(values: &[SetValue], redactor: &Redactor) -> String {
    let values: Vec<Value> = values
        .iter()
        .map(|value| {
            let shown = match &value.shown {
                ShownValue::Value(text) => redactor.text(text),
                ShownValue::Type(kind) => format!("[{kind}]"),
                ShownValue::Hidden => "[not shown]".to_owned(),
            };
            json!({
                "setting": value.name,
                "source": value.location.to_string(),
                "value": shown,
            })
        })
        .collect();
    format!("{:#}\n", Value::from(values))
}

fn lines(lines: &[String], redactor: &Redactor) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&redactor.text(line));
        text.push('\n');
    }
    text
}

/// Returns where the state of the running process is: an address, a path, and a key.
fn state_of(settings: &RoleSettings) -> Option<(SocketAddr, &'static str, Option<Secret>)> {
    let of_relay = |status: &StatusConfig| match status.bind {
        StatusBind::Off => None,
        StatusBind::Required(address) | StatusBind::Default(address) => {
            Some((address, "/status", status.token.clone()))
        }
    };
    match settings {
        RoleSettings::Server(settings) => {
            let listen = &settings.config.listen;
            let address = listen.bind;
            let key = settings.config.auth.keys.api.clone();
            listen.tls.is_none().then_some((address, "/api/state", key))
        }
        RoleSettings::Relay(settings) => of_relay(&settings.config.status),
        RoleSettings::Worker(settings) => of_relay(&settings.config.status),
        RoleSettings::Bridge(_) | RoleSettings::Demo(_) => None,
    }
}

/// Asks the running process for its state. That none runs is a state, too.
fn state(
    mut address: SocketAddr,
    path: &'static str,
    token: Option<&Secret>,
) -> anyhow::Result<Value> {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut state = Value::Null;
    runtime::on_one_thread(async {
        state = match local_json(address, path, token, STATE_TIMEOUT).await {
            Ok(state) => state,
            Err(error) => json!({"error": format!("{address}{path}: {error}")}),
        };
        Ok(())
    })?;
    Ok(state)
}

/// Returns the end of a log, from the first whole line on.
fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(MAX_LOG_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(MAX_LOG_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // A part of a line may be a part of a secret.
    Ok(match text.split_once('\n') {
        Some((_, whole)) if skipped > 0 => whole.to_owned(),
        _ => text,
    })
}
