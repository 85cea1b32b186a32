//! Settings of the log.

use llamapool_settings::value::{SWITCH, expected};
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
    /// For whom lines of text are.
    pub style: LogStyle,
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

/// For whom lines of text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// For people on a terminal, and otherwise in full.
    Auto,
    /// Short lines about what has changed.
    People,
    /// Every field of every event.
    Full,
}

const LEVEL: ValueType<LevelFilter> = ValueType {
    syntax: Syntax::Choice("off|error|warn|info|debug|trace"),
    parse: level,
};
const FORMAT: ValueType<LogFormat> = ValueType {
    syntax: Syntax::Choice("text|json"),
    parse: format,
};
const STYLE: ValueType<LogStyle> = ValueType {
    syntax: Syntax::Choice("auto|people|full"),
    parse: style,
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
static LOG_STYLE: TypedSetting<LogStyle> = TypedSetting::new(
    "LOG_STYLE",
    LOGGING,
    STYLE,
    "Lines for people, or full ones with all fields. auto: for people if standard error is a terminal and LOG_LEVEL is not debug or trace. JSON is always full.",
)
.default("auto");

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

static LOG_CALLS: TypedSetting<bool> = TypedSetting::new(
    "LOG_CALLS",
    LOGGING,
    SWITCH,
    "Shows every call with its method, its tool or model, its time and its outcome.",
)
.aliases(&["SHOW_CALLS"])
.described_default("on in demo, and in mcp where people read the log on a terminal");
static SHOW_KEYS: TypedSetting<bool> = TypedSetting::new(
    "SHOW_KEYS",
    LOGGING,
    SWITCH,
    "Shows generated keys whole where people read the log, instead of their beginning and end.",
)
.default("false");

/// The setting of the roles that show calls.
pub(super) static CALLS: &[&Setting] = &[&LOG_CALLS.setting];
/// The setting of the role that generates keys.
pub(super) static KEYS: &[&Setting] = &[&SHOW_KEYS.setting];

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &LOG_LEVEL.setting,
    &LOG_FORMAT.setting,
    &LOG_STYLE.setting,
    &LOG_BURST.setting,
    &LOG_RATE.setting,
];

/// Returns the configuration of the log.
pub(super) fn resolve(sources: &Sources) -> Result<LogSettings, SettingsError> {
    Ok(LogSettings {
        level: sources.value(&LOG_LEVEL)?,
        format: sources.value(&LOG_FORMAT)?,
        style: sources.value(&LOG_STYLE)?,
        limit: LogLimit {
            burst: sources.value(&LOG_BURST)?,
            per_minute: sources.value(&LOG_RATE)?,
        },
        secret_flags: sources.secret_flags(),
    })
}

/// Returns whether calls are shown, `None` if that depends on the role and the terminal.
pub(super) fn shows_calls(sources: &Sources) -> Result<Option<bool>, SettingsError> {
    sources.explicit(&LOG_CALLS)
}

/// Returns whether generated keys are shown whole.
pub(super) fn shows_keys(sources: &Sources) -> Result<bool, SettingsError> {
    sources.value(&SHOW_KEYS)
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

fn style(text: &str) -> Result<LogStyle, ValueError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "auto" => Ok(LogStyle::Auto),
        "people" => Ok(LogStyle::People),
        "full" => Ok(LogStyle::Full),
        _ => expected("auto, people or full"),
    }
}
