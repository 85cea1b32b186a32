//! The relays: who may hold an id, from the claim before the upgrade to the end of the tunnel.
//!
//! A relay under one id is entered into the directory, where calls find it; see `directory`.

mod events;
mod holder_records;
mod pending;
mod registration;
mod registry;
mod tunnel;

use std::time::Duration;

use llamapool_tunnel::TunnelConfig;

pub(crate) use holder_records::{HolderChange, HolderRecords};
pub(crate) use registration::Reservations;
pub(crate) use registry::Registry;
pub(crate) use tunnel::{UPGRADE_TIMEOUT, run_tunnel};

/// The relays and their tunnels.
#[derive(Debug, Clone)]
pub struct RelaysConfig {
    /// The most relays connected at once, each counted once for each of its ids.
    pub max_relays: usize,
    /// How long an id is kept for relays with the secret that it was held with last; zero: it goes
    /// to any relay once its holder is gone.
    pub keep_ids: Duration,
    /// The time for the holder of an id to show life when another relay claims it.
    pub takeover_wait: Duration,
    /// The server's end of the tunnels.
    pub tunnel: TunnelConfig,
}

impl Default for RelaysConfig {
    fn default() -> Self {
        Self {
            max_relays: 10_000,
            keep_ids: Duration::from_secs(7 * 24 * 3600),
            takeover_wait: Duration::from_secs(2),
            tunnel: TunnelConfig::default(),
        }
    }
}
