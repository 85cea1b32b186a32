//! The doctor of a server: what its start would meet on this machine, and where its public URL leads.

mod data;
mod port_holder;
mod public_url;
mod tls;

use std::io;

use llamapool_server::{DataDirConfig, Server, ServerConfig, is_in_use};

use super::check::{
    ACME, CERTIFICATE, Check, LISTEN, OPEN_FILES, PUBLIC_URL, RUNNING, SERVER_START, STORE,
};
use super::examination::Examination;
use crate::settings::ServerSettings;
use crate::{open_files, runtime};

/// Makes the checks.
pub(super) async fn look(
    settings: &ServerSettings,
    examination: &mut Examination,
    not_for: &mut Vec<&'static Check>,
) -> anyhow::Result<()> {
    let config = &settings.config;
    files(settings, examination);
    let directory = match &config.data_dir {
        DataDirConfig::Default(path) | DataDirConfig::Required(path) => Some(path.as_path()),
        DataDirConfig::None | DataDirConfig::NoPlace => None,
    };
    let runs = directory.is_some_and(is_in_use);
    if runs {
        let shown = directory
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        let found = format!("a server runs already, with the data directory {shown}");
        examination.add(RUNNING.ok(found));
        not_for.extend([&LISTEN, &SERVER_START]);
    } else {
        not_for.push(&RUNNING);
    }
    data::look(&config.data_dir, runs, examination);
    if directory.is_none() {
        not_for.push(&STORE);
    }
    tls::look(config, examination, not_for).await;
    if !runs && addresses(config, examination) {
        start(config.clone(), directory, examination).await;
    }
    match &config.listen.public_url {
        Some(url) => public_url::look(url, runs, examination).await,
        None => {
            let remedy = "Set it to the URL that clients use, such as https://pool.example.";
            let found = "PUBLIC_URL is not set: URLs are those by which the server is addressed";
            if config.listen.bind.ip().is_loopback() {
                examination.add(PUBLIC_URL.ok(found));
            } else {
                examination.add(PUBLIC_URL.warn(found, remedy));
            }
        }
    }
    not_for.extend(without_tls(config));
    Ok(())
}

/// Returns the checks that need TLS, where there is none.
fn without_tls(config: &ServerConfig) -> Vec<&'static Check> {
    match &config.listen.tls {
        None => vec![&CERTIFICATE, &ACME],
        Some(_) => Vec::new(),
    }
}

/// Looks at the limit of open files as the start does.
fn files(settings: &ServerSettings, examination: &mut Examination) {
    let config = &settings.config;
    let Some(limit) = open_files::raise(open_files::SERVER) else {
        examination.add(OPEN_FILES.ok("there is no limit of open files"));
        return;
    };
    let mut fitted = config.clone();
    open_files::fit(&mut fitted, limit, runtime::files_of(settings.threads));
    let wanted = config.listen.max_connections;
    let fits = fitted.listen.max_connections;
    let looked = if fits < wanted {
        OPEN_FILES.warn(
            format!("{limit} open files are for {fits} connections, MAX_CONNECTIONS is {wanted}"),
            "Raise the limit: LimitNOFILE of systemd, ulimits of Docker, `ulimit -n`.",
        )
    } else {
        OPEN_FILES.ok(format!("{limit} open files are enough"))
    };
    examination.add(looked);
}

/// Takes each address for a moment.
fn addresses(config: &ServerConfig, examination: &mut Examination) -> bool {
    let mut all_free = true;
    for (what, address, tried) in config.listen.try_addresses() {
        let looked = match tried {
            Ok(()) => LISTEN.ok(format!("{address}, for {what}, is free")),
            Err(error) => {
                let cause = error.to_string();
                let remedy = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "Ports below 1024 need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE of \
                         systemd, or another port behind a proxy."
                    }
                    io::ErrorKind::AddrNotAvailable => "This machine does not have that address.",
                    _ => "End that process, or choose another port (PORT).",
                };
                let holder = match error.kind() {
                    io::ErrorKind::AddrInUse => port_holder::of(address),
                    _ => None,
                };
                let holder = holder
                    .map(|it| format!(" ({it} has it)"))
                    .unwrap_or_default();
                LISTEN.fail(format!("{cause}, for {what}{holder}"), remedy)
            }
        };
        all_free &= examination.add(looked);
    }
    all_free
}

/// Does what the server does before it listens, on a copy of its data directory.
async fn start(
    mut config: ServerConfig,
    directory: Option<&std::path::Path>,
    examination: &mut Examination,
) {
    let remedy = "The start would end here, with the same error.";
    let copy = match data::Copy::of(directory) {
        Ok(copy) => copy,
        Err(error) => {
            let found = format!("the data directory cannot be copied: {error}");
            examination.add(SERVER_START.fail(found, remedy));
            return;
        }
    };
    if directory.is_some() {
        config.data_dir = DataDirConfig::Required(copy.path().to_owned());
    }
    let looked = match Server::bind(config).await {
        Ok(_) => SERVER_START.ok("the server can be prepared up to the point where it listens"),
        Err(error) => SERVER_START.fail(copy.in_words_of(directory, &error.to_string()), remedy),
    };
    examination.add(looked);
}
