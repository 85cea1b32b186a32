//! Settings of the log.

use llamapool_settings::value::expected;
use llamapool_settings::{
    Setting, SettingsError, Sources, Syntax, TypedSetting, ValueError, ValueType,
};
use tracing::level_filters::LevelFilter;

use super::group::LOGGING;

/// The largest number of lines: with more there is no bound to speak of.
const MAX_LINES: u32 = 1_000_000;

/// The configuration of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Least severe level that is logged.
    pub level: LevelFilter,
    /// Format of a line.
    pub format: LogFormat,
    /// Bound of lines of one kind.
    pub limit: LogLimit,
    /// Flags that contain a secret, of which the log warns.
    pub secret_flags: Vec<String>,
}

/// The bound of lines of one kind about one id, provider or program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimit {
    /// Lines at once; 0: no bound.
    pub burst: u32,
    /// Lines in each minute after that.
    pub per_minute: u32,
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
const LINES: ValueType<u32> = ValueType {
    syntax: Syntax::Count,
    parse: |text| match text.trim().parse() {
        Ok(lines) if lines <= MAX_LINES => Ok(lines),
        _ => expected(format!("a whole number, 0 to {MAX_LINES}")),
    },
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

static LOG_BURST: TypedSetting<u32> = TypedSetting::new(
    "LOG_BURST",
    LOGGING,
    LINES,
    "Most lines of one kind about one id that are logged at once; others are counted. 0: no bound.",
)
.default("5");
static LOG_RATE: TypedSetting<u32> = TypedSetting::new(
    "LOG_RATE",
    LOGGING,
    LINES,
    "Lines of one kind about one id that are logged each minute after LOG_BURST; 100 times both at \
     the levels debug and trace.",
)
.default("12");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &LOG_LEVEL.setting,
    &LOG_FORMAT.setting,
    &LOG_BURST.setting,
    &LOG_RATE.setting,
];

/// Returns the configuration of the log.
pub(super) fn resolve(sources: &Sources) -> Result<LogSettings, SettingsError> {
    Ok(LogSettings {
        level: sources.value(&LOG_LEVEL)?,
        format: sources.value(&LOG_FORMAT)?,
        limit: LogLimit {
            burst: sources.value(&LOG_BURST)?,
            per_minute: sources.value(&LOG_RATE)?,
        },
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
