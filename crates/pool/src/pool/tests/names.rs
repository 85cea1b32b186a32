//! From names to models, and what lists show.

use super::*;
use crate::{Match, ServerAlias};

fn matched(kit: &Kit, name: &str) -> Option<(String, Match)> {
    match kit.pool.resolve(name, "chat", KEY) {
        Resolution::Found(model) => Some((model.name.to_string(), model.matched)),
        Resolution::UnsupportedApi { .. } | Resolution::NotFound => None,
    }
}

fn found(name: &str, how: Match) -> Option<(String, Match)> {
    Some((name.to_owned(), how))
}

#[test]
fn a_name_is_found_exactly_or_with_latest() {
    let mut kit = Kit::new();
    kit.worker(
        1,
        1,
        &[model("qwen3:latest"), model("llama3:8b"), model("phi")],
    );

    assert_eq!(matched(&kit, "llama3:8b"), found("llama3:8b", Match::Exact));
    assert_eq!(matched(&kit, "qwen3"), found("qwen3:latest", Match::Latest));
    assert_eq!(matched(&kit, "phi:latest"), found("phi", Match::Latest));
    assert_eq!(matched(&kit, "llama3"), None);
}

#[test]
fn the_case_of_letters_is_ignored_only_if_unique() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("Qwen3:8B")]);
    assert_eq!(matched(&kit, "qwen3:8b"), found("Qwen3:8B", Match::Case));

    kit.worker(2, 1, &[model("qwen3:8b")]);

    assert_eq!(matched(&kit, "QWEN3:8b"), None);
    assert_eq!(matched(&kit, "qwen3:8b"), found("qwen3:8b", Match::Exact));
}

#[test]
fn aliases_of_workers_reach_each_workers_own_model() {
    let mut kit = Kit::new();
    let aliased = |name: &str| PoolModel {
        aliases: vec!["gpt-4o".into()],
        ..model(name)
    };
    kit.worker(1, 1, &[aliased("qwen3:8b")]);
    kit.worker(2, 1, &[aliased("llama3:70b")]);

    assert_eq!(matched(&kit, "gpt-4o"), found("gpt-4o", Match::WorkerAlias));
    let ask = kit.ask("gpt-4o", KEY);
    let first = kit.run(ask).1;
    let ask = kit.ask("gpt-4o", KEY);
    let second = kit.run(ask).1;
    let mut names = [first.model_name.to_string(), second.model_name.to_string()];
    names.sort();
    assert_eq!(names, ["llama3:70b", "qwen3:8b"]);
}

#[test]
fn an_alias_of_the_server_takes_the_first_present_target() {
    let mut kit = Kit::new();
    let alias = |name: &str, targets: &[&str]| ServerAlias {
        name: name.into(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
    };
    kit.worker(1, 1, &[model("small"), model("large")]);
    kit.pool.set_aliases(vec![
        alias("best", &["absent", "large", "small"]),
        alias("claude-*", &["small"]),
        alias("claude-opus-*", &["large"]),
        alias("small", &["large"]),
        alias("", &["small"]),
    ]);

    assert_eq!(matched(&kit, "best"), found("large", Match::ServerAlias));
    assert_eq!(
        matched(&kit, "claude-haiku-4"),
        found("small", Match::ServerAlias)
    );
    assert_eq!(
        matched(&kit, "claude-opus-4"),
        found("large", Match::ServerAlias)
    );
    assert_eq!(matched(&kit, "small"), found("small", Match::Exact));
    assert_eq!(matched(&kit, ""), found("small", Match::ServerAlias));
}

#[test]
fn another_quantization_stands_in_for_absence_alone() {
    let mut kit = Kit::new();
    let exact = kit.worker(1, 1, &[model("llama2:7b-q4_0")]);
    kit.worker(2, 1, &[model("llama2:7b-fp16")]);
    let ask = kit.ask("llama2:7b-q4_0", KEY);
    kit.run(ask);

    assert_eq!(
        matched(&kit, "llama2:7b-q4_0"),
        found("llama2:7b-q4_0", Match::Exact)
    );
    assert_eq!(
        matched(&kit, "llama2:7b-q8_0").map(|found| found.1),
        Some(Match::Quantization)
    );
    kit.pool.worker_left(exact, kit.now);
    assert_eq!(
        matched(&kit, "llama2:7b-q4_0"),
        found("llama2:7b-fp16", Match::Quantization)
    );
    let mut strict = Kit::with(PoolConfig {
        alias_fallback: false,
        ..PoolConfig::default()
    });
    strict.worker(1, 1, &[model("llama2:7b-q4_0")]);
    assert_eq!(matched(&strict, "llama2:7b-q8_0"), None);
}

#[test]
fn embeddings_never_take_another_quantization() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[embedder("e5:large-q4", "D1")]);

    assert_eq!(
        kit.pool.resolve("e5:large-q8", "embeddings", KEY),
        Resolution::NotFound
    );
    assert_eq!(
        kit.pool.resolve("e5:large-q8", "rerank", KEY),
        Resolution::NotFound
    );
}

#[test]
fn a_key_finds_only_the_models_that_it_may_use() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("llama3:8b"), model("secret")]);
    kit.key(
        KEY,
        KeySettings {
            models: vec!["llama*".into(), "house".into()],
            ..KeySettings::default()
        },
    );
    kit.pool.set_aliases(vec![ServerAlias {
        name: "house".into(),
        targets: vec!["secret".into()],
    }]);

    assert_eq!(matched(&kit, "secret"), None);
    assert_eq!(matched(&kit, "llama3:8b"), found("llama3:8b", Match::Exact));
    assert_eq!(matched(&kit, "house"), found("secret", Match::ServerAlias));
    let names = kit.pool.model_names("chat", KEY);
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["llama3:8b"]
    );
    assert_eq!(kit.pool.models(KEY, kit.now).len(), 1);
    assert_eq!(kit.pool.models(OTHER, kit.now).len(), 2);
}

#[test]
fn an_api_that_no_worker_has_is_told_from_no_model() {
    let mut kit = Kit::new();
    kit.worker(1, 1, &[model("llama3:8b")]);

    let unsupported = kit.pool.resolve("llama3:8b", "rerank", KEY);

    assert!(
        matches!(unsupported, Resolution::UnsupportedApi { .. }),
        "{unsupported:?}"
    );
    assert_eq!(kit.pool.resolve("other", "chat", KEY), Resolution::NotFound);
}

#[test]
fn models_are_listed_over_all_their_workers() {
    let mut kit = Kit::new();
    let small = PoolModel {
        context: 4096,
        aliases: vec!["q".into()],
        ..model("qwen3")
    };
    kit.worker(1, 2, &[small]);
    kit.cold_worker(2, 3, &[model("qwen3")]);
    let ask = kit.ask("qwen3", KEY);
    kit.run(ask);

    let views = kit.pool.models(KEY, kit.now);

    let view = &views[0];
    assert_eq!(
        (views.len(), view.workers, view.resident_on, view.free_slots),
        (1, 2, 1, 4)
    );
    assert_eq!((view.context, view.context_max), (4096, 32_768));
    assert_eq!(view.worker_names, ["worker-1", "worker-2"]);
    assert_eq!(view.aliases, ["q"]);
    assert_eq!(view.apis, ["chat", "completions"]);
    assert_eq!(view.runtimes, ["ollama"]);
}

#[test]
fn a_model_without_workers_is_known_for_ten_minutes() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 1, &[model("m")]);
    kit.pool.worker_left(worker, kit.now);

    kit.pass(599 * SECOND);
    assert!(matched(&kit, "m").is_some());
    kit.pass(SECOND);

    assert_eq!(matched(&kit, "m"), None);
    assert!(kit.pool.catalogue.entries.is_empty());
}

#[test]
fn names_that_change_forever_fill_no_memory() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 1, &[]);

    for round in 0..50 {
        let names = (0..512).map(|at| model(&format!("model-{round}-{at}")));
        kit.pool.set_models(worker, names.collect(), kit.now);
    }

    assert!(kit.pool.catalogue.entries.len() <= 4096 + 2 * 512);
}

#[test]
fn a_list_that_names_a_model_twice_means_the_first() {
    let mut kit = Kit::new();
    let second = PoolModel {
        context: 1,
        aliases: vec!["m".into(), "x".into()],
        ..model("m")
    };

    kit.worker(1, 1, &[model("m"), second]);

    let ask = kit.ask("m", KEY);
    kit.run(ask);
    assert_eq!(kit.pool.models(KEY, kit.now)[0].context, 32_768);
    assert_eq!(matched(&kit, "x"), None);
}

#[test]
fn a_changed_list_moves_models_and_keeps_what_is_known() {
    let mut kit = Kit::new();
    let worker = kit.worker(1, 1, &[model("a"), model("b")]);
    let version = kit.pool.catalogue_version();

    kit.pool
        .set_models(worker, vec![model("a"), model("b")], kit.now);
    assert_eq!(kit.pool.catalogue_version(), version);
    kit.pool
        .set_models(worker, vec![model("b"), model("c")], kit.now);

    assert!(kit.pool.catalogue_version() > version);
    let view = &kit.pool.workers()[0];
    assert_eq!(
        view.resident.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(kit.pool.models(KEY, kit.now).len(), 2);
}
