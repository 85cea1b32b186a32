//! The settings of the tunnel that both of its ends have.
//!
//! What the numbers do is in the tunnel's own crate. The one rule: the names are the same on both ends, the values
//! need not be.

use std::time::Duration;

use llamapool_tunnel::TunnelConfig;

use super::error::SettingsError;
use super::given::Given;
use super::kind::{HEADER_BYTES, POSITIVE_SPAN, WINDOW};
use super::setting::{Group, Typed};

pub(super) static HEARTBEAT_INTERVAL: Typed<Duration> = Typed::new(
    "HEARTBEAT_INTERVAL",
    Group::Tunnel,
    POSITIVE_SPAN,
    "How often the other end is asked for a sign of life.",
)
.default("6s");
pub(super) static SILENCE_LIMIT: Typed<Duration> = Typed::new(
    "SILENCE_LIMIT",
    Group::Tunnel,
    POSITIVE_SPAN,
    "After this long without a sign of life the other end is gone; more than HEARTBEAT_INTERVAL.",
)
.default("18s");
pub(super) static TUNNEL_STREAM_WINDOW: Typed<u32> = Typed::new(
    "TUNNEL_STREAM_WINDOW",
    Group::Tunnel,
    WINDOW,
    "How much of one body may be on its way unread: memory per caller who stops reading, speed on long links.",
)
.default("512KiB");
pub(super) static TUNNEL_MAX_HEADER_BYTES: Typed<u32> = Typed::new(
    "TUNNEL_MAX_HEADER_BYTES",
    Group::Tunnel,
    HEADER_BYTES,
    "How many bytes the headers of one call may have, with 32 bytes on top for each.",
)
.default("64KiB");

/// The tunnel's numbers, as they were given. How many streams there may be is the relay's to say.
pub(super) fn resolve(given: &Given) -> Result<TunnelConfig, SettingsError> {
    let (heartbeat, silence) = (
        given.value(&HEARTBEAT_INTERVAL)?,
        given.value(&SILENCE_LIMIT)?,
    );
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
        stream_window: given.value(&TUNNEL_STREAM_WINDOW)?,
        max_header_bytes: given.value(&TUNNEL_MAX_HEADER_BYTES)?,
        heartbeat,
        silence,
        ..TunnelConfig::default()
    })
}
