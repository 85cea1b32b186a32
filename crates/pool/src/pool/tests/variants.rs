//! Embeddings: calls of one model go to one variant of its weights.

use super::*;

/// Ollama's own API makes embeddings too: it is of the same variant, and its chat is of all.
#[test]
fn embeddings_of_ollamas_api_stay_with_one_variant() {
    let mut kit = Kit::new();
    let both = |digest: &str| PoolModel {
        apis: vec!["embeddings".into(), "ollama".into()],
        ..embedder("e5", digest)
    };
    kit.worker(1, 1, &[both("D1")]);
    kit.worker(2, 1, &[both("D2")]);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    assert_eq!(kit.run(ask).1.worker, WorkerId(1));

    let ask = kit.ask_api("e5", KEY, "ollama");
    let (chat, run) = kit.run(ask);
    assert_eq!(run.worker, WorkerId(2));
    kit.finish(chat);
    let ask = kit.ask_api("e5", KEY, "ollama_embed");

    kit.wait(ask);
}

/// While the worker of a model that was used is away, no other model stands in for its name.
#[test]
fn embeddings_of_a_name_wait_for_the_model_that_was_used() {
    let mut kit = Kit::new();
    let own = kit.worker(1, 1, &[embedder("e5", "D1")]);
    kit.worker(2, 1, &[embedder("e5:latest", "D2")]);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    kit.run(ask);

    kit.pool.worker_left(own, kit.now);
    let ask = kit.ask_api("e5", KEY, "embeddings");
    kit.wait(ask);
    kit.pass(600 * SECOND);
    let ask = kit.ask_api("e5", KEY, "embeddings");

    assert_eq!(kit.run(ask).1.worker, WorkerId(2), "after ten minutes");
}

/// A batch of embeddings is as long as all its inputs, and each of them alone must fit.
#[test]
fn a_batch_of_short_inputs_fits_into_a_short_context() {
    let mut kit = Kit::new();
    let short = PoolModel {
        context: 512,
        ..embedder("e5", "D1")
    };
    kit.worker(1, 1, &[short]);
    let batch = Ask {
        prompt_tokens: 128 * 400,
        inputs: 128,
        ..kit.ask_api("e5", KEY, "embeddings")
    };
    let long = Ask {
        prompt_tokens: 2 * 4096,
        inputs: 2,
        ..kit.ask_api("e5", KEY, "embeddings")
    };

    let refused = kit.refused(long);
    kit.run(batch);

    assert!(matches!(
        refused,
        RefusedError::ContextExceeded { tokens: 4096, .. }
    ));
}

#[test]
fn embedding_models_of_several_variants_are_named() {
    let mut kit = Kit::new();
    let pure = |digest: &str| PoolModel {
        outputs: vec!["embedding".into()],
        ..embedder("e5", digest)
    };
    let one = kit.worker(1, 1, &[pure("D1"), model("m")]);
    kit.worker(2, 1, &[pure("D1")]);
    assert!(kit.pool.mixed_embedders(one).is_empty());

    let other = kit.worker(3, 1, &[pure("D2"), embedder("text", "D3")]);
    kit.worker(4, 1, &[embedder("text", "D4")]);

    assert_eq!(kit.pool.mixed_embedders(other), ["e5".into()]);
    assert_eq!(kit.pool.mixed_embedders(one), ["e5".into()]);
}
