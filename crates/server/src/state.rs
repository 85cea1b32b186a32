//! The state API's snapshot: what is true at this moment, in the shape of the walkthrough and more.
//!
//! The field names are a contract with users. Nothing here is kept: every number is read where it is counted.

use std::time::SystemTime;

use llamapool_wire::{BridgeLoad, ProviderHealth};
use serde::Serialize;

use crate::app::App;
use crate::books::{Books, Outcome, methods};
use crate::registry::{Client, Relay};

/// The most calls in flight that are listed one by one; the oldest are.
const LISTED_CALLS: usize = 1000;

/// The state of the whole server.
#[derive(Serialize)]
pub(crate) struct State {
    server: ServerState,
    workers_summary: WorkersSummary,
    models: [(); 0],
    workers: [(); 0],
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
}

#[derive(Default, Serialize)]
struct WorkersSummary {
    connected: usize,
    working: usize,
    idle: usize,
    not_ready: usize,
    gone: usize,
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
    provider: ProviderState,
    /// What the relay runs for a provider that is a program; null for one that speaks HTTP.
    bridge: Option<BridgeLoad>,
}

#[derive(Clone, Serialize)]
struct ProviderState {
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

impl State {
    /// What is true now.
    pub(crate) fn now(app: &App) -> Self {
        let clients = app.registry.clients();
        let books = app.registry.all_books();
        let (completed, failed) = app.metrics.totals();
        let now = SystemTime::now();
        let build = &app.config.build;
        let server = ServerState {
            now: time(now),
            version: build.version,
            build_sha: build.sha,
            build_date: build.date,
            state: if app.gate.is_closed() {
                "draining"
            } else {
                "ready"
            },
            uptime_s: now
                .duration_since(app.started)
                .unwrap_or_default()
                .as_secs(),
            jobs_inflight_total: app.gate.running(),
            jobs_completed_total: completed,
            jobs_failed_total: failed,
            scheduler_queue_len: 0,
        };
        let sessions = sessions(
            &books
                .iter()
                .map(|(id, books)| (id.to_string(), &**books))
                .collect::<Vec<_>>(),
        );
        let mcp = Mcp {
            clients: clients.iter().filter_map(client).collect(),
            sessions,
        };
        Self {
            server,
            workers_summary: WorkersSummary::default(),
            models: [],
            workers: [],
            mcp,
        }
    }
}

fn client(client: &Client) -> Option<ClientState> {
    let books = &client.books;
    let relays: Vec<_> = client
        .relays
        .iter()
        .map(|relay| relay_state(relay))
        .collect();
    let (bytes_in_total, bytes_out_total) = books.bytes();
    let functions = methods()
        .map(|method| (method.as_str(), books.count_of(method)))
        .filter(|(_, count)| *count > 0);
    let last_error = books.last_error();
    Some(ClientState {
        id: client.id.to_string(),
        status: status(client),
        inflight: books.in_flight(),
        functions: functions
            .map(|(method, count)| (method.to_owned(), count.into()))
            .collect(),
        newest: relays.first()?.clone(),
        last_error: last_error.map(|last| ErrorState {
            at: time(last.at),
            error: last.error,
            message: last.message,
        }),
        calls_total: books.total(|_| true),
        errors_total: books.total(Outcome::is_error),
        aborted_total: books.total(|outcome| outcome == Outcome::CallerLeft),
        bytes_in_total,
        bytes_out_total,
        call_ms_p50: books.call_ms(0.50),
        call_ms_p95: books.call_ms(0.95),
        relays,
    })
}

/// One word for an id: what a new call would meet comes before what is going on.
fn status(client: &Client) -> &'static str {
    let mut taking = client
        .relays
        .iter()
        .filter(|relay| !relay.is_draining())
        .peekable();
    if taking.peek().is_none() {
        "draining"
    } else if taking.all(|relay| relay.is_unreachable()) {
        "not_ready"
    } else if client.books.in_flight() > 0 {
        "active"
    } else {
        "idle"
    }
}

fn relay_state(relay: &Relay) -> RelayState {
    let offered = relay.offered();
    let (status, error) = match offered.offer.provider {
        ProviderHealth::Unknown => ("unknown", None),
        ProviderHealth::Reachable { .. } => ("reachable", None),
        ProviderHealth::Unreachable { error, .. } => ("unreachable", Some(error)),
    };
    RelayState {
        name: relay.identity.name.as_str().to_owned(),
        version: relay.identity.version.as_str().to_owned(),
        remote_addr: relay.tunnel.remote.to_string(),
        connected_at: time(relay.connected_at),
        last_seen: time(relay.last_seen()),
        protected: offered.offer.protected,
        provider: ProviderState {
            status,
            since: time(offered.provider_since),
            error,
        },
        bridge: offered.offer.bridge,
    }
}

fn sessions(books: &[(String, &Books)]) -> Option<Vec<CallState>> {
    let mut calls: Vec<_> = books
        .iter()
        .flat_map(|(id, books)| books.running().into_iter().map(move |call| (id, call)))
        .collect();
    calls.sort_by_key(|(_, call)| call.started);
    calls.truncate(LISTED_CALLS);
    let calls: Vec<_> = calls
        .into_iter()
        .map(|(id, call)| CallState {
            id: call.req_id.clone(),
            client_id: id.clone(),
            method: call.method().as_str(),
            started_at: time(call.started),
            duration_ms: call.duration().as_millis() as u64,
        })
        .collect();
    (!calls.is_empty()).then_some(calls)
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}
