//! The role `server`: the public server.

mod banner;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::bail;
use llamapool_identity::AccessMode;
use llamapool_server::{ListenError, LlmAccess, Server};
use llamapool_wire::{Mark, people_line};
use tracing::level_filters::LevelFilter;

use self::banner::ServerBanner;
use self::reload::{Replaced, Rereading};
use super::reload::until_stopped;
use super::{Role, RoleSettings};
use crate::cli::CommandLine;
use crate::service_manager::{ServiceManager, server_state};
use crate::settings::{self, GeneratedKey, ServerSettings};
use crate::stop::{Stop, run_until_stopped};
use crate::telemetry::{self, Banner};
use crate::terminal::finishing;
use crate::{open_files, runtime, taken_port, weak_keys};

/// The public server.
pub static ROLE: Role = Role {
    name: "server",
    summary: "Runs the public server",
    introduction: "\
Runs the public server. Relays connect to it with the worker key, and callers reach the provider \
of a relay at /api/mcp/id/<id>. A key that is not set is generated and logged once at start. A hangup signal makes it read its \
declared keys, its rules of access and its certificates again.",
    examples: &[
        "API_KEY=test123 WORKER_KEY=secret llamapool server",
        "llamapool server --config-file server.toml --port 8080 --metrics-port 9090",
    ],
    schema: &settings::SERVER,
    resolve: |sources| {
        Ok(RoleSettings::Server(Box::new(ServerSettings::resolve(
            sources,
        )?)))
    },
};

/// Runs the server until the process is stopped.
pub(super) fn run(settings: ServerSettings, command_line: CommandLine) -> anyhow::Result<()> {
    let started = Instant::now();
    let log = telemetry::install(&settings.log, Banner::Shown)?;

    if !settings.generated.is_empty() && settings.log.level < LevelFilter::WARN {
        bail!(
            "a key is not set and LOG_LEVEL hides the one that would be generated: \
             set API_KEY and WORKER_KEY"
        );
    }
    log_generated_keys(&settings.generated);
    warn_of_settings(&settings);

    let threads = settings.threads;
    let running = settings.clone();
    let mut config = settings.config;
    if let Some(open_files) = open_files::raise(open_files::SERVER) {
        let of_threads = runtime::files_of(threads);
        open_files::fit(&mut config, open_files, of_threads);
    }
    let screen = log.people();
    let mut banner = ServerBanner::new(&config, settings.generated, settings.shows_keys);
    let serve = async move |threads, stop: Stop| {
        let is_local = config.listen.bind.ip().is_loopback();
        let metrics = config.listen.metrics_bind;
        let patience = config.drain_timeout;
        let bound = Server::bind(config).await;
        let bound = bound.map_err(|error| explain_bind(error, metrics))?;
        let mut server = bound.on(threads);
        log_access(&server.access(), is_local);
        log_llm_access(server.llm_access(), server.has_llm_keys(), is_local);
        log_login_code(&mut server)?;
        // Before it is said that the server listens: from then on the signal must not end it.
        let rereading = Rereading::listen(command_line, running)?;
        let parts = Replaced::of(&server, is_local);
        log_addresses(&server)?;
        if let Some(screen) = screen {
            banner.complete(&server, started.elapsed())?;
            screen.block(&banner.lines());
            screen.close_banner();
        }
        let load = server.load();
        let finishing = async {
            if let Some(screen) = screen {
                stop.clone().requested().await;
                finishing::show(screen, || (load.calls(), load.listeners()), patience).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Biased towards the server, with which all ends.
            biased;
            () = serve(server, rereading, parts, stop.clone()) => {}
            () = finishing => {}
        }
        if let Some(screen) = screen {
            screen.progress("");
        }
        tracing::info!("the server has ended");
        Ok(())
    };
    runtime::with_threads(threads, |threads| {
        run_until_stopped(async move |stop| serve(threads, stop).await)
    })
}

/// Serves until the process is stopped, and reads the settings again when it is told to.
async fn serve(server: Server, rereading: Rereading, parts: Replaced, stop: Stop) {
    let load = server.load();
    let manager = ServiceManager::of_process();
    let stopping = until_stopped(stop.clone(), rereading.run(parts, &manager));
    tokio::select! {
        // Biased towards the server, with which all ends.
        biased;
        () = server.run(stopping) => {}
        never = manager.report(|| server_state(&load), stop) => match never {},
    }
}

/// Warns of settings that are allowed and that few want.
fn warn_of_settings(settings: &ServerSettings) {
    let config = &settings.config;
    if config.auth.keys.api.is_none() {
        tracing::warn!("running without keys: anyone can connect relays and read the state");
    }

    if settings.has_default_ports {
        tracing::warn!(
            "ACME_DOMAINS is set and PORT is not: the server listens on 443 for https, and on 80 for \
             plain HTTP"
        );
    }

    if !config.listen.bind.ip().is_loopback() {
        let keys = &config.auth.keys;
        weak_keys::warn([
            ("API_KEY", keys.api.as_ref()),
            ("WORKER_KEY", keys.worker.as_ref()),
            ("SESSION_KEY", keys.session.as_ref()),
        ]);
    }
}

/// Explains why the server does not start.
fn explain_bind(error: io::Error, metrics: Option<SocketAddr>) -> anyhow::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(ListenError { address, error }) if Some(*address) == metrics => {
            taken_port::explain(*address, error, "--metrics-port ")
        }
        Some(ListenError { address, error }) => taken_port::explain(*address, error, "--port "),
        None => error.into(),
    }
}

/// Logs a one-time code, if there is no other way for the first app to sign in.
fn log_login_code(server: &mut Server) -> io::Result<()> {
    let Some(code) = server.first_login_code()? else {
        return Ok(());
    };
    let code = code.expose();
    tracing::warn!(
        code,
        people = %people_line(
            Mark::Note,
            "sign-in",
            format_args!(
                "no caller key yet: the code {code} allows the first app to sign in, within ten \
                 minutes; `llamapool login` prints others"
            ),
        ),
        "no caller key yet: this one-time code allows the first app to sign in, within ten \
         minutes; `llamapool login` prints others"
    );
    Ok(())
}

/// Logs the addresses that the server has.
fn log_addresses(server: &Server) -> io::Result<()> {
    let shown = |address: Option<SocketAddr>| address.map(|address| address.to_string());
    let metrics = shown(server.metrics_address()?);
    let plain_http = shown(server.plain_address()?);
    let administration = shown(server.admin_address()?);
    tracing::info!(
        address = %server.address()?,
        metrics,
        plain_http,
        administration,
        "the server listens"
    );

    let admin = server.admin_address()?;
    if admin.is_some_and(|admin| !admin.ip().is_loopback()) {
        tracing::warn!(
            "ADMIN_ADDR is no loopback address: admin keys go there over plain HTTP, so only a \
             network that nobody listens to, or a proxy with TLS, may lie before it"
        );
    }
    Ok(())
}

/// Logs what is open to whom. A server that only this machine reaches needs no warning.
fn log_access(rules: &[(String, AccessMode)], is_local: bool) {
    for (ids, mode) in rules {
        match mode {
            AccessMode::Open if is_local => {
                tracing::info!(ids, "open: callers of these ids need no key");
            }
            AccessMode::Open => {
                tracing::warn!(
                    ids,
                    banner = true,
                    "open: anyone who reaches the server and knows one of these ids can call it, \
                     unless its AUTH_TOKEN or its MCP server asks for more; see `llamapool access`"
                );
            }
            AccessMode::Keys => tracing::info!(ids, "these ids ask for a caller key"),
            AccessMode::SignIn => {
                tracing::info!(ids, "these ids ask for a caller key or a sign-in with one");
            }
        }
    }
}

/// Logs to whom the LLM API is open.
fn log_llm_access(access: LlmAccess, has_keys: bool, is_local: bool) {
    match access {
        LlmAccess::Keys => {
            tracing::info!("the LLM API asks for API_KEY, or for a caller key that opens the model")
        }
        LlmAccess::Open if has_keys => tracing::warn!(
            "the LLM API is open to anyone who reaches the server, although there are keys for it: set \
             LLM_ACCESS=keys"
        ),
        LlmAccess::Open if is_local => {
            tracing::info!("the LLM API is open: its callers need no key");
        }
        LlmAccess::Open => tracing::warn!(
            banner = true,
            "the LLM API is open: anyone who reaches the server can use its models; see LLM_ACCESS"
        ),
    }
}

/// Logs each generated key. The operator finds it nowhere else.
fn log_generated_keys(keys: &[GeneratedKey]) {
    for key in keys {
        match key {
            GeneratedKey::Api(key) => {
                tracing::warn!(
                    api_key = key.expose(),
                    banner = true,
                    "API_KEY is not set: this one was generated for this run"
                );
            }
            GeneratedKey::Worker(key) => {
                tracing::warn!(
                    worker_key = key.expose(),
                    banner = true,
                    "WORKER_KEY is not set: this one was generated for this run"
                );
            }
        }
    }
}
