//! Settings of the relays that connect.

use std::time::Duration;

use llamapool_server::RelaysConfig;
use llamapool_settings::value::{COUNT, DURATION, POSITIVE_DURATION};
use llamapool_settings::{Setting, SettingsError, Sources, TypedSetting};

use crate::settings::group::{ACCESS, LIMITS, TIME};
use crate::settings::tunnel;

static MAX_RELAYS: TypedSetting<usize> = TypedSetting::new(
    "MAX_RELAYS",
    LIMITS,
    COUNT,
    "Most connected relays, each counted once per id.",
)
.default("10000");
static TAKEOVER_WAIT: TypedSetting<Duration> = TypedSetting::new(
    "TAKEOVER_WAIT",
    TIME,
    POSITIVE_DURATION,
    "How long the relay that holds an id has to answer a ping when another relay claims the id.",
)
.default("2s");
static KEEP_IDS: TypedSetting<Duration> = TypedSetting::new(
    "KEEP_IDS",
    ACCESS,
    DURATION,
    "How long an id is kept for relays with the CLIENT_SECRET that held it last; 0: any relay gets \
     it once its holder is gone.",
)
.default("168h");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &MAX_RELAYS.setting,
    &TAKEOVER_WAIT.setting,
    &KEEP_IDS.setting,
];

/// Returns the configuration of the relays and of the server's end of their tunnels.
pub(super) fn resolve(sources: &Sources) -> Result<RelaysConfig, SettingsError> {
    Ok(RelaysConfig {
        max_relays: sources.value(&MAX_RELAYS)?,
        takeover_wait: sources.value(&TAKEOVER_WAIT)?,
        keep_ids: sources.value(&KEEP_IDS)?,
        tunnel: tunnel::resolve(sources)?,
    })
}
