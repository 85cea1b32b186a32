//! The role `worker`: the relay of LLM runtimes.

use std::time::Duration;

use llamapool_relay::{
    FindRuntimeError, FoundRuntime, ProviderKind, RUNTIME_PORTS, Reconnect, RelayConfig,
    find_runtime,
};

use super::{Role, RoleSettings, relay};
use crate::settings::{self, WorkerSettings};
use crate::stop::{Stop, run_until_stopped};
use crate::telemetry;
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
    let _reports = telemetry::install(&settings.log)?;

    open_files::raise(open_files::WITH_PROGRAMS);

    relay::warn_of_weak_keys(&settings.config);
    runtime::on_one_thread(run_until_stopped(async move |stop| {
        serve(settings, stop).await
    }))
}

async fn serve(settings: WorkerSettings, stop: Stop) -> anyhow::Result<()> {
    let mut config = settings.config;
    if settings.finds_runtime {
        let found = tokio::select! {
            found = search(config.reconnect) => found?,
            () = stop.clone().requested() => return Ok(()),
        };
        use_runtime(&mut config, found);
    }
    relay::serve(config, stop).await
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

fn use_runtime(config: &mut RelayConfig, found: FoundRuntime) {
    for provider in &mut config.providers {
        if let ProviderKind::Llm(llm) = &mut provider.kind {
            llm.url = found.url.clone();
            // A kind that is set holds.
            llm.kind = llm.kind.or(Some(found.kind));
        }
    }
}
