//! The costs of decisions, counted in steps, and the sizes of what is kept: at ten thousand workers and a
//! hundred thousand waiting calls.

use super::*;
use crate::pool::call_state::{Call, Running};
use crate::pool::gather::MAX_CANDIDATES;
use crate::queue::{Line, Waiting};
use crate::{PrefixMark, steps};

const WORKERS: u64 = 10_000;
const CALLS: usize = 100_000;
const KEYS: u32 = 1000;
const MODELS: usize = 50;

/// A pool of ten thousand workers with five of fifty models each, two slots each.
fn crowd() -> Kit {
    let mut kit = Kit::with(PoolConfig {
        queue_size: CALLS,
        ..PoolConfig::default()
    });
    for id in 1..=WORKERS {
        let first = id as usize % MODELS;
        let names = (0..5).map(|at| model(&format!("model-{}", (first + at) % MODELS)));
        let models: Vec<PoolModel> = names.collect();
        kit.cold_worker(id, 2, &models);
        kit.load(WorkerId(id), &[0, 1]);
    }
    kit
}

/// Fills all slots and the queues.
fn fill(kit: &mut Kit) -> Vec<CallId> {
    let mut running = Vec::new();
    let mut placed = 0;
    let mut at = 0usize;
    while placed < CALLS {
        at += 1;
        let name = format!("model-{}", at % MODELS);
        let ask = kit.ask(&name, KeyId(at as u32 % KEYS));
        let call = ask.call;
        match kit.place(ask) {
            Placement::Run(_) => running.push(call),
            Placement::Waiting { .. } => placed += 1,
            Placement::Refused(error) => panic!("{error}"),
        }
        running.extend(kit.started());
    }
    running
}

/// Returns the most steps of any of some rounds.
fn most(rounds: usize, mut round: impl FnMut(usize)) -> u64 {
    steps::taken();
    (0..rounds)
        .map(|at| {
            round(at);
            steps::taken()
        })
        .max()
        .unwrap_or(0)
}

#[test]
fn a_decision_costs_the_same_in_a_crowd() {
    let mut kit = crowd();
    let marks: Vec<PrefixMark> = (1..=64)
        .map(|hash| PrefixMark {
            hash,
            bytes: hash * 1024,
        })
        .collect();
    let candidates = MAX_CANDIDATES as u64;

    let arrival = most(200, |at| {
        let name = format!("model-{}", at % MODELS);
        let ask = Ask {
            marks: marks.clone(),
            ..kit.ask(&name, KeyId(at as u32))
        };
        let (call, _) = kit.run(ask);
        kit.pool.first_content(call, kit.now);
    });

    // Each candidate is met and looked at, marks are looked up, and five models move between groups.
    assert!(arrival <= 64 + 5 * candidates + 4 * 5, "{arrival} steps");
    assert!(arrival >= candidates, "{arrival} steps: nothing is counted");
}

#[test]
fn no_number_of_workers_adds_candidates() {
    for workers in [36, 37, 100, 143, 145, 1000] {
        let mut kit = Kit::new();
        for id in 1..=workers {
            kit.worker(id, 1, &[model("m")]);
        }

        let arrival = most(20, |at| {
            let ask = kit.ask("m", KeyId(at as u32));
            kit.run(ask);
        });

        assert!(
            arrival <= 5 * MAX_CANDIDATES as u64,
            "{arrival} steps of {workers}"
        );
    }
}

#[test]
fn a_hundred_thousand_waiting_calls_cost_logarithms() {
    let mut kit = crowd();
    let mut running = fill(&mut kit);
    assert_eq!(kit.pool.waiting(), CALLS);
    assert_eq!(running.len(), WORKERS as usize * 2);
    kit.pool.config.queue_size = 2 * CALLS;
    let log = u64::from(CALLS.ilog2()) + 1;

    let arrival = most(500, |at| {
        let ask = kit.ask(&format!("model-{}", at % MODELS), KeyId(at as u32 % KEYS));
        kit.wait(ask);
    });
    let leaving = most(500, |at| {
        kit.pool.cancel(CallId(20_000 + 7 * at as u64 + 1), kit.now);
    });
    let freed = most(500, |_| {
        let call = running.swap_remove(running.len() / 2);
        kit.finish(call);
        let started = kit.started();
        assert_eq!(started.len(), 1);
        running.extend(started);
    });
    kit.now += 31 * SECOND;
    let ageing = most(1, |_| running.extend(kit.started()));
    let joining = most(20, |at| {
        kit.worker(
            WORKERS + 1 + at as u64,
            1,
            &[model("model-1"), model("model-2")],
        );
        running.extend(kit.started());
    });

    assert!(arrival <= 8 * log, "{arrival} steps");
    assert!(leaving <= 8 * log, "{leaving} steps");
    // Every line has one front, which rises once in thirty seconds.
    assert!(ageing <= u64::from(KEYS) * 2 * log, "{ageing} steps");
    // One decision, the queues of one worker, and the lines of one key.
    assert!(
        freed <= 64 + 5 * MAX_CANDIDATES as u64 + 20 * log,
        "{freed} steps"
    );
    assert!(
        joining <= 64 + 5 * MAX_CANDIDATES as u64 + 20 * log,
        "{joining} steps"
    );
}

#[test]
fn ageing_moves_no_more_lines_than_have_calls() {
    let mut kit = Kit::with(PoolConfig {
        queue_size: CALLS,
        ..PoolConfig::default()
    });
    kit.worker(1, 1, &[model("m")]);
    for at in 0..1001 {
        let ask = kit.ask("m", KeyId(at % 100));
        kit.place(ask);
    }
    steps::taken();

    kit.pass(30 * SECOND);

    // A hundred fronts move up, each at logarithmic cost; the calls behind them cost nothing.
    let moved = steps::taken();
    assert!((100..=100 * 2 * 16).contains(&moved), "{moved} steps");
    assert_eq!(kit.pool.queues.timers.len(), 1000, "deadlines alone");
}

#[test]
fn a_waiting_call_takes_few_bytes() {
    let call = size_of::<Call>() + size_of::<CallId>();
    let waiting = size_of::<(u64, Waiting)>();
    let timer = size_of::<(u64, crate::timers::Timer)>();

    assert!(call <= 240, "{call}");
    assert!(call + waiting + timer <= 300, "{}", call + waiting + timer);
    assert!(size_of::<Running>() <= 80, "{}", size_of::<Running>());
    assert!(size_of::<Line>() <= 240, "{}", size_of::<Line>());
}
