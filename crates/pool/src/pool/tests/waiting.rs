//! The queue: order, bounds, deadlines, positions.

use super::*;
use crate::{Availability, Class, Retry};

/// A pool with one worker of one slot, which is taken.
fn busy() -> (Kit, CallId) {
    busy_with(PoolConfig::default())
}

fn busy_with(config: PoolConfig) -> (Kit, CallId) {
    let mut kit = Kit::with(config);
    kit.worker(1, 1, &[model("m")]);
    let ask = kit.ask("m", KeyId(99));
    let (first, _) = kit.run(ask);
    (kit, first)
}

fn waiting(kit: &mut Kit, key: KeyId) -> CallId {
    let ask = kit.ask("m", key);
    kit.wait(ask)
}

/// Ends what runs again and again, and returns the order in which calls start.
fn drain(kit: &mut Kit, mut running: CallId) -> Vec<CallId> {
    let mut order = Vec::new();
    loop {
        kit.now += SECOND;
        kit.finish(running);
        match kit.started()[..] {
            [next] => running = next,
            [] => return order,
            ref more => panic!("one slot, {more:?}"),
        }
        order.push(running);
    }
}

#[test]
fn calls_of_a_key_run_in_the_order_of_their_arrival() {
    let (mut kit, first) = busy();
    let calls: Vec<CallId> = (0..20).map(|_| waiting(&mut kit, KEY)).collect();

    assert_eq!(drain(&mut kit, first), calls);
    assert_eq!(kit.pool.waiting(), 0);
    assert_eq!(kit.pool.queues.timers.len(), 0);
}

#[test]
fn keys_take_turns_whoever_came_first() {
    let (mut kit, first) = busy();
    let flood: Vec<CallId> = (0..10).map(|_| waiting(&mut kit, KEY)).collect();
    let single = waiting(&mut kit, OTHER);

    let order = drain(&mut kit, first);

    assert_eq!(order[..3], [flood[0], single, flood[1]]);
}

#[test]
fn a_higher_class_goes_first_and_callers_only_lower() {
    let (mut kit, first) = busy();
    let class = |kit: &mut Kit, key, class| {
        let settings = KeySettings {
            class,
            ..KeySettings::default()
        };
        kit.key(key, settings);
    };
    class(&mut kit, KEY, Class::Low);
    class(&mut kit, OTHER, Class::High);
    let ask = Ask {
        class: Some(Class::High),
        ..kit.ask("m", KEY)
    };
    let low = kit.wait(ask);
    let ask = Ask {
        class: Some(Class::Normal),
        ..kit.ask("m", OTHER)
    };
    let lowered = kit.wait(ask);
    let high = waiting(&mut kit, OTHER);

    assert_eq!(drain(&mut kit, first), [high, lowered, low]);
}

#[test]
fn waiting_raises_a_call_by_a_class() {
    let (mut kit, first) = busy();
    let settings = KeySettings {
        class: Class::High,
        ..KeySettings::default()
    };
    kit.key(OTHER, settings);
    let ask = Ask {
        class: Some(Class::Low),
        ..kit.ask("m", KEY)
    };
    let low = kit.wait(ask);

    assert!(kit.pass(59 * SECOND).is_empty());
    let mut high: Vec<CallId> = (0..3).map(|_| waiting(&mut kit, OTHER)).collect();
    kit.finish(first);
    let running = kit.started();
    assert_eq!(running, high[..1], "not risen twice");
    kit.pass(SECOND);

    high.remove(0);
    let order = drain(&mut kit, running[0]);
    assert_eq!(
        order,
        [low, high[0], high[1]],
        "as high as the others, and less served"
    );
}

#[test]
fn a_call_leaves_the_queue_with_its_caller() {
    let (mut kit, first) = busy();
    let calls: Vec<CallId> = (0..5).map(|_| waiting(&mut kit, KEY)).collect();

    kit.pool.cancel(calls[0], kit.now);
    kit.pool.cancel(calls[3], kit.now);
    kit.pool.cancel(first, kit.now);

    assert_eq!(kit.pool.waiting(), 3);
    assert_eq!(drain(&mut kit, first), [calls[1], calls[2], calls[4]]);
}

#[test]
fn a_deadline_ends_the_wait() {
    let (mut kit, _) = busy();
    let ask = Ask {
        deadline: Some(kit.now + 5 * SECOND),
        ..kit.ask("m", KEY)
    };
    let short = kit.wait(ask);
    let ask = Ask {
        deadline: Some(u64::MAX),
        ..kit.ask("m", KEY)
    };
    let long = kit.wait(ask);

    assert!(kit.pass(5 * SECOND - 1).is_empty());
    let expired = |call| vec![Decision::Expired(call, RefusedError::QueueTimeout)];
    assert_eq!(kit.pass(1), expired(short));
    assert_eq!(kit.pass(595 * SECOND), expired(long));
}

#[test]
fn the_queue_is_bounded_for_all_and_for_each_key() {
    let (mut kit, _) = busy_with(PoolConfig {
        queue_size: 3,
        ..PoolConfig::default()
    });
    let settings = KeySettings {
        max_waiting: Some(2),
        ..KeySettings::default()
    };
    kit.key(KEY, settings);
    waiting(&mut kit, KEY);
    waiting(&mut kit, KEY);

    let ask = kit.ask("m", KEY);
    assert_eq!(kit.refused(ask), RefusedError::TooManyWaiting { limit: 2 });
    waiting(&mut kit, OTHER);
    let ask = kit.ask("m", OTHER);
    assert_eq!(kit.refused(ask), RefusedError::QueueFull { limit: 3 });
}

#[test]
fn a_queue_of_no_size_takes_calls_that_run_at_once() {
    let (mut kit, first) = busy_with(PoolConfig {
        queue_size: 0,
        ..PoolConfig::default()
    });

    let ask = kit.ask("m", KEY);
    assert_eq!(kit.refused(ask), RefusedError::QueueFull { limit: 0 });
    kit.finish(first);

    let ask = kit.ask("m", KEY);
    kit.run(ask);
}

#[test]
fn a_call_that_does_not_wait_is_refused_at_once() {
    let (mut kit, _) = busy();
    let ask = Ask {
        may_wait: false,
        ..kit.ask("m", KEY)
    };

    assert_eq!(kit.refused(ask), RefusedError::Busy);
    assert_eq!(kit.pool.waiting(), 0);
}

#[test]
fn a_key_runs_no_more_calls_than_it_may() {
    let mut kit = Kit::new();
    kit.worker(1, 8, &[model("m"), model("n")]);
    let settings = KeySettings {
        max_concurrency: Some(2),
        ..KeySettings::default()
    };
    kit.key(KEY, settings);
    let ask = kit.ask("m", KEY);
    let (first, _) = kit.run(ask);
    let ask = kit.ask("n", KEY);
    kit.run(ask);

    let third = waiting(&mut kit, KEY);
    let ask = kit.ask("n", KEY);
    let fourth = kit.wait(ask);
    let ask = Ask {
        may_wait: false,
        ..kit.ask("m", KEY)
    };
    assert_eq!(kit.refused(ask), RefusedError::KeyBusy { limit: 2 });
    let ask = kit.ask("m", OTHER);
    kit.run(ask);
    assert!(kit.decisions().is_empty());

    kit.finish(first);
    assert_eq!(kit.started(), [third]);
    kit.finish(third);
    assert_eq!(kit.started(), [fourth]);
}

#[test]
fn a_lifted_bound_of_a_key_frees_its_calls() {
    let mut kit = Kit::new();
    kit.worker(1, 8, &[model("m")]);
    let settings = KeySettings {
        max_concurrency: Some(0),
        ..KeySettings::default()
    };
    kit.key(KEY, settings);
    let first = waiting(&mut kit, KEY);
    let second = waiting(&mut kit, KEY);

    kit.key(KEY, KeySettings::default());

    assert_eq!(kit.started(), [first, second]);
}

#[test]
fn a_call_that_failed_keeps_its_place() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("m")]);
    kit.worker(2, 1, &[model("m")]);
    let ask = kit.ask("m", OTHER);
    let (other, _) = kit.run(ask);
    let ask = kit.ask("m", KEY);
    let (failed, before) = kit.run(ask);
    let later = waiting(&mut kit, KEY);
    kit.now += SECOND;

    let placement = kit.pool.retry(failed, Retry::OtherWorker, kit.now);

    assert_eq!(placement, Placement::Waiting { of: 2 });
    assert_eq!(
        kit.started(),
        [later],
        "the failed worker is free for others"
    );
    kit.finish(other);
    let decisions = kit.decisions();
    assert!(matches!(&decisions[..], [Decision::Run(call, run)]
        if *call == failed && run.worker != before.worker && run.waited == SECOND));
}

#[test]
fn a_call_without_another_worker_ends() {
    let (mut kit, first) = busy();

    let placement = kit.pool.retry(first, Retry::OtherWorker, kit.now);

    assert_eq!(placement, Placement::Refused(RefusedError::NoWorker));
    let again = kit.pool.retry(first, Retry::OtherWorker, kit.now);
    assert_eq!(again, Placement::Refused(RefusedError::Unknown(first)));
    assert_eq!(kit.pool.workers()[0].running, 0);
    let ask = kit.ask("m", KEY);
    kit.run(ask);
}

#[test]
fn a_call_waits_while_the_runtime_loads_the_model() {
    let (mut kit, first) = busy();

    let placement = kit.pool.retry(first, Retry::Loading, kit.now);

    assert_eq!(placement, Placement::Waiting { of: 1 });
    assert!(
        kit.pass(SECOND - 1).is_empty(),
        "no call before the pause is over"
    );
    let mut attempts = 0;
    for _ in 0..19 {
        kit.now = kit.pool.next_deadline().unwrap();
        assert_eq!(kit.started(), [first], "a trial each second");
        kit.pool.retry(first, Retry::Loading, kit.now);
        attempts += 1;
    }
    assert_eq!(attempts, 19);
    kit.load(WorkerId(1), &[0]);
    assert_eq!(kit.started(), [first], "at once when it is loaded");
    assert!(kit.now < 30 * SECOND);
}

#[test]
fn other_models_run_while_one_is_being_loaded() {
    let mut kit = Kit::new();
    kit.worker(1, 2, &[model("m"), model("n")]);
    let ask = kit.ask("m", KEY);
    let (first, _) = kit.run(ask);

    kit.pool.retry(first, Retry::Loading, kit.now);

    let ask = kit.ask("n", KEY);
    kit.run(ask);
    let ask = kit.ask("m", OTHER);
    kit.wait(ask);
}

#[test]
fn a_model_whose_workers_left_is_waited_for() {
    let (mut kit, first) = busy();
    let early = waiting(&mut kit, KEY);
    kit.pool.worker_left(WorkerId(1), kit.now);
    kit.finish(first);
    let late = waiting(&mut kit, KEY);
    let ask = Ask {
        may_wait: false,
        ..kit.ask("m", KEY)
    };
    assert_eq!(kit.refused(ask), RefusedError::NoWorker);

    kit.pass(9 * SECOND);
    kit.worker(2, 1, &[model("m")]);
    assert_eq!(kit.started(), [early]);
    kit.pool.worker_left(WorkerId(2), kit.now);

    let gone = Decision::Expired(late, RefusedError::NoWorker);
    assert_eq!(kit.pass(10 * SECOND), [gone]);
    let ask = kit.ask("m", KEY);
    assert_eq!(kit.refused(ask), RefusedError::NoWorker);
}

#[test]
fn numbers_of_calls_are_used_once_at_a_time() {
    let (mut kit, first) = busy();
    let ask = Ask {
        call: first,
        ..kit.ask("m", KEY)
    };

    assert_eq!(kit.refused(ask), RefusedError::Duplicate(first));
}

#[test]
fn a_model_that_was_forgotten_is_gone() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 1, &[model("m")]);
    let old = kit.ask("m", KEY);
    kit.pool.worker_left(worker, kit.now);
    kit.pass(700 * SECOND);
    kit.worker(2, 1, &[model("other")]);

    assert_eq!(kit.refused(old), RefusedError::ModelGone);
}

#[test]
fn positions_are_the_order_that_follows() {
    let (mut kit, first) = busy();
    let weights = [(1, 1000), (2, 3000), (3, 500)];
    for (key, weight) in weights {
        let settings = KeySettings {
            weight,
            ..KeySettings::default()
        };
        kit.key(KeyId(key), settings);
    }
    for at in 0..60 {
        let ask = Ask {
            prompt_tokens: 50 * (1 + at % 7),
            output_tokens: Some(0),
            ..kit.ask("m", KeyId(1 + (at % 3) as u32))
        };
        kit.wait(ask);
    }
    let listed: Vec<CallId> = kit
        .pool
        .queue(1000, kit.now)
        .iter()
        .map(|entry| entry.call)
        .collect();
    let position = kit.pool.position(listed[10], kit.now);
    assert_eq!(position, Some((11, 60)));
    assert_eq!(kit.pool.queue(7, kit.now).len(), 7);
    assert_eq!(kit.pool.position(first, kit.now), None);

    let mut order = Vec::new();
    let mut running = first;
    for _ in 0..60 {
        let charge = kit.pool.calls[&running].charge;
        let outcome = Outcome {
            slot_time: Some(charge),
            ..Outcome::default()
        };
        kit.pool.finished(running, outcome, kit.now);
        running = kit.started()[0];
        order.push(running);
    }

    assert_eq!(order, listed);
}

#[test]
fn calls_of_a_busy_key_are_listed_last() {
    let (mut kit, _) = busy();
    let settings = KeySettings {
        max_concurrency: Some(0),
        ..KeySettings::default()
    };
    kit.key(KEY, settings);
    let parked = waiting(&mut kit, KEY);
    let next = waiting(&mut kit, OTHER);
    kit.now += 3 * SECOND;

    let queue = kit.pool.queue(10, kit.now);

    let order: Vec<(CallId, usize, u64)> = queue
        .iter()
        .map(|entry| (entry.call, entry.position, entry.waited))
        .collect();
    assert_eq!(order, [(next, 1, 3 * SECOND), (parked, 2, 3 * SECOND)]);
    assert_eq!(kit.pool.models(OTHER, kit.now)[0].oldest_wait, 3 * SECOND);
    let keys = kit.pool.keys();
    assert_eq!(keys.iter().map(|key| key.waiting).sum::<usize>(), 2);
}

#[test]
fn a_wait_is_expected_to_last_as_long_as_the_calls_before() {
    let mut kit = Kit::new();
    kit.worker(1, 2, &[model("m")]);
    let ask = |kit: &mut Kit| Ask {
        prompt_tokens: 500,      // A second, where no speed is known.
        output_tokens: Some(60), // Two seconds.
        ..kit.ask("m", KEY)
    };
    for _ in 0..2 {
        let asked = ask(&mut kit);
        kit.run(asked);
    }
    for _ in 0..4 {
        let asked = ask(&mut kit);
        kit.wait(asked);
    }

    let first = expected(&kit);
    kit.now += SECOND;
    let later = expected(&kit);

    // The running calls take 3 s, and 3.5 s as the second one reads beside the first. A slot is free
    // after half their mean, and reading takes a second.
    assert_eq!(first[0], 2_625_000);
    let steps: Vec<u64> = first.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(steps, [1_500_000; 3], "three seconds each, two slots");
    assert_eq!(later[0], 2_125_000);
}

#[test]
fn loading_counts_to_an_expected_wait_and_no_worker_has_none() {
    let mut kit = Kit::new();
    let worker = kit.cold_worker(1, 1, &[model("m")]);
    let ask = Ask {
        output_tokens: Some(0),
        ..kit.ask("m", KEY)
    };
    kit.run(ask);
    let ask = Ask {
        prompt_tokens: 0,
        ..kit.ask("m", KEY)
    };
    kit.wait(ask);

    let loading = expected(&kit)[0];
    kit.load(worker, &[0]);
    let loaded = expected(&kit)[0];
    kit.pool
        .set_availability(worker, Availability::Draining, kit.now);

    assert!(loading >= loaded + SECOND, "{loading} {loaded}");
    assert_eq!(kit.pool.queue(10, kit.now)[0].expected, None);
}

fn expected(kit: &Kit) -> Vec<u64> {
    let queue = kit.pool.queue(10, kit.now);
    queue.iter().map(|entry| entry.expected.unwrap()).collect()
}
