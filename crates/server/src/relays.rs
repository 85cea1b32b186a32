//! The relays: who may hold an id, from the claim before the upgrade to the end of the tunnel.
//!
//! A relay under one id is entered into the directory, where calls find it; see `directory`.

mod events;
mod registration;
mod registry;
mod tunnel;

use std::time::Duration;

use llamapool_tunnel::TunnelConfig;

pub(crate) use registration::Reservation;
pub(crate) use registry::Registry;
pub(crate) use tunnel::{UPGRADE_TIMEOUT, ids_for_log, run_tunnel};

/// The relays and their tunnels.
#[derive(Debug, Clone)]
pub struct RelaysConfig {
    /// The most relays connected at once, each counted once for each of its ids.
    pub max_relays: usize,
    /// The time for the holder of an id to show life when another relay claims it.
    pub takeover_wait: Duration,
    /// The server's end of the tunnels.
    pub tunnel: TunnelConfig,
}

impl Default for RelaysConfig {
    fn default() -> Self {
        Self {
            max_relays: 10_000,
            takeover_wait: Duration::from_secs(2),
            tunnel: TunnelConfig::default(),
        }
    }
}
