//! The ids in the state: those that have relays, those that had one, and what needs attention.

use llamapool_identity::AccessMode;
use llamapool_mcp::MethodLabel;
use llamapool_wire::{BridgeLoad, ProviderHealth, RelayId};
use serde::Serialize;

use super::snapshot::time;
use crate::calls::Outcome;
use crate::directory::{Absence, CurrentOffer, Directory, Listing, McpCallStats, Member};
use crate::identity::Identity;
use crate::problems::{AbsentFacts, Facts, IdFacts, IdState, Problem, problems, state_of};

/// One id that has relays.
#[derive(Serialize)]
pub(super) struct ClientState {
    id: String,
    /// The word of before there were problems.
    status: &'static str,
    /// The word that agrees with the problems.
    state: IdState,
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
    /// Calls of the last minute, and those of them that failed.
    calls_1m: u64,
    failed_1m: u64,
    /// Every relay of the id, the newest first; its own fields are those above.
    relays: Vec<RelayState>,
}

#[derive(Clone, Serialize)]
struct RelayState {
    /// Names the process of the relay, for as long as it runs.
    relay_id: String,
    name: String,
    version: String,
    remote_addr: String,
    connected_at: String,
    last_seen: String,
    protected: bool,
    /// It takes no new calls.
    draining: bool,
    /// An operator holds it back from calls.
    held: bool,
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

/// An id that had a relay and has none now.
#[derive(Serialize)]
pub(super) struct OfflineState {
    id: String,
    state: IdState,
    since: String,
    /// How the last tunnel ended.
    reason: String,
    /// The name of the relay that was there last.
    relay: String,
    /// It had announced that it leaves.
    announced: bool,
    /// Calls that were refused since, for lack of a relay.
    refused_total: u64,
}

/// The ids in the state, and what needs attention of them.
pub(super) struct Ids {
    pub(super) clients: Vec<ClientState>,
    pub(super) offline: Vec<OfflineState>,
    pub(super) problems: Vec<Problem>,
}

/// Returns the ids, all of one moment.
pub(super) fn ids(directory: &Directory, identity: &Identity) -> Ids {
    let listings = directory.listings();
    let offers: Vec<Vec<CurrentOffer>> = listings
        .iter()
        .map(|listing| listing.members.iter().map(|it| it.offer()).collect())
        .collect();
    let absences = directory.absences();

    let known = listings.iter().zip(&offers);
    let facts = Facts {
        ids: known
            .map(|(listing, offers)| {
                // Workers are called by the LLM API alone.
                let is_open = !listing.is_of_workers()
                    && identity.access(listing.id.as_str()) == AccessMode::Open;
                IdFacts::of(listing, offers, is_open)
            })
            .collect(),
        absent: absences.iter().map(AbsentFacts::of).collect(),
    };
    let clients = listings.iter().zip(&offers).zip(&facts.ids);
    let clients = clients.filter(|((listing, _), _)| !listing.is_of_workers());
    Ids {
        clients: clients
            .filter_map(|((listing, offers), facts)| client_state(listing, offers, facts))
            .collect(),
        offline: absences.iter().map(offline_state).collect(),
        problems: problems(&facts),
    }
}

fn client_state(
    listing: &Listing,
    offers: &[CurrentOffer],
    facts: &IdFacts<'_>,
) -> Option<ClientState> {
    let stats = &listing.stats;
    let members = listing.members.iter().zip(offers);
    let relays: Vec<_> = members
        .map(|(member, offer)| relay_state(member, offer.clone()))
        .collect();
    let (bytes_in_total, bytes_out_total) = stats.bytes();

    Some(ClientState {
        id: listing.id.to_string(),
        status: status(listing),
        state: state_of(facts),
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
        calls_1m: facts.recent.calls,
        failed_1m: facts.recent.failed,
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

fn relay_state(member: &Member, current: CurrentOffer) -> RelayState {
    let (status, error) = match current.offer.provider {
        ProviderHealth::Unknown => ("unknown", None),
        ProviderHealth::Reachable { .. } => ("reachable", None),
        ProviderHealth::Unreachable { error, .. } => ("unreachable", Some(error)),
    };

    RelayState {
        relay_id: member.tag.to_string(),
        name: member.identity.name.as_str().to_owned(),
        version: member.identity.version.as_str().to_owned(),
        remote_addr: member.tunnel.remote.to_string(),
        connected_at: time(member.connected_at),
        last_seen: time(member.last_seen()),
        protected: current.offer.protected,
        draining: member.is_draining(),
        held: member.is_held(),
        provider: ProviderView {
            status,
            since: time(current.provider_since),
            error,
        },
        bridge: current.offer.bridge,
    }
}

fn offline_state((id, absence): &(RelayId, Absence)) -> OfflineState {
    OfflineState {
        id: id.to_string(),
        state: IdState::NoRelay,
        since: time(absence.since),
        reason: absence.reason().to_owned(),
        relay: absence.relay.clone(),
        announced: absence.was_announced,
        refused_total: absence.refused,
    }
}
