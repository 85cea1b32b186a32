//! The status server and the metrics of a worker.

use llamapool_testkit::{LlmRuntime, PlayedRuntime, StatusClient, metric, serve_status};

use super::{Call, Worker};

#[tokio::test]
async fn the_status_shows_runtime_models_and_load() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let worker = Worker::with(&runtime, serve_status).await;
    let client = StatusClient::new(worker.relay.status_url());

    let (status, body) = client.get("/status").await;

    assert_eq!(status, 200);
    let llm = &body["providers"][0]["llm"];
    assert_eq!(llm["runtime"], "llama_cpp");
    assert_eq!(llm["max_concurrency"], 2);
    assert_eq!(llm["models"][0], "m");
    assert_eq!(llm["resident"][0], "m");
    assert_eq!(body["provider"]["status"], "reachable");
}

#[tokio::test]
async fn jobs_are_counted_in_the_metrics() {
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let mut worker = Worker::with(&runtime, serve_status).await;
    worker.send(Call::chat_stream()).await.text().await;
    worker.events.report().await;
    let refused = Call::post("/v1/chat/completions", r#"{"model":"other"}"#);
    worker.send(refused).await.text().await;
    worker.events.report().await;

    let metrics = StatusClient::new(worker.relay.status_url()).metrics().await;

    for (name, value) in [
        ("llamapool_worker_connected_to_server", 1.0),
        ("llamapool_worker_connected_to_backend", 1.0),
        ("llamapool_worker_current_jobs", 0.0),
        ("llamapool_worker_max_concurrency", 2.0),
        ("llamapool_worker_embedding_batch_size", 0.0),
        ("llamapool_worker_jobs_started_total", 2.0),
        ("llamapool_worker_jobs_succeeded_total", 1.0),
        ("llamapool_worker_jobs_failed_total", 1.0),
        (
            "llamapool_worker_job_duration_seconds_count{provider=\"w1\"}",
            2.0,
        ),
    ] {
        assert_eq!(metric(&metrics, name), Some(value), "{name}\n{metrics}");
    }
}
