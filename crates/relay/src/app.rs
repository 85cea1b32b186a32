//! The parts that every task of the relay works with. `relay` puts them together.

use std::sync::Arc;

use llamapool_limits::MemoryBudget;
use tokio_util::sync::CancellationToken;

use crate::config::RelayConfig;
use crate::providers::entry::ProviderEntry;
use crate::roster::Roster;
use crate::status::link::LinkStatus;

/// The parts that every task of the relay works with.
pub(crate) struct App {
    pub(crate) config: RelayConfig,
    /// The providers.
    pub(crate) roster: Roster,
    /// The port of the status server, `None` if there is none.
    pub(crate) status_port: Option<u16>,
    /// The memory of the process.
    pub(crate) memory: MemoryBudget,
    pub(crate) link: LinkStatus,
    /// Cancelled when the relay is to drain and end.
    pub(crate) stop: CancellationToken,
}

impl App {
    /// Returns the providers, in the order of the configuration; at least one.
    pub(crate) fn providers(&self) -> Vec<Arc<ProviderEntry>> {
        self.roster.entries()
    }

    /// Drains all providers, or takes calls for all of them again.
    pub(crate) fn set_draining(&self, is_draining: bool) {
        for entry in self.roster.all_entries() {
            entry.status.set_draining(is_draining);
        }
    }

    /// Returns whether no provider takes new calls.
    pub(crate) fn is_draining(&self) -> bool {
        let entries = self.providers();
        entries.iter().all(|entry| entry.status.is_draining())
    }

    /// Returns how many calls run now, of all providers.
    pub(crate) fn running_calls(&self) -> usize {
        let entries = self.roster.all_entries();
        let running = entries.iter().map(|entry| entry.status.calls().running());
        running.sum()
    }

    /// Waits until no call of any provider runs.
    pub(crate) async fn until_idle(&self) {
        while self.running_calls() > 0 {
            for entry in self.roster.all_entries() {
                entry.status.calls().until_idle().await;
            }
        }
    }
}
