//! Workers that make an API of another one: they get its calls only where no worker has it.

use super::*;
use crate::Reason;

/// Ollama's chat.
const CHAT: AskedApi = AskedApi {
    word: "ollama",
    translated: Some("ollama_translated"),
};
/// Ollama's embeddings.
const EMBED: AskedApi = AskedApi {
    word: "ollama",
    translated: Some("ollama_embed_translated"),
};

fn native() -> PoolModel {
    PoolModel {
        apis: vec!["embeddings".into(), "ollama".into()],
        ..model("m")
    }
}

fn translating() -> PoolModel {
    let words = ["embeddings", "ollama_translated", "ollama_embed_translated"];
    PoolModel {
        apis: words.map(str::to_owned).to_vec(),
        ..model("m")
    }
}

/// Adds a worker of a runtime without Ollama's API, its model loaded.
fn add_translating(kit: &mut Kit, id: u64, slots: u32) -> WorkerId {
    let worker = WorkerId(id);
    let settings = WorkerSettings {
        runtime: "llama_cpp".into(),
        slots,
        ..WorkerSettings::default()
    };
    kit.pool.worker_joined(worker, settings, kit.now);
    kit.pool.set_models(worker, vec![translating()], kit.now);
    kit.load(worker, &[0]);
    worker
}

impl Kit {
    /// Returns the only decision, which must be to run a call, and its worker.
    fn decided(&mut self) -> (CallId, WorkerId) {
        match &self.decisions()[..] {
            [Decision::Run(call, run)] => (*call, run.worker),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_worker_with_the_api_is_never_passed_over() {
    for api in [CHAT, EMBED] {
        let mut kit = Kit::new();
        let translating = add_translating(&mut kit, 1, 8);
        let native = kit.cold_worker(2, 1, &[native()]);

        let ask = kit.ask_api("m", KEY, api);
        let (call, run) = kit.run(ask);
        assert_eq!(run.worker, native, "a cold one before a warm one");
        let ask = kit.ask_api("m", KEY, api);
        let second = kit.wait(ask);

        kit.finish(call);
        assert_eq!(kit.decided(), (second, native), "not on {translating:?}");
    }
}

#[test]
fn without_such_a_worker_the_api_is_made_of_another() {
    let mut kit = Kit::new();
    let translating = add_translating(&mut kit, 1, 1);

    for api in [CHAT, EMBED] {
        let ask = kit.ask_api("m", KEY, api);
        let (call, run) = kit.run(ask);
        assert_eq!(run.worker, translating);
        kit.finish(call);
    }

    assert_eq!(kit.pool.model_names(CHAT, KEY).len(), 1);
    let never_made = kit.pool.resolve("m", "ollama", KEY);
    assert!(
        matches!(never_made, Resolution::UnsupportedApi { .. }),
        "{never_made:?}"
    );
}

#[test]
fn a_chat_that_waits_is_translated_when_the_last_ollama_leaves() {
    let mut kit = Kit::new();
    let native = kit.worker(1, 1, &[native()]);
    let ask = kit.ask_api("m", KEY, CHAT);
    let (first, _) = kit.run(ask);
    let ask = kit.ask_api("m", KEY, CHAT);
    let second = kit.wait(ask);
    let translating = add_translating(&mut kit, 2, 1);
    assert!(kit.decisions().is_empty());

    kit.pool.worker_left(native, kit.now);
    kit.finish(first);

    assert_eq!(kit.decided(), (second, translating));
}

#[test]
fn embeddings_wait_for_the_ollama_that_made_the_others() {
    let mut kit = Kit::new();
    let native = kit.worker(1, 1, &[native()]);
    let translating = add_translating(&mut kit, 2, 1);
    let ask = kit.ask_api("m", KEY, EMBED);
    let (call, _) = kit.run(ask);
    kit.finish(call);

    kit.pool.worker_left(native, kit.now);
    let ask = kit.ask_api("m", KEY, EMBED);
    kit.wait(ask);
    kit.pass(601 * SECOND);

    let ask = kit.ask_api("m", KEY, EMBED);
    assert_eq!(kit.run(ask).1.worker, translating);
}

#[test]
fn embeddings_of_both_apis_come_from_one_runtime() {
    let mut kit = Kit::new();
    add_translating(&mut kit, 1, 1);
    add_translating(&mut kit, 2, 1);
    let native = kit.worker(3, 1, &[native()]);

    let ask = kit.ask_api("m", KEY, EMBED);
    let (call, run) = kit.run(ask);
    assert_eq!(run.worker, native);
    kit.finish(call);

    let ask = kit.ask_api("m", KEY, "embeddings");
    assert_eq!(kit.run(ask).1.worker, native, "though others are more");
}

/// A runtime that has loaded its model does not load it anew for a context.
#[test]
fn a_context_that_is_asked_for_reloads_no_translating_worker() {
    let mut kit = Kit::new();
    add_translating(&mut kit, 1, 1);

    for _ in 0..2 {
        let ask = Ask {
            num_ctx: Some(4096),
            ..kit.ask_api("m", KEY, CHAT)
        };
        let (call, run) = kit.run(ask);
        assert_eq!(run.reason, Reason::Warm);
        kit.finish(call);
    }
}
