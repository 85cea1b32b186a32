//! The settings of the server, and their way into its configuration.

mod auth;
mod data_dir;
mod listen;
mod llm;
mod llm_keys;
mod mcp;
mod relays;
mod state;

use std::num::NonZeroUsize;
use std::time::Duration;

use llamapool_server::ServerConfig;
use llamapool_settings::value::{COUNT_OR_ZERO, DURATION};
use llamapool_settings::{Schema, Setting, Sources, TypedSetting};

pub use auth::GeneratedKey;

use super::error::ConfigError;
use super::group::{self, LIMITS, TIME};
use super::logging::{self, LogSettings};
use super::{config_file, memory, tunnel};
use crate::version::BUILD;

/// The configuration of a server process.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The configuration of the server.
    pub config: ServerConfig,
    /// Keys that were not set and therefore generated, to be logged once at start.
    pub generated: Vec<GeneratedKey>,
    /// Worker threads; `None` if the number depends on the machine.
    pub threads: Option<NonZeroUsize>,
    /// The log.
    pub log: LogSettings,
}

static THREADS: TypedSetting<usize> = TypedSetting::new(
    "THREADS",
    LIMITS,
    COUNT_OR_ZERO,
    "Worker threads; 0: one on a machine with one or two cores, otherwise one per core.",
)
.default("0");
static DRAIN_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "DRAIN_TIMEOUT",
    TIME,
    DURATION,
    "Longest time for running calls to finish when the server is stopped.",
)
.default("5m");

static SETTINGS: &[&Setting] = &[&THREADS.setting, &DRAIN_TIMEOUT.setting];

/// The settings of `llamapool server`.
pub(crate) static SCHEMA: Schema = Schema {
    groups: group::ALL,
    sections: &[
        auth::SETTINGS,
        data_dir::SETTINGS,
        listen::SETTINGS,
        config_file::SETTINGS,
        mcp::SETTINGS,
        llm_keys::SETTINGS,
        llm::SETTINGS,
        relays::SETTINGS,
        state::SETTINGS,
        memory::SETTINGS,
        SETTINGS,
        tunnel::SETTINGS,
        logging::SETTINGS,
    ],
    entry_tables: &["key", "alias"],
};

impl ServerSettings {
    /// Reads the configuration from its sources.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        let mut generated = Vec::new();

        let listen = listen::resolve(sources)?;
        let config = ServerConfig {
            data_dir: data_dir::resolve(sources, listen.bind.port())?,
            listen,
            auth: auth::resolve(sources, &mut generated)?,
            relays: relays::resolve(sources)?,
            mcp: mcp::resolve(sources)?,
            llm: llm::resolve(sources)?,
            state: state::resolve(sources)?,
            max_memory: memory::resolve(sources)?,
            drain_timeout: sources.value(&DRAIN_TIMEOUT)?,
            build: BUILD,
        };

        let public_url = config.listen.public_url.as_ref();
        auth::check_keys(sources, &config.auth.keys, public_url)?;

        Ok(Self {
            config,
            generated,
            threads: NonZeroUsize::new(sources.value(&THREADS)?),
            log: logging::resolve(sources)?,
        })
    }
}

/// Returns the sources of a server whose file has this text.
#[cfg(test)]
fn sources_of_file(text: &str) -> Result<Sources, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("server.toml");
    std::fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("a path in UTF-8");
    let environment = [("CONFIG_FILE", path)].into_iter().collect();
    let sources = Sources::collect(&SCHEMA, [], &environment);
    sources.map_err(|error| error.to_string())
}
