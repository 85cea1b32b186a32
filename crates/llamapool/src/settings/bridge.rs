//! Settings of the bridge that serves a program on this machine, without server and relay.
//!
//! The settings of the program are those that a relay has for a provider that is a program.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use llamapool_bridge::{BridgeConfig, HttpServerConfig};
use llamapool_limits::MemoryBudget;
use llamapool_settings::value::{COUNT, DURATION};
use llamapool_settings::{Schema, Setting, Sources, TypedSetting};
use llamapool_wire::Secret;

use super::address::{IP, PORT as PORT_NUMBER};
use super::allowed_hosts::ALLOWED_HOSTS;
use super::error::ConfigError;
use super::group::{self, ACCESS, LIMITS, MAIN, TIME};
use super::logging::{self, LogSettings};
use super::relay::program;
use super::value::SECRET;
use super::{config_file, memory};

/// The configuration of a bridge process.
#[derive(Clone)]
pub struct BridgeSettings {
    /// The listener.
    pub http: HttpServerConfig,
    /// The program.
    pub program: BridgeConfig,
    /// The log.
    pub log: LogSettings,
}

/// Without the configuration: there may be a key among the arguments and variables of the program.
impl fmt::Debug for BridgeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeSettings")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

static PORT: TypedSetting<u16> =
    TypedSetting::new("PORT", MAIN, PORT_NUMBER, "Port of the MCP endpoint, /mcp.").default("7777");
static BIND_ADDR: TypedSetting<IpAddr> = TypedSetting::new(
    "BIND_ADDR",
    MAIN,
    IP,
    "IP address to listen on; 0.0.0.0 makes the program reachable from other machines.",
)
.default("127.0.0.1");
static AUTH_TOKEN: TypedSetting<Secret> = TypedSetting::new(
    "AUTH_TOKEN",
    ACCESS,
    SECRET,
    "Bearer token required of callers; without it, anyone who reaches the address can call.",
);
static MAX_CONNECTIONS: TypedSetting<usize> = TypedSetting::new(
    "MAX_CONNECTIONS",
    LIMITS,
    COUNT,
    "Most open connections of callers, fewer where the system allows fewer open files.",
)
.default("1024");
static DRAIN_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "DRAIN_TIMEOUT",
    TIME,
    DURATION,
    "Longest time for running calls to finish when the bridge is stopped.",
)
.default("1m");

static SETTINGS: &[&Setting] = &[
    &PORT.setting,
    &BIND_ADDR.setting,
    &AUTH_TOKEN.setting,
    &ALLOWED_HOSTS.setting,
    &MAX_CONNECTIONS.setting,
    &DRAIN_TIMEOUT.setting,
];

/// The settings of `llamapool bridge`.
pub(crate) static SCHEMA: Schema = Schema {
    groups: group::ALL,
    sections: &[
        SETTINGS,
        program::SETTINGS,
        config_file::SETTINGS,
        memory::SETTINGS,
        logging::SETTINGS,
    ],
    entry_tables: &[],
};

impl BridgeSettings {
    /// Reads the configuration from its sources.
    ///
    /// # Errors
    ///
    /// If a value is wrong, or no program is set.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        let http = HttpServerConfig {
            bind: SocketAddr::new(sources.value(&BIND_ADDR)?, sources.value(&PORT)?),
            auth_token: sources.explicit(&AUTH_TOKEN)?,
            allowed_hosts: sources.value(&ALLOWED_HOSTS)?,
            max_connections: sources.value(&MAX_CONNECTIONS)?,
            max_starting: program::max_starting(sources)?,
            drain_timeout: sources.value(&DRAIN_TIMEOUT)?,
        };
        let log = logging::resolve(sources)?;

        // Without tables of entries there is one entry, which the settings themselves describe.
        let memory = MemoryBudget::new(memory::resolve(sources)?);
        for entry in sources.entries("provider") {
            if let Some(program) = program::resolve(sources, &entry)? {
                let program = BridgeConfig { memory, ..program };
                return Ok(Self { http, program, log });
            }
        }
        Err(ConfigError::MissingProgram)
    }
}
