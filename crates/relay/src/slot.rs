//! One id of the relay, and the provider behind it: a reload can replace the provider while the id
//! stays at the server.

use std::sync::{Arc, OnceLock};

use llamapool_wire::RelayId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::providers::entry::ProviderEntry;

/// One id of the relay, and the provider behind it.
pub(crate) struct Slot {
    id: Arc<OnceLock<RelayId>>,
    entry: watch::Sender<Arc<ProviderEntry>>,
    /// Cancelled when the relay leaves the id. It never takes it again in this slot.
    left: CancellationToken,
}

impl Slot {
    /// A slot for the id of a provider.
    pub(crate) fn new(entry: Arc<ProviderEntry>) -> Arc<Self> {
        Arc::new(Self {
            id: entry.shared_id().clone(),
            entry: watch::Sender::new(entry),
            left: CancellationToken::new(),
        })
    }

    /// Returns the id, `None` while the server has not assigned one.
    pub(crate) fn id(&self) -> Option<&RelayId> {
        self.id.get()
    }

    /// Keeps the id that the server assigned. A slot that has an id keeps that: the dialer has
    /// checked that it is the same.
    pub(crate) fn assign_id(&self, id: RelayId) {
        self.id.get_or_init(|| id);
    }

    /// Returns the provider.
    pub(crate) fn entry(&self) -> Arc<ProviderEntry> {
        self.entry.borrow().clone()
    }

    /// Returns the provider, now and at every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<ProviderEntry>> {
        self.entry.subscribe()
    }

    /// Puts another provider behind the id, and returns the one before.
    pub(crate) fn replace(&self, entry: Arc<ProviderEntry>) -> Arc<ProviderEntry> {
        self.entry.send_replace(entry)
    }

    /// Leaves the id: its event stream ends, and the server sends no more calls.
    pub(crate) fn leave(&self) {
        self.left.cancel();
    }

    /// Returns whether the relay has left the id.
    pub(crate) fn has_left(&self) -> bool {
        self.left.is_cancelled()
    }

    /// Waits until the relay leaves the id.
    pub(crate) async fn left(&self) {
        self.left.cancelled().await;
    }
}
