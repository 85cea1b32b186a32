//! The part of a snapshot about LLM runtimes: workers, models, the queue, the keys.
//!
//! The names are those of the software that llamapool follows; what it adds stands behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llamapool_pool::{Availability, BreakerState, BudgetKind, KeyView, ModelView, WorkerView};
use llamapool_wire::DisplayName;
use serde::Serialize;

use super::snapshot::time;
use crate::pool::{ModelTotals, PoolWorker, QueuedCall, Reported, WorkerPool};

/// The most waiting calls that are listed one by one.
const LISTED_CALLS: usize = 1000;
/// The most keys that are listed: as many as settings may declare.
const LISTED_KEYS: usize = 10_000;

#[derive(Default, Serialize)]
pub(super) struct WorkersSummary {
    connected: usize,
    working: usize,
    idle: usize,
    not_ready: usize,
    gone: usize,
}

#[derive(Serialize)]
pub(super) struct ModelState {
    name: String,
    workers: usize,
    resident_on: usize,
    free_slots: usize,
    waiting: usize,
    oldest_wait_ms: u64,
    context_length: u64,
}

#[derive(Serialize)]
pub(super) struct WorkerState {
    id: String,
    name: String,
    status: &'static str,
    connected_at: String,
    last_heartbeat: String,
    version: String,
    build_sha: Option<String>,
    build_date: Option<String>,
    models_supported: Option<Vec<String>>,
    max_concurrency: u32,
    embedding_batch_size: u32,
    processed_total: u64,
    processing_ms_total: u64,
    avg_processing_ms: f64,
    inflight: u32,
    failures_total: u64,
    queue_len: usize,
    last_error: Option<String>,
    tokens_in_total: u64,
    tokens_out_total: u64,
    tokens_total: u64,
    avg_tokens_per_second: f64,
    embeddings_total: u64,
    embedding_ms_total: u64,
    avg_embedding_ms: f64,
    avg_embeddings_per_second: f64,
    per_model: serde_json::Map<String, serde_json::Value>,
    runtime: String,
    runtime_version: String,
    resident: Vec<String>,
    loading: Vec<String>,
    elsewhere: u32,
    abandoned: u32,
    speed: Vec<SpeedState>,
    breaker: &'static str,
    remote_addr: String,
}

#[derive(Serialize)]
struct SpeedState {
    model: String,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    load_ms: u64,
}

#[derive(Serialize)]
struct ModelCounts {
    success_total: u64,
    error_total: u64,
    tokens_in_total: u64,
    tokens_out_total: u64,
}

#[derive(Serialize)]
pub(super) struct WaitingCall {
    request_id: String,
    key: String,
    model: String,
    class: &'static str,
    position: usize,
    of: usize,
    waited_ms: u64,
    expected_ms: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct KeyState {
    name: String,
    weight: f64,
    inflight: usize,
    waiting: usize,
    calls_total: u64,
    tokens_in_total: u64,
    tokens_out_total: u64,
    remaining_requests_minute: Option<u64>,
    remaining_tokens_minute: Option<u64>,
    remaining_tokens_day: Option<u64>,
}

/// The counts of calls to LLM runtimes alone.
#[derive(Serialize)]
pub(super) struct LlmJobs {
    jobs_inflight_total: usize,
    jobs_completed_total: u64,
    jobs_failed_total: u64,
}

/// The parts of a snapshot about LLM runtimes.
pub(super) struct LlmSnapshot {
    pub(super) summary: WorkersSummary,
    pub(super) models: Vec<ModelState>,
    pub(super) workers: Vec<WorkerState>,
    pub(super) queue: Vec<WaitingCall>,
    pub(super) queue_len: usize,
    pub(super) keys: Vec<KeyState>,
    pub(super) jobs: LlmJobs,
}

/// Returns the parts of a snapshot about LLM runtimes.
pub(super) fn snapshot(pool: &WorkerPool) -> LlmSnapshot {
    let workers: Vec<_> = pool
        .workers()
        .iter()
        .map(|(worker, view)| worker_state(worker, view))
        .collect();
    let count = |status| workers.iter().filter(|one| one.status == status).count();
    let summary = WorkersSummary {
        connected: workers.len(),
        working: count("working"),
        idle: count("idle"),
        not_ready: count("not_ready"),
        gone: pool.gone(),
    };
    let (completed, failed) = pool.metrics().totals();
    let queue = pool.queue();
    let queue = queue.calls().iter().take(LISTED_CALLS);
    let models = pool.models(WorkerPool::OPERATOR);
    let keys = pool.keys();
    let keys = keys.iter().take(LISTED_KEYS);
    LlmSnapshot {
        summary,
        models: models.iter().map(model_state).collect(),
        workers,
        queue: queue.map(|call| waiting_call(pool, call)).collect(),
        queue_len: pool.waiting(),
        keys: keys.map(|key| key_state(pool, key)).collect(),
        jobs: LlmJobs {
            jobs_inflight_total: pool.metrics().running(),
            jobs_completed_total: completed,
            jobs_failed_total: failed,
        },
    }
}

fn model_state(view: &ModelView) -> ModelState {
    ModelState {
        name: view.name.as_ref().to_owned(),
        workers: view.workers,
        resident_on: view.resident_on,
        free_slots: view.free_slots,
        waiting: view.waiting,
        oldest_wait_ms: view.oldest_wait / 1000,
        context_length: view.context,
    }
}

fn worker_state(worker: &PoolWorker, view: &WorkerView) -> WorkerState {
    let member = &worker.member;
    let reported = worker.reported();
    let totals = &worker.totals;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let processed = get(&totals.succeeded) + get(&totals.failed);
    let tokens_out = get(&totals.tokens_out);
    let embeddings = get(&totals.embeddings);
    let names = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect();
    let models: Vec<String> = names(&view.models);
    WorkerState {
        id: member.id.to_string(),
        name: worker.name().to_owned(),
        status: status(view),
        connected_at: time(member.connected_at),
        last_heartbeat: time(member.last_seen()),
        version: member.identity.version.as_str().to_owned(),
        build_sha: text(&member.identity.build_sha),
        build_date: text(&member.identity.build_date),
        models_supported: (!models.is_empty()).then_some(models),
        max_concurrency: view.slots,
        embedding_batch_size: reported.runtime.embedding_batch_size,
        processed_total: processed,
        processing_ms_total: get(&totals.processing_ms),
        avg_processing_ms: ratio(get(&totals.processing_ms), processed),
        inflight: view.running,
        failures_total: get(&totals.failed),
        queue_len: 0,
        last_error: totals.last_error(),
        tokens_in_total: get(&totals.tokens_in),
        tokens_out_total: tokens_out,
        tokens_total: get(&totals.tokens_in) + tokens_out,
        avg_tokens_per_second: per_second(tokens_out, get(&totals.decode_ms)),
        embeddings_total: embeddings,
        embedding_ms_total: get(&totals.embedding_ms),
        avg_embedding_ms: ratio(get(&totals.embedding_ms), embeddings),
        avg_embeddings_per_second: per_second(embeddings, get(&totals.embedding_ms)),
        per_model: per_model(totals.per_model()),
        runtime: reported.runtime.runtime.clone(),
        runtime_version: reported.runtime.version.clone(),
        resident: names(&view.resident),
        loading: names(&view.loading),
        elsewhere: view.elsewhere,
        abandoned: view.abandoned,
        speed: speeds(&reported),
        breaker: match view.breaker {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::Trial => "trial",
        },
        remote_addr: member.tunnel.remote.to_string(),
    }
}

/// Returns a text that a worker reports, `None` if it does not.
fn text(reported: &DisplayName) -> Option<String> {
    let text = reported.as_str();
    (!text.is_empty()).then(|| text.to_owned())
}

fn speeds(reported: &Reported) -> Vec<SpeedState> {
    let speeds = reported.load.speed.iter().filter_map(|speed| {
        let model = reported.models.get(usize::from(speed.model))?;
        Some(SpeedState {
            model: model.name.clone(),
            prefill_tokens_per_second: speed.prefill,
            decode_tokens_per_second: speed.decode,
            load_ms: speed.load_ms,
        })
    });
    speeds.collect()
}

fn status(view: &WorkerView) -> &'static str {
    match view.availability {
        Availability::Draining => "draining",
        Availability::Unreachable => "not_ready",
        Availability::Ready if view.models.is_empty() => "not_ready",
        Availability::Ready if view.running > 0 => "working",
        Availability::Ready => "idle",
    }
}

fn per_model(models: Vec<(Arc<str>, ModelTotals)>) -> serde_json::Map<String, serde_json::Value> {
    let counts = models.into_iter().map(|(name, totals)| {
        let counts = ModelCounts {
            success_total: totals.success,
            error_total: totals.error,
            tokens_in_total: totals.tokens_in,
            tokens_out_total: totals.tokens_out,
        };
        let counts = serde_json::to_value(counts).unwrap_or_default();
        (name.as_ref().to_owned(), counts)
    });
    counts.collect()
}

fn waiting_call(pool: &WorkerPool, call: &QueuedCall) -> WaitingCall {
    let entry = &call.entry;
    WaitingCall {
        request_id: call.request_id.as_ref().to_owned(),
        key: pool.metrics().key_name(entry.key).as_ref().to_owned(),
        model: entry.model.as_ref().to_owned(),
        class: entry.class.as_str(),
        position: entry.position,
        of: entry.of,
        waited_ms: entry.waited / 1000,
        expected_ms: entry.expected.map(|micros| micros / 1000),
    }
}

fn key_state(pool: &WorkerPool, view: &KeyView) -> KeyState {
    let totals = pool.metrics().key(view.id);
    let remaining = |kind| pool.remaining(view.id, kind).map(|(left, _)| left);
    KeyState {
        name: view.name.clone(),
        weight: f64::from(view.weight) / 1000.0,
        inflight: view.running,
        waiting: view.waiting,
        calls_total: totals.calls,
        tokens_in_total: totals.tokens_in,
        tokens_out_total: totals.tokens_out,
        remaining_requests_minute: remaining(BudgetKind::RequestsPerMinute),
        remaining_tokens_minute: remaining(BudgetKind::TokensPerMinute),
        remaining_tokens_day: remaining(BudgetKind::TokensPerDay),
    }
}

fn ratio(total: u64, number: u64) -> f64 {
    if number == 0 {
        0.0
    } else {
        total as f64 / number as f64
    }
}

fn per_second(number: u64, ms: u64) -> f64 {
    ratio(number * 1000, ms)
}
