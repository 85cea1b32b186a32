//! Which worker runs a call.

use super::*;
use crate::{Availability, PoolSpeed, PrefixMark, Reason, Retry};

fn with_marks(ask: Ask, hashes: &[u64]) -> Ask {
    let marks = (1..).zip(hashes).map(|(at, hash)| PrefixMark {
        hash: *hash,
        bytes: 1000 * at,
    });
    Ask {
        marks: marks.collect(),
        prompt_tokens: 250 * hashes.len() as u64,
        ..ask
    }
}

fn with_context(name: &str, context: u64) -> PoolModel {
    PoolModel {
        context,
        ..model(name)
    }
}

#[test]
fn a_call_goes_where_the_model_is_loaded() {
    let mut kit = Kit::new();
    kit.cold_worker(1, 4, &[model("m")]);
    let warm = kit.worker(2, 4, &[model("m")]);
    kit.cold_worker(3, 4, &[model("m")]);

    let ask = kit.ask("m", KEY);
    let run = kit.run(ask).1;

    assert_eq!((run.worker, run.reason), (warm, Reason::Warm));
    assert_eq!(&*run.model_name, "m");
}

#[test]
fn a_cold_worker_is_chosen_where_no_other_is_free() {
    let mut kit = Kit::new();
    let cold = kit.cold_worker(1, 1, &[model("m")]);

    let ask = kit.ask("m", KEY);
    let (call, run) = kit.run(ask);

    assert_eq!((run.worker, run.reason), (cold, Reason::Cold));
    kit.pool.first_content(call, kit.now);
    kit.finish(call);
    let ask = kit.ask("m", KEY);
    assert_eq!(kit.run(ask).1.reason, Reason::Warm);
}

#[test]
fn the_faster_of_two_workers_is_chosen() {
    let mut kit = Kit::new();
    let slow = kit.worker(1, 1, &[model("m")]);
    let fast = kit.worker(2, 1, &[model("m")]);
    for (worker, prefill) in [(slow, 100.0), (fast, 1000.0)] {
        let load = PoolLoad {
            resident: vec![0],
            speed: vec![PoolSpeed {
                prefill,
                ..PoolSpeed::default()
            }],
            ..PoolLoad::default()
        };
        kit.pool.set_load(worker, load, kit.now);
    }

    let ask = kit.ask("m", KEY);

    assert_eq!(kit.run(ask).1.worker, fast);
}

#[test]
fn a_conversation_goes_back_to_its_worker() {
    let mut kit = Kit::new();
    for id in 1..=5 {
        kit.worker(id, 4, &[model("m")]);
    }
    let first = with_marks(kit.ask("m", KEY), &[1, 2, 3]);
    let (call, run) = kit.run(first);
    kit.pool.first_content(call, kit.now);
    kit.finish(call);

    let next = with_marks(kit.ask("m", KEY), &[1, 2, 3, 4]);
    let next = kit.run(next).1;

    assert_eq!((next.worker, next.reason), (run.worker, Reason::Prefix));
    assert_eq!(next.predicted_prefix, 750);
}

#[test]
fn a_prefix_is_gone_with_its_model_or_worker() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 4, &[model("m")]);
    let predicted = |kit: &mut Kit| {
        let ask = with_marks(kit.ask("m", KEY), &[1, 2, 3]);
        let (call, run) = kit.run(ask);
        kit.pool.first_content(call, kit.now);
        kit.finish(call);
        kit.now += SECOND;
        run.predicted_prefix
    };
    assert_eq!(predicted(&mut kit), 0);
    assert_eq!(predicted(&mut kit), 750);

    kit.load(worker, &[]);
    kit.now += SECOND;
    kit.load(worker, &[0]);
    assert_eq!(predicted(&mut kit), 0);
    assert_eq!(predicted(&mut kit), 750);

    kit.pool.worker_left(worker, kit.now);
    kit.worker(2, 4, &[model("m")]);
    assert_eq!(predicted(&mut kit), 0);
}

#[test]
fn predictions_that_do_not_come_true_count_less() {
    let mut kit = Kit::new();
    kit.worker(1, 4, &[model("m")]);
    let mut predicted = Vec::new();

    for _ in 0..20 {
        let ask = with_marks(kit.ask("m", KEY), &[1, 2, 3, 4]);
        let (call, run) = kit.run(ask);
        kit.pool.first_content(call, kit.now);
        let outcome = Outcome {
            prompt_tokens: 1000,
            trusted: true,
            ..Outcome::default()
        };
        kit.pool.finished(call, outcome, kit.now);
        predicted.push(run.predicted_prefix);
    }

    assert_eq!(predicted[..3], [0, 1000, 875]);
    assert!(predicted[19] < 120, "{predicted:?}");
}

#[test]
fn keys_with_prefixes_of_their_own_learn_nothing() {
    let mut kit = Kit::with(PoolConfig {
        affinity_by_key: true,
        ..PoolConfig::default()
    });
    kit.worker(1, 4, &[model("m")]);
    let ask = with_marks(kit.ask("m", KEY), &[1, 2]);
    let (call, _) = kit.run(ask);
    kit.pool.first_content(call, kit.now);

    let other = with_marks(kit.ask("m", OTHER), &[1, 2]);
    let own = with_marks(kit.ask("m", KEY), &[1, 2]);

    assert_eq!(kit.run(other).1.predicted_prefix, 0);
    assert_eq!(kit.run(own).1.predicted_prefix, 500);
}

#[test]
fn a_busy_prefix_holder_does_not_keep_calls() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("m")]);
    kit.worker(2, 1, &[model("m")]);
    let ask = with_marks(kit.ask("m", KEY), &[1]);
    let (first, holder) = kit.run(ask);
    kit.pool.first_content(first, kit.now);

    let ask = with_marks(kit.ask("m", KEY), &[1]);
    let second = kit.run(ask).1;

    assert_ne!(second.worker, holder.worker);
}

#[test]
fn a_call_waits_for_a_warm_worker_within_a_bound() {
    let mut kit = Kit::new();
    let big = PoolModel {
        size: 10_000_000_000,
        ..model("m")
    };
    let warm = kit.worker(1, 1, std::slice::from_ref(&big));
    let ask = Ask {
        output_tokens: Some(10),
        ..kit.ask("m", KEY)
    };
    let (first, _) = kit.run(ask);
    let cold = kit.cold_worker(2, 1, &[big]);

    let ask = kit.ask("m", KEY);
    let soon = kit.wait(ask);
    assert!(kit.pass(SECOND).is_empty());
    kit.finish(first);
    let decisions = kit.decisions();
    assert!(matches!(&decisions[..], [Decision::Run(call, run)]
        if *call == soon && run.worker == warm && run.waited == SECOND));

    let ask = kit.ask("m", KEY);
    let late = kit.wait(ask);
    let due = kit.pool.next_deadline().unwrap();
    assert!(due - kit.now <= 30 * SECOND);
    kit.now = due;
    let decisions = kit.decisions();
    assert!(matches!(&decisions[..], [Decision::Run(call, run)]
        if *call == late && run.worker == cold && run.reason == Reason::Cold));
}

#[test]
fn a_context_that_is_loaded_is_not_loaded_anew() {
    let mut kit = Kit::new();
    let small = kit.worker(1, 1, &[with_context("m", 4096)]);
    let large = kit.worker(2, 1, &[with_context("m", 32_768)]);
    let mut seen = Vec::new();

    for at in 0..30 {
        let num_ctx = (at % 3 != 0).then_some(32_768);
        let ask = Ask {
            num_ctx,
            ..kit.ask("m", KEY)
        };
        let (call, run) = kit.run(ask);
        assert_eq!(run.reason, Reason::Warm);
        assert!(num_ctx.is_none() || run.worker == large);
        kit.pool.first_content(call, kit.now);
        kit.finish(call);
        seen.push(run.worker);
    }

    assert!(seen.contains(&small));
}

#[test]
fn another_context_loads_the_model_anew() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[with_context("m", 4096)]);
    let ask = |kit: &mut Kit| Ask {
        num_ctx: Some(8192),
        ..kit.ask("m", KEY)
    };

    let first = ask(&mut kit);
    let (call, run) = kit.run(first);
    kit.pool.first_content(call, kit.now);
    kit.finish(call);
    let second = ask(&mut kit);
    let again = kit.run(second).1;

    assert_eq!((run.reason, again.reason), (Reason::Reload, Reason::Warm));
}

#[test]
fn a_small_context_comes_last_and_is_not_refused() {
    let mut kit = Kit::new();
    let small = kit.worker(1, 1, &[with_context("m", 4096)]);
    let large = kit.worker(2, 1, &[with_context("m", 32_768)]);
    let long = |kit: &mut Kit, tokens| Ask {
        prompt_tokens: tokens,
        may_wait: false,
        ..kit.ask("m", KEY)
    };

    let ask = long(&mut kit, 5000);
    assert_eq!(kit.run(ask).1.worker, large);
    let ask = long(&mut kit, 5000);
    assert_eq!(kit.run(ask).1.worker, small);
    let ask = long(&mut kit, 4 * 32_768);
    assert_eq!(kit.refused(ask), RefusedError::Busy);
    let ask = long(&mut kit, 4 * 32_768 + 1);
    assert_eq!(
        kit.refused(ask),
        RefusedError::ContextExceeded {
            tokens: 131_073,
            context: 32_768
        }
    );
}

#[test]
fn a_prompt_refused_as_too_long_goes_to_a_larger_context() {
    let mut kit = Kit::new();
    let small = kit.worker(1, 4, &[with_context("m", 4096)]);
    let ask = Ask {
        prompt_tokens: 3900,
        ..kit.ask("m", KEY)
    };
    let (call, first) = kit.run(ask);
    kit.worker(2, 4, &[with_context("m", 4096)]);
    let large = kit.worker(3, 4, &[with_context("m", 32_768)]);

    let second = kit.pool.retry(call, Retry::LargerContext, kit.now);

    assert_eq!(first.worker, small);
    assert!(
        matches!(&second, Placement::Run(run) if run.worker == large),
        "{second:?}"
    );
    let third = kit.pool.retry(call, Retry::LargerContext, kit.now);
    assert_eq!(third, Placement::Refused(RefusedError::NoWorker));
}

#[test]
fn embeddings_stay_with_one_variant_of_the_weights() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[embedder("e5", "D1")]);
    kit.worker(2, 1, &[embedder("e5", "D2")]);
    let most = kit.worker(3, 1, &[embedder("e5", "D2")]);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    let first = kit.run(ask).1.worker;
    let ask = kit.ask_api("e5", KEY, "embeddings");
    let second = kit.run(ask).1.worker;
    assert_eq!(
        [first, second].map(|id| id.0).iter().sum::<u64>(),
        5,
        "D2 has most workers"
    );

    kit.worker(4, 1, &[embedder("e5", "D1")]);
    kit.worker(5, 1, &[embedder("e5", "D1")]);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    let third = kit.wait(ask);
    assert_eq!(kit.pool.models(KEY, kit.now)[0].variants, 2);

    kit.pool.worker_left(WorkerId(2), kit.now);
    kit.pool.worker_left(most, kit.now);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    let fourth = kit.wait(ask);
    let expired = kit.pass(600 * SECOND);
    let gone = |call| Decision::Expired(call, RefusedError::NoWorker);
    assert_eq!(expired, [gone(third), gone(fourth)]);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    assert!(
        [1, 4, 5].contains(&kit.run(ask).1.worker.0),
        "D1 after ten minutes"
    );
}

#[test]
fn runtimes_are_variants_of_embeddings_too() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[embedder("e5", "D1")]);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    kit.run(ask);
    let settings = WorkerSettings {
        runtime: "vllm".into(),
        slots: 4,
        ..WorkerSettings::default()
    };
    kit.pool.worker_joined(WorkerId(2), settings, kit.now);
    kit.pool
        .set_models(WorkerId(2), vec![embedder("e5", "D1")], kit.now);

    let ask = kit.ask_api("e5", KEY, "embeddings");

    kit.wait(ask);
}

#[test]
fn a_call_that_needs_no_slot_runs_beside_them() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("m")]);
    let ask = kit.ask("m", KEY);
    kit.run(ask);

    let ask = Ask {
        takes_slot: false,
        ..kit.ask("m", KEY)
    };
    let (count, _) = kit.run(ask);

    assert_eq!(kit.pool.workers()[0].running, 1);
    kit.finish(count);
    assert_eq!(kit.pool.workers()[0].running, 1);
}

#[test]
fn a_bound_call_waits_for_its_worker_alone() {
    let mut kit = Kit::new();
    let bound = kit.worker(1, 1, &[model("m")]);
    let ask = kit.ask("m", KEY);
    let ask = Ask {
        only: Some(bound),
        ..ask
    };
    let (first, _) = kit.run(ask);
    let other = kit.worker(2, 1, &[model("m")]);

    let ask = Ask {
        only: Some(bound),
        ..kit.ask("m", KEY)
    };
    let second = kit.wait(ask);
    let ask = kit.ask("m", KEY);
    assert_eq!(
        kit.run(ask).1.worker,
        other,
        "the queue of one worker holds up no other"
    );

    kit.finish(first);
    assert_eq!(kit.started(), [second]);
    let ask = Ask {
        only: Some(bound),
        ..kit.ask("m", KEY)
    };
    let third = kit.wait(ask);
    kit.pool.worker_left(bound, kit.now);
    assert_eq!(
        kit.decisions(),
        [Decision::Expired(third, RefusedError::WorkerOffline)]
    );
    let ask = Ask {
        only: Some(bound),
        ..kit.ask("m", KEY)
    };
    assert_eq!(kit.refused(ask), RefusedError::WorkerOffline);
}

#[test]
fn only_workers_with_the_api_are_candidates() {
    let mut kit = Kit::new();
    let messages = PoolModel {
        apis: vec!["chat".into(), "messages".into()],
        ..model("m")
    };
    kit.worker(1, 4, &[model("m")]);
    let able = kit.worker(2, 1, &[messages]);

    let ask = kit.ask_api("m", KEY, "messages");
    let (first, run) = kit.run(ask);
    assert_eq!(run.worker, able);
    let ask = kit.ask_api("m", KEY, "messages");
    let second = kit.wait(ask);
    let ask = kit.ask("m", KEY);
    kit.run(ask);

    kit.finish(first);
    assert_eq!(kit.started(), [second]);
}

#[test]
fn an_unreachable_worker_is_the_last_resort() {
    let mut kit = Kit::new();
    let lost = kit.worker(1, 4, &[model("m")]);
    kit.pool
        .set_availability(lost, Availability::Unreachable, kit.now);
    let ask = kit.ask("m", KEY);
    assert_eq!(kit.run(ask).1.worker, lost);

    let other = kit.worker(2, 1, &[model("m")]);
    let ask = kit.ask("m", KEY);
    assert_eq!(kit.run(ask).1.worker, other);
    let ask = kit.ask("m", KEY);
    kit.wait(ask);
}

#[test]
fn bytes_per_token_are_learned_from_trusted_counts() {
    let mut kit = Kit::new();
    kit.worker(1, 4, &[model("m")]);
    let learn = |kit: &mut Kit, bytes, tokens, trusted| {
        let ask = Ask {
            prompt_bytes: bytes,
            ..kit.ask("m", KEY)
        };
        let (call, _) = kit.run(ask);
        let outcome = Outcome {
            prompt_tokens: tokens,
            trusted,
            ..Outcome::default()
        };
        kit.pool.finished(call, outcome, kit.now);
        kit.pool.bytes_per_token(&kit.model("m"))
    };

    assert_eq!(learn(&mut kit, 1000, 500, false), 4.0);
    assert_eq!(learn(&mut kit, 0, 500, true), 4.0);
    assert_eq!(learn(&mut kit, 1000, 500, true), 3.75);
    for _ in 0..100 {
        learn(&mut kit, 1000, 1, true);
    }
    assert!(kit.pool.bytes_per_token(&kit.model("m")) <= 16.0);
}

/// A context that is asked for lately is missed where another one is loaded in its place: a call waits
/// for the worker that has its own.
#[test]
fn a_reload_costs_the_way_back_too() {
    let mut kit = Kit::new();
    let with = |context: u64| PoolModel {
        size: 5_000_000_000,
        context,
        ..model("m")
    };
    let short = kit.worker(1, 1, &[with(4096)]);
    let long = kit.worker(2, 1, &[with(32_768)]);
    let ask = |kit: &mut Kit, num_ctx| Ask {
        num_ctx: Some(num_ctx),
        ..kit.ask("m", KEY)
    };

    let one = ask(&mut kit, 4096);
    let (first, run) = kit.run(one);
    assert_eq!(run.worker, short);
    let other = ask(&mut kit, 32_768);
    let (second, run) = kit.run(other);
    assert_eq!(run.worker, long);
    kit.finish(second);
    let again = ask(&mut kit, 4096);
    let waits = kit.wait(again);
    kit.finish(first);

    assert_eq!(kit.started(), [waits]);
}
