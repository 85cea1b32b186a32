//! The settings of the relay of LLM runtimes, and their way into its configuration.

mod runtime;
mod value;

use std::fmt;

use http::Uri;
use llamapool_relay::RelayConfig;
use llamapool_settings::{Schema, Setting, Sources, TypedSetting};

use super::error::ConfigError;
use super::group::{self, MAIN};
use super::logging::{self, LogSettings};
use super::relay::{self, connection, status};
use super::{config_file, memory, tunnel, url};

/// The configuration of a worker process.
#[derive(Clone)]
pub struct WorkerSettings {
    /// The configuration of the relay.
    pub config: RelayConfig,
    /// Whether its one runtime is looked for on this machine: no URL is set.
    pub finds_runtime: bool,
    /// Whether calls are shown; `None`: that depends on the terminal.
    pub shows_calls: Option<bool>,
    /// The log.
    pub log: LogSettings,
}

/// Without the configuration, which has keys.
impl fmt::Debug for WorkerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSettings")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

static SERVER_URL: TypedSetting<Uri> = TypedSetting::new(
    "SERVER_URL",
    MAIN,
    url::WORKER_SERVER_URL,
    "URL of the server (ws, wss, http or https); without a path, /api/workers/connect is used.",
)
.default("ws://localhost:8080/api/workers/connect");

static SERVER: &[&Setting] = &[&SERVER_URL.setting];

/// The settings of `llamapool worker`.
pub(crate) static SCHEMA: Schema = Schema {
    groups: group::ALL,
    sections: &[
        SERVER,
        connection::SETTINGS,
        runtime::SETTINGS,
        config_file::SETTINGS,
        status::SETTINGS,
        memory::SETTINGS,
        relay::COMMON,
        tunnel::SETTINGS,
        logging::SETTINGS,
        logging::CALLS,
    ],
    entry_tables: &["provider"],
};

impl WorkerSettings {
    /// Reads the configuration from its sources.
    ///
    /// # Errors
    ///
    /// If a value is wrong, or one of several runtimes has no URL.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        let runtimes = runtime::resolve(sources)?;
        Ok(Self {
            config: relay::config(sources, &SERVER_URL, runtimes.providers)?,
            finds_runtime: runtimes.finds_runtime,
            shows_calls: logging::shows_calls(sources)?,
            log: logging::resolve(sources)?,
        })
    }
}
