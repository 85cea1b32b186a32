//! The handle of the pool: the one lock, the calls that wait, and the clock.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use llamapool_pool::{
    Ask, AskedApi, BudgetError, BudgetKind, BudgetLimits, CallId, Decision, IdMap, KeyId,
    KeySettings, KeyView, ModelView, Placement, Pool, PoolConfig, RefusedError, Resolution,
    ResolvedModel, Retry, Run, ServerAlias, WorkerId, WorkerView,
};
use llamapool_wire::llm::{CallReport, CountSource};
use llamapool_wire::{Offer, RelayId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::ledger::{Ledger, LedgerEvent, Spending};
use super::queue_view::{CachedView, QueueView, QueuedCall};
use super::running::RunningCall;
use super::stats::LlmMetrics;
use super::worker::{PoolWorker, WorkerSeat, availability};
use crate::directory::Member;

/// The most waiting calls whose places are computed.
const QUEUE_VIEW: usize = 10_000;
/// The time for which workers that left are counted as gone, in microseconds.
const GONE_FOR: u64 = 600_000_000;
/// The most workers that left and are counted as gone.
const MAX_GONE: usize = 4096;

/// The pool of workers. Clones are the same pool.
#[derive(Clone)]
pub(crate) struct WorkerPool(Arc<Inner>);

/// The bounds of a key at one time.
pub(crate) struct KeyBounds {
    /// Greater than those of all bounds of the key before.
    pub(crate) version: u64,
    pub(crate) settings: KeySettings,
    pub(crate) limits: BudgetLimits,
}

/// What a pool begins with.
pub(crate) struct PoolSettings {
    pub(crate) config: PoolConfig,
    /// The further names of models.
    pub(crate) aliases: Vec<ServerAlias>,
}

struct Inner {
    state: Mutex<State>,
    ledger: Mutex<Ledger>,
    metrics: LlmMetrics,
    /// The versions of the bounds of the keys that have called, and how much they may use.
    bounds: RwLock<IdMap<KeyId, (u64, BudgetLimits)>>,
    started: Instant,
    next_number: AtomicU64,
    /// When the keeper of the time wakes next, in microseconds.
    wakes_at: AtomicU64,
    /// Notified when it must wake earlier.
    earlier: Notify,
    queue_view: CachedView,
}

struct State {
    pool: Pool,
    waiting: IdMap<CallId, Waiting>,
    workers: IdMap<WorkerId, Arc<PoolWorker>>,
    /// When workers left, and their ids, the latest last.
    left: VecDeque<(u64, RelayId)>,
}

/// The end of a wait: a worker, or why there is none.
type Verdict = Result<RunningCall, RefusedError>;

/// The end of a wait on its way. A receiver that is gone drops the running call, which frees its
/// slot.
type Dispatch = (oneshot::Sender<Verdict>, Verdict);

/// A call that asks for a worker.
struct Asking<'a> {
    call: CallId,
    key: KeyId,
    request_id: &'a str,
}

/// The sender of the decision to a call that waits.
struct Waiting {
    key: KeyId,
    /// The id of its request, for those who look at the queue.
    request_id: Arc<str>,
    sender: oneshot::Sender<Verdict>,
}

/// What a call gets at once.
enum Placed {
    Done(Verdict),
    Waits(Ticket),
}

/// A call that waits. Dropping it leaves the queue.
struct Ticket {
    pool: WorkerPool,
    call: CallId,
    verdict: oneshot::Receiver<Verdict>,
}

impl WorkerPool {
    /// The number of the key of the operator, and of everyone on an open server.
    pub(crate) const OPERATOR: KeyId = KeyId(0);

    /// Returns a pool without workers.
    pub(crate) fn new(settings: PoolSettings, metrics: LlmMetrics) -> Self {
        let mut pool = Pool::new(settings.config);
        pool.set_aliases(settings.aliases);
        let state = State {
            pool,
            waiting: IdMap::default(),
            workers: IdMap::default(),
            left: VecDeque::new(),
        };
        let pool = Self(Arc::new(Inner {
            state: Mutex::new(state),
            ledger: Mutex::default(),
            metrics,
            bounds: RwLock::default(),
            started: Instant::now(),
            next_number: AtomicU64::new(1),
            wakes_at: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
            queue_view: CachedView::default(),
        }));
        pool.set_bounds(Self::OPERATOR, 0, || KeyBounds {
            version: 0,
            settings: KeySettings {
                name: "api_key".to_owned(),
                ..KeySettings::default()
            },
            limits: BudgetLimits::default(),
        });
        pool
    }

    /// Has a key wait and spend by bounds of a version, unless it does by these or later ones.
    pub(crate) fn set_bounds(&self, key: KeyId, version: u64, make: impl FnOnce() -> KeyBounds) {
        let is_set = |bounds: &IdMap<KeyId, (u64, BudgetLimits)>| {
            let set = bounds.get(&key);
            set.is_some_and(|(set, _)| *set >= version)
        };
        if is_set(&self.0.bounds.read()) {
            return;
        }

        // Held to the end: of two versions the later one must be set last.
        let mut bounds = self.0.bounds.write();
        if is_set(&bounds) {
            return;
        }
        let KeyBounds {
            version,
            settings,
            limits,
        } = make();
        bounds.insert(key, (version, limits));
        self.0.metrics.name_key(key, &settings.name);
        self.0.ledger.lock().budget.set_key(key, limits);
        self.change(|pool, now| pool.set_key(key, settings, now));
    }

    /// Adds a worker, which takes calls once it has sent its models.
    pub(crate) fn join(&self, member: Arc<Member>, offer: &Offer) -> WorkerSeat {
        let id = WorkerId(self.next_number());
        let runtime = offer.llm.clone().unwrap_or_default();
        let worker = Arc::new(PoolWorker::new(id, member, runtime));

        let mut state = self.0.state.lock();
        let now = self.now();
        state.workers.insert(id, worker.clone());
        state.pool.worker_joined(id, worker.settings(), now);
        state.pool.set_availability(id, availability(offer), now);
        let dispatches = self.decide(&mut state, now);
        drop(state);

        send_all(dispatches);
        WorkerSeat::new(self.clone(), worker)
    }

    /// Removes a worker.
    pub(super) fn leave(&self, worker: &PoolWorker) {
        let mut state = self.0.state.lock();
        let now = self.now();
        state.workers.remove(&worker.id);
        state.pool.worker_left(worker.id, now);
        state.left.push_back((now, worker.member.id.clone()));
        if state.left.len() > MAX_GONE {
            state.left.pop_front();
        }
        let dispatches = self.decide(&mut state, now);
        drop(state);

        worker.note_left();
        self.0.metrics.worker_left(worker);
        send_all(dispatches);
        let settled = self.with_ledger(|ledger, now| ledger.worker_left(worker.id, now));
        self.carry_out(settled);
    }

    /// Changes the pool, and carries out what follows from it.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Pool, u64) -> R) -> R {
        let mut state = self.0.state.lock();
        let now = self.now();
        let result = change(&mut state.pool, now);
        let dispatches = self.decide(&mut state, now);
        drop(state);

        send_all(dispatches);
        result
    }

    /// Places a call, and waits until it has a worker. Dropping the future leaves the queue. While it
    /// waits, it is listed with the id of its request.
    pub(crate) async fn place(
        &self,
        ask: Ask,
        request_id: &str,
    ) -> Result<RunningCall, RefusedError> {
        let asking = Asking {
            call: ask.call,
            key: ask.key,
            request_id,
        };
        self.placed(asking, |pool, now| pool.place(ask, now)).await
    }

    /// Places a call again that ran, with the place in the queue that it had.
    pub(super) async fn retry(
        &self,
        (call, key): (CallId, KeyId),
        why: Retry,
        request_id: &str,
    ) -> Result<RunningCall, RefusedError> {
        let asking = Asking {
            call,
            key,
            request_id,
        };
        self.placed(asking, |pool, now| pool.retry(call, why, now))
            .await
    }

    async fn placed(
        &self,
        asking: Asking<'_>,
        place: impl FnOnce(&mut Pool, u64) -> Placement,
    ) -> Result<RunningCall, RefusedError> {
        // In a block of its own: the lock must not be held over the await.
        let placed = {
            let mut state = self.0.state.lock();
            let now = self.now();
            let placed = match place(&mut state.pool, now) {
                Placement::Run(run) => {
                    Placed::Done(self.running(&state, asking.call, asking.key, run))
                }
                Placement::Waiting { .. } => Placed::Waits(self.wait(&mut state, &asking)),
                Placement::Refused(error) => Placed::Done(Err(error)),
            };
            let dispatches = self.decide(&mut state, now);
            drop(state);
            send_all(dispatches);
            placed
        };
        match placed {
            Placed::Done(verdict) => verdict,
            Placed::Waits(ticket) => ticket.verdict().await,
        }
    }

    fn wait(&self, state: &mut State, asking: &Asking<'_>) -> Ticket {
        let (sender, verdict) = oneshot::channel();
        let waiting = Waiting {
            key: asking.key,
            request_id: asking.request_id.into(),
            sender,
        };
        state.waiting.insert(asking.call, waiting);
        Ticket {
            pool: self.clone(),
            call: asking.call,
            verdict,
        }
    }

    /// Takes a request and tokens out of the buckets of a key.
    pub(crate) fn reserve(&self, key: KeyId, tokens: u64) -> Result<Spending, BudgetError> {
        let mut ledger = self.0.ledger.lock();
        let reservation = ledger.budget.reserve(key, tokens, self.now())?;
        drop(ledger);
        Ok(Spending::new(self.clone(), reservation))
    }

    /// Returns the sizes of the buckets of a key.
    pub(crate) fn limits(&self, key: KeyId) -> BudgetLimits {
        let bounds = self.0.bounds.read();
        bounds
            .get(&key)
            .map(|(_, limits)| *limits)
            .unwrap_or_default()
    }

    /// Returns what is left in a bucket of a key, and the time until it is full.
    pub(crate) fn remaining(&self, key: KeyId, kind: BudgetKind) -> Option<(u64, Duration)> {
        let ledger = self.0.ledger.lock();
        let (left, micros) = ledger.budget.remaining(key, kind, self.now())?;
        Some((left, Duration::from_micros(micros)))
    }

    /// Takes the report of a worker about an attempt.
    pub(super) fn report(&self, worker: WorkerId, report: &CallReport) {
        let event = self.with_ledger(|ledger, now| ledger.report(worker, report, now));
        self.carry_out(event);
    }

    /// Returns the share of its prompt that an attempt has read, `None` if it is not known.
    pub(crate) fn share_read(&self, attempt: u64) -> Option<f32> {
        self.0.ledger.lock().share_read(attempt)
    }

    /// Finds the model of a name.
    pub(crate) fn resolve(&self, name: &str, api: AskedApi, key: KeyId) -> Resolution {
        self.0.state.lock().pool.resolve(name, api, key)
    }

    /// Returns the names of the models that a key may use with an API.
    pub(crate) fn model_names(&self, api: AskedApi, key: KeyId) -> Vec<Arc<str>> {
        self.0.state.lock().pool.model_names(api, key)
    }

    /// Returns the bytes of text per token, and the largest context, of a model.
    pub(crate) fn measures(&self, model: &ResolvedModel) -> (f64, Option<u64>) {
        let state = self.0.state.lock();
        let bytes_per_token = state.pool.bytes_per_token(model);
        (bytes_per_token, state.pool.largest_context(model))
    }

    /// Returns the number of workers that could start a call for a model now.
    pub(crate) fn free_workers(&self, model: &ResolvedModel) -> usize {
        self.0.state.lock().pool.free_workers(model)
    }

    /// Returns the models that a key may use.
    pub(crate) fn models(&self, key: KeyId) -> Vec<ModelView> {
        let now = self.now();
        self.0.state.lock().pool.models(key, now)
    }

    /// Returns the workers with the pool's view of each, the oldest first.
    pub(crate) fn workers(&self) -> Vec<(Arc<PoolWorker>, WorkerView)> {
        let state = self.0.state.lock();
        let views = state.pool.workers();
        let workers = views.into_iter().filter_map(|view| {
            let worker = state.workers.get(&view.id)?;
            Some((worker.clone(), view))
        });
        workers.collect()
    }

    /// Returns the worker that is connected under an id.
    pub(crate) fn worker_of_id(&self, id: &RelayId) -> Option<Arc<PoolWorker>> {
        let state = self.0.state.lock();
        let mut workers = state.workers.values();
        workers.find(|worker| worker.member.id == *id).cloned()
    }

    /// Returns the number of workers that left not long ago and have not come back.
    pub(crate) fn gone(&self) -> usize {
        let since = self.now().saturating_sub(GONE_FOR);
        let state = self.0.state.lock();
        let left = state.left.iter().filter(|(at, _)| *at >= since);
        let mut gone: HashSet<&RelayId> = left.map(|(_, id)| id).collect();
        for worker in state.workers.values() {
            gone.remove(&worker.member.id);
        }
        gone.len()
    }

    /// Returns the keys.
    pub(crate) fn keys(&self) -> Vec<KeyView> {
        self.0.state.lock().pool.keys()
    }

    /// Returns the number of calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.state.lock().pool.waiting()
    }

    /// Returns the calls that wait, in the order in which they would run.
    pub(crate) fn queue(&self) -> Arc<QueueView> {
        self.0.queue_view.get(|| {
            let state = self.0.state.lock();
            let queue = state.pool.queue(QUEUE_VIEW, self.now()).into_iter();
            let calls = queue.filter_map(|entry| {
                let request_id = state.waiting.get(&entry.call)?.request_id.clone();
                Some(QueuedCall { entry, request_id })
            });
            QueueView::new(calls.collect())
        })
    }

    /// Returns the metrics of the calls.
    pub(crate) fn metrics(&self) -> &LlmMetrics {
        &self.0.metrics
    }

    /// Returns a number that no call, attempt or worker has had.
    pub(crate) fn next_number(&self) -> u64 {
        self.0.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the time of the pool, in microseconds.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Carries out what is due at a certain time. Never returns.
    pub(crate) async fn keep_time(&self) {
        loop {
            let earlier = self.0.earlier.notified();
            let next = self.next_deadline();
            self.0.wakes_at.store(next, Ordering::SeqCst);
            // Again, as it may have moved before the store.
            let next = next.min(self.next_deadline());

            let at = self.0.started.checked_add(Duration::from_micros(next));
            let due = async {
                match at.filter(|_| next < u64::MAX) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Not biased: both lead to the same look.
            tokio::select! {
                () = due => {}
                () = earlier => {}
            }
            self.look();
        }
    }

    /// Carries out what is due now.
    fn look(&self) {
        self.change(|_, _| ());
        let due = self.with_ledger(Ledger::due);
        self.carry_out(due);
    }

    /// Carries out what happened to attempts.
    pub(super) fn carry_out(&self, events: impl IntoIterator<Item = LedgerEvent>) {
        for event in events {
            let frees = match event {
                LedgerEvent::Freed(call, outcome) => Some((call, outcome)),
                LedgerEvent::Settled(settled) => {
                    if settled.key.is_some() && settled.report.source == CountSource::Estimate {
                        let attempt = settled.report.attempt;
                        let worker = settled.worker.name();
                        tracing::debug!(attempt, worker, "an attempt is settled by an estimate");
                    }
                    self.0.metrics.record(&settled);
                    settled.frees
                }
            };
            if let Some((call, outcome)) = frees {
                self.change(|pool, now| pool.finished(call, outcome, now));
            }
        }
    }

    fn next_deadline(&self) -> u64 {
        let of_pool = self.0.state.lock().pool.next_deadline();
        let of_ledger = self.0.ledger.lock().next_deadline();
        of_pool
            .into_iter()
            .chain(of_ledger)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Wakes the keeper of the time if it would wake too late.
    fn wake_by(&self, deadline: Option<u64>) {
        let Some(deadline) = deadline else { return };
        if deadline < self.0.wakes_at.load(Ordering::SeqCst) {
            self.0.earlier.notify_one();
        }
    }

    /// Changes the ledger, and wakes the keeper of the time for what it added.
    pub(super) fn with_ledger<R>(&self, change: impl FnOnce(&mut Ledger, u64) -> R) -> R {
        let mut ledger = self.0.ledger.lock();
        let result = change(&mut ledger, self.now());
        let deadline = ledger.next_deadline();
        drop(ledger);
        self.wake_by(deadline);
        result
    }

    /// Takes the decisions that follow from a change. The result is to be carried out without the
    /// lock.
    fn decide(&self, state: &mut State, now: u64) -> Vec<Dispatch> {
        let mut dispatches = Vec::new();
        for decision in state.pool.take_decisions(now) {
            let (call, run) = match decision {
                Decision::Run(call, run) => (call, Ok(run)),
                Decision::Expired(call, error) => (call, Err(error)),
            };
            // A call leaves this table and the pool at once, so each decision finds its call.
            if let Some(Waiting { key, sender, .. }) = state.waiting.remove(&call) {
                let verdict = run.and_then(|run| self.running(state, call, key, run));
                dispatches.push((sender, verdict));
            }
        }
        self.wake_by(state.pool.next_deadline());
        dispatches
    }

    fn running(&self, state: &State, call: CallId, key: KeyId, run: Run) -> Verdict {
        let worker = state.workers.get(&run.worker).cloned();
        let worker = worker.ok_or(RefusedError::NoWorker)?;
        Ok(RunningCall::new(self.clone(), call, key, worker, run))
    }
}

impl Ticket {
    /// Waits for the decision.
    async fn verdict(mut self) -> Verdict {
        let verdict = (&mut self.verdict).await;
        verdict.unwrap_or(Err(RefusedError::NoWorker))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.pool.0.state.lock();
        if state.waiting.remove(&self.call).is_none() {
            return;
        }
        let now = self.pool.now();
        state.pool.cancel(self.call, now);
        let dispatches = self.pool.decide(&mut state, now);
        drop(state);
        send_all(dispatches);
    }
}

/// Sends each decision to the call that waits for it.
fn send_all(dispatches: Vec<Dispatch>) {
    for (sender, verdict) in dispatches {
        drop(sender.send(verdict));
    }
}

#[cfg(test)]
impl WorkerPool {
    /// Returns a pool without workers and with one key.
    pub(crate) fn empty(metrics: &crate::metrics::Metrics) -> Self {
        let settings = PoolSettings {
            config: PoolConfig::default(),
            aliases: Vec::new(),
        };
        Self::new(settings, LlmMetrics::new(metrics, super::GenAi::Off))
    }
}
