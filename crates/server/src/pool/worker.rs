//! A worker under one of its ids, and the guard of its membership in the pool.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llamapool_pool::{Availability, PoolLoad, PoolModel, PoolSpeed, WorkerId, WorkerSettings};
use llamapool_wire::llm::{CallProgress, CallReport, Load, ModelInfo, Models, RuntimeInfo};
use llamapool_wire::{Offer, ProviderHealth};
use parking_lot::Mutex;

use super::handle::WorkerPool;
use super::stats::WorkerTotals;
use crate::directory::Member;

/// The kind of a runtime that does not report what is loaded: its models count as loaded once a call
/// to them went well.
const UNREPORTED: &str = "openai";

/// A worker under one of its ids.
#[derive(Debug)]
pub(crate) struct PoolWorker {
    /// Its number in the pool.
    pub(crate) id: WorkerId,
    /// Its tunnel and its identity.
    pub(crate) member: Arc<Member>,
    /// The counts of its calls.
    pub(crate) totals: WorkerTotals,
    reported: Mutex<Reported>,
    /// The models that were loaded by the last load, `None` before the first one.
    resident: Mutex<Option<HashSet<String>>>,
    has_left: AtomicBool,
}

/// What the worker reported last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reported {
    pub(crate) runtime: RuntimeInfo,
    pub(crate) models: Vec<ModelInfo>,
    pub(crate) load: Load,
}

/// The membership of a worker in the pool. Dropping it removes the worker.
#[must_use]
pub(crate) struct WorkerSeat {
    pool: WorkerPool,
    worker: Arc<PoolWorker>,
}

impl PoolWorker {
    pub(super) fn new(id: WorkerId, member: Arc<Member>, runtime: RuntimeInfo) -> Self {
        let reported = Reported {
            runtime,
            ..Reported::default()
        };
        Self {
            id,
            member,
            totals: WorkerTotals::default(),
            reported: Mutex::new(reported),
            resident: Mutex::default(),
            has_left: AtomicBool::new(false),
        }
    }

    /// Returns what the worker reported last.
    pub(crate) fn reported(&self) -> Reported {
        self.reported.lock().clone()
    }

    /// Returns the name for people: its own, or else its id.
    pub(crate) fn name(&self) -> &str {
        let name = self.member.identity.name.as_str();
        if name.is_empty() {
            self.member.id.as_str()
        } else {
            name
        }
    }

    /// Returns whether it has left the pool.
    pub(super) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::SeqCst)
    }

    /// Notes that it has left the pool.
    pub(super) fn note_left(&self) {
        self.has_left.store(true, Ordering::SeqCst);
    }

    /// Takes a load. Counts the models that were loaded since the one before.
    fn take_load(&self, load: Load) {
        let mut reported = self.reported.lock();
        let models = &reported.models;
        let names = load
            .resident
            .iter()
            .filter_map(|at| models.get(usize::from(*at)));
        let resident: HashSet<String> = names.map(|model| model.name.clone()).collect();
        let reports_loads = reported.runtime.runtime != UNREPORTED && !models.is_empty();
        reported.load = load;
        drop(reported);

        let mut known = self.resident.lock();
        if let Some(before) = known.as_ref().filter(|_| reports_loads) {
            for name in resident.difference(before) {
                self.totals.count_load(&name.as_str().into());
            }
        }
        if reports_loads {
            *known = Some(resident);
        }
    }

    /// Returns the kind of its runtime, as it reports it.
    pub(super) fn runtime(&self) -> String {
        self.reported.lock().runtime.runtime.clone()
    }

    /// Returns whether its runtime keeps responses that later calls refer to.
    pub(crate) fn keeps_responses(&self) -> bool {
        self.reported.lock().runtime.keeps_responses
    }

    /// Returns how many of so many inputs its runtime takes in one request for embeddings, at least 1.
    pub(crate) fn embedding_batch_size(&self, inputs: usize) -> usize {
        let most = self.reported.lock().runtime.embedding_batch_size;
        let most = usize::try_from(most).ok().filter(|most| *most > 0);
        most.unwrap_or(inputs).min(inputs).max(1)
    }

    /// Returns the settings that the pool has of the worker.
    pub(super) fn settings(&self) -> WorkerSettings {
        let reported = self.reported.lock();
        WorkerSettings {
            name: self.name().to_owned(),
            runtime: reported.runtime.runtime.clone(),
            slots: reported.runtime.max_concurrency.max(1),
            weight: reported.runtime.weight.max(1),
            keeps_responses: reported.runtime.keeps_responses,
        }
    }
}

impl WorkerSeat {
    pub(super) fn new(pool: WorkerPool, worker: Arc<PoolWorker>) -> Self {
        Self { pool, worker }
    }

    /// Takes a new offer of the worker.
    pub(crate) fn set_offer(&self, offer: &Offer) {
        let runtime = offer.llm.clone().unwrap_or_default();
        let slots = runtime.max_concurrency.max(1);
        self.worker.reported.lock().runtime = runtime;

        let worker = self.worker.id;
        let availability = availability(offer);
        self.pool.change(|pool, now| {
            pool.set_slots(worker, slots, now);
            pool.set_availability(worker, availability, now);
        });
    }

    /// Takes no more calls, as the worker leaves this id.
    pub(crate) fn leave(&self) {
        let worker = self.worker.id;
        self.pool.change(|pool, now| {
            pool.set_availability(worker, Availability::Draining, now);
        });
    }

    /// Takes a new list of models of the worker.
    pub(crate) fn set_models(&self, models: Models) {
        let worker = self.worker.id;
        let known = models.models.iter().map(pool_model).collect();
        self.worker.reported.lock().models = models.models;
        let mixed = self.pool.change(|pool, now| {
            pool.set_models(worker, known, now);
            pool.mixed_embedders(worker)
        });
        for model in mixed {
            let id = self.worker.member.id.as_str();
            tracing::warn!(
                id,
                model = &*model,
                "workers have different weights or runtimes of an embedding model: calls go to those \
                 of one kind alone"
            );
        }
    }

    /// Takes a new load of the worker.
    pub(crate) fn set_load(&self, load: Load) {
        let worker = self.worker.id;
        let known = pool_load(&load);
        self.worker.take_load(load);
        self.pool
            .change(|pool, now| pool.set_load(worker, known, now));
    }

    /// Takes the report of an attempt. One that the server did not give to this worker is ignored.
    pub(crate) fn report(&self, report: &CallReport) {
        self.pool.report(self.worker.id, report);
    }

    /// Takes how much of its prompt an attempt has read. One that the server did not give to this
    /// worker is ignored.
    pub(crate) fn progress(&self, progress: &CallProgress) {
        let worker = self.worker.id;
        self.pool
            .with_ledger(|ledger, _| ledger.progress(worker, progress));
    }
}

impl Drop for WorkerSeat {
    fn drop(&mut self) {
        self.pool.leave(&self.worker);
    }
}

/// Returns whether a worker with this offer takes calls.
pub(super) fn availability(offer: &Offer) -> Availability {
    if offer.draining {
        Availability::Draining
    } else if matches!(offer.provider, ProviderHealth::Unreachable { .. }) {
        Availability::Unreachable
    } else {
        Availability::Ready
    }
}

fn pool_model(model: &ModelInfo) -> PoolModel {
    PoolModel {
        name: model.name.clone(),
        aliases: model.aliases.clone(),
        digest: model.digest.clone(),
        size: model.size,
        params: model.params,
        quantization: model.quantization.clone(),
        family: model.family.clone(),
        context: model.context,
        context_trained: model.context_trained,
        inputs: model.inputs.clone(),
        outputs: model.outputs.clone(),
        capabilities: model.capabilities.clone(),
        apis: model.apis.clone(),
        created: model.created,
    }
}

fn pool_load(load: &Load) -> PoolLoad {
    let speed = load.speed.iter().map(|speed| PoolSpeed {
        model: speed.model,
        prefill: speed.prefill,
        decode: speed.decode,
        load_ms: speed.load_ms,
    });
    PoolLoad {
        elsewhere: load.elsewhere,
        abandoned: load.abandoned,
        resident: load.resident.clone(),
        loading: load.loading.clone(),
        speed: speed.collect(),
    }
}
