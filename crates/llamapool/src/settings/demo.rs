//! The settings of the demo.
//!
//! What the demo does is not here. The one rule: it needs none of them.

use super::address::PORT as PORT_KIND;
use super::error::SettingsError;
use super::given::Given;
use super::logging::{self, LOG_FORMAT, LOG_LEVEL, LogSettings};
use super::setting::{Group, Setting, Typed};

/// Everything the demo can be told.
#[derive(Debug, Clone, Copy)]
pub struct DemoSettings {
    /// The port of its server.
    pub port: u16,
    /// What is logged.
    pub log: LogSettings,
}

impl DemoSettings {
    /// The settings as they were given.
    pub fn resolve(given: &Given) -> Result<Self, SettingsError> {
        Ok(Self {
            port: given.value(&PORT)?,
            log: logging::resolve(given)?,
        })
    }
}

static PORT: Typed<u16> = Typed::new(
    "PORT",
    Group::Main,
    PORT_KIND,
    "The port of the demo's server, on this machine only.",
)
.default("8080");

/// The settings of the demo.
pub(super) static TABLE: &[&Setting] = &[&PORT.setting, &LOG_LEVEL.setting, &LOG_FORMAT.setting];
