//! From settings to a running role.
//!
//! What the role does is in its crate. The one rule: the log is there before anything else is started.

use std::future::Future;
use std::num::NonZeroUsize;

use anyhow::{Context, bail};
use llamapool_relay::Relay;
use llamapool_server::Server;
use tracing::level_filters::LevelFilter;

use crate::demo;
use crate::settings::{DemoSettings, GeneratedKey, RelaySettings, ServerSettings};
use crate::stop::run_until_told;
use crate::telemetry;

/// Runs the server until it is told to stop.
pub fn run_server(settings: ServerSettings) -> anyhow::Result<()> {
    telemetry::install(&settings.log)?;
    if !settings.generated.is_empty() && settings.log.level < LevelFilter::WARN {
        bail!(
            "a key is not set and LOG_LEVEL hides the one that would be generated: set API_KEY and WORKER_KEY"
        );
    }
    log_generated_keys(&settings.generated);
    if settings.config.auth.keys.api.is_none() {
        tracing::warn!("running without keys: anyone can connect relays and read the state");
    }
    let config = settings.config;
    on_threads(
        settings.threads,
        run_until_told(async move |stop| {
            let server = Server::bind(config).await?;
            tracing::info!(address = %server.address()?, metrics = ?server.metrics_address()?, "the server listens");
            server.run(stop.told()).await;
            tracing::info!("the server has ended");
            Ok(())
        }),
    )
}

/// Runs the relay of an MCP provider until it is told to stop.
pub fn run_relay(settings: RelaySettings) -> anyhow::Result<()> {
    telemetry::install(&settings.log)?;
    let config = settings.config;
    // One provider's calls are little work that waits much: one thread serves them with fewer hand-overs.
    on_one_core(run_until_told(async move |stop| {
        let relay = Relay::bind(config).await?;
        if let Some(address) = relay.status_address() {
            tracing::info!(%address, "the status server listens");
        }
        if let Some(address) = relay.metrics_address() {
            tracing::info!(%address, "the metrics are served");
        }
        relay.run(stop.told()).await?;
        tracing::info!("the relay has ended");
        Ok(())
    }))
}

/// Runs the demo until it is told to stop.
pub fn run_demo(settings: DemoSettings) -> anyhow::Result<()> {
    telemetry::install(&settings.log)?;
    on_all_cores(run_until_told(async move |stop| {
        demo::run(settings.port, stop).await
    }))
}

/// Hand-overs between threads cost more than a second core brings while relays, providers or the system want it too: up to
/// two cores, one thread serves.
const CORES_FOR_ONE_THREAD: usize = 2;

fn on_threads(
    threads: Option<NonZeroUsize>,
    role: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let suggested = if cores <= CORES_FOR_ONE_THREAD {
        1
    } else {
        cores
    };
    match threads.map_or(suggested, NonZeroUsize::get) {
        1 => on_one_core(role),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder
                .worker_threads(threads)
                .enable_all()
                .build()
                .context("no runtime")?
                .block_on(role)
        }
    }
}

fn on_all_cores(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(role)
}

fn on_one_core(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(role)
}

/// Shows each key that nobody set: this is the only place where whoever started the server can learn it.
fn log_generated_keys(keys: &[GeneratedKey]) {
    for key in keys {
        match key {
            GeneratedKey::Api(key) => {
                tracing::warn!(
                    api_key = key.expose(),
                    "API_KEY is not set: this one was generated for this run"
                );
            }
            GeneratedKey::Worker(key) => {
                tracing::warn!(
                    worker_key = key.expose(),
                    "WORKER_KEY is not set: this one was generated for this run"
                );
            }
        }
    }
}
