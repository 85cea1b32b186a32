//! What a worker reports of its runtime.

use llamapool_testkit::{LlmRuntime, PlayedRuntime, RuntimeModel, llm_provider, soon};
use llamapool_wire::llm::{CallEnd, CountSource};
use llamapool_wire::{Event, Offer, ProviderHealth};

use super::{Call, Worker};

#[tokio::test]
async fn the_first_events_are_offer_models_and_load() {
    let runtime = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let mut worker = Worker::unready(&runtime.url, |config| {
        llm_provider(config).weight = 2000;
        llm_provider(config).embedding_batch_size = 16;
    })
    .await;

    let first = worker.events.next().await;
    let Event::Offer(first) = first else {
        panic!("{first:?}");
    };
    let is_known = |offer: &Offer| {
        offer
            .llm
            .as_ref()
            .is_some_and(|llm| llm.runtime == "ollama")
    };
    assert!(first.llm.is_some(), "{first:?}");
    // The runtime may have been found before the worker had connected.
    let offer = if is_known(&first) {
        first
    } else {
        let found = worker.events.find(|event| match event {
            Event::Offer(offer) => Some(offer).filter(|offer| is_known(offer)),
            _ => None,
        });
        found.await
    };

    let llm = offer.llm.unwrap();
    assert_eq!((llm.version.as_str(), llm.max_concurrency), ("0.17.4", 2));
    assert_eq!((llm.weight, llm.embedding_batch_size), (2000, 16));
    assert!(!llm.keeps_responses);
}

#[tokio::test]
async fn models_of_ollama_have_digest_context_and_residency() {
    let runtime = LlmRuntime::with(PlayedRuntime::Ollama, |behaviour| {
        behaviour.models = vec![RuntimeModel::named("a"), RuntimeModel::named("b")];
        behaviour.models[0].is_resident = false;
    })
    .await;
    let mut worker = Worker::unready(&runtime.url, |_| {}).await;

    let models = worker
        .events
        .find(|event| match event {
            // The context as it is loaded follows with the first load.
            Event::Models(models) if models.models[1].context == 4096 => Some(models.models),
            _ => None,
        })
        .await;
    let load = worker.events.load().await;

    assert_eq!(
        (models[0].name.as_str(), models[0].digest.as_str()),
        ("a", "digest-of-a")
    );
    assert_eq!((models[0].context, models[0].context_trained), (2048, 8192));
    assert!(models[0].apis.contains(&"messages".to_owned()));
    assert_eq!(load.resident, [1]);
}

#[tokio::test]
async fn slots_of_llama_cpp_decide_the_concurrency() {
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |behaviour| behaviour.slots = 5).await;
    let mut worker = Worker::unready(&runtime.url, |_| {}).await;

    let llm = worker
        .events
        .find(|event| match event {
            Event::Offer(offer) => offer.llm.filter(|llm| llm.max_concurrency != 2),
            _ => None,
        })
        .await;

    assert_eq!(
        (llm.runtime.as_str(), llm.version.as_str()),
        ("llama_cpp", "b7062")
    );
    assert_eq!(llm.max_concurrency, 5);
}

#[tokio::test]
async fn every_call_that_reached_the_runtime_is_reported_once() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::start(&runtime).await;

    worker.send(Call::chat_stream()).await.text().await;
    let streamed = worker.events.report().await;
    worker
        .send(Call::chat().with("llamapool-attempt", "8"))
        .await
        .text()
        .await;
    let _ = worker.events.report().await;
    let refused = Call::post("/v1/chat/completions", r#"{"model":"other"}"#);
    let refused = worker
        .send(refused.with("llamapool-response", "whole"))
        .await;
    assert_eq!(refused.status, 404);
    let refused = worker.events.report().await;

    assert_eq!(streamed.attempt, 7);
    assert_eq!(streamed.end, CallEnd::Complete);
    assert_eq!(
        (streamed.prompt, streamed.cached, streamed.completion),
        (12, 5, 3)
    );
    assert_eq!(streamed.source, CountSource::Timings);
    assert!(streamed.first_ms.is_some());
    assert_eq!(refused.end, CallEnd::Refused);
    assert_eq!(refused.first_ms, None);
}

#[tokio::test]
async fn embeddings_are_counted_by_their_vectors() {
    let runtime = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let mut worker = Worker::start(&runtime).await;

    let call = Call::post("/v1/embeddings", r#"{"model":"m","input":["a","b","c"]}"#);
    let answer = worker.send(call.with("llamapool-response", "whole")).await;

    assert_eq!(answer.json().await["data"].as_array().unwrap().len(), 3);
    let report = worker.events.report().await;
    assert_eq!((report.embeddings, report.prompt), (3, 12));
    assert_eq!(report.source, CountSource::Usage);
    assert_eq!(report.first_ms, None);
}

#[tokio::test]
async fn a_failed_poll_changes_the_health_and_not_the_list() {
    let runtime = LlmRuntime::start(PlayedRuntime::OpenAi).await;
    let mut worker = Worker::start(&runtime).await;

    runtime.change(|behaviour| behaviour.polls_are_garbage = true);
    // A call that finds a model missing makes the worker look at once.
    let call = Call::post("/v1/chat/completions", r#"{"model":"other"}"#);
    worker.send(call.with("llamapool-response", "stream")).await;
    let next = worker
        .events
        .find(|event| match event {
            Event::Call(_) | Event::Load(_) => None,
            other => Some(other),
        })
        .await;

    let Event::Offer(offer) = next else {
        panic!("the list has changed: {next:?}");
    };
    assert!(
        matches!(offer.provider, ProviderHealth::Unreachable { .. }),
        "{offer:?}"
    );
}

#[tokio::test]
async fn a_stale_list_is_polled_anew_at_once() {
    let runtime = LlmRuntime::start(PlayedRuntime::Ollama).await;
    let mut worker = Worker::start(&runtime).await;

    runtime.change(|behaviour| behaviour.models = vec![RuntimeModel::named("n")]);
    let answer = worker.send(Call::chat()).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.error(), "", "the runtime's own answer passes");
    let models = soon("the new list", worker.events.models()).await;

    assert_eq!(models.models[0].name, "n");
}

#[tokio::test]
async fn load_that_others_cause_is_reported() {
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |behaviour| {
        behaviour.busy_elsewhere = 1;
    })
    .await;
    let mut worker = Worker::start(&runtime).await;

    // Used runtimes are polled often.
    worker.send(Call::chat_stream()).await.text().await;
    let elsewhere = worker
        .events
        .find(|event| match event {
            Event::Load(load) => Some(load.elsewhere).filter(|elsewhere| *elsewhere > 0),
            _ => None,
        })
        .await;

    assert_eq!(elsewhere, 1);
}

/// llama.cpp reports how much of a prompt it has read, for calls in both forms.
#[tokio::test]
async fn the_share_of_a_prompt_that_is_read_is_reported() {
    for call in [Call::chat_stream(), Call::chat()] {
        let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |behaviour| {
            behaviour.is_held = true;
        })
        .await;
        let mut worker = Worker::with(&runtime, |_| {}).await;

        let pending = worker.begin(call);
        let progress = worker
            .events
            .find(|event| match event {
                Event::Progress(progress) => Some(progress),
                _ => None,
            })
            .await;
        runtime.change(|behaviour| behaviour.is_held = false);
        pending.head().await.text().await;

        assert_eq!((progress.attempt, progress.read), (7, 0.5));
        assert_eq!(worker.events.report().await.end, CallEnd::Complete);
    }
}
