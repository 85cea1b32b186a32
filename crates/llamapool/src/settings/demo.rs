//! Settings of the demo. All of them are optional.

use llamapool_settings::value::SWITCH;
use llamapool_settings::{Schema, Setting, SettingsError, Sources, TypedSetting};

use super::address::PORT as PORT_NUMBER;
use super::group::{self, MAIN};
use super::logging::{self, LogSettings};

/// What the demo makes reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoProvider {
    /// An MCP server that has the time.
    Mcp,
    /// An LLM runtime whose model repeats what it is asked.
    Llm,
}

/// The configuration of the demo.
#[derive(Debug, Clone)]
pub struct DemoSettings {
    /// What it makes reachable.
    pub provider: DemoProvider,
    /// Port of its server.
    pub port: u16,
    /// Whether calls are shown; `None`: that depends on the terminal.
    pub shows_calls: Option<bool>,
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

static LLM: TypedSetting<bool> = TypedSetting::new(
    "LLM",
    MAIN,
    SWITCH,
    "Runs a worker with a small LLM runtime, instead of a relay with an MCP server.",
)
.default("false");

static SETTINGS: &[&Setting] = &[&PORT.setting, &LLM.setting];

/// The settings of `llamapool demo`.
pub(crate) static SCHEMA: Schema = Schema {
    groups: group::ALL,
    sections: &[SETTINGS, logging::SETTINGS, logging::CALLS],
    entry_tables: &[],
};

impl DemoSettings {
    /// Reads the configuration from its sources.
    pub fn resolve(sources: &Sources) -> Result<Self, SettingsError> {
        let provider = if sources.value(&LLM)? {
            DemoProvider::Llm
        } else {
            DemoProvider::Mcp
        };
        Ok(Self {
            provider,
            port: sources.value(&PORT)?,
            shows_calls: logging::shows_calls(sources)?,
            log: logging::resolve(sources)?,
        })
    }
}
