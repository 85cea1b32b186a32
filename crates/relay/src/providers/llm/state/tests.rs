//! What the server is told of a runtime's models and load.

use super::*;
use crate::config::{ModelAlias, ModelPatterns};
use crate::providers::llm::runtime::ResidentModel;
use crate::providers::llm::tests::llm_config;

fn model(name: &str) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        apis: vec!["chat".to_owned(), "rerank".to_owned()],
        ..ModelInfo::default()
    }
}

fn state(config: LlmConfig) -> Arc<RuntimeState> {
    let state = RuntimeState::new(config, "w1", false);
    state.set_kind(RuntimeKind::Ollama, "0.17.4".to_owned());
    state
}

fn names(state: &RuntimeState) -> Vec<String> {
    let models = state.models().borrow().clone().unwrap_or_default().models;
    models.into_iter().map(|model| model.name).collect()
}

#[tokio::test]
async fn models_are_those_of_the_patterns_with_aliases() {
    let state = state(LlmConfig {
        models: ModelPatterns::new(["!*embed*"]),
        aliases: vec![ModelAlias {
            alias: "gpt-4o".to_owned(),
            model: "b".to_owned(),
        }],
        ..llm_config("http://a")
    });

    assert!(state.models().borrow().is_none());
    state.set_polled(
        Some(vec![model("a"), model("nomic-embed"), model("b")]),
        PolledLoad::default(),
        0,
    );

    assert_eq!(names(&state), ["a", "b"]);
    let models = state.models().borrow().clone().unwrap().models;
    assert_eq!(models[1].aliases, ["gpt-4o"]);
    assert!(models[0].aliases.is_empty());
}

#[tokio::test]
async fn loaded_models_are_named_by_their_index() {
    let state = state(llm_config("http://a"));
    state.set_polled(
        Some(vec![model("a"), model("b"), model("c")]),
        PolledLoad::default(),
        0,
    );
    let loaded = |name: &str, is_loading| ResidentModel {
        name: name.to_owned(),
        context: 4096,
        is_loading,
    };

    let resident = Resident::These(vec![loaded("c", false), loaded("b", true)]);
    let load = PolledLoad {
        resident,
        ..PolledLoad::default()
    };
    state.set_polled(None, load, 0);

    let load = state.load().borrow().clone();
    assert_eq!((load.resident, load.loading), (vec![2], vec![1]));
    assert!(state.is_resident("c") && state.is_loading("b") && !state.is_resident("a"));
    assert_eq!(
        state.models().borrow().clone().unwrap().models[2].context,
        4096
    );
}

/// A slot stays busy for a moment after its call.
#[tokio::test]
async fn only_slots_that_stay_busy_are_used_elsewhere() {
    let state = state(llm_config("http://a"));
    let busy = |busy| PolledLoad {
        busy: Some(busy),
        ..PolledLoad::default()
    };
    let elsewhere = || state.load().borrow().elsewhere;

    state.set_polled(None, busy(3), 1);
    assert_eq!(elsewhere(), 0);
    state.set_polled(None, busy(2), 1);
    assert_eq!(elsewhere(), 1);
    state.set_polled(None, busy(1), 1);
    assert_eq!(elsewhere(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_api_is_left_out_for_ten_minutes() {
    let state = state(llm_config("http://a"));
    state.set_polled(Some(vec![model("a"), model("b")]), PolledLoad::default(), 0);
    let apis = || {
        state.models().borrow().clone().unwrap().models[0]
            .apis
            .clone()
    };

    state.learn(Lesson::Lacks, "rerank", "a");
    assert_eq!(apis(), ["chat"]);
    tokio::time::advance(Duration::from_secs(600)).await;
    state.set_polled(None, PolledLoad::default(), 0);

    assert_eq!(apis(), ["chat", "rerank"]);
}

#[tokio::test]
async fn a_list_is_cut_to_what_one_event_can_have() {
    let state = state(llm_config("http://a"));
    let long = "x".repeat(250);
    let models = (0..600).map(|number| ModelInfo {
        digest: long.clone(),
        family: long.clone(),
        ..model(&format!("{number}{long}"))
    });

    state.set_polled(Some(models.collect()), PolledLoad::default(), 0);

    let models = state.models().borrow().clone().unwrap();
    let count = models.models.len();
    assert!(count > 100 && count < 512, "{count}");
    assert!(Event::Models(models).to_line().len() <= MAX_MODELS_BYTES);
}

#[tokio::test]
async fn a_model_counts_as_loaded_once_a_call_went_well() {
    let state = state(llm_config("http://a"));
    state.set_polled(Some(vec![model("a"), model("b")]), PolledLoad::default(), 0);

    state.note_success("b", None);
    state.note_success("unknown", None);

    assert_eq!(state.load().borrow().resident, [1]);
}

#[tokio::test]
async fn a_call_is_cold_where_its_model_is_not_loaded_yet() {
    let state = state(llm_config("http://a"));
    let loaded = |name: &str, is_loading| ResidentModel {
        name: name.to_owned(),
        context: 0,
        is_loading,
    };
    let these = Resident::These(vec![loaded("a", false), loaded("b", true)]);

    for (resident, is_resident, is_loading) in [
        (Resident::Unknown, [true; 3], [false; 3]),
        (Resident::All, [true; 3], [false; 3]),
        (Resident::AllLoading, [false; 3], [true; 3]),
        (these, [true, false, false], [false, true, false]),
    ] {
        let load = PolledLoad {
            resident,
            ..PolledLoad::default()
        };
        state.set_polled(None, load.clone(), 0);

        let models = ["a", "b", "c"];
        assert_eq!(
            models.map(|name| state.is_resident(name)),
            is_resident,
            "{load:?}"
        );
        assert_eq!(
            models.map(|name| state.is_loading(name)),
            is_loading,
            "{load:?}"
        );
    }
}
