//! The limits of the ids of an `[[access]]` table of the file.

use llamapool_identity::{AccessLimits, Networks, Rate};
use llamapool_settings::value::COUNT;
use llamapool_settings::{EntryScope, EntrySources, Setting, TypedSetting};

use super::declared_keys::NETWORKS;
use super::key_limits::RATE;
use crate::settings::error::ConfigError;
use crate::settings::group::{ACCESS, LIMITS};

static ACCESS_RATE: TypedSetting<Rate> = TypedSetting::new(
    "ACCESS_RATE",
    LIMITS,
    RATE,
    "Rate of the calls of all callers to each of the ids, such as 600/min.",
)
.described_default("no limit")
.entry("access", "rate", EntryScope::TablesOnly);
static ACCESS_BURST: TypedSetting<usize> = TypedSetting::new(
    "ACCESS_BURST",
    LIMITS,
    COUNT,
    "Most calls at once after a pause.",
)
.described_default("those of the rate")
.entry("access", "burst", EntryScope::TablesOnly);
static ACCESS_RATE_PER_KEY: TypedSetting<Rate> = TypedSetting::new(
    "ACCESS_RATE_PER_KEY",
    LIMITS,
    RATE,
    "Rate of the calls of one key to each of the ids.",
)
.described_default("no limit")
.entry("access", "rate_per_key", EntryScope::TablesOnly);
static ACCESS_CONCURRENCY: TypedSetting<usize> = TypedSetting::new(
    "ACCESS_CONCURRENCY",
    LIMITS,
    COUNT,
    "Most calls of all callers that run at once, for each of the ids.",
)
.described_default("no limit")
.entry("access", "concurrency", EntryScope::TablesOnly);
static ACCESS_NETWORKS: TypedSetting<Networks> = TypedSetting::new(
    "ACCESS_NETWORKS",
    ACCESS,
    NETWORKS,
    "The addresses that the ids may be called from, such as 10.0.0.0/8.",
)
.described_default("all")
.entry("access", "networks", EntryScope::TablesOnly);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &ACCESS_RATE.setting,
    &ACCESS_BURST.setting,
    &ACCESS_RATE_PER_KEY.setting,
    &ACCESS_CONCURRENCY.setting,
    &ACCESS_NETWORKS.setting,
];

/// Returns the limits of an `[[access]]` table with a number.
pub(super) fn of_table(
    entry: &EntrySources<'_>,
    number: usize,
) -> Result<AccessLimits, ConfigError> {
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let limits = AccessLimits {
        rate: entry.explicit(&ACCESS_RATE)?,
        burst: entry.explicit(&ACCESS_BURST)?.map(small),
        rate_per_key: entry.explicit(&ACCESS_RATE_PER_KEY)?,
        concurrency: entry.explicit(&ACCESS_CONCURRENCY)?.map(small),
        networks: entry.explicit(&ACCESS_NETWORKS)?.unwrap_or_default(),
    };
    if limits.burst.is_some() && limits.rate.is_none() {
        return Err(ConfigError::BurstWithoutRate(number));
    }
    Ok(limits)
}
