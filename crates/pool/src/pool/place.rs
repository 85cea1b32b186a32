//! Calls from their arrival to their end.

use crate::affinity::HOLDERS;
use crate::catalogue::average;
use crate::choose::Preferred;
use crate::keys::Ended;
use crate::pool::Pool;
use crate::pool::call_state::{Call, CallState, Running};
use crate::pool::gather::{Chosen, Decided, scope};
use crate::queue::Waiting;
use crate::score::{Warmth, slot_time};
use crate::settings::SECOND;
use crate::timers::Timer;
use crate::{Ask, CallId, Outcome, Placement, Reason, RefusedError, Retry, Run};

/// An estimate of this many times the largest context refuses a prompt. Below it the estimate orders
/// alone, and the runtime counts.
const HOPELESS_CONTEXTS: u64 = 4;
/// The time after which a runtime that was loading a model is tried again, in microseconds.
const LOADING_PAUSE: u64 = SECOND;

impl Pool {
    /// Places a call: it runs, waits, or is refused.
    pub fn place(&mut self, ask: Ask, now: u64) -> Placement {
        let id = ask.call;
        match self.admit(ask, now) {
            Ok(call) => {
                self.last_seq = call.seq;
                self.run_or_wait(id, call, now)
            }
            Err(refused) => Placement::Refused(refused),
        }
    }

    /// Makes a call of what is asked, or refuses what no worker will ever run.
    fn admit(&mut self, ask: Ask, now: u64) -> Result<Call, RefusedError> {
        if self.calls.contains_key(&ask.call) {
            return Err(RefusedError::Duplicate(ask.call));
        }
        let entry = self.entry(ask.model.entry, ask.model.serial);
        let entry = entry.ok_or(RefusedError::ModelGone)?;
        let input_tokens = ask.prompt_tokens / u64::from(ask.inputs.max(1));
        if let Some((_, context)) = entry.context_range()
            && input_tokens > context.saturating_mul(HOPELESS_CONTEXTS)
        {
            return Err(RefusedError::ContextExceeded {
                tokens: input_tokens,
                context,
            });
        }

        let key = self.queues.keys.get(ask.key);
        let class = key.map_or_else(Default::default, |key| key.settings.class);
        let latest = now.saturating_add(self.config.queue_timeout);
        let output = ask
            .output_tokens
            .unwrap_or(u64::MAX)
            .min(entry.completion as u64);
        let mut marks = ask.marks;
        marks.drain(..marks.len().saturating_sub(Ask::MAX_MARKS));
        Ok(Call {
            key: ask.key,
            entry: (ask.model.entry, ask.model.serial),
            seq: self.last_seq + 1,
            was_placed: false,
            queued_at: now,
            deadline: ask.deadline.map_or(latest, |deadline| deadline.min(latest)),
            api: self.catalogue.api(ask.api.word),
            translated_api: ask
                .api
                .translated
                .map_or(0, |word| self.catalogue.api(word)),
            class: ask.class.map_or(class, |asked| asked.min(class)),
            prompt_tokens: ask.prompt_tokens,
            input_tokens,
            prompt_bytes: ask.prompt_bytes,
            output,
            marks: marks.into_boxed_slice(),
            num_ctx: ask.num_ctx,
            min_context: 0,
            excluded: ask.excluded.into_boxed_slice(),
            only: ask.only,
            may_wait: ask.may_wait,
            takes_slot: ask.takes_slot,
            charge: slot_time(ask.prompt_tokens, entry.prefill, output, entry.decode),
            state: CallState::Moving,
        })
    }

    fn run_or_wait(&mut self, id: CallId, call: Call, now: u64) -> Placement {
        if self.entry(call.entry.0, call.entry.1).is_none() {
            return Placement::Refused(RefusedError::ModelGone);
        }
        self.use_pin(call.entry.0);
        // Fronts of other lines that wait though workers are free have declined those.
        let queue = self.queue_of(&call).map(|queue| &self.queues.queues[queue]);
        let is_next = queue.is_none_or(|queue| !queue.lines.contains_key(&call.line(id)));
        let may_run = self.queues.keys.may_run(call.key);
        let mut waits_for = None;
        if !call.takes_slot || (is_next && may_run) {
            match self.gather(now).0.decide(&call, None) {
                Decided::Run(chosen) => {
                    return Placement::Run(self.start(id, call, &chosen, now));
                }
                Decided::WaitFor(preferred, holders) => waits_for = Some((preferred, holders)),
                Decided::Wait => {}
            }
        }

        match self.refusal(&call, may_run, now) {
            Some(refused) => Placement::Refused(refused),
            None => self.wait((id, call), waits_for, now),
        }
    }

    /// Returns why a call that cannot run now does not wait.
    fn refusal(&self, call: &Call, may_run: bool, now: u64) -> Option<RefusedError> {
        let entry = self.entry(call.entry.0, call.entry.1)?;
        let only = call.only.map(|only| self.catalogue.worker_index(only));
        if let Some(at) = only {
            let worker = at.map(|at| &self.catalogue.workers[at]);
            if worker.is_none_or(|worker| worker.membership_of(call.entry.0).is_none()) {
                return Some(RefusedError::WorkerOffline);
            }
        }

        let has_time = entry.gives_up_at(self.config.max_wait_for_worker);
        let is_absent = has_time.is_some_and(|until| until <= now || !call.may_wait);
        let excluded = call
            .excluded
            .iter()
            .filter(|id| self.is_attached(call, **id));
        let is_excluded = entry.attached > 0 && excluded.count() >= entry.attached;
        let is_too_small = entry
            .contexts
            .keys()
            .next_back()
            .is_some_and(|largest| call.min_context > 0 && *largest <= call.min_context);
        let lacks_api = entry.len() > 0 && entry.served_by(call.api, call.translated_api).is_none();
        if is_absent || is_excluded || is_too_small || lacks_api || !call.takes_slot {
            return Some(RefusedError::NoWorker);
        }

        let key = self.queues.keys.get(call.key);
        let limit = key.and_then(|key| key.settings.max_concurrency);
        match limit.filter(|_| !may_run) {
            _ if call.may_wait => None,
            Some(limit) => Some(RefusedError::KeyBusy { limit }),
            None => Some(RefusedError::Busy),
        }
    }

    fn is_attached(&self, call: &Call, id: crate::WorkerId) -> bool {
        let at = self.catalogue.worker_index(id);
        let member = at.and_then(|at| self.catalogue.workers[at].membership_of(call.entry.0));
        member.is_some_and(|member| member.is_attached)
    }

    /// Puts a call into its queue. One that had a worker before is within the bounds already.
    fn wait(
        &mut self,
        (id, mut call): (CallId, Call),
        preferred: Option<(Preferred, [u32; HOLDERS])>,
        now: u64,
    ) -> Placement {
        let key = self.queues.keys.get(call.key);
        let waiting = key.map_or(0, |key| key.waiting);
        let max_waiting = key.and_then(|key| key.settings.max_waiting);
        let is_new = !call.was_placed;
        if let Some(limit) = max_waiting.filter(|limit| is_new && waiting >= *limit) {
            return Placement::Refused(RefusedError::TooManyWaiting { limit });
        }
        let limit = self.config.queue_size;
        if is_new && self.queues.waiting >= limit {
            return Placement::Refused(RefusedError::QueueFull { limit });
        }

        let queue = match self.queue_of(&call) {
            Some(queue) => queue,
            None => self.add_queue(&call),
        };
        let waiting = Waiting {
            call: id,
            queued_at: call.queued_at,
        };
        self.queues.keys.count_waiting(call.key, 1, now);
        let line = self
            .queues
            .push(queue, call.line(id), (call.seq, waiting), now);
        self.queues.update_key(call.key, now);
        self.queues.timers.set(call.deadline, Timer::Deadline(id));
        let entry = call.entry.0;
        call.state = CallState::Waiting { line };
        self.calls.insert(id, call);
        self.watch_entry(entry);

        let of = self.queues.queues[queue].waiting;
        if let Some((preferred, holders)) = preferred {
            self.stand(line, &preferred, holders, now);
        }
        Placement::Waiting { of }
    }

    /// Notes that calls go to a variant: from now on it stays.
    fn use_pin(&mut self, entry: usize) {
        let variant_of = self
            .catalogue
            .entries
            .get(entry)
            .map(|entry| &entry.variant_of);
        if let Some(Some((base, _))) = variant_of {
            let base = *base;
            let base = &mut self.catalogue.entries[base];
            if !base.is_pin_used {
                base.pinned = Some(entry);
            }
            base.is_pin_used = true;
        }
    }

    /// Puts a call on a worker.
    pub(super) fn start(&mut self, id: CallId, mut call: Call, chosen: &Chosen, now: u64) -> Run {
        let candidate = &chosen.candidate;
        let worker = &mut self.catalogue.workers[candidate.worker];
        let running = Running {
            worker: worker.serial,
            worker_id: worker.id,
            model: candidate.model,
            model_name: worker.models[usize::from(candidate.model)].name.clone(),
            started: now,
            expected_end: now.saturating_add(chosen.duration),
            matched: chosen.matched,
        };
        let run = Run {
            worker: running.worker_id,
            model_name: running.model_name.clone(),
            reason: reason(&call, chosen),
            expected: chosen.expected,
            predicted_prefix: candidate.cached,
            waited: now.saturating_sub(call.queued_at),
        };

        let was_free = worker.is_free();
        let num_ctx = call.num_ctx_at(worker.models[usize::from(candidate.model)].apis);
        worker.used(candidate.model, &candidate.warmth, num_ctx, now);
        if call.takes_slot {
            worker.running += 1;
            worker.ends += u128::from(running.expected_end);
            self.queues.keys.begin(call.key, call.charge, now);
            self.queues.update_key(call.key, now);
        }
        if was_free != worker.is_free() || candidate.warmth != Warmth::Resident {
            self.catalogue.regroup(candidate.worker, now);
        }
        call.state = CallState::Running(Box::new(running));
        self.calls.insert(id, call);
        run
    }

    /// Places a running call again, before all later calls of its key. Refused, it is not in the pool any
    /// more.
    pub fn retry(&mut self, id: CallId, why: Retry, now: u64) -> Placement {
        if self
            .calls
            .get(&id)
            .is_none_or(|call| call.running().is_none())
        {
            return Placement::Refused(RefusedError::Unknown(id));
        }
        let Some(mut call) = self.calls.remove(&id) else {
            return Placement::Refused(RefusedError::Unknown(id));
        };
        call.was_placed = true;
        let key = call.key;
        // Counted as waiting meanwhile: a key that is active must not be lifted.
        self.queues.keys.count_waiting(key, 1, now);
        let worker = self.release(&mut call, 0, now);

        if let Some((at, running)) = &worker {
            self.learn_refusal(&mut call, why, (*at, running), now);
        }
        let placement = self.run_or_wait(id, call, now);
        self.queues.keys.count_waiting(key, -1, now);
        self.queues.update_key(key, now);
        if let Some((at, _)) = worker {
            self.worker_changed(at, now);
        }
        if self.queues.keys.is_bounded(key) {
            self.dispatch_key(key, now);
        }
        placement
    }

    fn learn_refusal(
        &mut self,
        call: &mut Call,
        why: Retry,
        (at, running): (usize, &Running),
        now: u64,
    ) {
        let worker = &mut self.catalogue.workers[at];
        let held = worker.models.get_mut(usize::from(running.model));
        let held = held.filter(|held| held.name == running.model_name);
        match (why, held) {
            (Retry::OtherWorker, _) | (_, None) => {
                let excluded = call.excluded.iter().copied().chain([running.worker_id]);
                call.excluded = excluded.collect();
            }
            (Retry::LargerContext, Some(held)) => {
                let excluded = call.excluded.iter().copied().chain([running.worker_id]);
                call.excluded = excluded.collect();
                call.min_context = call.min_context.max(held.context);
            }
            (Retry::Loading, Some(held)) => {
                let until = now + LOADING_PAUSE;
                held.resident = None;
                held.loading = held.loading.or(Some(now));
                held.blocked = Some(until);
                worker.count_resident();
                self.queues.timers.set(until, Timer::Loading(worker.serial));
                self.catalogue.regroup(at, now);
            }
        }
    }

    /// Removes a waiting call whose caller has left.
    pub fn cancel(&mut self, id: CallId, now: u64) {
        self.remove_waiting(id, now);
    }

    /// Marks first content of a running call: its worker now has the prompt in its cache.
    pub fn first_content(&mut self, id: CallId, now: u64) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let Some(running) = call.running() else {
            return;
        };
        let Some(at) = self.catalogue.by_serial(running.worker) else {
            return;
        };
        let worker = &mut self.catalogue.workers[at];
        let Some(held) = worker.models.get_mut(usize::from(running.model)) else {
            return;
        };
        if held.name != running.model_name {
            return;
        }

        let was_resident = held.resident.is_some();
        held.report(true, false, now);
        if let Some(entry) = self.catalogue.entries.get(call.entry.0) {
            let scope = scope(call, entry, &self.config);
            self.affinity
                .insert(&call.marks, scope, running.worker, now);
        }
        if !was_resident {
            self.catalogue.workers[at].count_resident();
            self.catalogue.version += 1;
            self.worker_changed(at, now);
        }
    }

    /// Ends a running call and frees its slot.
    pub fn finished(&mut self, id: CallId, outcome: Outcome, now: u64) {
        if self
            .calls
            .get(&id)
            .is_none_or(|call| call.running().is_none())
        {
            return;
        }
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        let started = call.running().map_or(now, |running| running.started);
        let slot_time = outcome.slot_time.unwrap_or(now.saturating_sub(started));
        let worker = self.release(&mut call, slot_time, now);

        if outcome.trusted {
            self.learn(&call, worker.as_ref(), &outcome);
        }
        if let Some((at, _)) = worker {
            self.worker_changed(at, now);
        }
        if self.queues.keys.is_bounded(call.key) {
            self.dispatch_key(call.key, now);
        }
    }

    /// Takes a call off its worker, and charges its key with the time that it held a slot. Returns the
    /// worker, if it is still there.
    fn release(
        &mut self,
        call: &mut Call,
        slot_time: u64,
        now: u64,
    ) -> Option<(usize, Box<Running>)> {
        let state = std::mem::replace(&mut call.state, CallState::Moving);
        let CallState::Running(running) = state else {
            return None;
        };
        if call.takes_slot {
            let ended = Ended {
                estimate: call.charge,
                began: running.started,
                slot_time,
            };
            self.queues.keys.end(call.key, ended, now);
            self.queues.update_key(call.key, now);
        }

        let at = self.catalogue.by_serial(running.worker)?;
        let worker = &mut self.catalogue.workers[at];
        if call.takes_slot {
            worker.running = worker.running.saturating_sub(1);
            worker.ends = worker.ends.saturating_sub(u128::from(running.expected_end));
            self.catalogue.regroup(at, now);
        }
        Some((at, running))
    }

    fn learn(&mut self, call: &Call, worker: Option<&(usize, Box<Running>)>, outcome: &Outcome) {
        if let Some(entry) = self.catalogue.entries.get_mut(call.entry.0)
            && entry.serial == call.entry.1
        {
            entry.learn_prompt(call.prompt_bytes, outcome.prompt_tokens);
            entry.learn_completion(outcome.completion_tokens);
        }
        let Some((at, running)) = worker.filter(|(_, running)| running.matched > 0) else {
            return;
        };
        let models = &mut self.catalogue.workers[*at].models;
        if let Some(held) = models.get_mut(usize::from(running.model))
            && held.name == running.model_name
        {
            let came_true = outcome.cached_tokens as f64 / running.matched as f64;
            average(&mut held.trust, came_true.min(1.0));
        }
    }
}

fn reason(call: &Call, chosen: &Chosen) -> Reason {
    if call.only.is_some() {
        return Reason::Only;
    }
    match chosen.candidate.warmth {
        Warmth::Resident if chosen.candidate.cached > 0 => Reason::Prefix,
        Warmth::Resident => Reason::Warm,
        Warmth::Loading(_) => Reason::Loading,
        Warmth::Cold => Reason::Cold,
        Warmth::Reload => Reason::Reload,
    }
}
