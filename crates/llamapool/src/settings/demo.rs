//! Settings of the demo. All of them are optional.

use llamapool_settings::{Schema, Setting, SettingsError, Sources, TypedSetting};

use super::address::PORT as PORT_NUMBER;
use super::group::{self, MAIN};
use super::logging::{self, LogSettings};

/// The configuration of the demo.
#[derive(Debug, Clone)]
pub struct DemoSettings {
    /// Port of its server.
    pub port: u16,
    /// The log.
    pub log: LogSettings,
}

static PORT: TypedSetting<u16> = TypedSetting::new(
    "PORT",
    MAIN,
    PORT_NUMBER,
    "Port of the demo's server, on loopback only.",
)
.default("8080");

static SETTINGS: &[&Setting] = &[&PORT.setting];

/// The settings of `llamapool demo`.
pub(crate) static SCHEMA: Schema = Schema {
    groups: group::ALL,
    sections: &[SETTINGS, logging::SETTINGS],
    entry_table: None,
};

impl DemoSettings {
    /// Reads the configuration from its sources.
    pub fn resolve(sources: &Sources) -> Result<Self, SettingsError> {
        Ok(Self {
            port: sources.value(&PORT)?,
            log: logging::resolve(sources)?,
        })
    }
}
