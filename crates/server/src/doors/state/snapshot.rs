//! A snapshot of the state.
//!
//! The field names are a contract with users. Nothing here is kept: every number is read where it
//! is counted.

use std::sync::Arc;
use std::time::SystemTime;

use llamapool_certificates::Certificates;
use llamapool_limits::MemoryBudget;
use llamapool_mcp::MethodLabel;
use llamapool_wire::{BuildInfo, RelayId};
use serde::Serialize;

use super::audit::{AuditState, audit};
use super::certificates::{CertificateState, certificates};
use super::clients::{ClientState, Ids, OfflineState, ids};
use super::llm::{
    KeyState, LlmJobs, LlmSnapshot, ModelState, WaitingCall, WorkerState, WorkersSummary,
};

use super::usage::KeyUsage;
use crate::audit::Audit;
use crate::calls::CallMetrics;
use crate::directory::{Directory, McpCallStats};
use crate::identity::Identity;
use crate::pool::WorkerPool;
use crate::problems::Problem;
use crate::scheduler::DrainGate;

/// The most calls in flight that are listed one by one; the oldest are.
const LISTED_CALLS: usize = 1000;

/// The sources of a snapshot.
pub(crate) struct StateSources {
    pub(crate) directory: Directory,
    pub(crate) calls: CallMetrics<MethodLabel>,
    pub(crate) pool: WorkerPool,
    pub(crate) identity: Identity,
    pub(crate) gate: Arc<DrainGate>,
    pub(crate) memory: MemoryBudget,
    pub(crate) certificates: Certificates,
    pub(crate) audit: Audit,
    pub(crate) started: SystemTime,
    pub(crate) build: BuildInfo,
}

/// The state of the whole server.
#[derive(Serialize)]
struct Snapshot {
    server: ServerState,
    /// What needs attention, the worst first.
    problems: Vec<Problem>,
    workers_summary: WorkersSummary,
    models: Vec<ModelState>,
    workers: Vec<WorkerState>,
    /// The waiting calls to LLM runtimes, in the order in which they would run.
    queue: Vec<WaitingCall>,
    keys: Vec<KeyState>,
    /// The caller keys that were used in this month or have limits, the most used first.
    usage: Vec<KeyUsage>,
    llm: LlmJobs,
    mcp: Mcp,
    /// The certificates that the server presents; none without TLS.
    certificates: Vec<CertificateState>,
    /// Null without an audit log.
    audit: Option<AuditState>,
}

#[derive(Serialize)]
struct ServerState {
    now: String,
    version: &'static str,
    build_sha: &'static str,
    build_date: &'static str,
    state: &'static str,
    uptime_s: u64,
    jobs_inflight_total: usize,
    jobs_completed_total: u64,
    jobs_failed_total: u64,
    scheduler_queue_len: usize,
    /// Bytes that are held for callers, and the most that may be (`MAX_MEMORY`).
    memory_used_bytes: usize,
    memory_max_bytes: usize,
}

#[derive(Serialize)]
struct Mcp {
    clients: Vec<ClientState>,
    /// The ids that had a relay within a day and have none now.
    offline: Vec<OfflineState>,
    /// The calls in flight; null when there are none.
    sessions: Option<Vec<CallState>>,
}

#[derive(Serialize)]
struct CallState {
    id: String,
    client_id: String,
    method: &'static str,
    started_at: String,
    duration_ms: u64,
}

/// Returns the state now, as JSON.
pub(super) fn to_json(sources: &StateSources) -> String {
    // Before the ids, which are changed first: each worker that drains here has its problem below.
    let llm: LlmSnapshot = super::llm::snapshot(&sources.pool);
    let Ids {
        clients,
        offline,
        problems,
    } = ids(&sources.directory, &sources.identity);
    let stats = sources.directory.all_stats();
    let snapshot = Snapshot {
        server: server_state(sources, llm.queue_len),
        problems,
        workers_summary: llm.summary,
        models: llm.models,
        workers: llm.workers,
        queue: llm.queue,
        keys: llm.keys,
        usage: super::usage::of_keys(&sources.identity),
        llm: llm.jobs,
        certificates: certificates(&sources.certificates),
        audit: audit(&sources.audit),
        mcp: Mcp {
            clients,
            offline,
            sessions: active_calls(&stats),
        },
    };
    serde_json::to_string(&snapshot).unwrap_or_default()
}

fn server_state(sources: &StateSources, queue_len: usize) -> ServerState {
    let (completed, failed) = sources.calls.totals();
    let (llm_completed, llm_failed) = sources.pool.metrics().totals();
    let now = SystemTime::now();
    let uptime = now.duration_since(sources.started).unwrap_or_default();
    let state = if sources.gate.is_closed() {
        "draining"
    } else {
        "ready"
    };

    ServerState {
        now: time(now),
        version: sources.build.version,
        build_sha: sources.build.sha,
        build_date: sources.build.date,
        state,
        uptime_s: uptime.as_secs(),
        jobs_inflight_total: sources.gate.running(),
        jobs_completed_total: completed + llm_completed,
        jobs_failed_total: failed + llm_failed,
        scheduler_queue_len: queue_len,
        memory_used_bytes: sources.memory.used(),
        memory_max_bytes: sources.memory.capacity(),
    }
}

/// Returns the calls in flight. `None` if there are none.
fn active_calls(stats: &[(RelayId, Arc<McpCallStats>)]) -> Option<Vec<CallState>> {
    let mut calls: Vec<_> = stats
        .iter()
        .flat_map(|(id, stats)| stats.active().into_iter().map(move |call| (id, call)))
        .collect();
    calls.sort_by_key(|(_, call)| call.started);
    calls.truncate(LISTED_CALLS);

    let calls: Vec<_> = calls
        .into_iter()
        .map(|(id, call)| CallState {
            id: call.req_id.clone(),
            client_id: id.to_string(),
            method: call.label().as_str(),
            started_at: time(call.started),
            duration_ms: call.duration().as_millis() as u64,
        })
        .collect();
    (!calls.is_empty()).then_some(calls)
}

pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}
