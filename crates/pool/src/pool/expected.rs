//! When calls that wait are expected to have first content.

use crate::CallId;
use crate::catalogue::{Group, HeldModel, Worker};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::score::{LONGEST, Warmth, slot_time};

impl Pool {
    /// Returns the expected microseconds to first content of each call of a queue, in their order.
    /// `None` for all where no worker takes calls.
    ///
    /// It is the score of the best worker, and the slot time of the calls before, shared by all slots
    /// of the model. Workers have other models besides, so that it is a guess.
    pub(super) fn expected(&self, queue: &Queue, order: &[CallId], now: u64) -> Vec<Option<u64>> {
        let entry = &self.catalogue.entries[queue.entry];
        let mut slots = 0;
        let mut first: Option<u64> = None;
        for holder in entry.holders() {
            let worker = &self.catalogue.workers[holder.worker];
            let model = worker.memberships[holder.membership].model;
            let is_bound_elsewhere = queue.only.is_some_and(|only| only != worker.id);
            if worker.group(model) == Group::Out || is_bound_elsewhere {
                continue;
            }
            slots += u64::from(worker.settings.slots);
            let start = until_start(worker, model, now);
            first = Some(first.map_or(start, |first| first.min(start)));
        }
        let Some(first) = first else {
            return vec![None; order.len()];
        };

        let mut before = 0u64;
        let expected = order.iter().map(|id| {
            let call = self.calls.get(id)?;
            let reading = slot_time(call.prompt_tokens, entry.prefill, 0, entry.decode);
            let turn = first.saturating_add(before / slots.max(1));
            before = before.saturating_add(call.charge);
            Some(turn.saturating_add(reading).min(LONGEST))
        });
        expected.collect()
    }
}

/// Returns the expected microseconds until a worker begins to read a prompt.
fn until_start(worker: &Worker, model: u16, now: u64) -> u64 {
    let wait = if worker.is_free() {
        0
    } else {
        worker.wait(now)
    };
    let held: &HeldModel = &worker.models[usize::from(model)];
    let warmth = held.warmth(None, now);
    let loading = match warmth {
        Warmth::Resident => 0,
        Warmth::Loading(elapsed) => held.load_time().saturating_sub(elapsed),
        Warmth::Cold | Warmth::Reload => {
            let evict = worker.evict(model, &warmth, now);
            held.load_time().saturating_add(evict)
        }
    };
    wait.saturating_add(loading)
}
