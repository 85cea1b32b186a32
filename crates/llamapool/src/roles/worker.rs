//! The role `worker`: the relay of LLM runtimes.

mod banner;

use std::time::Duration;

use llamapool_relay::{
    FindRuntimeError, FoundRuntime, ProviderKind, RUNTIME_PORTS, Reconnect, RelayConfig,
    find_runtime,
};

use super::{Role, RoleSettings, relay};
use crate::service_manager::{RoleState, ServiceManager};
use crate::settings::{self, WorkerSettings};
use crate::stop::{Stop, run_until_stopped};
use crate::telemetry::{self, Banner};
use crate::terminal::Screen;
use crate::terminal::banner::{row, title};
use crate::{open_files, runtime};

/// Between two searches for a runtime that may still be starting.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);

/// The relay of LLM runtimes.
pub static ROLE: Role = Role {
    name: "worker",
    summary: "Runs the worker of a private LLM runtime",
    introduction: "\
Runs the worker of a private LLM runtime: Ollama, llama.cpp, vLLM, SGLang, LM Studio, or any with \
OpenAI's API. Without a URL it looks for the one runtime on this machine. The worker connects to \
the public server, so it needs no open port, and the server spreads calls over all workers. One \
worker can have several runtimes, each a [[provider]] table of the file.",
    examples: &[
        "WORKER_KEY=secret llamapool worker --server-url wss://llamapool.example -r",
        "llamapool worker -r --completion-base-url http://127.0.0.1:8000/v1 --max-concurrency 8",
    ],
    schema: &settings::WORKER,
    resolve: |sources| {
        Ok(RoleSettings::Worker(Box::new(WorkerSettings::resolve(
            sources,
        )?)))
    },
};

/// Runs the worker until the process is stopped.
pub(super) fn run(settings: WorkerSettings) -> anyhow::Result<()> {
    let log = telemetry::install(&settings.log, Banner::Shown)?;

    open_files::raise(open_files::WITH_PROGRAMS);

    relay::warn_of_weak_keys(&settings.config);
    let screen = log.people();
    runtime::on_one_thread(run_until_stopped(async move |stop| {
        serve(settings, stop, screen).await
    }))
}

async fn serve(
    settings: WorkerSettings,
    stop: Stop,
    screen: Option<&Screen>,
) -> anyhow::Result<()> {
    let mut config = settings.config;
    config.shows_calls = settings.shows_calls.unwrap_or(false);
    if let Some(screen) = screen {
        let server = config.dial.server_url.authority();
        let server = server.map_or("", |authority| authority.as_str());
        let mut rows = vec![title("worker")];
        rows.extend(row("server", server));
        screen.block(&rows);
    }
    if settings.finds_runtime {
        let manager = ServiceManager::of_process();
        let found = tokio::select! {
            found = search(config.reconnect) => found?,
            () = stop.clone().requested() => return Ok(()),
            never = manager.report(searching, stop.clone()) => match never {},
        };
        use_runtime(&mut config, found);
    }
    relay::serve(config, stop, screen, banner::show, None).await
}

/// Looks for the one runtime on this machine. A worker that reconnects waits until there is one.
async fn search(reconnect: Reconnect) -> Result<FoundRuntime, anyhow::Error> {
    let mut has_warned = false;
    loop {
        match find_runtime(&RUNTIME_PORTS).await {
            Ok(found) => {
                tracing::info!(runtime = found.kind.word(), url = %found.url, "found a runtime");
                return Ok(found);
            }
            Err(error @ FindRuntimeError::None(_)) if reconnect != Reconnect::Never => {
                if !std::mem::replace(&mut has_warned, true) {
                    tracing::warn!(%error, "no runtime yet; looking again, or use --completion-base-url");
                }
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                return Err(error.context("use --completion-base-url to choose the LLM runtime"));
            }
        }
        tokio::time::sleep(SEARCH_INTERVAL).await;
    }
}

/// Returns the state of a worker that has no runtime yet.
fn searching() -> RoleState {
    RoleState {
        is_ready: false,
        status: "looking for an LLM runtime".to_owned(),
    }
}

fn use_runtime(config: &mut RelayConfig, found: FoundRuntime) {
    for provider in &mut config.providers {
        if let ProviderKind::Llm(llm) = &mut provider.kind {
            llm.url = found.url.clone();
            // A kind that is set holds.
            llm.kind = llm.kind.or(Some(found.kind));
        }
    }
}
