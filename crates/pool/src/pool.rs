//! The pool: every event goes in here, and every decision comes out.
//!
//! Each event is carried out at once, with all that follows from it for calls that wait; the decisions
//! are kept until the server takes them.

mod call_state;
mod dispatch;
mod expected;
mod gather;
mod place;
#[cfg(test)]
mod tests;
mod views;
mod workers;

use crate::affinity::Affinity;
use crate::catalogue::{Catalogue, Entry};
use crate::pool::call_state::Call;
use crate::pool::gather::Gather;
use crate::queue::Queues;
use crate::random::Random;
use crate::{
    AskedApi, CallId, Decision, IdMap, KeyId, KeySettings, PoolConfig, Resolution, ResolvedModel,
    ServerAlias,
};

/// Workers, their models, and the calls that wait or run. Kept behind one lock.
///
/// `now` is in microseconds of one clock that does not go back. After any change,
/// [`Pool::take_decisions`] returns what follows from it for calls that wait.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    catalogue: Catalogue,
    queues: Queues,
    calls: IdMap<CallId, Call>,
    affinity: Affinity,
    random: Random,
    decisions: Vec<Decision>,
    last_seq: u64,
}

impl Pool {
    /// Returns a pool without workers.
    pub fn new(config: PoolConfig) -> Self {
        Self {
            catalogue: Catalogue::new(),
            queues: Queues::new(config.ageing),
            calls: IdMap::default(),
            affinity: Affinity::new(config.affinity_entries),
            random: Random::new(config.seed),
            decisions: Vec::new(),
            last_seq: 0,
            config,
        }
    }

    /// Sets the settings of a key. Keys without settings have the default ones.
    pub fn set_key(&mut self, key: KeyId, settings: KeySettings, now: u64) {
        self.queues.keys.set(key, settings);
        self.queues.update_key(key, now);
        self.dispatch_key(key, now);
    }

    /// Sets the aliases of the server, in place of those before.
    pub fn set_aliases(&mut self, aliases: Vec<ServerAlias>) {
        self.catalogue.names.set_server_aliases(aliases);
        self.catalogue.version += 1;
    }

    /// Finds the model of a name for a key.
    pub fn resolve(&self, name: &str, api: impl Into<AskedApi>, key: KeyId) -> Resolution {
        let keys = (&self.queues.keys, key);
        self.catalogue
            .resolve(name, api.into(), keys, self.config.alias_fallback)
    }

    /// Returns the learned bytes of text per token of a model.
    pub fn bytes_per_token(&self, model: &ResolvedModel) -> f64 {
        let entry = self.entry(model.entry, model.serial);
        entry.map_or(Entry::BYTES_PER_TOKEN, |entry| entry.bytes_per_token)
    }

    /// Returns the largest context of the model's workers in tokens, `None` if none is known.
    pub fn largest_context(&self, model: &ResolvedModel) -> Option<u64> {
        let entry = self.entry(model.entry, model.serial)?;
        entry.context_range().map(|(_, largest)| largest)
    }

    /// Returns the number of workers that could start a call for the model now.
    pub fn free_workers(&self, model: &ResolvedModel) -> usize {
        let entry = self.entry(model.entry, model.serial);
        entry.map_or(0, Entry::free)
    }

    /// Returns the decisions about waiting calls that follow from what happened since the last time, and
    /// from the time that has passed.
    pub fn take_decisions(&mut self, now: u64) -> Vec<Decision> {
        self.fire_timers(now);
        self.catalogue.forget(now);
        std::mem::take(&mut self.decisions)
    }

    /// Returns the moment at which [`Pool::take_decisions`] has something to do though nothing happens;
    /// 0 if it has now.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.decisions.is_empty() {
            self.queues.timers.next()
        } else {
            Some(0)
        }
    }

    /// Returns the number of calls that wait.
    pub fn waiting(&self) -> usize {
        self.queues.waiting
    }

    /// Returns a number that changes with the models, their workers and their residency.
    pub fn catalogue_version(&self) -> u64 {
        self.catalogue.version
    }

    fn entry(&self, at: usize, serial: u64) -> Option<&Entry> {
        let entry = self.catalogue.entries.get(at);
        entry.filter(|entry| entry.serial == serial)
    }

    fn gather(&mut self, now: u64) -> (Gather<'_>, &IdMap<CallId, Call>) {
        let gather = Gather {
            catalogue: &self.catalogue,
            affinity: &mut self.affinity,
            random: &mut self.random,
            config: &self.config,
            now,
            is_last_resort: false,
        };
        (gather, &self.calls)
    }
}
