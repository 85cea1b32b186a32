//! Lists of models, workers, keys and the queue.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::catalogue::{Entry, HeldModel, Worker};
use crate::pool::Pool;
use crate::pool::call_state::CallState;
use crate::queue::Queue;
use crate::{AskedApi, CallId, Class, KeyId, KeyView, ModelView, QueueEntry, WorkerId, WorkerView};

/// A line in a dry run: the smallest is served next.
type Place = Reverse<(Reverse<Class>, i128, u64, usize)>;

impl Pool {
    /// Returns the models that a key may use, sorted by name.
    pub fn models(&self, key: KeyId, now: u64) -> Vec<ModelView> {
        let entries = self.allowed_models(key);
        let views = entries.map(|entry| self.model_view(entry, now));
        let mut views: Vec<ModelView> = views.collect();
        views.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Returns the names of models that a key may use with an API and that have a worker, sorted.
    pub fn model_names(&self, api: impl Into<AskedApi>, key: KeyId) -> Vec<Arc<str>> {
        let api = api.into();
        let has_api = |entry: &&Entry| self.catalogue.served_by(entry, api).is_some();
        let entries = self.allowed_models(key).filter(has_api);
        let mut names: Vec<Arc<str>> = entries.map(|entry| Arc::clone(&entry.name)).collect();
        names.sort_unstable();
        names
    }

    fn allowed_models(&self, key: KeyId) -> impl Iterator<Item = &Entry> {
        let entries = self.catalogue.names.models();
        let entries = entries.map(|entry| &self.catalogue.entries[entry]);
        entries.filter(move |entry| entry.attached > 0 && self.queues.keys.allows(key, &entry.name))
    }

    fn model_view(&self, entry: &Entry, now: u64) -> ModelView {
        let mut aliases = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut runtimes = BTreeSet::new();
        let mut apis = 0;
        let mut resident_on = 0;
        let mut free_slots = 0;
        let mut first: Option<(u32, &HeldModel)> = None;
        for (worker, held) in self.holders(entry) {
            aliases.extend(held.model.aliases.iter().cloned());
            names.insert(worker.settings.name.as_str());
            runtimes.insert(worker.settings.runtime.as_str());
            apis |= held.apis;
            resident_on += usize::from(held.resident.is_some());
            if worker.is_free() {
                free_slots += worker.settings.slots.saturating_sub(worker.busy()) as usize;
            }
            if first.is_none_or(|(serial, _)| worker.serial < serial) {
                first = Some((worker.serial, held));
            }
        }

        let (waiting, oldest_wait) = self.waiting_for(entry, now);
        let (context, context_max) = entry.context_range().unwrap_or_default();
        let mut apis: Vec<String> = self.catalogue.api_words(apis).cloned().collect();
        apis.sort_unstable();
        let model = first.map(|(_, held)| (*held.model).clone());
        ModelView {
            name: Arc::clone(&entry.name),
            model: model.unwrap_or_default(),
            aliases: aliases.into_iter().collect(),
            apis,
            workers: entry.len(),
            worker_names: names
                .into_iter()
                .take(ModelView::MAX_NAMES)
                .map(str::to_owned)
                .collect(),
            runtimes: runtimes.into_iter().map(str::to_owned).collect(),
            variants: entry.variants.len(),
            resident_on,
            free_slots,
            waiting,
            oldest_wait,
            context,
            context_max,
            first_seen: entry.first_seen,
        }
    }

    fn holders<'a>(
        &'a self,
        entry: &'a Entry,
    ) -> impl Iterator<Item = (&'a Worker, &'a HeldModel)> + 'a {
        entry.holders().map(|holder| {
            let worker = &self.catalogue.workers[holder.worker];
            let member = &worker.memberships[holder.membership];
            (worker, &worker.models[usize::from(member.model)])
        })
    }

    /// Returns the calls that wait for an entry or its variants, and the microseconds of the oldest.
    fn waiting_for(&self, entry: &Entry, now: u64) -> (usize, u64) {
        let variants = entry
            .variants
            .values()
            .filter_map(|at| self.catalogue.entries[*at].queue);
        let queues = entry.queue.into_iter().chain(variants);
        queues.fold((0, 0), |(waiting, oldest), queue| {
            let queue = &self.queues.queues[queue];
            let fronts = queue
                .lines
                .values()
                .filter_map(|line| self.queues.lines[*line].front());
            let waits = fronts.map(|(_, front)| now.saturating_sub(front.queued_at));
            (
                waiting + queue.waiting,
                oldest.max(waits.max().unwrap_or(0)),
            )
        })
    }

    /// Returns the names of a worker's models that only make embeddings, of which other workers have other
    /// weights or another kind of runtime: calls go to one of them alone.
    pub fn mixed_embedders(&self, worker: WorkerId) -> Vec<Arc<str>> {
        let Some(at) = self.catalogue.worker_index(worker) else {
            return Vec::new();
        };
        let worker = &self.catalogue.workers[at];
        let entries = worker.memberships.iter().filter_map(|member| {
            let outputs = &worker.models[usize::from(member.model)].model.outputs;
            let entry = &self.catalogue.entries[member.entry];
            let variants = entry.variants.values();
            let attached = variants.filter(|at| self.catalogue.entries[**at].attached > 0);
            let is_embedder = outputs.iter().any(|output| output == "embedding");
            (is_embedder && attached.count() > 1).then(|| Arc::clone(&entry.name))
        });
        entries.collect()
    }

    /// Returns the workers, in the order of their numbers.
    pub fn workers(&self) -> Vec<WorkerView> {
        let workers = self.catalogue.workers.iter();
        let mut views: Vec<WorkerView> = workers.map(|(_, worker)| worker_view(worker)).collect();
        views.sort_unstable_by_key(|view| view.id);
        views
    }

    /// Returns the keys that have settings or calls, in the order of their numbers.
    pub fn keys(&self) -> Vec<KeyView> {
        let keys = self.queues.keys.iter();
        let mut views: Vec<KeyView> = keys
            .map(|(id, key)| KeyView {
                id,
                name: key.settings.name.clone(),
                weight: key.settings.weight,
                running: key.running,
                waiting: key.waiting,
            })
            .collect();
        views.sort_unstable_by_key(|view| view.id);
        views
    }

    /// Returns the waiting calls in the order in which they would run if no other came, model by model,
    /// at most `max`. Costs O(n log K): for lists, at most every two seconds.
    pub fn queue(&self, max: usize, now: u64) -> Vec<QueueEntry> {
        let mut queues: Vec<usize> = self.queues.queues.iter().map(|(at, _)| at).collect();
        let name = |at: usize| {
            let queue = &self.queues.queues[at];
            (
                &self.catalogue.entries[queue.entry].name,
                queue.entry,
                queue.only,
            )
        };
        queues.sort_unstable_by_key(|at| name(*at));

        let mut list = Vec::new();
        for queue in queues {
            let left = max.saturating_sub(list.len());
            if left == 0 {
                break;
            }
            let calls = self.dry_run(queue, left, now);
            let queue = &self.queues.queues[queue];
            let expected = self.expected(queue, &calls, now);
            let entries = calls.iter().zip(expected).zip(1..);
            list.extend(entries.filter_map(|((call, expected), position)| {
                let entry = self.queue_entry(queue, (*call, position), now)?;
                Some(QueueEntry { expected, ..entry })
            }));
        }
        list
    }

    fn queue_entry(
        &self,
        queue: &Queue,
        (call, position): (CallId, usize),
        now: u64,
    ) -> Option<QueueEntry> {
        let state = self.calls.get(&call)?;
        Some(QueueEntry {
            call,
            key: state.key,
            model: Arc::clone(&self.catalogue.entries[queue.entry].name),
            class: state.class,
            position,
            of: queue.waiting,
            waited: now.saturating_sub(state.queued_at),
            expected: None,
        })
    }

    /// Returns the place of a waiting call in the queue of its model, from 1, and the calls there. `None`
    /// if it does not wait. Costs as much as [`Pool::queue`] for one model.
    pub fn position(&self, call: CallId, now: u64) -> Option<(usize, usize)> {
        let CallState::Waiting { line } = self.calls.get(&call)?.state else {
            return None;
        };
        let queue = self.queues.lines[line].queue;
        let of = self.queues.queues[queue].waiting;
        let order = self.dry_run(queue, of, now);
        let at = order.iter().position(|other| *other == call)?;
        Some((at + 1, of))
    }

    /// Serves a queue as if a slot became free again and again and no call came, with the counters rising
    /// as they will. Calls of keys that have all their calls running come last.
    fn dry_run(&self, queue: usize, max: usize, now: u64) -> Vec<CallId> {
        let queue = &self.queues.queues[queue];
        let mut counters: HashMap<KeyId, i128> = HashMap::new();
        let mut rest: HashMap<usize, Vec<(u64, CallId, u64)>> = HashMap::new();
        let mut next: BinaryHeap<Place> = BinaryHeap::new();
        let mut parked: Vec<(u64, CallId)> = Vec::new();
        for line in queue.lines.values() {
            let state = &self.queues.lines[*line];
            let calls = state.calls.iter().take(max);
            if !self.queues.keys.may_run(state.key.key) {
                parked.extend(calls.map(|(seq, waiting)| (*seq, waiting.call)));
                continue;
            }
            let calls: Vec<_> = calls.collect();
            let calls = calls
                .into_iter()
                .rev()
                .map(|(seq, waiting)| (*seq, waiting.call, waiting.queued_at));
            rest.insert(*line, calls.collect());
            let key = state.key.key;
            counters.insert(key, self.queues.keys.counter(key));
            next.extend(self.place_of(*line, &rest, &counters, now));
        }

        let mut order = Vec::new();
        while let Some(Reverse((class, counter, seq, line))) = next.pop() {
            if order.len() >= max {
                break;
            }
            let key = self.queues.lines[line].key.key;
            let current = counters.get(&key).copied().unwrap_or_default();
            if current != counter {
                next.push(Reverse((class, current, seq, line)));
                continue;
            }
            if let Some((_, call, _)) = rest.get_mut(&line).and_then(Vec::pop) {
                let charge = self.calls.get(&call).map_or(0, |call| call.charge);
                counters.insert(key, self.queues.keys.after(key, current, charge));
                order.push(call);
            }
            next.extend(self.place_of(line, &rest, &counters, now));
        }
        parked.sort_unstable();
        let parked = parked.into_iter().map(|(_, call)| call);
        order.extend(parked.take(max.saturating_sub(order.len())));
        order
    }

    fn place_of(
        &self,
        line: usize,
        rest: &HashMap<usize, Vec<(u64, CallId, u64)>>,
        counters: &HashMap<KeyId, i128>,
        now: u64,
    ) -> Option<Place> {
        let (seq, _, queued_at) = *rest.get(&line)?.last()?;
        let key = &self.queues.lines[line].key;
        let class = self.queues.aged(key.class, now.saturating_sub(queued_at));
        let counter = counters.get(&key.key).copied().unwrap_or_default();
        Some(Reverse((Reverse(class), counter, seq, line)))
    }
}

fn worker_view(worker: &Worker) -> WorkerView {
    let names = |of: fn(&HeldModel) -> bool| {
        let models = worker.models.iter().filter(|held| of(held));
        models.map(|held| Arc::clone(&held.name)).collect()
    };
    WorkerView {
        id: worker.id,
        name: worker.settings.name.clone(),
        runtime: worker.settings.runtime.clone(),
        slots: worker.settings.slots,
        running: worker.running,
        elsewhere: worker.elsewhere,
        abandoned: worker.abandoned,
        availability: worker.availability,
        breaker: worker.breaker.state(),
        models: names(|_| true),
        resident: names(|held| held.resident.is_some()),
        loading: names(|held| held.loading.is_some()),
    }
}
