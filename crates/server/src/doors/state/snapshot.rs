//! A snapshot of the state.
//!
//! The field names are a contract with users. Nothing here is kept: every number is read where it
//! is counted.

use std::sync::Arc;
use std::time::SystemTime;

use llamapool_limits::MemoryBudget;
use llamapool_mcp::MethodLabel;
use llamapool_wire::{BridgeLoad, BuildInfo, ProviderHealth, RelayId};
use serde::Serialize;

use super::llm::{
    KeyState, LlmJobs, LlmSnapshot, ModelState, WaitingCall, WorkerState, WorkersSummary,
};

use crate::calls::{CallMetrics, Outcome};
use crate::directory::{Directory, Listing, McpCallStats, Member};
use crate::pool::WorkerPool;
use crate::scheduler::DrainGate;

/// The most calls in flight that are listed one by one; the oldest are.
const LISTED_CALLS: usize = 1000;

/// The sources of a snapshot.
pub(crate) struct StateSources {
    pub(crate) directory: Directory,
    pub(crate) calls: CallMetrics<MethodLabel>,
    pub(crate) pool: WorkerPool,
    pub(crate) gate: Arc<DrainGate>,
    pub(crate) memory: MemoryBudget,
    pub(crate) started: SystemTime,
    pub(crate) build: BuildInfo,
}

/// The state of the whole server.
#[derive(Serialize)]
struct Snapshot {
    server: ServerState,
    workers_summary: WorkersSummary,
    models: Vec<ModelState>,
    workers: Vec<WorkerState>,
    /// The waiting calls to LLM runtimes, in the order in which they would run.
    queue: Vec<WaitingCall>,
    keys: Vec<KeyState>,
    llm: LlmJobs,
    mcp: Mcp,
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
    /// The calls in flight; null when there are none.
    sessions: Option<Vec<CallState>>,
}

#[derive(Serialize)]
struct ClientState {
    id: String,
    status: &'static str,
    inflight: usize,
    functions: serde_json::Map<String, serde_json::Value>,
    #[serde(flatten)]
    newest: RelayState,
    last_error: Option<ErrorState>,
    calls_total: u64,
    errors_total: u64,
    aborted_total: u64,
    bytes_in_total: u64,
    bytes_out_total: u64,
    call_ms_p50: Option<f64>,
    call_ms_p95: Option<f64>,
    /// Every relay of the id, the newest first; its own fields are those above.
    relays: Vec<RelayState>,
}

#[derive(Clone, Serialize)]
struct RelayState {
    name: String,
    version: String,
    remote_addr: String,
    connected_at: String,
    last_seen: String,
    protected: bool,
    provider: ProviderView,
    /// The load of the bridge of a provider that is a program; null for one that speaks HTTP.
    bridge: Option<BridgeLoad>,
}

#[derive(Clone, Serialize)]
struct ProviderView {
    status: &'static str,
    since: String,
    error: Option<String>,
}

#[derive(Serialize)]
struct ErrorState {
    at: String,
    error: &'static str,
    message: String,
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
    let mut listings = sources.directory.listings();
    listings.retain(|listing| !listing.is_of_workers());
    let stats = sources.directory.all_stats();
    let llm: LlmSnapshot = super::llm::snapshot(&sources.pool);
    let snapshot = Snapshot {
        server: server_state(sources, llm.queue_len),
        workers_summary: llm.summary,
        models: llm.models,
        workers: llm.workers,
        queue: llm.queue,
        keys: llm.keys,
        llm: llm.jobs,
        mcp: Mcp {
            clients: listings.iter().filter_map(client_state).collect(),
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

fn client_state(listing: &Listing) -> Option<ClientState> {
    let stats = &listing.stats;
    let relays: Vec<_> = listing
        .members
        .iter()
        .map(|member| relay_state(member))
        .collect();
    let (bytes_in_total, bytes_out_total) = stats.bytes();

    Some(ClientState {
        id: listing.id.to_string(),
        status: status(listing),
        inflight: stats.in_flight(),
        functions: functions(stats),
        newest: relays.first()?.clone(),
        last_error: stats.last_error().map(|last| ErrorState {
            at: time(last.at),
            error: last.error,
            message: last.message,
        }),
        calls_total: stats.total(|_| true),
        errors_total: stats.total(Outcome::is_error),
        aborted_total: stats.total(|outcome| outcome == Outcome::CallerLeft),
        bytes_in_total,
        bytes_out_total,
        call_ms_p50: stats.call_ms(0.50),
        call_ms_p95: stats.call_ms(0.95),
        relays,
    })
}

/// Returns the number of calls of each method that was called.
fn functions(stats: &McpCallStats) -> serde_json::Map<String, serde_json::Value> {
    MethodLabel::ALL
        .iter()
        .map(|&method| (method.as_str().to_owned(), stats.count_of(method)))
        .filter(|(_, count)| *count > 0)
        .map(|(method, count)| (method, count.into()))
        .collect()
}

/// Returns one word for an id: the prospect of a new call comes before what is going on.
fn status(listing: &Listing) -> &'static str {
    let mut taking = listing
        .members
        .iter()
        .filter(|member| !member.is_draining())
        .peekable();

    if taking.peek().is_none() {
        "draining"
    } else if taking.all(|member| member.is_unreachable()) {
        "not_ready"
    } else if listing.stats.in_flight() > 0 {
        "active"
    } else {
        "idle"
    }
}

fn relay_state(member: &Member) -> RelayState {
    let current = member.offer();
    let (status, error) = match current.offer.provider {
        ProviderHealth::Unknown => ("unknown", None),
        ProviderHealth::Reachable { .. } => ("reachable", None),
        ProviderHealth::Unreachable { error, .. } => ("unreachable", Some(error)),
    };

    RelayState {
        name: member.identity.name.as_str().to_owned(),
        version: member.identity.version.as_str().to_owned(),
        remote_addr: member.tunnel.remote.to_string(),
        connected_at: time(member.connected_at),
        last_seen: time(member.last_seen()),
        protected: current.offer.protected,
        provider: ProviderView {
            status,
            since: time(current.provider_since),
            error,
        },
        bridge: current.offer.bridge,
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
