//! Laws of fairness, over random pools with a virtual clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::Class;
use crate::random::Random;

/// The longest call, in microseconds.
const LONGEST: u64 = 10 * SECOND;
/// Keys up to this one have calls that wait all the time. Those after it come and go.
const CALLS: usize = 150;

/// How far the estimated slot time of a call is from the truth.
#[derive(Debug, Clone, Copy)]
enum Estimate {
    Exact,
    Zero,
    Longest,
    /// Calls end 25 times sooner, at least.
    FarTooLong,
    Random,
}

impl Estimate {
    /// Returns the longest time that a call takes, or is estimated to take.
    fn longest(self) -> u64 {
        match self {
            Self::FarTooLong => 25 * LONGEST, // As large as a prompt may be.
            Self::Exact | Self::Zero | Self::Longest | Self::Random => LONGEST,
        }
    }
}

/// A pool of workers with one model, under load.
struct Simulation {
    kit: Kit,
    random: Random,
    estimate: Estimate,
    slots: usize,
    ends: BinaryHeap<Reverse<(u64, CallId)>>,
    durations: HashMap<CallId, u64>,
    keys: HashMap<CallId, KeyId>,
    started: BTreeMap<CallId, u64>,
    served: HashMap<KeyId, u64>,
    waiting: HashMap<KeyId, usize>,
    order: Vec<(KeyId, CallId)>,
}

impl Simulation {
    fn new(seed: u64, workers: &[u32], estimate: Estimate) -> Self {
        let mut kit = Kit::with(PoolConfig {
            queue_size: 100_000,
            queue_timeout: u64::MAX / 2,
            ageing: 0,
            seed,
            ..PoolConfig::default()
        });
        for (id, slots) in (1..).zip(workers) {
            kit.worker(id, *slots, &[model("m")]);
        }
        Self {
            kit,
            random: Random::new(seed),
            estimate,
            slots: workers.iter().sum::<u32>() as usize,
            ends: BinaryHeap::new(),
            durations: HashMap::new(),
            keys: HashMap::new(),
            started: BTreeMap::new(),
            served: HashMap::new(),
            waiting: HashMap::new(),
            order: Vec::new(),
        }
    }

    fn place(&mut self, key: KeyId) {
        let duration = 1 + self.random.next() % LONGEST;
        let estimate = match self.estimate {
            Estimate::Exact => duration,
            Estimate::Zero => 0,
            Estimate::Longest => LONGEST,
            Estimate::FarTooLong => self.estimate.longest(),
            Estimate::Random => self.random.next() % LONGEST,
        };
        let ask = Ask {
            prompt_tokens: estimate / 2000, // At 500 tokens a second.
            output_tokens: Some(0),
            ..self.kit.ask("m", key)
        };
        let call = ask.call;
        self.durations.insert(call, duration);
        self.keys.insert(call, key);
        match self.kit.place(ask) {
            Placement::Run(_) => self.start(call),
            Placement::Waiting { .. } => *self.waiting.entry(key).or_default() += 1,
            Placement::Refused(error) => panic!("{error}"),
        }
    }

    fn start(&mut self, call: CallId) {
        self.order.push((self.keys[&call], call));
        self.started.insert(call, self.kit.now);
        self.ends
            .push(Reverse((self.kit.now + self.durations[&call], call)));
        assert!(self.started.len() <= self.slots, "more calls than slots");
    }

    /// Lets time pass up to the next end of a call.
    fn step(&mut self) {
        let Reverse((end, call)) = self.ends.pop().unwrap();
        self.kit.now = end;
        let started = self.started.remove(&call).unwrap();
        *self.served.entry(self.keys[&call]).or_default() += end - started;
        self.kit.finish(call);
        for call in self.kit.started() {
            *self.waiting.get_mut(&self.keys[&call]).unwrap() -= 1;
            self.start(call);
        }

        let waiting: usize = self.waiting.values().sum();
        let is_idle = self.started.len() < self.slots;
        assert!(
            !is_idle || waiting == 0,
            "a free slot, and {waiting} calls wait"
        );
    }

    /// Returns the slot time that a key was served, with what runs.
    fn served(&self, key: KeyId) -> u64 {
        let running = self
            .started
            .iter()
            .filter(|(call, _)| self.keys[call] == key);
        let running: u64 = running.map(|(_, started)| self.kit.now - started).sum();
        self.served.get(&key).copied().unwrap_or(0) + running
    }
}

fn estimates() -> impl Strategy<Value = Estimate> {
    prop_oneof![
        Just(Estimate::Exact),
        Just(Estimate::Zero),
        Just(Estimate::Longest),
        Just(Estimate::FarTooLong),
        Just(Estimate::Random),
    ]
}

/// Some workers with up to eight slots in all. Several have one slot each: then none is slower than
/// another because of its other calls.
fn workers() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        (1u32..=8).prop_map(|slots| vec![slots]),
        (1usize..=8).prop_map(|workers| vec![1; workers]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// `|Sᵢ/wᵢ − Sⱼ/wⱼ| ≤ (P + 1) · C · (1/wᵢ + 1/wⱼ)` for keys with calls waiting throughout, and no free
    /// slot while a call waits, and no more calls than slots. C is the longest call, or the longest
    /// estimate.
    #[test]
    fn keys_get_slot_time_by_their_weights(
        seed: u64,
        workers in workers(),
        weights in prop::collection::vec(1u32..=5, 2..=6),
        estimate in estimates(),
    ) {
        let mut simulation = Simulation::new(seed, &workers, estimate);
        let steady: Vec<KeyId> = (0..weights.len() as u32).map(KeyId).collect();
        for (key, weight) in steady.iter().zip(&weights) {
            let weight = weight * 1000;
            simulation.kit.key(*key, KeySettings { weight, ..KeySettings::default() });
        }
        for _ in 0..CALLS {
            steady.iter().for_each(|key| simulation.place(*key));
        }

        let bound = (simulation.slots as f64 + 1.0) * estimate.longest() as f64;
        while steady.iter().all(|key| simulation.waiting[key] > 0) {
            if simulation.random.below(4) == 0 {
                let guest = KeyId(100 + simulation.random.below(3) as u32);
                simulation.place(guest);
            }
            simulation.step();
            for (i, wi) in steady.iter().zip(&weights) {
                for (j, wj) in steady.iter().zip(&weights) {
                    let share = |key, weight: u32| simulation.served(key) as f64 / f64::from(weight);
                    let gap = (share(*i, *wi) - share(*j, *wj)).abs();
                    let allowed = bound * (1.0 / f64::from(*wi) + 1.0 / f64::from(*wj));
                    prop_assert!(gap <= allowed, "{gap} of {allowed}");
                }
            }
        }
    }

    /// Within a key, calls start in the order of their arrival.
    #[test]
    fn a_key_is_first_in_first_out(seed: u64, workers in workers(), estimate in estimates()) {
        let mut simulation = Simulation::new(seed, &workers, estimate);
        for _ in 0..300 {
            let key = KeyId(simulation.random.below(5) as u32);
            simulation.place(key);
            if simulation.random.below(2) == 0 {
                simulation.step();
            }
        }
        while !simulation.ends.is_empty() {
            simulation.step();
        }

        prop_assert_eq!(simulation.order.len(), 300);
        for key in (0..5).map(KeyId) {
            let calls = simulation.order.iter().filter(|(owner, _)| *owner == key);
            prop_assert!(calls.map(|(_, call)| call).is_sorted());
        }
    }

    /// A key that was idle has no advantage: after it comes back, it is not served more than its share and
    /// the bound from that moment on.
    #[test]
    fn being_idle_earns_no_credit(seed: u64, slots in 1u32..=4, idle in 1usize..200) {
        let mut simulation = Simulation::new(seed, &[slots], Estimate::Exact);
        for _ in 0..600 {
            simulation.place(KEY);
        }
        simulation.place(OTHER);
        for _ in 0..idle {
            simulation.step();
        }
        for _ in 0..300 {
            simulation.place(OTHER);
        }

        let before = [KEY, OTHER].map(|key| simulation.served(key));
        let bound = 2.0 * (f64::from(slots) + 1.0) * LONGEST as f64;
        for _ in 0..100 {
            simulation.step();
            let gained = |at: usize, key| (simulation.served(key) - before[at]) as f64;
            let lead = gained(1, OTHER) - gained(0, KEY);
            prop_assert!(lead <= bound, "{lead} of {bound}");
        }
    }

    /// A key that comes back has its share from that moment on: it is neither ahead nor behind the others
    /// by more than the bound, however far estimates are from the truth.
    #[test]
    fn a_key_that_comes_back_has_its_share_at_once(
        seed: u64,
        workers in workers(),
        weight in 1u32..=5,
        estimate in estimates(),
        absent in 1usize..100,
    ) {
        let mut simulation = Simulation::new(seed, &workers, estimate);
        let settings = KeySettings { weight: weight * 1000, ..KeySettings::default() };
        simulation.kit.key(OTHER, settings);
        for _ in 0..600 {
            simulation.place(KEY);
        }
        simulation.place(OTHER);
        for _ in 0..absent {
            simulation.step();
        }
        while simulation.waiting.get(&OTHER).is_some_and(|waiting| *waiting > 0) {
            simulation.step();
        }

        for _ in 0..400 {
            simulation.place(OTHER);
        }
        let before = [KEY, OTHER].map(|key| simulation.served(key));
        let weight = f64::from(weight);
        let longest = estimate.longest() as f64;
        let bound = (simulation.slots as f64 + 1.0) * longest * (1.0 + 1.0 / weight);
        for _ in 0..100 {
            simulation.step();
            let gained = |at: usize, key| (simulation.served(key) - before[at]) as f64;
            let gap = gained(1, OTHER) / weight - gained(0, KEY);
            prop_assert!(gap.abs() <= bound, "{gap} of {bound}");
        }
    }

    /// The first call of a key waits for the calls that run, and at most one call of each key that has
    /// used no more until then: not for what running calls were estimated to take and do not.
    #[test]
    fn a_new_key_does_not_wait_for_unspent_estimates(
        seed: u64,
        workers in workers(),
        weights in prop::collection::vec(1u32..=5, 1..=6),
        estimate in prop_oneof![Just(Estimate::Longest), Just(Estimate::FarTooLong)],
        absent in 0usize..100,
    ) {
        let mut simulation = Simulation::new(seed, &workers, estimate);
        let steady: Vec<KeyId> = (0..weights.len() as u32).map(KeyId).collect();
        for (key, weight) in steady.iter().zip(&weights) {
            let weight = weight * 1000;
            simulation.kit.key(*key, KeySettings { weight, ..KeySettings::default() });
        }
        for _ in 0..CALLS {
            steady.iter().for_each(|key| simulation.place(*key));
        }
        for _ in 0..absent {
            simulation.step();
        }

        let newcomer = KeyId(100);
        simulation.place(newcomer);
        let mut ends = 0;
        while simulation.order.iter().all(|(key, _)| *key != newcomer) {
            simulation.step();
            ends += 1;
        }

        prop_assert!(ends <= 1 + steady.len(), "{ends} calls ended before");
    }

    /// A call of the lowest class is ordered as the highest after two periods of ageing: only counters and
    /// arrival decide.
    #[test]
    fn no_call_waits_behind_a_higher_class_for_ever(seed: u64, slots in 1u32..=3) {
        let mut simulation = Simulation::new(seed, &[slots], Estimate::Exact);
        simulation.kit = Kit::with(PoolConfig { queue_size: 10_000, seed, ..PoolConfig::default() });
        simulation.kit.worker(1, slots, &[model("m")]);
        for (key, class) in [(KEY, Class::High), (OTHER, Class::Low)] {
            simulation.kit.key(key, KeySettings { class, ..KeySettings::default() });
        }
        for _ in 0..50 {
            simulation.place(KEY);
        }
        simulation.place(OTHER);
        let low = simulation.kit.last_call;
        let since = simulation.kit.now;

        let has_started = |simulation: &Simulation| {
            simulation.order.iter().any(|(_, call)| call.0 == low)
        };
        while !has_started(&simulation) {
            for _ in 0..slots {
                simulation.place(KEY);
            }
            simulation.step();
        }

        // Two periods, the calls that run then, and as much slot time as the other key was ahead.
        let longest = 60 * SECOND + 2 * LONGEST;
        prop_assert!(simulation.kit.now - since <= longest);
    }
}
