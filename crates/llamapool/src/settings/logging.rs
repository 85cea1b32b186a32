//! The settings of every role: what is logged, and which file has the others.
//!
//! Where the log goes is in `telemetry`. The one rule: whatever role a process has, these have the same names.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::error::SettingsError;
use super::given::Given;
use super::kind::{Expected, FILE, Form, Kind, expected};
use super::setting::{Group, Naming, Typed};

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important level that is logged.
    pub level: LevelFilter,
    /// How a line is written.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) static LOG_LEVEL: Typed<LevelFilter> = Typed::new(
    "LOG_LEVEL",
    Group::Logging,
    LEVEL,
    "The least important level that is logged.",
)
.default("info");
pub(super) static LOG_FORMAT: Typed<LogFormat> = Typed::new(
    "LOG_FORMAT",
    Group::Logging,
    FORMAT,
    "Lines for people, or one JSON object a line.",
)
.default("text");
pub(super) static CONFIG_FILE: Typed<Option<PathBuf>> = Typed::new(
    "CONFIG_FILE",
    Group::Main,
    FILE,
    "A TOML file with settings.",
)
.naming(Naming::OutsideFile)
.flag_alias("config");

const LEVEL: Kind<LevelFilter> = Kind {
    form: Form::Choice("off|error|warn|info|debug|trace"),
    parse: level,
};
const FORMAT: Kind<LogFormat> = Kind {
    form: Form::Choice("text|json"),
    parse: format,
};

/// What is logged, as it was given.
pub(super) fn resolve(given: &Given) -> Result<LogSettings, SettingsError> {
    Ok(LogSettings {
        level: given.value(&LOG_LEVEL)?,
        format: given.value(&LOG_FORMAT)?,
    })
}

fn level(text: &str) -> Result<LevelFilter, Expected> {
    match text.trim().to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => expected("off, error, warn, info, debug or trace"),
    }
}

fn format(text: &str) -> Result<LogFormat, Expected> {
    match text.trim().to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => expected("text or json"),
    }
}
