//! The role `server`: the public server.

use anyhow::bail;
use llamapool_server::Server;
use tracing::level_filters::LevelFilter;

use super::{Role, RoleSettings};
use crate::settings::{self, GeneratedKey, ServerSettings};
use crate::stop::run_until_stopped;
use crate::telemetry;
use crate::{open_files, runtime, weak_keys};

/// The public server.
pub static ROLE: Role = Role {
    name: "server",
    summary: "Runs the public server",
    introduction: "\
Runs the public server. Relays connect to it with the worker key, and callers reach the provider \
of a relay at /api/mcp/id/<id>. A key that is not set is generated and logged once at start.",
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
pub(super) fn run(settings: ServerSettings) -> anyhow::Result<()> {
    let _reports = telemetry::install(&settings.log)?;

    if !settings.generated.is_empty() && settings.log.level < LevelFilter::WARN {
        bail!(
            "a key is not set and LOG_LEVEL hides the one that would be generated: \
             set API_KEY and WORKER_KEY"
        );
    }
    log_generated_keys(&settings.generated);
    if settings.config.auth.keys.api.is_none() {
        tracing::warn!("running without keys: anyone can connect relays and read the state");
    }

    let mut config = settings.config;
    if !config.listen.bind.ip().is_loopback() {
        let keys = &config.auth.keys;
        weak_keys::warn([
            ("API_KEY", keys.api.as_ref()),
            ("WORKER_KEY", keys.worker.as_ref()),
            ("SESSION_KEY", keys.session.as_ref()),
        ]);
    }
    if let Some(open_files) = open_files::raise(open_files::SERVER) {
        open_files::fit(&mut config, open_files);
    }
    let serve = run_until_stopped(async move |stop| {
        let server = Server::bind(config).await?;
        tracing::info!(
            address = %server.address()?,
            metrics = ?server.metrics_address()?,
            "the server listens"
        );
        server.run(stop.requested()).await;
        tracing::info!("the server has ended");
        Ok(())
    });
    runtime::with_threads(settings.threads, serve)
}

/// Logs each generated key. The operator finds it nowhere else.
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
