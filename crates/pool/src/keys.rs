//! Keys and their counters of slot time, by which they take turns.
//!
//! A counter rises by the time that the key's calls hold slots, divided by its weight; the key with the
//! smallest counter is next. A key that comes back after a pause is lifted to the others: being idle
//! earns nothing. (Virtual token counters, OSDI 2024, with slot time in place of tokens: it is what
//! others are kept from, and the same for every kind of call.)

use std::collections::BTreeSet;

use crate::pattern::Patterns;
use crate::{IdMap, KeyId, KeySettings};

/// The weight with which a counter rises by one for each microsecond.
const NORMAL_WEIGHT: i128 = 1000;

/// One key.
#[derive(Debug, Default)]
pub(crate) struct Key {
    pub(crate) settings: KeySettings,
    pub(crate) patterns: Patterns,
    /// Slot time in microseconds, divided by the weight. Lifted, and corrected at the end of each call.
    pub(crate) counter: i128,
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
    /// Keys that wait or run, by counter.
    active: BTreeSet<(i128, KeyId)>,
    /// The counter of the key that was served last.
    last: i128,
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
        self.keys.get(&key).map_or(0, |key| key.counter)
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

    /// Adds to the numbers of calls that wait and run. A key without any is lifted first.
    pub(crate) fn count(&mut self, key: KeyId, waiting: isize, running: isize) {
        let smallest = self.active.first().map(|(counter, _)| *counter);
        let last = self.last;
        let state = self.keys.entry(key).or_default();

        let was_active = state.is_active();
        let before = state.counter;
        state.waiting = state.waiting.saturating_add_signed(waiting);
        state.running = state.running.saturating_add_signed(running);
        match (was_active, state.is_active()) {
            (false, true) => {
                state.counter = before.max(smallest.unwrap_or(last));
                self.active.insert((state.counter, key));
            }
            (true, false) => {
                self.active.remove(&(before, key));
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Adds slot time, in microseconds, to a key's counter. Negative corrects an estimate.
    pub(crate) fn charge(&mut self, key: KeyId, slot_time: i128) {
        let state = self.keys.entry(key).or_default();

        let before = state.counter;
        state.counter += state.weighted(slot_time);
        let after = state.counter;
        if self.active.remove(&(before, key)) {
            self.active.insert((after, key));
        }
    }

    /// Notes that a key is served now.
    pub(crate) fn serve(&mut self, key: KeyId) {
        self.last = self.counter(key);
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

        keys.charge(A, 4000);
        keys.charge(B, 4000);
        keys.charge(B, -1000);

        assert_eq!(keys.counter(A), 1000);
        assert_eq!(keys.counter(B), 3000);
    }

    #[test]
    fn an_idle_key_is_lifted_to_the_smallest_active_one() {
        let mut keys = Keys::default();
        keys.count(A, 0, 1);
        keys.serve(A);
        keys.charge(A, 5000);

        keys.count(B, 1, 0);

        assert_eq!(keys.counter(B), 5000);
    }

    #[test]
    fn with_nobody_active_the_last_served_one_lifts() {
        let mut keys = Keys::default();
        keys.count(A, 0, 1);
        keys.charge(A, 5000);
        keys.serve(A);
        keys.count(A, 0, -1);

        keys.count(B, 1, 0);

        assert_eq!(keys.counter(B), 5000);
    }

    #[test]
    fn a_key_with_debt_keeps_it_over_a_pause() {
        let mut keys = Keys::default();
        keys.count(A, 0, 1);
        keys.charge(A, 5000);
        keys.count(A, 0, -1);
        keys.count(B, 1, 0);

        keys.count(A, 1, 0);

        assert_eq!(keys.counter(A), 5000);
        assert!(keys.counter(B) < 5000);
    }
}
