//! The settings of the relay of MCP providers, and their way into its configuration.

pub(super) mod connection;
pub(super) mod mcp_servers;
pub(super) mod program;
mod program_environment;
pub(super) mod provider;
pub(super) mod status;

use std::fmt;
use std::time::Duration;

use http::Uri;
use llamapool_relay::{ProviderConfig, RelayConfig};
use llamapool_settings::value::DURATION;
use llamapool_settings::{Schema, Setting, SettingsError, Sources, TypedSetting};
use llamapool_tunnel::TunnelConfig;

use self::mcp_servers::ServersFile;
use super::error::ConfigError;
use super::fixed::FixedSettings;
use super::group::{self, MAIN, TIME, TUNNEL};
use super::logging::{self, LogSettings};
use super::value::STREAMS;
use super::{config_file, memory, tunnel, url};
use crate::version::BUILD;

/// The configuration of a relay process.
#[derive(Clone)]
pub struct RelaySettings {
    /// The configuration of the relay.
    pub config: RelayConfig,
    /// Whether calls are shown; `None`: that depends on the terminal.
    pub shows_calls: Option<bool>,
    /// The log.
    pub log: LogSettings,
    /// The file of MCP servers, `None` if there is none.
    pub servers_file: Option<ServersFile>,
    /// The texts of the settings that a relay takes at its start alone.
    fixed: FixedSettings,
}

/// Settings that no `[[provider]]` table can have, and that are read again with the providers.
static READ_AGAIN: &[&str] = &[
    "CONFIG_FILE",
    "MCP_SERVERS",
    "ID_PREFIX",
    "PROBE_INTERVAL",
    "REDIRECT_REPLAY_BYTES",
];

/// Without the configuration: there may be a key among the headers for a provider.
impl fmt::Debug for RelaySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySettings")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

static SERVER_URL: TypedSetting<Uri> = TypedSetting::new(
    "SERVER_URL",
    MAIN,
    url::SERVER_URL,
    "URL of the server (ws, wss, http or https); without a path, /api/mcp/connect is used.",
)
.default("ws://localhost:8080/api/mcp/connect");
static DRAIN_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "DRAIN_TIMEOUT",
    TIME,
    DURATION,
    "Longest time for running calls to finish when the relay is stopped.",
)
.default("1m");
static TUNNEL_MAX_STREAMS: TypedSetting<u32> = TypedSetting::new(
    "TUNNEL_MAX_STREAMS",
    TUNNEL,
    STREAMS,
    "Most concurrent calls of the relay, over all its providers.",
)
.default("4096");

static SERVER: &[&Setting] = &[&SERVER_URL.setting];

/// The settings of every role that connects to a server, besides those of its files.
pub(super) static COMMON: &[&Setting] = &[&DRAIN_TIMEOUT.setting, &TUNNEL_MAX_STREAMS.setting];

/// The settings of `llamapool mcp`.
pub(crate) static SCHEMA: Schema = Schema {
    groups: group::ALL,
    sections: &[
        SERVER,
        connection::SETTINGS,
        mcp_servers::SETTINGS,
        provider::SETTINGS,
        program::SETTINGS,
        config_file::SETTINGS,
        status::SETTINGS,
        memory::SETTINGS,
        COMMON,
        tunnel::SETTINGS,
        logging::SETTINGS,
        logging::CALLS,
    ],
    entry_tables: &["provider"],
};

impl RelaySettings {
    /// Reads the configuration from its sources.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        // Everything is read before anything fails, so that all that is wrong is found.
        let providers = provider::resolve(sources);
        let max_starting = program::max_starting(sources);
        let config = config(sources, &SERVER_URL, Vec::new());
        let log = logging::resolve(sources);

        let shows_calls = logging::shows_calls(sources);

        match (providers, max_starting, config, shows_calls, log) {
            (Ok(providers), Ok(max_starting), Ok(config), Ok(shows_calls), Ok(log)) => Ok(Self {
                config: RelayConfig {
                    max_starting,
                    providers: providers.configs,
                    ..config
                },
                shows_calls,
                log,
                servers_file: providers.servers_file,
                fixed: FixedSettings::of(sources, READ_AGAIN),
            }),
            (providers, max_starting, config, shows_calls, log) => {
                let mut errors = Vec::new();
                errors.extend(providers.err().into_iter().flat_map(ConfigError::into_all));
                errors.extend(max_starting.err().map(ConfigError::from));
                errors.extend(config.err());
                errors.extend(shows_calls.err().map(ConfigError::from));
                errors.extend(log.err().map(ConfigError::from));
                Err(ConfigError::one_or_several(errors))
            }
        }
    }

    /// Returns the names of the settings that differ from those of a running relay and take effect
    /// after a restart alone.
    pub fn waiting_for_restart(&self, running: &Self) -> Vec<&'static str> {
        self.fixed.differing_from(&running.fixed)
    }

    /// Takes the settings of a start for those of a configuration that was read again.
    pub fn with_start_of(self, running: &Self) -> Self {
        Self {
            fixed: running.fixed.clone(),
            ..self
        }
    }
}

/// Returns the configuration of a relay with these providers, which dials the URL of a setting.
pub(super) fn config(
    sources: &Sources,
    server_url: &TypedSetting<Uri>,
    providers: Vec<ProviderConfig>,
) -> Result<RelayConfig, ConfigError> {
    Ok(RelayConfig {
        identity: connection::identity(sources)?,
        dial: connection::dial(sources, server_url)?,
        reconnect: connection::reconnect(sources)?,
        providers,
        status: status::resolve(sources)?,
        drain_timeout: sources.value(&DRAIN_TIMEOUT)?,
        tunnel: tunnel(sources)?,
        max_memory: memory::resolve(sources)?,
        // Workers start no programs.
        max_starting: None,
        // The role decides, by the terminal.
        shows_calls: false,
        build: BUILD,
    })
}

/// Returns the configuration of the relay's end of the tunnel, which decides the number of streams.
fn tunnel(sources: &Sources) -> Result<TunnelConfig, SettingsError> {
    Ok(TunnelConfig {
        max_streams: sources.value(&TUNNEL_MAX_STREAMS)?,
        ..tunnel::resolve(sources)?
    })
}
