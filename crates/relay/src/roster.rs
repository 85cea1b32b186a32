//! The providers of the relay at each moment. A reload adds, replaces and removes some.

use std::sync::Arc;

use llamapool_tunnel::TunnelConfig;
use parking_lot::Mutex;

use crate::config::ProviderConfig;
use crate::providers::SharedResources;
use crate::providers::entry::{EntryIdentity, ProviderEntry};
use crate::slot::Slot;

/// The providers of the relay. The lock is short; calls do not take it.
pub(crate) struct Roster {
    state: Mutex<RosterState>,
    shared: SharedResources,
    tls: rustls::ClientConfig,
    tunnel: TunnelConfig,
}

struct RosterState {
    /// The slots, in the order of the configuration; at least one.
    slots: Vec<Arc<Slot>>,
    /// Providers that a reload has removed and that still run.
    retiring: Vec<Arc<ProviderEntry>>,
    /// The place of the next provider, counted from 1 and never given twice.
    next_place: usize,
}

impl Roster {
    /// A roster without providers. They share memory and the start gate, and are reached with `tls`.
    pub(crate) fn new(
        shared: SharedResources,
        tls: rustls::ClientConfig,
        tunnel: TunnelConfig,
    ) -> Self {
        Self {
            state: Mutex::new(RosterState {
                slots: Vec::new(),
                retiring: Vec::new(),
                next_place: 1,
            }),
            shared,
            tls,
            tunnel,
        }
    }

    /// Makes a provider, which is in no slot yet. One that takes the place of another has the id of
    /// that, also where the server assigned it.
    pub(crate) fn make(
        &self,
        config: ProviderConfig,
        instead_of: Option<&Slot>,
    ) -> Arc<ProviderEntry> {
        let identity = match instead_of {
            Some(slot) => EntryIdentity::of(&slot.entry()),
            None => {
                let mut state = self.state.lock();
                let place = state.next_place;
                state.next_place += 1;
                EntryIdentity::new(place, config.id.as_ref())
            }
        };
        let tls = self.tls.clone();
        let entry = ProviderEntry::new(identity, config, &self.tunnel, tls, &self.shared);
        Arc::new(entry)
    }

    /// Returns the slots, in the order of the configuration.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.state.lock().slots.clone()
    }

    /// Replaces the slots.
    pub(crate) fn set_slots(&self, slots: Vec<Arc<Slot>>) {
        self.state.lock().slots = slots;
    }

    /// Returns the providers, in the order of the configuration.
    pub(crate) fn entries(&self) -> Vec<Arc<ProviderEntry>> {
        self.slots().iter().map(|slot| slot.entry()).collect()
    }

    /// Returns the providers, and those that a reload has removed and that still run.
    pub(crate) fn all_entries(&self) -> Vec<Arc<ProviderEntry>> {
        let mut entries = self.entries();
        entries.extend(self.state.lock().retiring.iter().cloned());
        entries
    }

    /// Notes that a provider is in no slot any more and still runs.
    pub(crate) fn add_retiring(&self, entry: Arc<ProviderEntry>) {
        self.state.lock().retiring.push(entry);
    }

    /// Forgets a provider that was removed and has ended.
    pub(crate) fn forget(&self, entry: &Arc<ProviderEntry>) {
        let mut state = self.state.lock();
        state.retiring.retain(|other| !Arc::ptr_eq(other, entry));
    }
}
