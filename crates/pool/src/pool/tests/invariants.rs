//! Random events against a simple model of what must be true after each of them: every call is exactly
//! once in waiting, running or ended, and the pool counts as the model does.

use std::collections::BTreeMap;

use super::*;
use crate::random::Random;
use crate::{Availability, Class, Retry};

const WORKERS: u64 = 6;
const KEYS: u32 = 4;
const MODELS: [&str; 3] = ["a", "b", "c"];
/// Steps of one run.
const STEPS: usize = 400;
/// The longest wait for a loaded model, in microseconds.
const MAX_WARM: u64 = 5 * SECOND;

/// A call as the model has it.
#[derive(Debug, Clone)]
struct Known {
    key: KeyId,
    name: &'static str,
    since: u64,
    /// The worker that runs it.
    on: Option<WorkerId>,
    excluded: Vec<WorkerId>,
    only: Option<WorkerId>,
    num_ctx: Option<u64>,
    takes_slot: bool,
}

/// A worker as the model has it.
#[derive(Debug, Clone, Default)]
struct Place {
    slots: u32,
    models: Vec<&'static str>,
    resident: Vec<u16>,
    elsewhere: u32,
    availability: Availability,
    /// Whether anything failed there: breakers and pauses are tested by themselves.
    is_suspect: bool,
}

struct Model {
    kit: Kit,
    random: Random,
    workers: BTreeMap<WorkerId, Place>,
    calls: BTreeMap<CallId, Known>,
    ended: usize,
    last_worker: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut kit = Kit::with(PoolConfig {
            queue_size: 60,
            queue_timeout: 40 * SECOND,
            ageing: 10 * SECOND,
            max_wait_for_warm: MAX_WARM,
            seed,
            ..PoolConfig::default()
        });
        let mut random = Random::new(seed);
        for key in (0..KEYS).map(KeyId) {
            let settings = KeySettings {
                weight: 500 + random.below(3000) as u32,
                class: [Class::Low, Class::Normal, Class::High][random.below(3)],
                max_concurrency: (key.0 == 0).then_some(2),
                max_waiting: (key.0 == 1).then_some(10),
                ..KeySettings::default()
            };
            kit.key(key, settings);
        }
        Self {
            kit,
            random,
            workers: BTreeMap::new(),
            calls: BTreeMap::new(),
            ended: 0,
            last_worker: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=5 => self.place(),
            6..=8 => self.end_one(),
            9 => self.retry_one(),
            10 => self.cancel_one(),
            11 => self.change_load(),
            12 => self.change_availability(),
            13 => self.join_or_leave(),
            14 => self.change_models(),
            _ => self.kit.now += self.random.next() % (4 * SECOND),
        }
        self.take();
        self.check();
    }

    fn place(&mut self) {
        let name = MODELS[self.random.below(MODELS.len())];
        let key = KeyId(self.random.below(KEYS as usize) as u32);
        if self
            .kit
            .pool
            .model_names("chat", key)
            .iter()
            .all(|known| &**known != name)
        {
            return;
        }
        let only = self.any_worker().filter(|_| self.random.below(8) == 0);
        let ask = Ask {
            prompt_tokens: 0,
            class: [None, Some(Class::Low)][self.random.below(2)],
            num_ctx: (self.random.below(8) == 0).then_some(4096),
            only,
            may_wait: self.random.below(10) != 0,
            takes_slot: self.random.below(10) != 0,
            ..self.kit.ask(name, key)
        };
        let call = ask.call;
        let known = Known {
            key,
            name,
            since: self.kit.now,
            on: None,
            excluded: Vec::new(),
            only,
            num_ctx: ask.num_ctx,
            takes_slot: ask.takes_slot,
        };
        let placement = self.kit.place(ask);
        self.placed(call, known, placement);
    }

    fn placed(&mut self, call: CallId, known: Known, placement: Placement) {
        self.calls.insert(call, known);
        match placement {
            Placement::Run(run) => self.runs(call, &run),
            Placement::Waiting { of } => assert!(of > 0),
            Placement::Refused(_) => self.end(call),
        }
    }

    fn end(&mut self, call: CallId) {
        assert!(self.calls.remove(&call).is_some(), "{call:?} ended twice");
        self.ended += 1;
    }

    /// A call was given a worker: it must be one that may run it, with a free slot.
    fn runs(&mut self, call: CallId, run: &Run) {
        let known = self
            .calls
            .get_mut(&call)
            .expect("only calls of the model run");
        assert_eq!(known.on, None, "{call:?} runs twice");
        known.on = Some(run.worker);
        let known = known.clone();

        let place = &self.workers[&run.worker];
        assert_ne!(place.availability, Availability::Draining);
        assert!(place.models.contains(&known.name));
        assert!(!known.excluded.contains(&run.worker));
        assert!(known.only.is_none_or(|only| only == run.worker));
        assert_eq!(&*run.model_name, known.name);
        if known.takes_slot {
            let running = self.running(run.worker);
            assert!(
                running + place.elsewhere <= place.slots,
                "{running} in {place:?}"
            );
            let of_key = self
                .calls
                .values()
                .filter(|other| other.key == known.key && other.on.is_some() && other.takes_slot);
            assert!(known.key != KeyId(0) || of_key.count() <= 2);
        }
    }

    fn running(&self, worker: WorkerId) -> u32 {
        let on = self
            .calls
            .values()
            .filter(|call| call.on == Some(worker) && call.takes_slot);
        on.count() as u32
    }

    fn take(&mut self) {
        for decision in self.kit.decisions() {
            match decision {
                Decision::Run(call, run) => self.runs(call, &run),
                Decision::Expired(call, _) => {
                    assert_eq!(self.calls[&call].on, None, "a running call expired");
                    self.end(call);
                }
            }
        }
    }

    fn any_call(&mut self, is_running: bool) -> Option<CallId> {
        let calls = self
            .calls
            .iter()
            .filter(|(_, call)| call.on.is_some() == is_running);
        let calls: Vec<CallId> = calls.map(|(call, _)| *call).collect();
        (!calls.is_empty()).then(|| calls[self.random.below(calls.len())])
    }

    fn any_worker(&mut self) -> Option<WorkerId> {
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        (!workers.is_empty()).then(|| workers[self.random.below(workers.len())])
    }

    fn end_one(&mut self) {
        let Some(call) = self.any_call(true) else {
            return;
        };
        if self.random.below(2) == 0 {
            self.kit.pool.first_content(call, self.kit.now);
            let known = self.calls[&call].clone();
            if let Some(place) = self.workers.get_mut(&known.on.unwrap()) {
                let at = place.models.iter().position(|name| *name == known.name);
                place.resident.extend(at.map(|at| at as u16));
            }
        }
        self.kit.finish(call);
        self.end(call);
    }

    fn retry_one(&mut self) {
        let Some(call) = self.any_call(true) else {
            return;
        };
        let whys = [Retry::OtherWorker, Retry::Loading, Retry::LargerContext];
        let why = whys[self.random.below(3)];
        let placement = self.kit.pool.retry(call, why, self.kit.now);
        let mut known = self.calls.remove(&call).unwrap();
        let worker = known.on.take().unwrap();
        match why {
            Retry::Loading => {
                if let Some(place) = self.workers.get_mut(&worker) {
                    place.is_suspect = true;
                }
            }
            Retry::OtherWorker | Retry::LargerContext => known.excluded.push(worker),
        }
        self.placed(call, known, placement);
    }

    fn cancel_one(&mut self) {
        if let Some(call) = self.any_call(false) {
            self.kit.pool.cancel(call, self.kit.now);
            self.end(call);
        }
    }

    fn change_load(&mut self) {
        let Some(worker) = self.any_worker() else {
            return;
        };
        let resident = (0..3).filter(|_| self.random.below(2) == 0).collect();
        let elsewhere = self.random.below(2) as u32;
        let place = self.workers.get_mut(&worker).unwrap();
        place.elsewhere = elsewhere;
        place.resident = resident;
        let load = PoolLoad {
            elsewhere,
            resident: place.resident.clone(),
            ..PoolLoad::default()
        };
        self.kit.pool.set_load(worker, load, self.kit.now);
    }

    fn change_availability(&mut self) {
        let Some(worker) = self.any_worker() else {
            return;
        };
        let all = [
            Availability::Ready,
            Availability::Unreachable,
            Availability::Draining,
        ];
        let availability = all[self.random.below(3)];
        self.workers.get_mut(&worker).unwrap().availability = availability;
        self.kit
            .pool
            .set_availability(worker, availability, self.kit.now);
        if self.random.below(3) == 0 {
            let key = KeyId(self.random.below(KEYS as usize) as u32);
            self.workers.get_mut(&worker).unwrap().is_suspect = true;
            self.kit.pool.worker_failed(worker, key, self.kit.now);
        }
    }

    fn join_or_leave(&mut self) {
        let leaves = self.workers.len() as u64 >= WORKERS || self.random.below(3) == 0;
        match self.any_worker().filter(|_| leaves) {
            Some(worker) => {
                self.workers.remove(&worker);
                self.kit.pool.worker_left(worker, self.kit.now);
            }
            None => {
                self.last_worker += 1;
                let slots = 1 + self.random.below(3) as u32;
                let id = self.kit.cold_worker(self.last_worker, slots, &[]);
                let place = Place {
                    slots,
                    ..Place::default()
                };
                self.workers.insert(id, place);
                self.set_models(id);
            }
        }
    }

    fn change_models(&mut self) {
        if let Some(worker) = self.any_worker() {
            self.set_models(worker);
        }
    }

    fn set_models(&mut self, worker: WorkerId) {
        let first = self.random.below(MODELS.len());
        let names = (0..1 + self.random.below(3)).map(|at| MODELS[(first + at) % MODELS.len()]);
        let place = self.workers.get_mut(&worker).unwrap();
        place.models = names.collect();
        place.resident.clear();
        let models = place.models.iter().map(|name| model(name)).collect();
        self.kit.pool.set_models(worker, models, self.kit.now);
        self.kit.load(worker, &[]);
        self.workers.get_mut(&worker).unwrap().elsewhere = 0;
    }

    fn check(&self) {
        let pool = &self.kit.pool;
        let waiting = self.calls.values().filter(|call| call.on.is_none()).count();
        assert_eq!(pool.waiting(), waiting);
        assert_eq!(pool.calls.len(), self.calls.len());
        assert_eq!(
            pool.queue(1000, self.kit.now).len(),
            waiting,
            "each waits once"
        );
        assert_eq!(
            pool.queues
                .queues
                .iter()
                .map(|(_, queue)| queue.waiting)
                .sum::<usize>(),
            waiting
        );
        for view in pool.workers() {
            assert_eq!(view.running, self.running(view.id), "{view:?}");
        }
        for view in pool.keys() {
            let of_key = self.calls.values().filter(|call| call.key == view.id);
            let (running, waiting): (Vec<_>, Vec<_>) = of_key.partition(|call| call.on.is_some());
            let running = running.iter().filter(|call| call.takes_slot).count();
            assert_eq!(
                (view.running, view.waiting),
                (running, waiting.len()),
                "{view:?}"
            );
        }
        self.check_groups();
        self.check_work_is_conserved();
    }

    /// Every membership is in the place of its group that it points to, and the group is the right one.
    fn check_groups(&self) {
        let catalogue = &self.kit.pool.catalogue;
        let mut holders = 0;
        for (at, worker) in &catalogue.workers {
            for (index, member) in worker.memberships.iter().enumerate() {
                let entry = &catalogue.entries[member.entry];
                let holder = entry.groups[member.group as usize][member.at];
                assert_eq!((holder.worker, holder.membership), (at, index));
                assert_eq!(member.group, worker.group(member.model), "{worker:?}");
                holders += 1;
            }
        }
        let all: usize = catalogue.entries.iter().map(|(_, entry)| entry.len()).sum();
        assert_eq!(all, holders);
    }

    /// No call waits for a model that a free worker has loaded. One that could be loaded is waited for no
    /// longer than the bound.
    fn check_work_is_conserved(&self) {
        for (id, call) in self.calls.iter().filter(|(_, call)| call.on.is_none()) {
            let key_waits = call.key == KeyId(0);
            if key_waits || call.num_ctx.is_some() || !call.excluded.is_empty() {
                continue;
            }
            let is_old = self.kit.now >= call.since + MAX_WARM;
            for (worker, place) in &self.workers {
                let at = place.models.iter().position(|name| *name == call.name);
                let Some(at) = at.filter(|_| call.only.is_none_or(|only| only == *worker)) else {
                    continue;
                };
                let is_warm = place.resident.contains(&(at as u16));
                let is_free = self.running(*worker) + place.elsewhere < place.slots;
                let is_ready = place.availability == Availability::Ready && !place.is_suspect;
                let must_run = is_free && is_ready && (is_old || (is_warm && self.is_first(*id)));
                assert!(
                    !must_run,
                    "{id:?} {call:?} waits, {worker:?} {place:?} is free"
                );
            }
        }
    }

    fn is_first(&self, id: CallId) -> bool {
        self.kit
            .pool
            .position(id, self.kit.now)
            .is_some_and(|(at, _)| at == 1)
    }
}

#[test]
fn every_call_is_in_one_place_after_every_event() {
    let mut ended = 0;
    for seed in 0..60 {
        let mut model = Model::new(seed);
        for _ in 0..STEPS {
            model.step();
        }
        ended += model.ended;

        // Workers that take everything: nothing is left behind.
        model.kit.now += 100 * SECOND;
        model.take();
        while let Some(call) = model.any_call(true) {
            model.kit.finish(call);
            model.end(call);
            model.take();
            model.check();
        }
        assert!(model.calls.is_empty());
        assert_eq!(model.kit.pool.queues.lines.len(), 0);
        assert_eq!(model.kit.pool.queues.queues.len(), 0);
    }
    assert!(ended > 5000, "{ended} calls ended");
}
