//! Requests for embeddings: divided over workers, and never over two kinds of weights.

use llamapool_server::LlmConfig;
use llamapool_testkit::{Pool, ScriptedWorker, WorkerCall, WorkerSetup, metric};
use llamapool_wire::llm::{CallReport, CountSource};
use serde_json::{Value, json};

use crate::kit::{call, read, request, server, start};

const PATH: &str = "/v1/embeddings";

/// Connects a worker whose model `e` has a digest, and whose runtime takes so many inputs at once.
async fn embedder(server: &Pool, id: &str, digest: &str, batch: u32) -> ScriptedWorker {
    let mut setup = WorkerSetup::new(&["e"], 1);
    setup.models[0].digest = digest.to_owned();
    setup.runtime.embedding_batch_size = batch;
    ScriptedWorker::connect(server, id, setup).await
}

fn inputs(number: usize) -> Value {
    let inputs: Vec<String> = (0..number).map(|input| format!("text {input}")).collect();
    json!({ "model": "e", "input": inputs })
}

/// Answers with one vector for each input: its own number.
fn answer(call: WorkerCall) -> usize {
    let inputs: Vec<String> = serde_json::from_value(call.json()["input"].clone()).unwrap();
    let number = |input: &String| input.trim_start_matches("text ").parse::<u32>().unwrap();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| json!({ "index": index, "embedding": [number(input)] }))
        .collect();
    let body = json!({ "object": "list", "data": data, "model": "e",
                       "usage": { "prompt_tokens": inputs.len(), "total_tokens": inputs.len() } });
    call.answer_json(200, &body.to_string());
    inputs.len()
}

fn assert_in_order(answer: &Value, number: usize) {
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), number);
    for (index, item) in data.iter().enumerate() {
        assert_eq!(item["index"], index);
        assert_eq!(item["embedding"], json!([index]));
    }
    assert_eq!(answer["usage"]["prompt_tokens"], number);
    assert_eq!(answer["usage"]["total_tokens"], number);
}

/// Waits for the next call at any of the workers.
async fn next(workers: &mut [ScriptedWorker]) -> (usize, WorkerCall) {
    loop {
        if let Some(at) = workers.iter_mut().position(ScriptedWorker::has_call) {
            return (at, workers[at].next_call().await);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_inputs_are_divided_over_free_workers() {
    let server = server(|_| {}).await;
    let mut workers = vec![
        embedder(&server, "alpha", "d", 0).await,
        embedder(&server, "beta", "d", 0).await,
    ];
    let mut pending = start(&server, PATH, &inputs(128));

    let (first, one) = next(&mut workers).await;
    let (second, other) = next(&mut workers).await;
    assert_ne!(first, second, "both at once");
    let mut done = answer(one) + answer(other);
    while done < 128 {
        done += answer(next(&mut workers).await.1);
    }
    let answer = read(&mut pending).await;

    assert_eq!(answer.status(), 200);
    assert_in_order(&answer.json(), 128);
    let route = answer.header("llamapool-route").unwrap();
    assert!(route.contains("attempts=4"), "{route}");
}

#[tokio::test]
async fn a_runtime_gets_no_more_inputs_than_it_takes() {
    let server = server(|_| {}).await;
    let mut worker = embedder(&server, "alpha", "d", 3).await;
    let mut pending = start(&server, PATH, &inputs(7));

    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 7 {
        sizes.push(answer(worker.next_call().await));
    }
    let answer = read(&mut pending).await;

    assert_eq!(sizes, [3, 3, 1]);
    assert_eq!(answer.status(), 200);
    assert_in_order(&answer.json(), 7);
}

#[tokio::test]
async fn few_inputs_stay_together() {
    let server = server(|_| {}).await;
    let mut workers = vec![
        embedder(&server, "alpha", "d", 0).await,
        embedder(&server, "beta", "d", 0).await,
    ];

    for number in [1, 63] {
        let mut pending = start(&server, PATH, &inputs(number));
        assert_eq!(answer(next(&mut workers).await.1), number);
        assert_in_order(&read(&mut pending).await.json(), number);
    }
}

#[tokio::test]
async fn no_more_parts_run_at_once_than_are_allowed() {
    let server = server(|config: &mut LlmConfig| config.max_parallel_embeddings = 2).await;
    let mut workers = Vec::new();
    for id in ["a", "b", "c", "d"] {
        workers.push(embedder(&server, id, "d", 0).await);
    }
    let mut pending = start(&server, PATH, &inputs(128));

    let mut running = vec![next(&mut workers).await.1, next(&mut workers).await.1];
    server
        .until("two parts run", |state| {
            state["server"]["scheduler_queue_len"] == 0
        })
        .await;
    assert!(!workers.iter_mut().any(ScriptedWorker::has_call));
    let mut done = 0;
    while done < 128 {
        let call = match running.pop() {
            Some(call) => call,
            None => next(&mut workers).await.1,
        };
        done += answer(call);
    }

    assert_in_order(&read(&mut pending).await.json(), 128);
}

#[tokio::test]
async fn a_failed_part_is_tried_once_on_another_worker() {
    let server = server(|_| {}).await;
    let mut workers = vec![
        embedder(&server, "alpha", "d", 64).await,
        embedder(&server, "beta", "d", 64).await,
    ];
    let mut pending = start(&server, PATH, &inputs(70));

    let (failing, call) = next(&mut workers).await;
    let part = call.json();
    call.fail("runtime_closed");
    let mut done = 0;
    let mut again = None;
    while done < 70 {
        let (at, call) = next(&mut workers).await;
        if call.json() == part {
            again = Some(at);
        }
        done += answer(call);
    }
    let answer = read(&mut pending).await;

    assert_eq!(again, Some(1 - failing), "on the other worker");
    assert_in_order(&answer.json(), 70);
}

#[tokio::test]
async fn a_part_that_fails_twice_is_the_answer_of_the_call() {
    let server = server(|_| {}).await;
    let mut workers = Vec::new();
    for id in ["a", "b", "c"] {
        workers.push(embedder(&server, id, "d", 0).await);
    }
    let mut pending = start(&server, PATH, &inputs(128));
    let words = r#"{"error":{"message":"out of memory","code":500}}"#;

    let (_, call) = next(&mut workers).await;
    let part = call.json();
    call.answer_json(500, words);
    loop {
        let (_, call) = next(&mut workers).await;
        if call.json() == part {
            call.answer_json(500, words);
            break;
        }
        answer(call);
    }
    let answer = read(&mut pending).await;

    assert_eq!(answer.status(), 500);
    assert_eq!(answer.text(), words);
}

#[tokio::test]
async fn an_answer_with_too_few_vectors_is_no_answer() {
    let server = server(|_| {}).await;
    let mut worker = embedder(&server, "alpha", "d", 2).await;
    let mut pending = start(&server, PATH, &inputs(3));

    let body = r#"{"data":[{"index":0,"embedding":[0]}]}"#;
    worker.next_call().await.answer_json(200, body);
    let answer = read(&mut pending).await;

    assert_eq!(answer.status(), 502);
    assert_eq!(answer.header("llamapool-error"), Some("runtime_garbage"));
}

#[tokio::test]
async fn a_divided_call_is_one_call_and_one_charge() {
    let server = server(|_| {}).await;
    let mut worker = embedder(&server, "alpha", "d", 2).await;
    let mut pending = start(&server, PATH, &inputs(4));

    for _ in 0..2 {
        let call = worker.next_call().await;
        let attempt = call.attempt();
        answer(call);
        let report = CallReport {
            attempt,
            prompt: 5,
            embeddings: 2,
            source: CountSource::Usage,
            total_ms: 1,
            ..CallReport::default()
        };
        worker.report(report).await;
    }
    assert_eq!(read(&mut pending).await.status(), 200);
    server
        .until("the parts are settled", |state| {
            state["workers"][0]["tokens_in_total"] == 10
        })
        .await;

    let metrics = server.metrics().await;
    let calls = metric(
        &metrics,
        r#"llamapool_model_requests_total{model="e",outcome="success"}"#,
    );
    let vectors = metric(&metrics, r#"llamapool_model_embeddings_total{model="e"}"#);
    let tokens = metric(
        &metrics,
        r#"llamapool_key_tokens_total{key="api_key",kind="in"}"#,
    );
    assert_eq!((calls, vectors, tokens), (Some(1.0), Some(4.0), Some(10.0)));
}

#[tokio::test]
async fn a_caller_that_leaves_ends_all_parts() {
    let server = server(|_| {}).await;
    let mut workers = vec![
        embedder(&server, "alpha", "d", 0).await,
        embedder(&server, "beta", "d", 0).await,
    ];
    let pending = start(&server, PATH, &inputs(128));
    let (_, one) = next(&mut workers).await;
    let (_, other) = next(&mut workers).await;

    drop(pending);

    one.cancelled().await;
    other.cancelled().await;
}

/// A batch goes to workers of one digest, all of it, and waits for them when they are away.
#[tokio::test]
async fn vectors_of_two_digests_are_never_mixed() {
    let server = server(|_| {}).await;
    let mut one = embedder(&server, "alpha", "D1", 16).await;
    let mut other = embedder(&server, "beta", "D2", 16).await;
    let mut pending = start(&server, PATH, &inputs(128));

    let mut done = 0;
    while done < 128 {
        done += answer(one.next_call().await);
    }
    assert_in_order(&read(&mut pending).await.json(), 128);
    assert!(!other.has_call());

    drop(one);
    server
        .until("the worker of the first digest is away", |state| {
            state["workers_summary"]["connected"] == 1
        })
        .await;
    let waiting = request(&server, PATH, &inputs(128)).header("llamapool-queue-timeout", "0.05");
    let answer = waiting.send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["llamapool-error"], "no_worker");
    assert!(!other.has_call(), "another digest never stands in");

    let mut back = embedder(&server, "gamma", "D1", 0).await;
    let again = start(&server, PATH, &inputs(2));
    back.next_call().await.answer_json(500, "{}");
    drop(again);
    assert!(!other.has_call());
}

#[tokio::test]
async fn neither_name_nor_api_leads_to_another_digest() {
    let server = server(|_| {}).await;
    let setup = |name: &str, digest: &str| {
        let mut setup = WorkerSetup::new(&[name], 1);
        setup.models[0].digest = digest.to_owned();
        setup.models[0].apis = vec!["embeddings".into(), "ollama".into()];
        setup.runtime.runtime = "ollama".into();
        setup
    };
    let mut one = ScriptedWorker::connect(&server, "alpha", setup("e", "D1")).await;
    let mut other = ScriptedWorker::connect(&server, "beta", setup("e", "D2")).await;
    let mut latest = ScriptedWorker::connect(&server, "gamma", setup("e:latest", "D3")).await;
    let ask = json!({ "model": "e", "input": ["a"], "prompt": "a" });

    for (path, body) in [
        (
            "/v1/embeddings",
            r#"{"data":[{"index":0,"embedding":[1]}]}"#,
        ),
        ("/api/embed", r#"{"embeddings":[[1]]}"#),
        ("/api/embeddings", r#"{"embedding":[1]}"#),
    ] {
        for _ in 0..3 {
            let mut pending = start(&server, path, &ask);
            one.next_call().await.answer_json(200, body);
            assert_eq!(read(&mut pending).await.status(), 200, "{path}");
        }
    }
    drop(one);
    server
        .until("the worker of the first digest is away", |state| {
            state["workers_summary"]["connected"] == 2
        })
        .await;

    for path in ["/v1/embeddings", "/api/embed", "/api/embeddings"] {
        let refused = request(&server, path, &ask).header("llamapool-queue-timeout", "0.05");
        let answer = refused.send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
    }
    assert!(!other.has_call() && !latest.has_call());
    let chat = call(
        &server,
        "/v1/rerank",
        &json!({ "model": "e", "query": "q" }),
    )
    .await;
    assert_ne!(chat.status(), 200, "no worker has it");
}
