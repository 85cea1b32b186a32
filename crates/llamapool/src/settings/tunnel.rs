//! Settings of the tunnel, the same for both ends. The values of the two ends need not be equal.

use std::time::Duration;

use llamapool_settings::value::POSITIVE_DURATION;
use llamapool_settings::{Setting, SettingsError, Sources, TypedSetting};
use llamapool_tunnel::TunnelConfig;

use super::group::TUNNEL;
use super::value::{HEADER_BYTES, WINDOW_BYTES};

static HEARTBEAT_INTERVAL: TypedSetting<Duration> = TypedSetting::new(
    "HEARTBEAT_INTERVAL",
    TUNNEL,
    POSITIVE_DURATION,
    "Interval between pings to the other end of the tunnel.",
)
.default("6s");
static SILENCE_LIMIT: TypedSetting<Duration> = TypedSetting::new(
    "SILENCE_LIMIT",
    TUNNEL,
    POSITIVE_DURATION,
    "Longest silence before the other end counts as lost; greater than HEARTBEAT_INTERVAL.",
)
.default("18s");
static TUNNEL_STREAM_WINDOW: TypedSetting<u32> = TypedSetting::new(
    "TUNNEL_STREAM_WINDOW",
    TUNNEL,
    WINDOW_BYTES,
    "Flow-control window of one body: more is faster on long links, but costs memory per caller that \
     stops reading.",
)
.default("512KiB");
static TUNNEL_MAX_HEADER_BYTES: TypedSetting<u32> = TypedSetting::new(
    "TUNNEL_MAX_HEADER_BYTES",
    TUNNEL,
    HEADER_BYTES,
    "Largest headers of one call in total, each counted with 32 bytes on top.",
)
.default("64KiB");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &HEARTBEAT_INTERVAL.setting,
    &SILENCE_LIMIT.setting,
    &TUNNEL_STREAM_WINDOW.setting,
    &TUNNEL_MAX_HEADER_BYTES.setting,
];

/// Returns the configuration of one end of the tunnel, with the default number of streams.
pub(super) fn resolve(sources: &Sources) -> Result<TunnelConfig, SettingsError> {
    let heartbeat = sources.value(&HEARTBEAT_INTERVAL)?;
    let silence = sources.value(&SILENCE_LIMIT)?;
    if silence <= heartbeat {
        return Err(SettingsError::Contradiction {
            setting: SILENCE_LIMIT.setting.name,
            value: format!("{silence:?}"),
            expected: format!(
                "more than {}, which is {heartbeat:?}",
                HEARTBEAT_INTERVAL.setting.name
            ),
        });
    }

    Ok(TunnelConfig {
        stream_window: sources.value(&TUNNEL_STREAM_WINDOW)?,
        max_header_bytes: sources.value(&TUNNEL_MAX_HEADER_BYTES)?,
        heartbeat,
        silence,
        ..TunnelConfig::default()
    })
}
