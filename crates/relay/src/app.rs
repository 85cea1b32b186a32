//! The parts that every task of the relay works with. `relay` puts them together.

use std::sync::Arc;

use llamapool_http::ListenerStreams;
use llamapool_limits::MemoryBudget;
use tokio_util::sync::CancellationToken;

use crate::config::RelayConfig;
use crate::dial::Dialer;
use crate::providers::entry::ProviderEntry;
use crate::status::link::LinkStatus;

/// The parts that every task of the relay works with.
pub(crate) struct App {
    pub(crate) config: RelayConfig,
    /// The providers, in the order of the configuration; at least one.
    pub(crate) providers: Vec<Arc<ProviderEntry>>,
    /// The port of the status server, `None` if there is none.
    pub(crate) status_port: Option<u16>,
    /// The memory of the process.
    pub(crate) memory: MemoryBudget,
    pub(crate) link: LinkStatus,
    pub(crate) dialer: Dialer,
    /// The streams on which callers only listen.
    pub(crate) listeners: ListenerStreams,
    /// Cancelled when the relay is to drain and end.
    pub(crate) stop: CancellationToken,
}

impl App {
    /// Returns the provider with an id, `None` if the relay has none.
    pub(crate) fn provider(&self, id: &str) -> Option<&Arc<ProviderEntry>> {
        self.providers
            .iter()
            .find(|entry| entry.id().is_some_and(|own| own.as_str() == id))
    }

    /// Drains all providers, or takes calls for all of them again.
    pub(crate) fn set_draining(&self, is_draining: bool) {
        for entry in &self.providers {
            entry.status.set_draining(is_draining);
        }
    }

    /// Returns whether no provider takes new calls.
    pub(crate) fn is_draining(&self) -> bool {
        self.providers
            .iter()
            .all(|entry| entry.status.is_draining())
    }

    /// Returns how many calls run now, of all providers.
    pub(crate) fn running_calls(&self) -> usize {
        self.providers
            .iter()
            .map(|entry| entry.status.calls().running())
            .sum()
    }

    /// Waits until no call of any provider runs.
    pub(crate) async fn until_idle(&self) {
        while self.running_calls() > 0 {
            for entry in &self.providers {
                entry.status.calls().until_idle().await;
            }
        }
    }
}
