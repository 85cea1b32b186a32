//! What operators see of the LLM API: the state and the metrics.

use std::collections::BTreeSet;

use llamapool_testkit::{
    Answer, PendingCall, Pool, ScriptedWorker, ServerConfig, WorkerCall, WorkerSetup, metric, soon,
};
use llamapool_wire::Event;
use llamapool_wire::llm::{CallEnd, CallReport, CountSource, Load};
use serde_json::{Value, json};

use crate::kit::{
    CHAT, COMPLETION, call, chat, read, request, server, server_with_worker, start, until_waiting,
    worker,
};

/// Returns the names of the members of an object.
fn members(object: &Value) -> BTreeSet<&str> {
    let members = object.as_object().expect("an object");
    members.keys().map(String::as_str).collect()
}

/// Returns a set of names that a text has, with spaces between them.
fn names(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

fn report(attempt: u64) -> CallReport {
    CallReport {
        attempt,
        prompt: 12,
        cached: 5,
        completion: 3,
        source: CountSource::Usage,
        first_ms: Some(20),
        total_ms: 40,
        ..CallReport::default()
    }
}

/// Reports a call and answers it.
async fn answer(worker: &ScriptedWorker, call: WorkerCall) {
    worker.report(report(call.attempt())).await;
    call.answer_json(200, COMPLETION);
}

/// Reads the metrics without a key.
async fn public_metrics(server: &Pool) -> String {
    let request = server.http.get(format!("{}/metrics", server.url)).send();
    let answer = soon("an answer", request).await.expect("an HTTP answer");
    Answer::read(answer).await.text().to_owned()
}

/// The state is a contract: these names are those of the software that llamapool follows, and more.
#[tokio::test]
async fn the_state_has_every_field() {
    let (server, mut worker) = server_with_worker(1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let call = worker.next_call().await;
    let _waiting = start(&server, CHAT, &chat(false));
    until_waiting(&server, 1).await;
    answer(&worker, call).await;
    read(&mut pending).await;
    let _running = worker.next_call().await;
    let _waiting = start(&server, CHAT, &chat(false));

    let state = server
        .until("a call is listed and one is counted", |state| {
            state["queue"][0]["position"] == 1 && state["workers"][0]["tokens_total"] == 15
        })
        .await;

    assert_eq!(
        members(&state),
        names(
            "server problems workers_summary models workers queue keys llm mcp certificates usage audit"
        )
    );
    assert_eq!(
        members(&state["workers_summary"]),
        names("connected working idle not_ready gone")
    );
    assert_eq!(
        members(&state["models"][0]),
        names("name workers resident_on free_slots waiting oldest_wait_ms context_length")
    );
    assert_eq!(
        members(&state["workers"][0]),
        names(
            "id name status connected_at last_heartbeat version build_sha build_date
             models_supported max_concurrency embedding_batch_size processed_total
             processing_ms_total avg_processing_ms inflight failures_total queue_len last_error
             tokens_in_total tokens_out_total tokens_total avg_tokens_per_second embeddings_total
             embedding_ms_total avg_embedding_ms avg_embeddings_per_second per_model
             runtime runtime_version resident loading elsewhere abandoned speed breaker remote_addr"
        )
    );
    assert_eq!(
        members(&state["workers"][0]["per_model"]["m"]),
        names("success_total error_total tokens_in_total tokens_out_total")
    );
    assert_eq!(
        members(&state["queue"][0]),
        names("request_id key model class position of waited_ms expected_ms")
    );
    assert_eq!(
        members(&state["keys"][0]),
        names(
            "name weight inflight waiting calls_total tokens_in_total tokens_out_total
             remaining_requests_minute remaining_tokens_minute remaining_tokens_day"
        )
    );
    assert_eq!(
        members(&state["llm"]),
        names("jobs_inflight_total jobs_completed_total jobs_failed_total")
    );
}

#[tokio::test]
async fn the_state_has_the_values_of_a_worker() {
    let (server, mut worker) = server_with_worker(1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let call = worker.next_call().await;
    let working = server.state().await;
    answer(&worker, call).await;
    read(&mut pending).await;

    let state = server
        .until("the call is counted", |state| {
            state["workers"][0]["tokens_total"] == 15
        })
        .await;

    assert_eq!(working["workers"][0]["status"], "working");
    assert_eq!(working["workers_summary"]["working"], 1);
    assert_eq!(working["server"]["jobs_inflight_total"], 1);
    assert_eq!(working["llm"]["jobs_inflight_total"], 1);
    let worker = &state["workers"][0];
    assert_eq!(worker["status"], "idle");
    assert_eq!(worker["build_sha"], "0000000");
    assert_eq!(worker["build_date"], "2000-01-01T00:00:00Z");
    assert_eq!(worker["version"], "0");
    assert_eq!(worker["processed_total"], 1);
    assert_eq!(worker["processing_ms_total"], 40);
    assert_eq!(worker["avg_processing_ms"], 40.0);
    assert_eq!(worker["avg_tokens_per_second"], 75.0);
    assert_eq!(worker["breaker"], "closed");
    assert_eq!(worker["resident"], json!(["m"]));
    assert_eq!(state["llm"]["jobs_inflight_total"], 0);
    assert_eq!(state["llm"]["jobs_completed_total"], 1);
    assert_eq!(state["server"]["jobs_completed_total"], 1);
}

#[tokio::test]
async fn a_worker_that_comes_back_is_not_gone() {
    let (server, first) = server_with_worker(1).await;
    let gone = |number: u64| {
        move |state: &Value| state["workers_summary"]["gone"].as_u64() == Some(number)
    };

    drop(first);
    server.until("the worker is gone", gone(1)).await;
    let second = worker(&server, "alpha", 1).await;
    server.until("the worker is back", gone(0)).await;
    drop(second);
    server.until("the worker is gone again", gone(1)).await;

    let _other = worker(&server, "beta", 1).await;
    assert!(
        gone(1)(&server.state().await),
        "another does not replace it"
    );
}

/// The position of each waiting call is its place in the order in which calls are then sent, over
/// classes. (Keys are a matter of the pool's own tests: there calls last as long as estimated.)
#[tokio::test]
async fn positions_are_the_order_that_is_dispatched() {
    let (server, mut worker) = server_with_worker(1).await;
    let _running = start(&server, CHAT, &chat(false));
    let first = worker.next_call().await;
    let mut calls = Vec::new();
    for number in 0..9u64 {
        let class = ["low", "normal"][number as usize % 2];
        let request = request(&server, CHAT, &chat(false))
            .header("x-request-id", format!("call-{number}"))
            .header("llamapool-class", class);
        calls.push(PendingCall::start(request));
        until_waiting(&server, number + 1).await;
    }

    let state = server
        .until("all calls are listed", |state| {
            state["queue"]
                .as_array()
                .is_some_and(|queue| queue.len() == 9)
        })
        .await;
    let mut order = Vec::new();
    let mut current = first;
    for _ in 0..9 {
        current.answer_json(200, COMPLETION);
        current = worker.next_call().await;
        order.push(current.headers["x-request-id"].to_str().unwrap().to_owned());
    }

    let queue = state["queue"].as_array().unwrap();
    let listed: Vec<_> = queue.iter().map(|call| &call["request_id"]).collect();
    assert_eq!(json!(listed), json!(order));
    for (call, position) in queue.iter().zip(1..) {
        assert_eq!(
            (&call["position"], &call["of"]),
            (&json!(position), &json!(9))
        );
    }
    let expected: Vec<_> = queue
        .iter()
        .map(|call| call["expected_ms"].as_u64())
        .collect();
    assert!(
        expected.is_sorted() && expected[0].is_some(),
        "{expected:?}"
    );
    assert!(expected[0] < expected[8], "{expected:?}");
    let classes: Vec<_> = queue
        .iter()
        .map(|call| call["class"].as_str().unwrap())
        .collect();
    assert_eq!(classes[..4], ["normal"; 4]);
    assert_eq!(classes[4..], ["low"; 5]);
}

/// Every metric of calls to LLMs, after calls that touch them all.
#[tokio::test]
async fn the_metrics_have_every_name_and_label() {
    let server = server(|_| {}).await;
    let mut alpha = worker(&server, "alpha", 1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let call = alpha.next_call().await;
    let mut beta = worker(&server, "beta", 1).await;
    alpha.report(report(call.attempt())).await;
    call.answer_json(500, "{}");
    let call = beta.next_call().await;
    answer(&beta, call).await;
    read(&mut pending).await;
    server
        .until_metric("llamapool_wasted_tokens_total", 15)
        .await;
    let over = r#"llamapool_model_requests_total{model="m",outcome="success"}"#;
    server.until_metric(over, 1).await;

    let text = server.metrics().await;

    for (series, value) in [
        (
            r#"llamapool_model_requests_total{model="m",outcome="success"}"#,
            1.0,
        ),
        (r#"llamapool_model_tokens_total{kind="in",model="m"}"#, 12.0),
        (r#"llamapool_model_tokens_total{kind="out",model="m"}"#, 3.0),
        (
            r#"llamapool_request_duration_seconds_count{model="m",worker_id="beta"}"#,
            1.0,
        ),
        (r#"llamapool_first_token_seconds_count{model="m"}"#, 1.0),
        (r#"llamapool_queue_wait_seconds_count{class="key"}"#, 1.0),
        (r#"llamapool_attempts_total{outcome="answered"}"#, 1.0),
        (r#"llamapool_attempts_total{outcome="failed"}"#, 1.0),
        (r#"llamapool_failovers_total{cause="status_500"}"#, 1.0),
        (r#"llamapool_prefix_tokens_total{kind="cached"}"#, 5.0),
        (r#"llamapool_prefix_tokens_total{kind="predicted"}"#, 0.0),
        (
            r#"llamapool_key_tokens_total{key="api_key",kind="in"}"#,
            12.0,
        ),
        (
            r#"llamapool_key_tokens_total{key="api_key",kind="out"}"#,
            3.0,
        ),
        (
            r#"llamapool_worker_tokens_total{kind="in",worker_id="beta"}"#,
            12.0,
        ),
        (
            r#"llamapool_worker_tokens_total{kind="out",worker_id="alpha"}"#,
            3.0,
        ),
        (
            r#"llamapool_worker_processing_seconds_total{worker_id="beta"}"#,
            0.0,
        ),
        (
            r#"llamapool_worker_embeddings_total{worker_id="beta"}"#,
            0.0,
        ),
        (
            r#"llamapool_worker_embedding_processing_seconds_total{worker_id="beta"}"#,
            0.0,
        ),
        ("llamapool_autoscale_waiting_slots", 0.0),
        ("llamapool_wasted_tokens_total", 15.0),
    ] {
        assert_eq!(metric(&text, series), Some(value), "{series}\n{text}");
    }
}

#[tokio::test]
async fn waiting_calls_are_in_the_metrics() {
    let (server, mut worker) = server_with_worker(1).await;
    let _running = start(&server, CHAT, &chat(false));
    let _call = worker.next_call().await;
    let low = request(&server, CHAT, &chat(false)).header("llamapool-class", "low");
    let _low = PendingCall::start(low);
    until_waiting(&server, 1).await;

    server
        .until_metric("llamapool_autoscale_waiting_slots", 1)
        .await;
    let series = r#"llamapool_queue_length{class="low",model="m"}"#;
    server.until_metric(series, 1).await;
}

#[tokio::test]
async fn the_times_of_calls_outlive_their_worker() {
    let (server, mut worker) = server_with_worker(1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let sent = worker.next_call().await;
    answer(&worker, sent).await;
    read(&mut pending).await;
    let count = |id: &str| {
        format!(r#"llamapool_request_duration_seconds_count{{model="m",worker_id="{id}"}}"#)
    };
    server.until_metric(&count("alpha"), 1).await;

    drop(worker);
    server.until_metric(&count("(gone)"), 1).await;
    let refused = request(&server, CHAT, &chat(false)).header("llamapool-queue", "refuse");
    soon("an answer", refused.send()).await.unwrap();
    server.until_metric(&count("(none)"), 1).await;

    let text = server.metrics().await;
    assert_eq!(metric(&text, &count("alpha")), None);
    let failed = r#"llamapool_model_requests_total{model="m",outcome="error"}"#;
    assert_eq!(metric(&text, failed), Some(1.0));
}

#[tokio::test]
async fn loads_of_models_are_counted() {
    let server = server(|_| {}).await;
    let setup = WorkerSetup::new(&["m", "n"], 1);
    let mut of_ollama = setup.clone();
    of_ollama.runtime.runtime = "ollama".to_owned();
    let alpha = ScriptedWorker::connect(&server, "alpha", of_ollama).await;
    let beta = ScriptedWorker::connect(&server, "beta", setup).await;
    let load = |resident: &[u16]| {
        Event::Load(Load {
            resident: resident.to_vec(),
            ..Load::default()
        })
    };

    for worker in [&alpha, &beta] {
        for resident in [&[0][..], &[0, 1], &[0, 1], &[], &[1, 99]] {
            worker.send(&load(resident)).await;
        }
    }
    server
        .until("the last loads are known", |state| {
            let workers = state["workers"].as_array().unwrap();
            workers.iter().all(|one| one["resident"] == json!(["n"]))
        })
        .await;

    let text = server.metrics().await;
    let loads = |id: &str, model: &str| {
        let series = format!(r#"llamapool_model_loads_total{{model="{model}",worker_id="{id}"}}"#);
        metric(&text, &series)
    };
    assert_eq!(loads("alpha", "n"), Some(2.0));
    assert_eq!(loads("alpha", "m"), None, "it was loaded from the start");
    assert_eq!(loads("beta", "n"), None, "such a runtime reports no loads");
}

/// An id can be all that protects a provider, and a key may be kept from models: names of both, and of
/// keys, are for operators.
#[tokio::test]
async fn metrics_without_a_key_name_no_worker_key_or_model() {
    let server = Pool::with(|config: &mut ServerConfig| config.llm.gen_ai_metrics = true).await;
    let mut worker = worker(&server, "alpha", 1).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let sent = worker.next_call().await;
    answer(&worker, sent).await;
    read(&mut pending).await;
    server
        .until_metric(r#"llamapool_key_tokens_total{key="api_key",kind="in"}"#, 12)
        .await;

    let public = public_metrics(&server).await;

    for label in ["id=", "key=", "model=", "alpha", "gen_ai"] {
        assert!(!public.contains(label), "{label}\n{public}");
    }
    assert_eq!(
        metric(&public, r#"llamapool_attempts_total{outcome="answered"}"#),
        Some(1.0)
    );
}

#[tokio::test]
async fn names_of_opentelemetry_are_there_if_asked_for() {
    let asked = Pool::with(|config: &mut ServerConfig| config.llm.gen_ai_metrics = true).await;
    let not_asked = Pool::with(|_| {}).await;
    for server in [&asked, &not_asked] {
        let mut worker = worker(server, "alpha", 1).await;
        let mut pending = start(server, CHAT, &chat(false));
        let sent = worker.next_call().await;
        answer(&worker, sent).await;
        read(&mut pending).await;
        server
            .until_metric(r#"llamapool_key_tokens_total{key="api_key",kind="in"}"#, 12)
            .await;
        drop(worker);
        server
            .until("no worker is left", |state| state["workers"] == json!([]))
            .await;
        let refused = request(server, CHAT, &chat(false)).header("llamapool-queue", "refuse");
        soon("an answer", refused.send()).await.unwrap();
        let over = r#"llamapool_model_requests_total{model="m",outcome="error"}"#;
        server.until_metric(over, 1).await;
    }

    let text = asked.metrics().await;
    assert!(!not_asked.metrics().await.contains("gen_ai"));
    let labels = r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m",gen_ai_response_model="m""#;
    for (series, value) in [
        (
            format!(r#"gen_ai_server_request_duration_seconds_count{{error_type="",{labels}}}"#),
            1.0,
        ),
        (
            format!(r#"gen_ai_server_time_to_first_token_seconds_sum{{{labels}}}"#),
            0.02,
        ),
        (
            format!(r#"gen_ai_server_time_per_output_token_seconds_sum{{{labels}}}"#),
            0.01,
        ),
        (
            format!(r#"gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="input"}}"#),
            12.0,
        ),
        (
            format!(r#"gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="output"}}"#),
            3.0,
        ),
    ] {
        assert_eq!(metric(&text, &series), Some(value), "{series}\n{text}");
    }
    let failed = r#"error_type="no_worker",gen_ai_operation_name="chat",gen_ai_provider_name="",gen_ai_request_model="m""#;
    assert!(text.contains(failed), "{text}");
}

#[tokio::test]
async fn a_hostile_kind_of_runtime_is_no_label() {
    let server = Pool::with(|config: &mut ServerConfig| config.llm.gen_ai_metrics = true).await;
    let mut setup = WorkerSetup::new(&["m"], 1);
    setup.runtime.runtime = "x\"} 7\nevil".to_owned();
    let mut worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let mut pending = start(&server, CHAT, &chat(false));
    let sent = worker.next_call().await;
    answer(&worker, sent).await;
    read(&mut pending).await;
    server
        .until_metric(r#"llamapool_key_tokens_total{key="api_key",kind="in"}"#, 12)
        .await;

    let text = server.metrics().await;

    assert!(text.contains(r#"gen_ai_provider_name="other""#), "{text}");
    assert!(!text.contains("evil"), "{text}");
    let ok = call(&server, "/v1/models", &json!({})).await;
    assert_eq!(ok.status(), 405);
}

#[tokio::test]
async fn attempts_that_failed_and_that_went_well_are_told_apart() {
    let (server, mut worker) = server_with_worker(1).await;
    for end in [CallEnd::Complete, CallEnd::Failed, CallEnd::Cancelled] {
        let mut pending = start(&server, CHAT, &chat(false));
        let call = worker.next_call().await;
        let report = CallReport {
            end,
            ..report(call.attempt())
        };
        worker.report(report).await;
        call.answer_json(200, COMPLETION);
        read(&mut pending).await;
    }

    let state = server
        .until("all are counted", |state| {
            state["workers"][0]["processed_total"] == 3
        })
        .await;

    assert_eq!(state["workers"][0]["failures_total"], 1);
    let of_model = &state["workers"][0]["per_model"]["m"];
    assert_eq!(
        (&of_model["success_total"], &of_model["error_total"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(of_model["tokens_out_total"], 9);
}
