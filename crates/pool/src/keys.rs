//! Keys and their counters of slot time, by which they take turns.
//!
//! A counter rises by the time that the key's calls hold slots, divided by its weight; the key with the
//! smallest counter is next. A key that comes back after a pause is lifted to the others: being idle
//! earns nothing. (Virtual token counters, OSDI 2024, with slot time in place of tokens: it is what
//! others are kept from, and the same for every kind of call.)
//!
//! A running call counts with its estimate, so that a key cannot take all slots before any of its calls
//! ends. A key that comes back is lifted to what the others have used by then, without what is left of
//! their estimates: calls may end much sooner, and it would wait for all that they did not use.

use std::collections::BTreeSet;

use crate::pattern::Patterns;
use crate::steps::step;
use crate::{IdMap, KeyId, KeySettings};

/// The weight with which a counter rises by one for each microsecond.
const NORMAL_WEIGHT: i128 = 1000;
/// The most active keys that are looked at for a key that comes back. Only keys with running calls are
/// passed over, in the order of their counters without them.
const MAX_LIFT_STEPS: usize = 16;

/// One key.
#[derive(Debug, Default)]
pub(crate) struct Key {
    pub(crate) settings: KeySettings,
    pub(crate) patterns: Patterns,
    /// Slot time of calls that ended, in microseconds, divided by the weight. Lifted after a pause.
    settled: i128,
    /// Estimated slot time of the running calls, in microseconds.
    estimated: i128,
    /// The sum of the moments at which the running calls began.
    began: i128,
    /// Calls that hold slots.
    pub(crate) running: usize,
    /// Calls that wait.
    pub(crate) waiting: usize,
    /// Lines with waiting calls of the key.
    pub(crate) lines: BTreeSet<usize>,
}

/// All keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    keys: IdMap<KeyId, Key>,
    /// Keys that wait or run, by their counters without running calls.
    active: BTreeSet<(i128, KeyId)>,
    /// The counter without running calls of the key that was served last.
    last: i128,
}

/// A call that ends, all in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// The estimate that it counted with.
    pub(crate) estimate: u64,
    /// When it began.
    pub(crate) began: u64,
    /// The time that it held a slot.
    pub(crate) slot_time: u64,
}

impl Key {
    /// Returns whether another call may run.
    pub(crate) fn may_run(&self) -> bool {
        self.settings
            .max_concurrency
            .is_none_or(|limit| self.running < limit)
    }

    fn is_active(&self) -> bool {
        self.running + self.waiting > 0
    }

    /// Returns what decides whose turn it is.
    fn counter(&self) -> i128 {
        self.settled + self.weighted(self.estimated)
    }

    /// Returns the counter with what running calls have used until now, in place of their estimates
    /// where those are larger.
    fn used(&self, now: u64) -> i128 {
        let elapsed = self.running as i128 * i128::from(now) - self.began;
        self.settled + self.weighted(elapsed.min(self.estimated))
    }

    fn weighted(&self, slot_time: i128) -> i128 {
        slot_time * NORMAL_WEIGHT / i128::from(self.settings.weight.max(1))
    }
}

impl Keys {
    pub(crate) fn set(&mut self, key: KeyId, settings: KeySettings) {
        let entry = self.keys.entry(key).or_default();
        entry.patterns = Patterns::new(&settings.models);
        entry.settings = settings;
    }

    pub(crate) fn get(&self, key: KeyId) -> Option<&Key> {
        self.keys.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: KeyId) -> &mut Key {
        self.keys.entry(key).or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyId, &Key)> {
        self.keys.iter().map(|(id, key)| (*id, key))
    }

    pub(crate) fn counter(&self, key: KeyId) -> i128 {
        self.keys.get(&key).map_or(0, Key::counter)
    }

    /// Returns whether another call of the key may run.
    pub(crate) fn may_run(&self, key: KeyId) -> bool {
        self.keys.get(&key).is_none_or(Key::may_run)
    }

    /// Returns whether the number of its running calls has a bound, so that the end of one may let
    /// another run.
    pub(crate) fn is_bounded(&self, key: KeyId) -> bool {
        let key = self.keys.get(&key);
        key.is_some_and(|key| key.settings.max_concurrency.is_some())
    }

    /// Returns whether a key may use a model of this name.
    pub(crate) fn allows(&self, key: KeyId, name: &str) -> bool {
        self.keys
            .get(&key)
            .is_none_or(|key| key.patterns.allows(name))
    }

    /// Adds to the number of calls that wait. A key without calls is lifted first.
    pub(crate) fn count_waiting(&mut self, key: KeyId, waiting: isize, now: u64) {
        self.change(key, now, |state| {
            state.waiting = state.waiting.saturating_add_signed(waiting);
        });
    }

    /// Begins a call, which counts with its estimate until it ends. A key without calls is lifted first.
    pub(crate) fn begin(&mut self, key: KeyId, estimate: u64, now: u64) {
        self.change(key, now, |state| {
            state.running += 1;
            state.estimated += i128::from(estimate);
            state.began += i128::from(now);
        });
        self.last = self.keys.get(&key).map_or(0, |key| key.settled);
    }

    /// Ends a call: its slot time takes the place of its estimate.
    pub(crate) fn end(&mut self, key: KeyId, call: Ended, now: u64) {
        self.change(key, now, |state| {
            state.running = state.running.saturating_sub(1);
            state.estimated -= i128::from(call.estimate);
            state.began -= i128::from(call.began);
            state.settled += state.weighted(i128::from(call.slot_time));
        });
    }

    /// Changes a key, lifts it if it has its first call by that, and brings it into its place.
    fn change(&mut self, key: KeyId, now: u64, change: impl FnOnce(&mut Key)) {
        let is_idle = self.keys.get(&key).is_none_or(|key| !key.is_active());
        let floor = if is_idle { self.floor(now) } else { i128::MIN };
        let state = self.keys.entry(key).or_default();

        self.active.remove(&(state.settled, key));
        change(state);
        if state.is_active() {
            state.settled = state.settled.max(floor);
            self.active.insert((state.settled, key));
        }
    }

    /// Returns the smallest of what active keys have used, or else that of the key served last. Keys come
    /// in the order of what they had used when their running calls began.
    fn floor(&self, now: u64) -> i128 {
        let mut floor = None;
        for (at, (settled, key)) in self.active.iter().enumerate() {
            step();
            if floor.is_some_and(|floor| floor <= *settled) {
                break;
            }
            if at == MAX_LIFT_STEPS {
                return *settled;
            }
            let used = self.keys.get(key).map_or(*settled, |key| key.used(now));
            floor = Some(floor.map_or(used, |floor: i128| floor.min(used)));
        }
        floor.unwrap_or(self.last)
    }

    /// Returns what a counter becomes by some slot time.
    pub(crate) fn after(&self, key: KeyId, counter: i128, slot_time: u64) -> i128 {
        let slot_time = i128::from(slot_time);
        counter
            + self
                .keys
                .get(&key)
                .map_or(slot_time, |key| key.weighted(slot_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: KeyId = KeyId(1);
    const B: KeyId = KeyId(2);

    fn ended(estimate: u64, slot_time: u64) -> Ended {
        Ended {
            estimate,
            began: 0,
            slot_time,
        }
    }

    #[test]
    fn a_counter_rises_by_slot_time_over_weight() {
        let mut keys = Keys::default();
        keys.set(
            A,
            KeySettings {
                weight: 4000,
                ..KeySettings::default()
            },
        );

        keys.begin(A, 4000, 0);
        keys.begin(B, 4000, 0);
        keys.end(B, ended(4000, 3000), 0);

        assert_eq!(keys.counter(A), 1000);
        assert_eq!(keys.counter(B), 3000);
    }

    #[test]
    fn an_idle_key_is_lifted_to_the_smallest_active_one() {
        let mut keys = Keys::default();
        keys.begin(A, 0, 0);
        keys.begin(A, 0, 0);
        keys.end(A, ended(0, 5000), 5000);

        keys.count_waiting(B, 1, 5000);

        assert_eq!(keys.counter(B), 5000);
    }

    #[test]
    fn an_idle_key_is_not_lifted_by_unspent_estimates() {
        let mut keys = Keys::default();
        for _ in 0..3 {
            keys.begin(A, 1_000_000, 0);
        }

        keys.count_waiting(B, 1, 200);

        assert_eq!(keys.counter(A), 3_000_000);
        assert_eq!(keys.counter(B), 600, "what three calls used in 200 µs");
    }

    #[test]
    fn estimates_that_are_spent_lift_no_further() {
        let mut keys = Keys::default();
        keys.begin(A, 100, 0);

        keys.count_waiting(B, 1, 5000);

        assert_eq!(keys.counter(B), 100, "no further back than A itself");
    }

    #[test]
    fn the_smallest_use_lifts_not_the_smallest_settled_counter() {
        let mut keys = Keys::default();
        keys.begin(A, 1_000_000, 0);
        keys.begin(B, 0, 0);
        keys.begin(B, 0, 0);
        keys.end(B, ended(0, 300), 300);

        keys.count_waiting(KeyId(3), 1, 900);

        assert_eq!(keys.counter(KeyId(3)), 300, "A has used 900, B 300");
    }

    #[test]
    fn with_nobody_active_the_last_served_one_lifts() {
        let mut keys = Keys::default();
        keys.begin(A, 0, 0);
        keys.end(A, ended(0, 5000), 5000);
        keys.begin(A, 70_000, 5000);
        keys.end(A, ended(70_000, 0), 5000);

        keys.count_waiting(B, 1, 5000);

        assert_eq!(keys.counter(B), 5000);
    }

    #[test]
    fn a_key_with_debt_keeps_it_over_a_pause() {
        let mut keys = Keys::default();
        keys.begin(A, 0, 0);
        keys.end(A, ended(0, 5000), 5000);
        keys.count_waiting(B, 1, 5000);

        keys.count_waiting(A, 1, 5000);

        assert_eq!(keys.counter(A), 5000);
        assert!(keys.counter(B) < 5000);
    }
}
