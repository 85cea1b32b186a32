//! The role `demo`: server, relay and provider in one process.

use super::{Role, RoleSettings};
use crate::settings::{self, DemoSettings};
use crate::stop::run_until_stopped;
use crate::telemetry::{self, Banner};
use crate::{demo, runtime};

/// Server, relay and provider in one process.
pub static ROLE: Role = Role {
    name: "demo",
    summary: "Runs server, relay and a small MCP server or LLM on this machine",
    introduction: "\
Runs a server, a relay and a small MCP server on this machine, connected to each other, and prints \
commands that call it. With --llm it is a worker and a small LLM runtime.",
    examples: &[
        "llamapool demo",
        "llamapool demo --llm",
        "llamapool demo --port 9000 --log-level debug",
    ],
    schema: &settings::DEMO,
    resolve: |sources| Ok(RoleSettings::Demo(DemoSettings::resolve(sources)?)),
};

/// Runs the demo until the process is stopped.
pub(super) fn run(settings: DemoSettings) -> anyhow::Result<()> {
    let log = telemetry::install(&settings.log, Banner::OfBothSides)?;

    let shows_calls = settings.shows_calls.unwrap_or(true);
    let DemoSettings { provider, port, .. } = settings;
    let shown = demo::Shown {
        calls: shows_calls,
        screen: log.people().cloned(),
    };
    runtime::on_all_cores(run_until_stopped(async move |stop| {
        demo::run(provider, port, shown, stop).await
    }))
}
