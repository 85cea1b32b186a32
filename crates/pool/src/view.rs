//! What lists show: models, workers, keys, the queue.

use std::sync::Arc;

use crate::{Availability, CallId, Class, KeyId, PoolModel, WorkerId};

/// One model of the catalogue, over all its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelView {
    /// The name in the catalogue.
    pub name: Arc<str>,
    /// What the first of its workers reported.
    pub model: PoolModel,
    /// Other names of it on its workers, sorted.
    pub aliases: Vec<String>,
    /// APIs that any of its workers has, sorted.
    pub apis: Vec<String>,
    /// Names of its workers, sorted, at most [`ModelView::MAX_NAMES`].
    pub worker_names: Vec<String>,
    /// Number of its workers.
    pub workers: usize,
    /// Kinds of their runtimes, sorted.
    pub runtimes: Vec<String>,
    /// Number of variants, by weights and kind of runtime, whose embeddings do not mix. More than one is
    /// worth a warning.
    pub variants: usize,
    /// Number of workers that have it loaded.
    pub resident_on: usize,
    /// Free slots of all its workers that take calls.
    pub free_slots: usize,
    /// Calls that wait for it.
    pub waiting: usize,
    /// Microseconds that the oldest of them has waited.
    pub oldest_wait: u64,
    /// The smallest context of its workers in tokens, 0 if none is known.
    pub context: u64,
    /// The largest context of its workers in tokens, 0 if none is known.
    pub context_max: u64,
    /// When the pool saw it first, in the pool's microseconds.
    pub first_seen: u64,
}

/// The state of a worker's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// None goes through.
    Open,
    /// One goes through as a trial.
    Trial,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// Its number.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// The kind of its runtime.
    pub runtime: String,
    /// The most concurrent calls.
    pub slots: u32,
    /// Calls of this server that hold slots.
    pub running: u32,
    /// Slots that others use.
    pub elsewhere: u32,
    /// Calls that nobody waits for and that it still computes.
    pub abandoned: u32,
    /// Whether it takes calls.
    pub availability: Availability,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Names of its models.
    pub models: Vec<Arc<str>>,
    /// Names of the loaded ones.
    pub resident: Vec<Arc<str>>,
    /// Names of those that are being loaded.
    pub loading: Vec<Arc<str>>,
}

/// One waiting call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// The call.
    pub call: CallId,
    /// The key of its caller.
    pub key: KeyId,
    /// The model in the catalogue.
    pub model: Arc<str>,
    /// Its class, without ageing.
    pub class: Class,
    /// The place in the queue of its model, from 1.
    pub position: usize,
    /// Calls in the queue of its model.
    pub of: usize,
    /// Microseconds that it has waited.
    pub waited: u64,
    /// Expected microseconds to its first content, `None` where no worker takes calls now.
    pub expected: Option<u64>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its number.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// Its weight in thousandths.
    pub weight: u32,
    /// Calls that hold slots.
    pub running: usize,
    /// Calls that wait.
    pub waiting: usize,
}

impl ModelView {
    /// The most names of workers: ten thousand are no answer.
    pub const MAX_NAMES: usize = 8;
}
