//! Who is next: what follows for waiting calls from a slot that became free, and from time that passed.

use crate::affinity::HOLDERS;
use crate::choose::Preferred;
use crate::pool::Pool;
use crate::pool::call_state::{Call, CallState};
use crate::pool::gather::{Chosen, Decided};
use crate::queue::{Order, Standing};
use crate::settings::SECOND;
use crate::steps::step;
use crate::timers::Timer;
use crate::{CallId, Decision, KeyId, RefusedError};

/// The most queues of a worker that are compared for one free slot. Of more, each time the next ones are.
const MAX_QUEUES: usize = 16;
/// The most lines of a queue that are looked at for one free slot.
const MAX_LINES: usize = 16;
/// The most decisions about one queue for one free slot: the first calls may be bound to other workers, or
/// begin to wait for a busy one.
const MAX_TRIES: usize = 4;
/// The shortest time for which a worker stays with its loaded models while calls wait for others, in
/// microseconds. With the double of the load time, loading takes a third of a worker's time at most.
const MIN_QUANTUM: u64 = 10 * SECOND;

/// What makes a call impossible for a worker: API, context, workers that it must not go to.
type Kind = (u32, Option<u64>, Option<CallId>);

/// The order of a worker's queues for its free slot.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// The model is not loaded, and its calls have waited long enough. The oldest first.
    Due(u64, usize),
    /// Nothing has to be loaded in place of another model.
    Loaded(Order),
    /// The model is not loaded, and it is too early to load it while there is other work.
    Early(Order),
}

impl Pool {
    /// Returns the queue in which a call waits or would wait, if there is one.
    pub(super) fn queue_of(&self, call: &Call) -> Option<usize> {
        let Some(only) = call.only else {
            return self.catalogue.entries.get(call.entry.0)?.queue;
        };
        let at = self.catalogue.worker_index(only)?;
        let mut pinned = self.catalogue.workers[at].pinned.iter().copied();
        pinned.find(|queue| self.queues.queues[*queue].entry == call.entry.0)
    }

    pub(super) fn add_queue(&mut self, call: &Call) -> usize {
        let queue = self.queues.add_queue(call.entry.0, call.only);
        match call.only.and_then(|only| self.catalogue.worker_index(only)) {
            Some(at) => self.catalogue.workers[at].pinned.push(queue),
            None => self.catalogue.entries[call.entry.0].queue = Some(queue),
        }
        queue
    }

    fn remove_queue_if_empty(&mut self, at: usize) {
        let Some(queue) = self
            .queues
            .queues
            .get(at)
            .filter(|queue| queue.waiting == 0)
        else {
            return;
        };
        let entry = queue.entry;
        match queue.only {
            Some(only) => {
                if let Some(worker) = self.catalogue.worker_index(only) {
                    let pinned = &mut self.catalogue.workers[worker].pinned;
                    pinned.retain(|queue| *queue != at);
                }
            }
            None => {
                self.catalogue.entries[entry].queue = None;
                self.watch_entry(entry);
            }
        }
        self.queues.remove_queue(at);
    }

    /// Gives the free slots of a worker to waiting calls.
    pub(super) fn dispatch_worker(&mut self, at: usize, now: u64) {
        loop {
            let is_free = self
                .catalogue
                .workers
                .get(at)
                .is_some_and(|worker| worker.is_free());
            if self.queues.waiting == 0 || !is_free {
                return;
            }
            let queues = self.queues_of_worker(at, now);
            let mut queues = queues.into_iter();
            if !queues.any(|queue| self.dispatch_queue(queue, Some(at), now)) {
                return;
            }
        }
    }

    /// Returns the queues of a worker that have calls which may run, in the order of their turns.
    fn queues_of_worker(&mut self, at: usize, now: u64) -> Vec<usize> {
        let worker = &self.catalogue.workers[at];
        let mut queues: Vec<(usize, Option<u16>)> = Vec::new();
        for member in &worker.memberships {
            step();
            let queue = self.catalogue.entries[member.entry].queue;
            queues.extend(queue.map(|queue| (queue, Some(member.model))));
        }
        queues.extend(worker.pinned.iter().map(|queue| (*queue, None)));
        if queues.len() > MAX_QUEUES {
            let first = worker.next_queue % queues.len();
            queues.rotate_left(first);
            queues.truncate(MAX_QUEUES);
            self.catalogue.workers[at].next_queue = first + MAX_QUEUES;
        }

        let turns = queues.into_iter().filter_map(|(queue, model)| {
            let turn = self.turn(at, queue, model, now)?;
            Some((turn, queue))
        });
        let mut turns: Vec<(Turn, usize)> = turns.collect();
        turns.sort_unstable();
        turns.into_iter().map(|(_, queue)| queue).collect()
    }

    /// Returns the turn of a queue at a worker, `None` if none of its calls may run.
    fn turn(&self, at: usize, queue: usize, model: Option<u16>, now: u64) -> Option<Turn> {
        let (order, queued_at) = self.queues.first(queue)?;
        let worker = &self.catalogue.workers[at];
        let Some(model) = model.filter(|model| worker.must_swap(*model)) else {
            return Some(Turn::Loaded(order));
        };

        let load = worker.models[usize::from(model)].load_time();
        let quantum = MIN_QUANTUM.max(load.saturating_mul(2));
        let since = queued_at.max(worker.swapped_at);
        if now.saturating_sub(since) >= quantum {
            Some(Turn::Due(queued_at, queue))
        } else {
            Some(Turn::Early(order))
        }
    }

    /// Runs the first call of a queue that a free worker is right for. Returns whether one runs now.
    pub(super) fn dispatch_queue(&mut self, queue: usize, hint: Option<usize>, now: u64) -> bool {
        let Some(state) = self.queues.queues.get(queue) else {
            return false;
        };
        let entry = self.catalogue.entries.get(state.entry);
        if !entry.is_some_and(|entry| entry.has_free()) {
            return false;
        }

        let mut hopeless: Vec<Kind> = Vec::new();
        let mut tries = 0;
        for line in self.queues.first_lines(queue, MAX_LINES) {
            let state = &self.queues.lines[line];
            let kind = (state.key.api, state.key.num_ctx, state.key.alone);
            let Some((_, front)) = state.front().filter(|_| !hopeless.contains(&kind)) else {
                continue;
            };
            if !self.is_worth_a_decision(line, front.call, hint, now) {
                continue;
            }
            tries += 1;
            if tries > MAX_TRIES {
                break;
            }
            let (gather, calls) = self.gather(now);
            let Some(call) = calls.get(&front.call) else {
                continue;
            };
            match gather.decide(call, hint) {
                Decided::Run(chosen) => return self.start_waiting(front.call, &chosen, now),
                Decided::WaitFor(preferred, holders) => {
                    self.stand(line, &preferred, holders, now);
                }
                Decided::Wait => hopeless.push(kind),
            }
        }
        false
    }

    /// Returns whether a line's front could go to a free worker now. One that waits for a busy worker has
    /// declined those that were free before.
    fn is_worth_a_decision(
        &mut self,
        line: usize,
        call: CallId,
        hint: Option<usize>,
        now: u64,
    ) -> bool {
        step();
        let Some(standing) = self.queues.standing(line, now) else {
            return true;
        };
        let (gather, calls) = self.gather(now);
        let worker = hint.zip(calls.get(&call));
        worker.is_some_and(|(at, call)| gather.may_be_better(call, at, &standing))
    }

    /// Notes what the front of a line waits for.
    pub(super) fn stand(
        &mut self,
        line: usize,
        preferred: &Preferred,
        holders: [u32; HOLDERS],
        now: u64,
    ) {
        let state = &mut self.queues.lines[line];
        let Some((seq, front)) = state.front() else {
            return;
        };
        let queue = state.queue;
        let until = front.queued_at.saturating_add(preferred.longest);
        state.standing = Some(Standing {
            seq,
            epoch: self.queues.queues[queue].epoch,
            until,
            free_at: now.saturating_add(preferred.wait),
            content_at: now.saturating_add(preferred.expected),
            holders,
        });
        self.queues.look_again(queue, until, now);
    }

    /// Decides anew about calls that may wait for a worker which got worse: it left, drains, failed, or
    /// unloaded a model.
    pub(super) fn reconsider(&mut self, queues: Vec<usize>, now: u64) {
        for queue in queues {
            if let Some(state) = self.queues.queues.get_mut(queue) {
                state.epoch += 1;
                while self.dispatch_queue(queue, None, now) {}
            }
        }
    }

    /// Returns the queues that wait for models of a worker.
    pub(super) fn queues_with_calls(&self, at: usize) -> Vec<usize> {
        let members = self.catalogue.workers[at].memberships.iter();
        members
            .filter_map(|member| self.catalogue.entries[member.entry].queue)
            .collect()
    }

    /// Runs a call that waits. Returns `false` if it does not.
    fn start_waiting(&mut self, id: CallId, chosen: &Chosen, now: u64) -> bool {
        let Some((queue, call)) = self.take_waiting(id, now) else {
            return false;
        };
        let key = call.key;
        let run = self.start(id, call, chosen, now);
        self.queues.keys.count_waiting(key, -1, now);
        self.queues.update_key(key, now);
        self.remove_queue_if_empty(queue);
        self.decisions.push(Decision::Run(id, run));
        true
    }

    /// Runs calls of a key that waited for the end of others of it.
    pub(super) fn dispatch_key(&mut self, key: KeyId, now: u64) {
        let Some(state) = self.queues.keys.get(key) else {
            return;
        };
        let lines = state.lines.iter().filter_map(|line| {
            let state = &self.queues.lines[*line];
            state.front().map(|(seq, _)| (seq, state.queue))
        });
        let mut queues: Vec<(u64, usize)> = lines.collect();
        queues.sort_unstable();
        for (_, queue) in queues {
            while self.queues.keys.may_run(key) && self.dispatch_queue(queue, None, now) {}
        }
    }

    /// Takes a call out of its queue and its timers. It counts as waiting with its key still.
    fn take_waiting(&mut self, id: CallId, now: u64) -> Option<(usize, Call)> {
        let CallState::Waiting { line } = self.calls.get(&id)?.state else {
            return None;
        };
        let queue = self.queues.lines[line].queue;
        let mut call = self.calls.remove(&id)?;
        self.queues.take(line, call.seq, now);
        self.queues.timers.clear(call.deadline, Timer::Deadline(id));
        call.state = CallState::Moving;
        Some((queue, call))
    }

    /// Removes a waiting call. Returns its entry, `None` if it does not wait.
    pub(super) fn remove_waiting(&mut self, id: CallId, now: u64) -> Option<usize> {
        let (queue, call) = self.take_waiting(id, now)?;
        self.queues.keys.count_waiting(call.key, -1, now);
        self.remove_queue_if_empty(queue);
        Some(call.entry.0)
    }

    /// Removes all calls of a queue.
    pub(super) fn expire_queue(&mut self, queue: usize, why: RefusedError, now: u64) {
        let Some(state) = self.queues.queues.get(queue) else {
            return;
        };
        let lines = state.lines.values().map(|line| &self.queues.lines[*line]);
        let calls = lines.flat_map(|line| line.calls.iter());
        let mut calls: Vec<(u64, CallId)> = calls.map(|(seq, call)| (*seq, call.call)).collect();
        calls.sort_unstable();
        for (_, call) in calls {
            if self.remove_waiting(call, now).is_some() {
                self.decisions.push(Decision::Expired(call, why));
            }
        }
    }

    /// Carries out what is due.
    pub(super) fn fire_timers(&mut self, now: u64) {
        while let Some(timer) = self.queues.timers.take_due(now) {
            match timer {
                Timer::Deadline(call) => self.expire(call, now),
                Timer::Age(line) => self.queues.update_line(line, now),
                Timer::Warm(queue) => self.stop_waiting_for_warm(queue, now),
                Timer::Trial(serial) | Timer::Loading(serial) => self.try_again(serial, now),
                Timer::Absent(entry, serial) => self.give_up(entry, serial, now),
            }
        }
    }

    fn expire(&mut self, id: CallId, now: u64) {
        if let Some(entry) = self.remove_waiting(id, now) {
            let entry = self.catalogue.entries.get(entry);
            let why = if entry.is_some_and(|entry| entry.attached > 0) {
                RefusedError::QueueTimeout
            } else {
                RefusedError::NoWorker
            };
            self.decisions.push(Decision::Expired(id, why));
        }
    }

    fn stop_waiting_for_warm(&mut self, queue: usize, now: u64) {
        if let Some(state) = self.queues.queues.get_mut(queue) {
            state.warm_timer = None;
            while self.dispatch_queue(queue, None, now) {}
        }
    }

    /// Ends the pauses of a worker that are over.
    fn try_again(&mut self, serial: u32, now: u64) {
        let Some(at) = self.catalogue.by_serial(serial) else {
            return;
        };
        let worker = &mut self.catalogue.workers[at];
        worker.breaker.elapse(now);
        for held in &mut worker.models {
            held.blocked = held.blocked.filter(|until| *until > now);
        }
        self.worker_changed(at, now);
    }

    /// Gives up the calls for a model that had no worker for too long.
    fn give_up(&mut self, at: usize, serial: u64, now: u64) {
        let max_wait = self.config.max_wait_for_worker;
        let entry = self.catalogue.entries.get(at);
        let Some(entry) = entry.filter(|entry| entry.serial == serial) else {
            return;
        };
        let is_over = entry
            .gives_up_at(max_wait)
            .is_some_and(|until| until <= now);
        if let Some(queue) = entry.queue.filter(|_| is_over) {
            self.expire_queue(queue, RefusedError::NoWorker, now);
        }
    }
}
