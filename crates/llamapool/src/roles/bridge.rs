//! The role `bridge`: a program with MCP on standard input and output, served over HTTP on this
//! machine.

use anyhow::Context;
use llamapool_bridge::HttpServer;
use llamapool_wire::{Mark, people_line};

use super::{Role, RoleSettings};
use crate::settings::{self, BridgeSettings};
use crate::stop::run_until_stopped;
use crate::telemetry::{self, Banner};
use crate::{open_files, runtime, weak_keys};

/// A program, served over HTTP.
pub static ROLE: Role = Role {
    name: "bridge",
    summary: "Serves an MCP program over HTTP on this machine",
    introduction: "\
Serves a program that speaks MCP on standard input and output over HTTP, at /mcp. It needs no \
server and no relay, and listens on this machine only unless BIND_ADDR is set.",
    examples: &[
        "llamapool bridge -- npx -y @modelcontextprotocol/server-filesystem ~/notes",
        "llamapool bridge --port 9000 --shared-session -- uvx mcp-server-time",
    ],
    schema: &settings::BRIDGE,
    resolve: |sources| {
        Ok(RoleSettings::Bridge(Box::new(BridgeSettings::resolve(
            sources,
        )?)))
    },
};

/// Runs the bridge until the process is stopped.
///
/// It runs on one thread, as the relay does: its calls wait for the program more than they compute.
pub(super) fn run(settings: BridgeSettings) -> anyhow::Result<()> {
    let _log = telemetry::install(&settings.log, Banner::None)?;
    let open_files = open_files::raise(open_files::WITH_PROGRAMS);

    let BridgeSettings {
        mut http, program, ..
    } = settings;
    if let Some(open_files) = open_files {
        open_files::fit_bridge(&mut http, open_files);
    }
    let bind = http.bind;
    if !bind.ip().is_loopback() && http.auth_token.is_none() {
        tracing::warn!("AUTH_TOKEN is not set: anyone who reaches the address can call");
    }
    if !bind.ip().is_loopback() {
        weak_keys::warn([("AUTH_TOKEN", http.auth_token.as_ref())]);
    }
    runtime::on_one_thread(run_until_stopped(async move |stop| {
        let server = HttpServer::bind(http, program)
            .await
            .with_context(|| format!("cannot listen on {bind}"))?;
        let url = format!("http://{}/mcp", server.address()?);
        tracing::info!(
            url,
            people = %people_line(Mark::Up, "listening", &url),
            "the bridge listens"
        );

        server.run(stop.requested()).await;
        tracing::info!("the bridge has ended");
        Ok(())
    }))
}
