//! The role `mcp`: the relay of MCP providers.

use std::net::IpAddr;

use llamapool_relay::{Relay, RelayConfig};

use super::{Role, RoleSettings};
use crate::settings::{self, RelaySettings};
use crate::stop::{Stop, run_until_stopped};
use crate::telemetry;
use crate::{open_files, runtime, weak_keys};

/// The relay of MCP providers.
pub static ROLE: Role = Role {
    name: "mcp",
    summary: "Runs the relay of a private MCP server",
    introduction: "\
Runs the relay of a private MCP server, the provider. The relay connects to the public server, so \
it needs no open port, and forwards the calls that arrive there to the provider. One relay can \
have several providers, each a [[provider]] table of the file.",
    examples: &[
        "WORKER_KEY=secret llamapool mcp --server-url wss://llamapool.example --client-id clock -r",
        "llamapool mcp -r -- npx -y @modelcontextprotocol/server-filesystem ~/notes",
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
pub(super) fn run(settings: RelaySettings) -> anyhow::Result<()> {
    let _reports = telemetry::install(&settings.log)?;

    open_files::raise(open_files::WITH_PROGRAMS);

    let config = settings.config;
    warn_of_weak_keys(&config);
    runtime::on_one_thread(run_until_stopped(async move |stop| {
        serve(config, stop).await
    }))
}

/// Serves as a relay until it is requested to stop.
///
/// It runs on one thread: calls of one relay wait more than they compute, and hand-overs between
/// threads would cost more than a second one brings.
pub(super) async fn serve(config: RelayConfig, stop: Stop) -> anyhow::Result<()> {
    let relay = Relay::bind(config).await?;
    if let Some(address) = relay.status_address() {
        tracing::info!(%address, "the status server listens");
    }
    if let Some(address) = relay.metrics_address() {
        tracing::info!(%address, "the metrics are served");
    }

    relay.run(stop.requested()).await?;
    tracing::info!("the relay has ended");
    Ok(())
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
