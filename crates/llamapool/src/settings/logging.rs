//! Settings of the log.

use llamapool_settings::value::expected;
use llamapool_settings::{
    Setting, SettingsError, Sources, Syntax, TypedSetting, ValueError, ValueType,
};
use tracing::level_filters::LevelFilter;

use super::group::LOGGING;

/// The configuration of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Least severe level that is logged.
    pub level: LevelFilter,
    /// Format of a line.
    pub format: LogFormat,
    /// Flags that contain a secret, of which the log warns.
    pub secret_flags: Vec<String>,
}

/// The format of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

const LEVEL: ValueType<LevelFilter> = ValueType {
    syntax: Syntax::Choice("off|error|warn|info|debug|trace"),
    parse: level,
};
const FORMAT: ValueType<LogFormat> = ValueType {
    syntax: Syntax::Choice("text|json"),
    parse: format,
};

static LOG_LEVEL: TypedSetting<LevelFilter> = TypedSetting::new(
    "LOG_LEVEL",
    LOGGING,
    LEVEL,
    "Least severe level that is logged.",
)
.default("info");
static LOG_FORMAT: TypedSetting<LogFormat> = TypedSetting::new(
    "LOG_FORMAT",
    LOGGING,
    FORMAT,
    "Log lines as text, or as one JSON object each.",
)
.default("text");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[&LOG_LEVEL.setting, &LOG_FORMAT.setting];

/// Returns the configuration of the log.
pub(super) fn resolve(sources: &Sources) -> Result<LogSettings, SettingsError> {
    Ok(LogSettings {
        level: sources.value(&LOG_LEVEL)?,
        format: sources.value(&LOG_FORMAT)?,
        secret_flags: sources.secret_flags(),
    })
}

fn level(text: &str) -> Result<LevelFilter, ValueError> {
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

fn format(text: &str) -> Result<LogFormat, ValueError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => expected("text or json"),
    }
}
