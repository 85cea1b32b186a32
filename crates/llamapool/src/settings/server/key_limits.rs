//! The limits of the keys in `[[key]]` tables, at every door and at the LLM API.

use llamapool_identity::{Class, Limits, LlmLimits, Quotas, Rate};
use llamapool_settings::value::{COUNT, expected};
use llamapool_settings::{
    EntryScope, EntrySources, Setting, SettingsError, Syntax, TypedSetting, ValueType,
};

use crate::settings::group::{ACCESS, LIMITS};

/// The largest weight of a key.
const MAX_WEIGHT: usize = 1000;

/// A class of calls.
const CLASS: ValueType<Class> = ValueType {
    syntax: Syntax::Text,
    parse: |text| match text.trim() {
        "low" => Ok(Class::Low),
        "normal" => Ok(Class::Normal),
        "high" => Ok(Class::High),
        _ => expected("low, normal or high"),
    },
};
/// A rate of calls.
pub(super) const RATE: ValueType<Rate> = ValueType {
    syntax: Syntax::Text,
    parse: |text| {
        let rate = text.trim().parse();
        rate.or_else(|_| expected("a rate such as 10/s, 120/min, 1000/h or 5000/d"))
    },
};

static LLM_KEY_CLASS: TypedSetting<Class> = TypedSetting::new(
    "LLM_KEY_CLASS",
    ACCESS,
    CLASS,
    "Class of the calls of a key: low, normal or high. A higher one goes first.",
)
.default("normal")
.entry("key", "class", EntryScope::Shared);
static LLM_KEY_WEIGHT: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_WEIGHT",
    LIMITS,
    COUNT,
    "Share of slot time of a key, relative to other keys that wait.",
)
.default("1")
.entry("key", "weight", EntryScope::Shared);
static LLM_KEY_CONCURRENCY: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_CONCURRENCY",
    LIMITS,
    COUNT,
    "Most concurrent calls of a key to LLMs; others wait.",
)
.described_default("no limit")
.entry("key", "max_concurrency", EntryScope::Shared);
static LLM_KEY_QUEUED: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_QUEUED",
    LIMITS,
    COUNT,
    "Most calls of a key that wait.",
)
.described_default("a quarter of LLM_QUEUE_SIZE")
.entry("key", "max_queued", EntryScope::Shared);
static LLM_KEY_REQUESTS_PER_MINUTE: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_REQUESTS_PER_MINUTE",
    LIMITS,
    COUNT,
    "Most calls of a key to LLMs in a minute.",
)
.described_default("no limit")
.entry("key", "requests_per_minute", EntryScope::Shared);
static LLM_KEY_TOKENS_PER_MINUTE: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_TOKENS_PER_MINUTE",
    LIMITS,
    COUNT,
    "Most tokens of a key in a minute, of prompts and answers.",
)
.described_default("no limit")
.entry("key", "tokens_per_minute", EntryScope::Shared);
static LLM_KEY_TOKENS_PER_DAY: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_TOKENS_PER_DAY",
    LIMITS,
    COUNT,
    "Most tokens of a key in a day, of prompts and answers; they are not counted over a restart.",
)
.described_default("no limit")
.entry("key", "tokens_per_day", EntryScope::Shared);
static KEY_RATE: TypedSetting<Rate> = TypedSetting::new(
    "KEY_RATE",
    LIMITS,
    RATE,
    "Rate of all calls of a key, at every door, such as 120/min.",
)
.described_default("no limit")
.entry("key", "rate", EntryScope::TablesOnly);
static KEY_BURST: TypedSetting<usize> = count("KEY_BURST", "Most calls at once after a pause.")
    .described_default("those of the rate")
    .entry("key", "burst", EntryScope::TablesOnly);
static KEY_CONCURRENCY: TypedSetting<usize> = count(
    "KEY_CONCURRENCY",
    "Most calls that run at once, at every door; others are refused.",
)
.entry("key", "concurrency", EntryScope::TablesOnly);
static KEY_STREAMS: TypedSetting<usize> = count(
    "KEY_STREAMS",
    "Most event streams that are open at once, for each id.",
)
.described_default("8")
.entry("key", "streams", EntryScope::TablesOnly);
static KEY_CALLS_PER_DAY: TypedSetting<usize> = count(
    "KEY_CALLS_PER_DAY",
    "Most calls a day, in UTC.",
)
.entry("key", "calls_per_day", EntryScope::TablesOnly);
static KEY_CALLS_PER_MONTH: TypedSetting<usize> = count(
    "KEY_CALLS_PER_MONTH",
    "Most calls a month, in UTC.",
)
.entry("key", "calls_per_month", EntryScope::TablesOnly);
static KEY_BYTES_IN_PER_DAY: TypedSetting<usize> = count(
    "KEY_BYTES_IN_PER_DAY",
    "Most bytes of requests a day, in UTC.",
)
.entry("key", "bytes_in_per_day", EntryScope::TablesOnly);
static KEY_BYTES_IN_PER_MONTH: TypedSetting<usize> = count(
    "KEY_BYTES_IN_PER_MONTH",
    "Most bytes of requests a month, in UTC.",
)
.entry("key", "bytes_in_per_month", EntryScope::TablesOnly);
static KEY_BYTES_OUT_PER_DAY: TypedSetting<usize> = count(
    "KEY_BYTES_OUT_PER_DAY",
    "Most bytes of answers of MCP servers a day, in UTC.",
)
.entry("key", "bytes_out_per_day", EntryScope::TablesOnly);
static KEY_BYTES_OUT_PER_MONTH: TypedSetting<usize> = count(
    "KEY_BYTES_OUT_PER_MONTH",
    "Most bytes of answers of MCP servers a month, in UTC.",
)
.entry("key", "bytes_out_per_month", EntryScope::TablesOnly);
static KEY_TOKENS_PER_MONTH: TypedSetting<usize> = count(
    "KEY_TOKENS_PER_MONTH",
    "Most tokens of LLMs a month, in UTC.",
)
.entry("key", "tokens_per_month", EntryScope::TablesOnly);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &LLM_KEY_CLASS.setting,
    &LLM_KEY_WEIGHT.setting,
    &LLM_KEY_CONCURRENCY.setting,
    &LLM_KEY_QUEUED.setting,
    &LLM_KEY_REQUESTS_PER_MINUTE.setting,
    &LLM_KEY_TOKENS_PER_MINUTE.setting,
    &LLM_KEY_TOKENS_PER_DAY.setting,
    &KEY_RATE.setting,
    &KEY_BURST.setting,
    &KEY_CONCURRENCY.setting,
    &KEY_STREAMS.setting,
    &KEY_CALLS_PER_DAY.setting,
    &KEY_CALLS_PER_MONTH.setting,
    &KEY_BYTES_IN_PER_DAY.setting,
    &KEY_BYTES_IN_PER_MONTH.setting,
    &KEY_BYTES_OUT_PER_DAY.setting,
    &KEY_BYTES_OUT_PER_MONTH.setting,
    &KEY_TOKENS_PER_MONTH.setting,
];

/// Returns the limits of a key at every door.
pub(super) fn of_table(entry: &EntrySources<'_>) -> Result<Limits, SettingsError> {
    let small = |setting| Ok(entry.explicit(setting)?.map(small));
    let large = |setting| Ok(entry.explicit(setting)?.map(large));
    Ok(Limits {
        rate: entry.explicit(&KEY_RATE)?,
        burst: small(&KEY_BURST)?,
        concurrency: small(&KEY_CONCURRENCY)?,
        streams: small(&KEY_STREAMS)?,
        quotas: Quotas {
            calls_per_day: large(&KEY_CALLS_PER_DAY)?,
            calls_per_month: large(&KEY_CALLS_PER_MONTH)?,
            bytes_in_per_day: large(&KEY_BYTES_IN_PER_DAY)?,
            bytes_in_per_month: large(&KEY_BYTES_IN_PER_MONTH)?,
            bytes_out_per_day: large(&KEY_BYTES_OUT_PER_DAY)?,
            bytes_out_per_month: large(&KEY_BYTES_OUT_PER_MONTH)?,
            tokens_per_month: large(&KEY_TOKENS_PER_MONTH)?,
        },
    })
}

/// Returns the limits of a key at the LLM API.
pub(super) fn at_the_llm_api(entry: &EntrySources<'_>) -> Result<LlmLimits, SettingsError> {
    let weight = entry.explicit(&LLM_KEY_WEIGHT)?;
    Ok(LlmLimits {
        weight: weight.map(|weight| small(weight.min(MAX_WEIGHT))),
        class: entry.value(&LLM_KEY_CLASS)?,
        max_concurrency: entry.explicit(&LLM_KEY_CONCURRENCY)?.map(small),
        max_queued: entry.explicit(&LLM_KEY_QUEUED)?.map(small),
        requests_per_minute: entry.explicit(&LLM_KEY_REQUESTS_PER_MINUTE)?.map(large),
        tokens_per_minute: entry.explicit(&LLM_KEY_TOKENS_PER_MINUTE)?.map(large),
        tokens_per_day: entry.explicit(&LLM_KEY_TOKENS_PER_DAY)?.map(large),
    })
}

/// Returns whether a table has limits that are for caller keys at every door. Those of the LLM API may
/// be shared by all tables.
pub(super) fn are_in(entry: &EntrySources<'_>) -> Result<bool, SettingsError> {
    Ok(!of_table(entry)?.is_empty())
}

const fn count(name: &'static str, help: &'static str) -> TypedSetting<usize> {
    TypedSetting::new(name, LIMITS, COUNT, help).described_default("no limit")
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn large(count: usize) -> u64 {
    count as u64
}
