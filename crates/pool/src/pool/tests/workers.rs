//! Workers that come, go, fail, and swap models.

use super::*;
use crate::{Availability, BreakerState, PoolSpeed};

#[test]
fn a_worker_that_joins_takes_waiting_calls() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("m")]);
    let ask = kit.ask("m", KEY);
    kit.run(ask);
    let waiting: Vec<CallId> = (0..3)
        .map(|_| {
            let ask = kit.ask("m", KEY);
            kit.wait(ask)
        })
        .collect();

    kit.worker(2, 2, &[model("m")]);

    assert_eq!(kit.started(), waiting[..2]);
}

#[test]
fn a_draining_worker_gets_no_new_calls() {
    let mut kit = Kit::new();
    let drained = kit.worker(1, 4, &[model("m")]);
    kit.worker(2, 1, &[model("m")]);

    kit.pool
        .set_availability(drained, Availability::Draining, kit.now);

    let ask = kit.ask("m", KEY);
    assert_eq!(kit.run(ask).1.worker, WorkerId(2));
    let ask = kit.ask("m", KEY);
    let waiting = kit.wait(ask);
    kit.pool
        .set_availability(drained, Availability::Ready, kit.now);
    assert_eq!(kit.started(), [waiting]);
}

#[test]
fn slots_that_others_use_are_not_free() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 3, &[model("m")]);
    let load = |elsewhere, abandoned| PoolLoad {
        elsewhere,
        abandoned,
        resident: vec![0],
        ..PoolLoad::default()
    };
    kit.pool.set_load(worker, load(1, 1), kit.now);

    let ask = kit.ask("m", KEY);
    kit.run(ask);
    let ask = kit.ask("m", KEY);
    let waiting = kit.wait(ask);
    kit.pool.set_load(worker, load(1, 0), kit.now);

    assert_eq!(kit.started(), [waiting]);
}

#[test]
fn more_slots_are_used_at_once() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 1, &[model("m")]);
    let ask = kit.ask("m", KEY);
    kit.run(ask);
    let ask = kit.ask("m", KEY);
    let waiting = kit.wait(ask);

    kit.pool.set_slots(worker, 2, kit.now);

    assert_eq!(kit.started(), [waiting]);
}

#[test]
fn failures_of_several_keys_close_a_worker_for_a_while() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 2, &[model("m")]);
    for key in [KEY, KEY, OTHER] {
        kit.pool.worker_failed(worker, key, kit.now);
    }
    assert_eq!(kit.pool.workers()[0].breaker, BreakerState::Open);
    let ask = kit.ask("m", KEY);
    let first = kit.wait(ask);
    let ask = kit.ask("m", KEY);
    let second = kit.wait(ask);

    assert!(kit.pass(SECOND - 1).is_empty());
    kit.now += 1;
    assert_eq!(
        kit.started(),
        [first],
        "one trial, though two slots are free"
    );
    kit.pool.worker_succeeded(worker, kit.now);

    assert_eq!(kit.started(), [second]);
    assert_eq!(kit.pool.workers()[0].breaker, BreakerState::Closed);
}

#[test]
fn a_closed_worker_keeps_its_calls_waiting() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 2, &[model("m")]);
    for key in [KEY, KEY, OTHER] {
        kit.pool.worker_failed(worker, key, kit.now);
    }
    let ask = Ask {
        may_wait: false,
        ..kit.ask("m", KEY)
    };

    assert_eq!(kit.refused(ask), RefusedError::Busy);
}

#[test]
fn calls_of_a_worker_that_left_end_quietly() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("m")]);
    let ask = kit.ask("m", KEY);
    let (call, _) = kit.run(ask);
    kit.pool.worker_left(WorkerId(1), kit.now);
    kit.worker(2, 1, &[model("m")]);
    let ask = kit.ask("m", KEY);
    let (second, _) = kit.run(ask);

    kit.pool.first_content(call, kit.now);
    kit.finish(call);

    assert_eq!(
        kit.pool.workers()[0].running,
        1,
        "of the new worker nothing is freed"
    );
    kit.finish(second);
    assert!(kit.pool.calls.is_empty());
}

/// A worker that holds one model at a time, each of which takes 4 s to load, with `m` loaded.
fn swapping() -> (Kit, WorkerId) {
    let mut kit = Kit::new();
    let worker = kit.cold_worker(1, 1, &[model("m"), model("n"), model("o")]);
    let speed = |model| PoolSpeed {
        model,
        load_ms: 4000,
        ..PoolSpeed::default()
    };
    let load = PoolLoad {
        resident: vec![0],
        speed: (0..3).map(speed).collect(),
        ..PoolLoad::default()
    };
    kit.pool.set_load(worker, load, kit.now);
    (kit, worker)
}

#[test]
fn a_worker_stays_with_its_model_for_a_quantum() {
    let (mut kit, worker) = swapping();
    let ask = kit.ask("m", KEY);
    let (mut running, _) = kit.run(ask);
    let ask = kit.ask("n", OTHER);
    let other = kit.wait(ask);
    for _ in 0..30 {
        let ask = kit.ask("m", KEY);
        kit.wait(ask);
    }

    let mut swapped_after = None;
    for seconds in 1..=20 {
        kit.now += SECOND;
        kit.finish(running);
        running = kit.started()[0];
        if running == other {
            swapped_after = Some(seconds);
            break;
        }
    }

    assert_eq!(
        swapped_after,
        Some(10),
        "the quantum, though key and arrival come first"
    );
    kit.load(worker, &[1]);
    let ask = kit.ask("o", OTHER);
    let third = kit.wait(ask);
    let ask = kit.ask("n", KEY);
    let resident = kit.wait(ask);
    kit.now += SECOND;
    kit.finish(running);
    assert_eq!(kit.started(), [resident], "{third:?} begins a quantum anew");
}

#[test]
fn an_idle_worker_swaps_at_once() {
    let (mut kit, _) = swapping();
    let ask = kit.ask("m", KEY);
    let (running, _) = kit.run(ask);
    let ask = kit.ask("n", KEY);
    let other = kit.wait(ask);

    kit.finish(running);

    assert_eq!(kit.started(), [other]);
}

#[test]
fn of_two_models_that_are_due_the_older_call_goes() {
    let (mut kit, _) = swapping();
    let ask = kit.ask("m", KEY);
    let (running, _) = kit.run(ask);
    let ask = kit.ask("n", KEY);
    kit.now += SECOND;
    let late = kit.wait(ask);
    kit.now -= SECOND;
    let ask = kit.ask("o", OTHER);
    let early = kit.wait(ask);

    kit.now += 30 * SECOND;
    kit.finish(running);

    assert_eq!(kit.started(), [early]);
    kit.finish(early);
    assert_eq!(kit.started(), [late]);
}

#[test]
fn loading_is_at_most_a_third_of_a_workers_time() {
    let (mut kit, worker) = swapping();
    let mut running: Option<(CallId, u64)> = None;
    let mut waiting = [Vec::new(), Vec::new(), Vec::new()];
    let mut loaded = 0;
    let mut loads = 0;
    let mut longest = 0;

    for _ in 0..600 {
        kit.now += SECOND;
        if let Some((call, _)) = running.take_if(|(_, until)| *until <= kit.now) {
            kit.finish(call);
        }
        for (at, name) in ["m", "n", "o"].into_iter().enumerate() {
            while waiting[at].len() < 3 {
                let ask = kit.ask(name, KeyId(at as u32));
                let call = ask.call;
                match kit.place(ask) {
                    Placement::Run(run) => kit.pool.decisions.push(Decision::Run(call, run)),
                    Placement::Waiting { .. } => {}
                    Placement::Refused(error) => panic!("{error}"),
                }
                waiting[at].push((call, kit.now));
            }
        }
        for call in kit.started() {
            let at = waiting
                .iter()
                .position(|calls| calls.iter().any(|one| one.0 == call));
            let at = at.unwrap();
            let since = waiting[at].iter().find(|one| one.0 == call).unwrap().1;
            longest = longest.max(kit.now - since);
            waiting[at].retain(|one| one.0 != call);
            let load = if at == loaded { 0 } else { 4 };
            loads += load;
            loaded = at;
            kit.load(worker, &[at as u16]);
            assert!(running.is_none(), "one slot");
            running = Some((call, kit.now + (1 + load) * SECOND));
        }
    }

    assert!(loads <= 600 / 3, "{loads} s of loading");
    assert!(
        loads > 600 / 10,
        "{loads} s of loading: others get their turn"
    );
    assert!(longest <= 60 * SECOND, "{} s", longest / SECOND);
}
