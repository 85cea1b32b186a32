//! The state of a server, as far as commands show it. Older servers lack some of it.

use serde::Deserialize;

/// The state of a server.
#[derive(Debug, Default, Deserialize)]
pub(super) struct State {
    pub(super) server: ServerState,
    /// `None` for a server that computes none.
    pub(super) problems: Option<Vec<Problem>>,
    #[serde(default)]
    pub(super) mcp: Mcp,
    #[serde(default)]
    pub(super) workers: Vec<Worker>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerState {
    pub(super) version: String,
    pub(super) state: String,
    pub(super) uptime_s: u64,
    pub(super) jobs_inflight_total: u64,
    pub(super) scheduler_queue_len: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    pub(super) level: String,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) relay: Option<String>,
    pub(super) hop: String,
    pub(super) cause: Option<String>,
    pub(super) since: String,
    pub(super) count: u64,
    pub(super) of: Option<u64>,
    pub(super) text: String,
    pub(super) todo: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Mcp {
    pub(super) clients: Vec<Id>,
    pub(super) offline: Vec<Offline>,
}

/// An id with relays.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Id {
    pub(super) id: String,
    /// `None` for a server that has no such word.
    pub(super) state: Option<String>,
    pub(super) inflight: u64,
    pub(super) calls_1m: u64,
    pub(super) failed_1m: u64,
    pub(super) call_ms_p95: Option<f64>,
    pub(super) relays: Vec<Relay>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Relay {
    pub(super) relay_id: String,
    pub(super) name: String,
    pub(super) provider: Provider,
    pub(super) bridge: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) status: String,
}

/// An id that had a relay.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Offline {
    pub(super) id: String,
    pub(super) since: String,
    pub(super) relay: String,
    pub(super) refused_total: u64,
}

/// A worker under one of its ids.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Worker {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) inflight: u64,
    pub(super) max_concurrency: u64,
    pub(super) models_supported: Option<Vec<String>>,
}
