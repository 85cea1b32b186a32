//! Events of workers: they come, go, change, and fail.

use crate::pool::Pool;
use crate::timers::Timer;
use crate::{Availability, KeyId, PoolLoad, PoolModel, RefusedError, WorkerId, WorkerSettings};

impl Pool {
    /// Adds a worker, without models. One of the same number is replaced.
    pub fn worker_joined(&mut self, worker: WorkerId, settings: WorkerSettings, now: u64) {
        self.worker_left(worker, now);
        self.catalogue.join(worker, settings);
    }

    /// Replaces the models of a worker. What is known of models that stay is kept.
    pub fn set_models(&mut self, worker: WorkerId, models: Vec<PoolModel>, now: u64) {
        let Some(at) = self.catalogue.worker_index(worker) else {
            return;
        };
        let before = self.catalogue.workers[at]
            .models
            .iter()
            .map(|held| &*held.model);
        if before.eq(models.iter()) {
            return;
        }
        self.catalogue.set_models(at, models, now);
        self.worker_changed(at, now);
    }

    /// Sets the load of a worker.
    pub fn set_load(&mut self, worker: WorkerId, load: PoolLoad, now: u64) {
        let Some(at) = self.catalogue.worker_index(worker) else {
            return;
        };
        let state = &mut self.catalogue.workers[at];
        state.elsewhere = load.elsewhere;
        state.abandoned = load.abandoned;

        let mut is_changed = false;
        let mut is_unloaded = false;
        for (index, held) in (0u16..).zip(&mut state.models) {
            let was_resident = held.resident.is_some();
            let is_resident = load.resident.contains(&index);
            held.report(is_resident, load.loading.contains(&index), now);
            is_changed |= was_resident != is_resident;
            is_unloaded |= was_resident && !is_resident;
        }
        if is_changed {
            state.count_resident();
            self.catalogue.version += 1;
        }
        for speed in &load.speed {
            self.catalogue.learn_speed(at, speed);
        }
        self.worker_changed(at, now);
        if is_unloaded {
            self.reconsider(self.queues_with_calls(at), now);
        }
    }

    /// Sets whether a worker takes new calls.
    pub fn set_availability(&mut self, worker: WorkerId, availability: Availability, now: u64) {
        let Some(at) = self.catalogue.worker_index(worker) else {
            return;
        };
        let state = &mut self.catalogue.workers[at];
        if std::mem::replace(&mut state.availability, availability) != availability {
            self.catalogue.version += 1;
            self.worker_changed(at, now);
            self.reconsider(self.queues_with_calls(at), now);
        }
    }

    /// Sets the most concurrent calls of a worker.
    pub fn set_slots(&mut self, worker: WorkerId, slots: u32, now: u64) {
        if let Some(at) = self.catalogue.worker_index(worker) {
            self.catalogue.workers[at].settings.slots = slots;
            self.worker_changed(at, now);
        }
    }

    /// Sets the round trip of a worker's tunnel, in microseconds.
    pub fn set_round_trip(&mut self, worker: WorkerId, round_trip: u64) {
        if let Some(at) = self.catalogue.worker_index(worker) {
            self.catalogue.workers[at].round_trip = round_trip;
        }
    }

    /// Removes a worker. Its running calls stay until they are finished or retried.
    pub fn worker_left(&mut self, worker: WorkerId, now: u64) {
        let Some(at) = self.catalogue.worker_index(worker) else {
            return;
        };
        let waiting = self.queues_with_calls(at);
        let left = self.catalogue.leave(at, now);
        for queue in left.into_iter().flat_map(|worker| worker.pinned) {
            self.expire_queue(queue, RefusedError::WorkerOffline, now);
        }
        self.watch_absent(now);
        self.reconsider(waiting, now);
    }

    /// Counts evidence against a worker: refused connections, 502, 503, 504, streams that broke off or
    /// stalled, no first content in time. Never 500 or 4xx, which may be the caller's fault.
    pub fn worker_failed(&mut self, worker: WorkerId, key: KeyId, now: u64) {
        let Some(at) = self.catalogue.worker_index(worker) else {
            return;
        };
        let state = &mut self.catalogue.workers[at];
        if let Some(until) = state.breaker.fail(key, now) {
            self.queues.timers.set(until, Timer::Trial(state.serial));
            self.worker_changed(at, now);
            self.reconsider(self.queues_with_calls(at), now);
        }
    }

    /// Counts an answer of a worker, which ends the evidence against it.
    pub fn worker_succeeded(&mut self, worker: WorkerId, now: u64) {
        if let Some(at) = self.catalogue.worker_index(worker) {
            self.catalogue.workers[at].breaker.succeed();
            self.worker_changed(at, now);
        }
    }

    /// Carries out what follows from a change of a worker.
    pub(super) fn worker_changed(&mut self, at: usize, now: u64) {
        self.catalogue.regroup(at, now);
        self.watch_absent(now);
        self.dispatch_worker(at, now);
    }

    /// Sets and clears the moments at which calls for models without workers are given up.
    pub(super) fn watch_absent(&mut self, now: u64) {
        for entry in self.catalogue.take_changed(now) {
            self.watch_entry(entry);
        }
    }

    pub(super) fn watch_entry(&mut self, at: usize) {
        let max_wait = self.config.max_wait_for_worker;
        let entry = &mut self.catalogue.entries[at];
        let timer = Timer::Absent(at, entry.serial);
        if let Some(set) = entry.absent_timer.take() {
            self.queues.timers.clear(set, timer);
        }
        if let Some(give_up) = entry
            .gives_up_at(max_wait)
            .filter(|_| entry.queue.is_some())
        {
            entry.absent_timer = Some(give_up);
            self.queues.timers.set(give_up, timer);
        }
    }
}
