//! The queues: one for each model with waiting calls, and one for calls that are bound to a worker.
//!
//! A queue has lines, one for each key and kind of call, and serves the line whose front is first by
//! class, by the counter of its key, and by arrival. A call leaves its line at the front, or by its own
//! end. Lines of keys that have all their calls running are not in the order until one ends.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use slab::Slab;

use crate::affinity::HOLDERS;
use crate::keys::Keys;
use crate::steps::step;
use crate::timers::{Timer, Timers};
use crate::{CallId, Class, KeyId, WorkerId};

/// Calls that are served in the order of their arrival.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LineKey {
    pub(crate) key: KeyId,
    pub(crate) class: Class,
    /// The API, as a bit: a worker that lacks one must not hold up calls to others.
    pub(crate) api: u32,
    /// The context that is asked for: it may need another worker.
    pub(crate) num_ctx: Option<u64>,
    /// A call that some workers must not run has a line of its own.
    pub(crate) alone: Option<CallId>,
}

/// The place of a line's front in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    class: Reverse<Class>,
    counter: i128,
    seq: u64,
    pub(crate) line: usize,
}

/// One waiting call of a line, under its number of arrival.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) call: CallId,
    pub(crate) queued_at: u64,
}

/// What the front of a line waits for, though a slot is free. As long as it holds, only a worker that
/// becomes free is looked at for it. All times are microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The number of arrival of the front.
    pub(crate) seq: u64,
    /// The state of the queue: it ends when a worker got worse.
    pub(crate) epoch: u64,
    /// When the front stops waiting.
    pub(crate) until: u64,
    /// When the preferred worker is expected to have a free slot.
    pub(crate) free_at: u64,
    /// When first content is expected then.
    pub(crate) content_at: u64,
    /// Workers with a beginning of its prompt, by serial; 0 for none.
    pub(crate) holders: [u32; HOLDERS],
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) queue: usize,
    pub(crate) key: LineKey,
    pub(crate) calls: BTreeMap<u64, Waiting>,
    pub(crate) standing: Option<Standing>,
    order: Option<Order>,
    age_at: Option<u64>,
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The entry of the catalogue.
    pub(crate) entry: usize,
    /// The only worker for its calls.
    pub(crate) only: Option<WorkerId>,
    pub(crate) lines: HashMap<LineKey, usize>,
    pub(crate) order: BTreeSet<Order>,
    /// Calls in all its lines.
    pub(crate) waiting: usize,
    /// When its front call stops waiting for a worker with the model loaded.
    pub(crate) warm_timer: Option<u64>,
    /// Rises when a worker of its model got worse.
    pub(crate) epoch: u64,
}

/// All queues, with the keys and timers by which they are ordered.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    pub(crate) queues: Slab<Queue>,
    pub(crate) lines: Slab<Line>,
    pub(crate) keys: Keys,
    pub(crate) timers: Timers,
    /// Calls in all queues.
    pub(crate) waiting: usize,
    ageing: u64,
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> Ordering {
        step();
        let by = |order: &Self| (order.class, order.counter, order.seq, order.line);
        by(self).cmp(&by(other))
    }
}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Line {
    /// Returns the call that is next, with its number of arrival.
    pub(crate) fn front(&self) -> Option<(u64, Waiting)> {
        self.calls
            .first_key_value()
            .map(|(seq, call)| (*seq, *call))
    }
}

impl Queues {
    pub(crate) fn new(ageing: u64) -> Self {
        Self {
            ageing,
            ..Self::default()
        }
    }

    /// Adds an empty queue.
    pub(crate) fn add_queue(&mut self, entry: usize, only: Option<WorkerId>) -> usize {
        self.queues.insert(Queue {
            entry,
            only,
            lines: HashMap::new(),
            order: BTreeSet::new(),
            waiting: 0,
            warm_timer: None,
            epoch: 0,
        })
    }

    /// Adds a call to its line, which is brought into its place. Returns the line. The caller counts it
    /// with its key.
    pub(crate) fn push(
        &mut self,
        queue: usize,
        key: LineKey,
        (seq, call): (u64, Waiting),
        now: u64,
    ) -> usize {
        let line = match self.queues[queue].lines.get(&key) {
            Some(line) => *line,
            None => self.add_line(queue, key),
        };

        self.lines[line].calls.insert(seq, call);
        self.queues[queue].waiting += 1;
        self.waiting += 1;
        self.update_line(line, now);
        line
    }

    fn add_line(&mut self, queue: usize, key: LineKey) -> usize {
        let line = self.lines.insert(Line {
            queue,
            key: key.clone(),
            calls: BTreeMap::new(),
            standing: None,
            order: None,
            age_at: None,
        });
        self.keys.get_mut(key.key).lines.insert(line);
        self.queues[queue].lines.insert(key, line);
        line
    }

    /// Takes a call out of its line, which is brought into its place. Returns `false` if it is not there.
    /// The caller counts it with its key.
    pub(crate) fn take(&mut self, line: usize, seq: u64, now: u64) -> bool {
        let Some(state) = self.lines.get_mut(line) else {
            return false;
        };
        if state.calls.remove(&seq).is_none() {
            return false;
        }

        let queue = state.queue;
        self.queues[queue].waiting -= 1;
        self.waiting -= 1;
        self.update_line(line, now);
        true
    }

    /// Returns what the front of a line waits for, if that still holds.
    pub(crate) fn standing(&self, line: usize, now: u64) -> Option<Standing> {
        let line = self.lines.get(line)?;
        let (seq, _) = line.front()?;
        let epoch = self.queues[line.queue].epoch;
        line.standing.filter(|standing| {
            let holds = standing.seq == seq && standing.epoch == epoch;
            holds && now < standing.until && now < standing.free_at
        })
    }

    /// Sets when a queue is looked at again for calls that wait for a loaded model. An earlier moment
    /// that is to come stays.
    pub(crate) fn look_again(&mut self, queue: usize, at: u64, now: u64) {
        let state = &mut self.queues[queue];
        if state
            .warm_timer
            .is_some_and(|timer| timer > now && timer <= at)
        {
            return;
        }
        if let Some(timer) = state.warm_timer.replace(at) {
            self.timers.clear(timer, Timer::Warm(queue));
        }
        self.timers.set(at, Timer::Warm(queue));
    }

    /// Removes a queue without calls.
    pub(crate) fn remove_queue(&mut self, at: usize) {
        let queue = self.queues.remove(at);
        if let Some(timer) = queue.warm_timer {
            self.timers.clear(timer, Timer::Warm(at));
        }
    }

    /// Brings all lines of a key into the places that its counter and its running calls give them.
    pub(crate) fn update_key(&mut self, key: KeyId, now: u64) {
        let Some(state) = self.keys.get(key) else {
            return;
        };
        let lines: Vec<usize> = state.lines.iter().copied().collect();
        for line in lines {
            self.update_line(line, now);
        }
    }

    /// Brings a line into its place, or removes it if it is empty.
    pub(crate) fn update_line(&mut self, id: usize, now: u64) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        let queue = line.queue;
        let key = line.key.key;
        let before = line.order.take();
        if let Some(at) = line.age_at.take() {
            self.timers.clear(at, Timer::Age(id));
        }

        let may_run = self.keys.may_run(key);
        let after = line.front().filter(|_| may_run).map(|(seq, front)| {
            let age = age(
                line.key.class,
                now.saturating_sub(front.queued_at),
                self.ageing,
            );
            line.age_at = age.next.map(|rest| now + rest);
            Order {
                class: Reverse(age.class),
                counter: self.keys.counter(key),
                seq,
                line: id,
            }
        });
        line.order = after;
        if let Some(at) = line.age_at {
            self.timers.set(at, Timer::Age(id));
        }

        let is_empty = line.calls.is_empty();
        let order = &mut self.queues[queue].order;
        if before != after {
            before.map(|before| order.remove(&before));
            after.map(|after| order.insert(after));
        }
        if is_empty {
            self.remove_line(id);
        }
    }

    fn remove_line(&mut self, id: usize) {
        let line = self.lines.remove(id);
        self.keys.get_mut(line.key.key).lines.remove(&id);
        self.queues[line.queue].lines.remove(&line.key);
    }

    /// Returns the first lines of a queue, in order.
    pub(crate) fn first_lines(&self, queue: usize, most: usize) -> Vec<usize> {
        let order = self.queues.get(queue).map(|queue| queue.order.iter());
        let orders = order.into_iter().flatten().take(most);
        orders.map(|order| order.line).collect()
    }

    /// Returns the order of a queue's first line, and since when its front call waits.
    pub(crate) fn first(&self, queue: usize) -> Option<(Order, u64)> {
        let order = *self.queues.get(queue)?.order.first()?;
        let front = self.lines.get(order.line)?.front()?;
        Some((order, front.1.queued_at))
    }

    /// Returns the class of a call that has waited for some time.
    pub(crate) fn aged(&self, class: Class, waited: u64) -> Class {
        age(class, waited, self.ageing).class
    }
}

/// The class of a call after some waiting, and the time until it rises again.
struct Age {
    class: Class,
    next: Option<u64>,
}

fn age(class: Class, waited: u64, ageing: u64) -> Age {
    if ageing == 0 {
        return Age { class, next: None };
    }
    let times = waited / ageing;
    let class = (0..times.min(2)).fold(class, |class, _| class.raised());
    Age {
        class,
        next: (class < Class::High).then(|| (times + 1) * ageing - waited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_call_rises_by_a_class_for_each_period() {
        let aged = |class, waited| age(class, waited, 30).class;

        assert_eq!(aged(Class::Low, 29), Class::Low);
        assert_eq!(aged(Class::Low, 30), Class::Normal);
        assert_eq!(aged(Class::Low, 60), Class::High);
        assert_eq!(aged(Class::Normal, 30), Class::High);
        assert_eq!(age(Class::Low, 40, 30).next, Some(20));
        assert_eq!(age(Class::High, 0, 30).next, None);
        assert_eq!(age(Class::Low, 1_000_000, 0).class, Class::Low);
    }
}
