//! Settings of the state API.

use std::time::Duration;

use llamapool_server::StateConfig;
use llamapool_settings::value::{COUNT, POSITIVE_DURATION};
use llamapool_settings::{Setting, SettingsError, Sources, TypedSetting};

use crate::settings::group::{LIMITS, TIME};

static MAX_STATE_STREAMS: TypedSetting<usize> = TypedSetting::new(
    "MAX_STATE_STREAMS",
    LIMITS,
    COUNT,
    "Most open streams of the state API.",
)
.default("100");
static STATE_INTERVAL: TypedSetting<Duration> = TypedSetting::new(
    "STATE_INTERVAL",
    TIME,
    POSITIVE_DURATION,
    "Interval between snapshots on a stream of the state API.",
)
.default("2s");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[&MAX_STATE_STREAMS.setting, &STATE_INTERVAL.setting];

/// Returns the configuration of the state API.
pub(super) fn resolve(sources: &Sources) -> Result<StateConfig, SettingsError> {
    Ok(StateConfig {
        max_streams: sources.value(&MAX_STATE_STREAMS)?,
        interval: sources.value(&STATE_INTERVAL)?,
    })
}
