//! The settings of the server, and their way into its configuration.

mod access_limits;
mod acme;
mod audit;
mod auth;
mod data_dir;
mod declared_keys;
mod identity;
mod key_limits;
mod listen;
mod llm;
mod mcp;
mod message_rules;
mod relays;
mod sign_in;
mod state;
mod tls;

use std::num::NonZeroUsize;
use std::time::Duration;

use llamapool_server::{DataDirConfig, ServerConfig, TrustedPages};
use llamapool_settings::value::{COUNT_OR_ZERO, DURATION};
use llamapool_settings::{Schema, Setting, Sources, TypedSetting};

pub use auth::GeneratedKey;

use super::error::ConfigError;
use super::fixed::FixedSettings;
use super::group::{self, LIMITS, TIME};
use super::logging::{self, LogSettings};
use super::{config_file, memory, tunnel};
use crate::version::BUILD;

/// The configuration of a server process.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The configuration of the server.
    pub config: ServerConfig,
    /// Set if the ports are 443 and 80 because of ACME, to be logged once at start.
    pub has_default_ports: bool,
    /// Keys that were not set and therefore generated, to be logged once at start.
    pub generated: Vec<GeneratedKey>,
    /// Worker threads; `None` if the number depends on the machine.
    pub threads: Option<NonZeroUsize>,
    /// Whether generated keys are shown whole.
    pub shows_keys: bool,
    /// The log.
    pub log: LogSettings,
    /// What takes effect at a start alone.
    fixed: FixedSettings,
}

/// Settings that no table can have, and that are read again while the server runs.
static READ_AGAIN: &[&str] = &["CONFIG_FILE", "MCP_ACCESS"];

static THREADS: TypedSetting<usize> = TypedSetting::new(
    "THREADS",
    LIMITS,
    COUNT_OR_ZERO,
    "Threads that serve connections, each with a runtime of its own; 0: one on a machine with one or two cores, otherwise one per core.",
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
        identity::SETTINGS,
        sign_in::SETTINGS,
        data_dir::SETTINGS,
        audit::SETTINGS,
        listen::SETTINGS,
        tls::SETTINGS,
        acme::SETTINGS,
        config_file::SETTINGS,
        mcp::SETTINGS,
        message_rules::SETTINGS,
        access_limits::SETTINGS,
        declared_keys::SETTINGS,
        key_limits::SETTINGS,
        llm::SETTINGS,
        relays::SETTINGS,
        state::SETTINGS,
        memory::SETTINGS,
        SETTINGS,
        tunnel::SETTINGS,
        logging::SETTINGS,
        logging::KEYS,
    ],
    entry_tables: &["key", "access", "alias", "certificate"],
};

/// Returns the data directory of the server of these sources.
pub(crate) fn data_dir(sources: &Sources) -> Result<DataDirConfig, ConfigError> {
    let port = listen::port(sources)?;
    Ok(data_dir::resolve(sources, port)?)
}

impl ServerSettings {
    /// Reads the configuration from its sources.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        let mut generated = Vec::new();

        let mut listen = listen::resolve(sources)?;
        listen.tls = tls::resolve(sources, listen.bind.ip())?;
        let data_dir = data_dir::resolve(sources, listen.bind.port())?;
        let config = ServerConfig {
            sign_in: sign_in::resolve(sources, &listen, &data_dir)?,
            audit: audit::resolve(sources, &data_dir)?,
            data_dir,
            listen,
            auth: auth::resolve(sources, &mut generated)?,
            identity: identity::resolve(sources)?,
            relays: relays::resolve(sources)?,
            mcp: mcp::resolve(sources)?,
            llm: llm::resolve(sources)?,
            state: state::resolve(sources)?,
            max_memory: memory::resolve(sources)?,
            drain_timeout: sources.value(&DRAIN_TIMEOUT)?,
            build: BUILD,
        };

        let files = config.listen.tls.as_ref().map(|tls| &tls.files);
        let fixed = FixedSettings::of(sources, READ_AGAIN)
            .with("[[alias]]", format!("{:?}", config.llm.aliases))
            .with("[[certificate]]", format!("{files:?}"));
        let public_url = config.listen.public_url.as_ref();
        let acme = config.listen.tls.as_ref().and_then(|tls| tls.acme.as_ref());
        acme::check_data_dir(acme, &config.data_dir)?;
        tls::check_public_url(config.listen.tls.as_ref(), public_url)?;
        auth::check_keys(sources, &config.auth.keys, public_url)?;
        if config.sign_in.is_some() && config.mcp.trusted_pages != TrustedPages::default() {
            return Err(ConfigError::SignInWithTrustedPages);
        }

        Ok(Self {
            config,
            has_default_ports: listen::has_default_ports(sources)?,
            generated,
            threads: NonZeroUsize::new(sources.value(&THREADS)?),
            shows_keys: logging::shows_keys(sources)?,
            log: logging::resolve(sources)?,
            fixed,
        })
    }

    /// Returns the names of the settings that differ from those of a running server and take effect
    /// after a restart alone.
    pub fn waiting_for_restart(&self, running: &Self) -> Vec<&'static str> {
        self.fixed.differing_from(&running.fixed)
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
