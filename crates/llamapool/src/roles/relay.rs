//! The role `mcp`: the relay of MCP providers.

pub(crate) mod banner;
mod reload;

use std::net::{IpAddr, SocketAddr};

use llamapool_relay::{Relay, RelayConfig, RelayView, StartError};

use self::reload::Rereading;
use super::reload::until_stopped;
use super::{Role, RoleSettings};
use crate::cli::CommandLine;
use crate::service_manager::{ServiceManager, relay_state};
use crate::settings::{self, RelaySettings};
use crate::stop::{Stop, run_until_stopped};
use crate::telemetry::{self, Banner};
use crate::terminal::{Screen, finishing};
use crate::{open_files, runtime, taken_port, weak_keys};

/// The relay of MCP providers.
pub static ROLE: Role = Role {
    name: "mcp",
    summary: "Runs the relay of a private MCP server",
    introduction: "\
Runs the relay of a private MCP server, the provider. The relay connects to the public server, so \
it needs no open port, and forwards the calls that arrive there to the provider. One relay can \
have several providers, each a [[provider]] table of the file, or an MCP server of the file that \
Claude Desktop, Cursor or VS Code reads. A hangup signal makes it read its files again.",
    examples: &[
        "WORKER_KEY=secret llamapool mcp --server-url wss://llamapool.example --client-id clock -r",
        "llamapool mcp -r -- npx -y @modelcontextprotocol/server-filesystem ~/notes",
        "llamapool mcp -r --mcp-servers ~/.cursor/mcp.json",
        "llamapool mcp --config-file relay.toml --provider-url http://127.0.0.1:7777/mcp/",
    ],
    schema: &settings::RELAY,
    resolve: |sources| {
        Ok(RoleSettings::Relay(Box::new(RelaySettings::resolve(
            sources,
        )?)))
    },
};

/// Runs the relay until the process is stopped.
pub(super) fn run(settings: RelaySettings, command_line: CommandLine) -> anyhow::Result<()> {
    let log = telemetry::install(&settings.log, Banner::Shown)?;

    open_files::raise(open_files::WITH_PROGRAMS);

    warn_of_weak_keys(&settings.config);
    reload::log_notes(&settings);
    let mut config = settings.config.clone();
    let is_watched = log.people().is_some_and(Screen::is_terminal);
    config.shows_calls = settings.shows_calls.unwrap_or(is_watched);
    let screen = log.people();
    runtime::on_one_thread(run_until_stopped(async move |stop| {
        let rereading = Rereading::listen(command_line, settings)?;
        let banner = async |screen: &Screen, view: &RelayView| {
            screen.block(&banner::first_rows("relay", &view.providers()));
            banner::show(screen, view).await;
        };
        serve(config, stop, screen, banner, Some(rereading)).await
    }))
}

/// Serves as a relay until it is requested to stop. With `rereading`, a hangup signal replaces its
/// providers by those of its settings at that moment.
///
/// It runs on one thread: calls of one relay wait more than they compute, and hand-overs between
/// threads would cost more than a second one brings.
pub(super) async fn serve<F>(
    config: RelayConfig,
    stop: Stop,
    screen: Option<&Screen>,
    banner: F,
    rereading: Option<Rereading>,
) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&Screen, &RelayView),
{
    let metrics = config.status.metrics_bind;
    let bound = Relay::bind(config).await;
    let relay = bound.map_err(|error| explain_bind(error, metrics))?;
    let reloader = relay.reloader();
    let view = relay.view();
    let shown = async {
        if let Some(screen) = screen {
            banner(screen, &view).await;
            screen.close_banner();
            stop.clone().requested().await;
            finishing::show(screen, || view.running(), view.patience()).await;
        }
        std::future::pending::<()>().await;
    };
    if let Some(address) = relay.status_address() {
        tracing::info!(%address, "the status server listens");
    }
    if let Some(address) = relay.metrics_address() {
        tracing::info!(%address, "the metrics are served");
    }

    let link = relay.link();
    let manager = ServiceManager::of_process();
    let rereading = async {
        match rereading {
            Some(rereading) => rereading.run(reloader, &manager).await,
            None => std::future::pending().await,
        }
    };
    let stopping = until_stopped(stop.clone(), rereading);
    tokio::select! {
        // Biased towards the relay, with which all ends.
        biased;
        ended = relay.run(stopping) => ended?,
        never = manager.report(|| relay_state(&link), stop.clone()) => match never {},
        () = shown => {}
    }
    if let Some(screen) = screen {
        screen.progress("");
    }
    tracing::info!("the relay has ended");
    Ok(())
}

/// Explains why the relay does not start.
fn explain_bind(error: StartError, metrics: Option<SocketAddr>) -> anyhow::Error {
    match &error {
        StartError::Listen { address, error } if Some(*address) == metrics => {
            taken_port::explain(*address, error, "--metrics-port ")
        }
        StartError::Listen { address, error } => {
            // Its setting takes a whole address.
            let flag = format!("--status-addr {}:", address.ip());
            taken_port::explain(*address, error, &flag)
        }
        _ => error.into(),
    }
}

/// Warns of keys that can be guessed, unless the server is one on this machine.
pub(super) fn warn_of_weak_keys(config: &RelayConfig) {
    let server = config.dial.server_url.host().unwrap_or_default();
    let address = server.trim_start_matches('[').trim_end_matches(']');
    let is_local = server.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_local {
        return;
    }

    let identity = &config.identity;
    weak_keys::warn([
        ("CLIENT_SECRET", identity.client_secret.as_ref()),
        ("STATUS_TOKEN", config.status.token.as_ref()),
    ]);
    for provider in &config.providers {
        weak_keys::warn([("AUTH_TOKEN", provider.auth_token.as_ref())]);
    }
}
