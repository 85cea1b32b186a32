//! The relay's own status server.
//!
//! - `GET /status`: the state of the relay; `GET /version`
//! - `GET /healthz`: the process is alive; `GET /readyz`: connected, every provider is reachable,
//!   and none fails every call
//! - `GET /metrics`
//! - where `STATUS_TOKEN` is set, `/status`, `/version` and `/metrics` require it from every address
//!   but loopback
//! - `POST /control/drain`, `/control/undrain`, `/control/shutdown`: with the status token, or
//!   where none is set from the same user of this machine; 409 for an `undrain` after the relay began to shut down
//!
//! Pages in a browser are refused (see `local_only`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use llamapool_bridge::BridgeStats;
use llamapool_http::listen::Listener;
use llamapool_wire::{Mark, PublicBase, people_line};
use serde_json::{Value, json};

use super::link::LinkState;
use super::listener;
use super::local_only::refusal;
use super::metrics;
use super::provider::{Health, ProviderFacts};
use super::same_user::is_same_user;
use crate::app::App;
use crate::config::ProviderKind;
use crate::providers::RuntimeState;
use crate::providers::entry::ProviderEntry;

/// Serves the status until the relay ends.
pub(crate) async fn serve(app: Arc<App>, listener: Listener) {
    let router = Router::new()
        .route("/status", get(status))
        .route("/version", get(version))
        .route("/metrics", get(metrics::render))
        .layer(from_fn_with_state(app.clone(), require_token))
        .route(
            "/healthz",
            get(|| async { Json(json!({ "status": "ok" })) }),
        )
        .route("/readyz", get(readyz))
        .route("/control/{verb}", post(control))
        .with_state(app);
    listener::serve(listener, router).await;
}

/// Requires the status token, if one is set, from every address but loopback.
async fn require_token(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let is_open = app.config.status.token.is_none() || peer.ip().is_loopback();
    if is_open || presents_token(&app, request.headers()) {
        next.run(request).await
    } else {
        unauthorized()
    }
}

async fn status(State(app): State<Arc<App>>) -> Json<Value> {
    let (state, connected_s, error) = match &*app.link.subscribe().borrow() {
        LinkState::Connecting => ("connecting", None, None),
        LinkState::Connected { since } => ("connected", Some(since.elapsed().as_secs()), None),
        LinkState::Waiting { error } => ("waiting", None, Some(error.clone())),
    };
    let base = app.link.public_base();
    let providers: Vec<Value> = app
        .providers()
        .iter()
        .map(|entry| provider(entry, base.as_ref()))
        .collect();
    // A reader of a relay with one provider need not look into the list.
    let first = providers.first().cloned().unwrap_or_default();
    Json(json!({
        "state": state,
        "id": first["id"],
        "public_url": first["public_url"],
        "name": app.config.identity.name.as_str(),
        "version": app.config.build.version,
        "server_url": without_query(&app.config.dial.server_url),
        "connected_s": connected_s,
        "last_error": error,
        "connection_losses_total": app.link.losses(),
        "draining": app.is_draining(),
        "memory_used_bytes": app.memory.used(),
        "memory_max_bytes": app.memory.capacity(),
        "protected": first["protected"],
        "provider": {
            "url": first["url"], "status": first["status"], "for_ms": first["for_ms"], "error": first["error"],
        },
        "calls": first["calls"],
        "providers": providers,
    }))
}

/// Returns the state of one provider.
fn provider(entry: &ProviderEntry, base: Option<&PublicBase>) -> Value {
    let state = entry.status.state();
    let (status, error) = match &state.health {
        Health::Unknown => ("unknown", None),
        Health::Reachable => ("reachable", None),
        Health::Unreachable(error) => ("unreachable", Some(error.clone())),
    };
    let calls = entry.status.calls();
    let totals: serde_json::Map<_, _> = calls
        .totals()
        .into_iter()
        .map(|(outcome, count)| (outcome.to_owned(), count.into()))
        .collect();
    let (url, command) = target(&entry.config.kind);
    let bridge = entry.provider.bridge_stats().map(BridgeStats::snapshot);
    let mut provider = json!({
        "id": entry.id(),
        "public_url": entry.public_url(base),
        "url": url,
        "command": command,
        "bridge": bridge,
        "status": status,
        "for_ms": state.health_age_ms(),
        "error": error,
        "protected": entry.status.is_protected(),
        "server": entry.status.facts().as_ref().map(facts),
        "calls": { "in_flight": calls.running(), "totals": totals, "failed_in_a_row": entry.status.failing_calls() },
    });
    if let Some(runtime) = entry.provider.runtime() {
        provider["llm"] = llm(runtime);
    }
    provider
}

/// Returns the URL of a provider, or its program. A key may be among the arguments of that.
fn target(kind: &ProviderKind) -> (Option<String>, Option<Cow<'_, str>>) {
    match kind {
        ProviderKind::Http(http) => (Some(without_query(&http.url)), None),
        ProviderKind::Stdio(stdio) => {
            let program = stdio.command.first();
            (None, program.map(|program| program.to_string_lossy()))
        }
        ProviderKind::Llm(llm) => (Some(without_query(&llm.url)), None),
    }
}

/// Returns the facts about a provider.
fn facts(facts: &ProviderFacts) -> Value {
    json!({
        "name": facts.name.as_str(),
        "version": facts.version.as_str(),
        "revision": facts.revision.as_str(),
        "tools": facts.tools,
        "has_more_tools": facts.has_more_tools,
    })
}

/// Returns the state of an LLM runtime.
fn llm(runtime: &RuntimeState) -> Value {
    let info = runtime.info().borrow().clone();
    let models = runtime.models().borrow().clone().unwrap_or_default().models;
    let load = runtime.load().borrow().clone();
    let names = |indices: &[u16]| -> Vec<String> {
        let models = indices
            .iter()
            .filter_map(|&index| models.get(usize::from(index)));
        models.map(|model| model.name.clone()).collect()
    };
    json!({
        "runtime": info.runtime,
        "version": info.version,
        "max_concurrency": info.max_concurrency,
        "embedding_batch_size": info.embedding_batch_size,
        "running": runtime.running(),
        "elsewhere": load.elsewhere,
        "abandoned": load.abandoned,
        "models": models.iter().map(|model| &model.name).collect::<Vec<_>>(),
        "resident": names(&load.resident),
        "loading": names(&load.loading),
    })
}

/// Returns a URL without user and query, which may be secret.
fn without_query(url: &Uri) -> String {
    let port = url
        .port_u16()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!(
        "{}://{}{port}{}",
        url.scheme_str().unwrap_or_default(),
        url.host().unwrap_or_default(),
        url.path()
    )
}

async fn version(State(app): State<Arc<App>>) -> Json<Value> {
    let build = &app.config.build;
    Json(json!({ "version": build.version, "build_sha": build.sha, "build_date": build.date }))
}

async fn readyz(State(app): State<Arc<App>>) -> Response<Body> {
    let refused = |message: &str| refusal(StatusCode::SERVICE_UNAVAILABLE, message);
    let providers = app.providers();
    let all = providers.len();
    let reachable = providers
        .iter()
        .filter(|entry| entry.status.is_reachable())
        .count();
    let failing = providers
        .iter()
        .filter(|entry| entry.status.failing_calls() > 0)
        .count();

    if !app.link.is_connected() {
        refused("the relay is not connected to the server")
    } else if app.is_draining() {
        refused("the relay is draining")
    } else if failing > 0 && all == 1 {
        refused("every call failed since the last one that went well, less than a minute ago")
    } else if failing > 0 {
        refused(&format!(
            "{failing} of {all} providers fail: every call did since the last one that went well, less than a minute ago"
        ))
    } else if reachable == all {
        Json(json!({ "status": "ready" })).into_response()
    } else if all == 1 {
        refused("the provider is not known to be reachable")
    } else {
        // Without their ids: an id can be all that protects a provider.
        refused(&format!(
            "{} of {all} providers are not known to be reachable",
            all - reachable
        ))
    }
}

async fn control(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    axum::extract::Path(verb): axum::extract::Path<String>,
) -> Response<Body> {
    if !may_control(&app, peer, &headers) {
        return unauthorized();
    }
    match verb.as_str() {
        // A relay that shuts down does not take calls again.
        "undrain" if app.stop.is_cancelled() => {
            return refusal(StatusCode::CONFLICT, "the relay is shutting down");
        }
        "drain" => app.set_draining(true),
        "undrain" => app.set_draining(false),
        "shutdown" => app.stop.cancel(),
        _ => {
            return refusal(
                StatusCode::NOT_FOUND,
                "expected /control/drain, /control/undrain or /control/shutdown",
            );
        }
    }
    tracing::info!(
        verb, %peer,
        people = %people_line(Mark::Draining, "status", format_args!("{verb}, asked by {}", peer.ip())),
        "told by the status server"
    );
    Json(json!({ "status": "ok", "draining": app.is_draining() })).into_response()
}

/// Returns whether a request may control the relay. Without a token it must come from the relay's
/// own user: other users of the machine reach loopback, too.
fn may_control(app: &App, peer: SocketAddr, headers: &HeaderMap) -> bool {
    if app.config.status.token.is_none() {
        let port = app.status_port;
        peer.ip().is_loopback() && port.is_some_and(|port| is_same_user(peer, port))
    } else {
        presents_token(app, headers)
    }
}

fn presents_token(app: &App, headers: &HeaderMap) -> bool {
    app.config
        .status
        .token
        .as_ref()
        .is_some_and(|token| token.is_presented_in(headers))
}

fn unauthorized() -> Response<Body> {
    let expected = "expected Authorization: Bearer <STATUS_TOKEN>, or where no token is set a call of the relay's own user";
    let mut response = refusal(StatusCode::UNAUTHORIZED, expected);
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        header::HeaderValue::from_static("Bearer"),
    );
    response
}
