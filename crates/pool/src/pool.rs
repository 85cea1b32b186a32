//! The pool: every event goes in here, and every decision comes out.

use crate::{
    Ask, Availability, CallId, Decision, KeyId, KeySettings, KeyView, ModelView, Outcome,
    Placement, PoolConfig, PoolLoad, PoolModel, QueueEntry, RefusedError, Resolution,
    ResolvedModel, Retry, ServerAlias, WorkerId, WorkerSettings, WorkerView,
};

/// Workers, their models, and the calls that wait or run. Kept behind one lock.
///
/// `now` is in microseconds of one clock that does not go back. After any change,
/// [`Pool::take_decisions`] returns what follows from it for calls that wait.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
}

impl Pool {
    /// Returns a pool without workers.
    pub fn new(config: PoolConfig) -> Self {
        Self { config }
    }

    /// Sets the settings of a key. Keys without settings have the default ones.
    pub fn set_key(&mut self, key: KeyId, settings: KeySettings) {
        let _ = (key, settings);
    }

    /// Sets the aliases of the server, in place of those before.
    pub fn set_aliases(&mut self, aliases: Vec<ServerAlias>) {
        let _ = aliases;
    }

    /// Adds a worker, without models.
    pub fn worker_joined(&mut self, worker: WorkerId, settings: WorkerSettings, now: u64) {
        let _ = (worker, settings, now);
    }

    /// Replaces the models of a worker. Speeds and residency of models that stay are kept.
    pub fn set_models(&mut self, worker: WorkerId, models: Vec<PoolModel>, now: u64) {
        let _ = (worker, models, now);
    }

    /// Sets the load of a worker.
    pub fn set_load(&mut self, worker: WorkerId, load: PoolLoad, now: u64) {
        let _ = (worker, load, now);
    }

    /// Sets whether a worker takes new calls.
    pub fn set_availability(&mut self, worker: WorkerId, availability: Availability, now: u64) {
        let _ = (worker, availability, now);
    }

    /// Sets the most concurrent calls of a worker.
    pub fn set_slots(&mut self, worker: WorkerId, slots: u32, now: u64) {
        let _ = (worker, slots, now);
    }

    /// Sets the round trip of a worker's tunnel, in microseconds.
    pub fn set_round_trip(&mut self, worker: WorkerId, round_trip: u64) {
        let _ = (worker, round_trip);
    }

    /// Removes a worker. Its running calls stay until they are finished or retried.
    pub fn worker_left(&mut self, worker: WorkerId, now: u64) {
        let _ = (worker, now);
    }

    /// Counts evidence against a worker: refused connections, 502, 503, 504, streams that broke off or
    /// stalled, no first content in time. Never 500 or 4xx, which may be the caller's fault.
    pub fn worker_failed(&mut self, worker: WorkerId, key: KeyId, now: u64) {
        let _ = (worker, key, now);
    }

    /// Counts an answer of a worker, which ends the evidence against it.
    pub fn worker_succeeded(&mut self, worker: WorkerId, now: u64) {
        let _ = (worker, now);
    }

    /// Finds the model of a name for a key.
    pub fn resolve(&self, name: &str, api: &str, key: KeyId) -> Resolution {
        let _ = (name, api, key, self.config.alias_fallback);
        Resolution::NotFound
    }

    /// Returns the names of models that a key may use with an API and that have a worker, sorted.
    pub fn model_names(&self, api: &str, key: KeyId) -> Vec<std::sync::Arc<str>> {
        let _ = (api, key);
        Vec::new()
    }

    /// Returns the learned bytes of text per token of a model.
    pub fn bytes_per_token(&self, model: &ResolvedModel) -> f64 {
        let _ = model;
        4.0
    }

    /// Returns the largest context of the model's workers in tokens, `None` if none is known.
    pub fn largest_context(&self, model: &ResolvedModel) -> Option<u64> {
        let _ = model;
        None
    }

    /// Returns the number of workers that could start a call for the model now.
    pub fn free_workers(&self, model: &ResolvedModel) -> usize {
        let _ = model;
        0
    }

    /// Places a call: it runs, waits, or is refused.
    pub fn place(&mut self, ask: Ask, now: u64) -> Placement {
        let _ = (ask, now);
        Placement::Refused(RefusedError::NoWorker)
    }

    /// Places a running call again, before all later calls of its key. Refused, it is not in the pool any
    /// more.
    pub fn retry(&mut self, call: CallId, why: Retry, now: u64) -> Placement {
        let _ = (why, now);
        Placement::Refused(RefusedError::Unknown(call))
    }

    /// Removes a waiting call whose caller has left.
    pub fn cancel(&mut self, call: CallId, now: u64) {
        let _ = (call, now);
    }

    /// Marks first content of a running call: its worker now has the prompt in its cache.
    pub fn first_content(&mut self, call: CallId, now: u64) {
        let _ = (call, now);
    }

    /// Ends a running call and frees its slot.
    pub fn finished(&mut self, call: CallId, outcome: Outcome, now: u64) {
        let _ = (call, outcome, now);
    }

    /// Returns the decisions about waiting calls that follow from what happened since the last time.
    pub fn take_decisions(&mut self, now: u64) -> Vec<Decision> {
        let _ = now;
        Vec::new()
    }

    /// Returns the moment at which [`Pool::take_decisions`] has something to do though nothing happens.
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Returns the models that a key may use, sorted by name.
    pub fn models(&self, key: KeyId, now: u64) -> Vec<ModelView> {
        let _ = (key, now);
        Vec::new()
    }

    /// Returns the workers, in the order of their numbers.
    pub fn workers(&self) -> Vec<WorkerView> {
        Vec::new()
    }

    /// Returns the keys that have settings or calls, in the order of their numbers.
    pub fn keys(&self) -> Vec<KeyView> {
        Vec::new()
    }

    /// Returns the waiting calls in the order in which they would run if no other came, model by model,
    /// at most `max`. Costs O(n log K): for lists, at most every two seconds.
    pub fn queue(&self, max: usize, now: u64) -> Vec<QueueEntry> {
        let _ = (max, now);
        Vec::new()
    }

    /// Returns the place of a waiting call in the queue of its model, and the calls there. `None` if it
    /// does not wait. Costs as much as [`Pool::queue`] for one model.
    pub fn position(&self, call: CallId) -> Option<(usize, usize)> {
        let _ = call;
        None
    }

    /// Returns the number of calls that wait.
    pub fn waiting(&self) -> usize {
        0
    }

    /// Returns a number that changes with the models, their workers and their residency.
    pub fn catalogue_version(&self) -> u64 {
        0
    }
}
