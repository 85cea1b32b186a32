//! The relay's own status server.
//!
//! - `GET /status`: everything the relay knows of itself; `GET /version`
//! - `GET /healthz`: the process is alive; `GET /readyz`: connected, and every provider is reachable
//! - `GET /metrics`
//! - where `STATUS_TOKEN` is set, `/status`, `/version` and `/metrics` want it from elsewhere than loopback
//! - `POST /control/drain`, `/control/undrain`, `/control/shutdown`: from loopback, or with the status token; 409 for an
//!   `undrain` after the relay was told to end
//!
//! A page in a browser on the same machine must not be able to use it: whatever has an Origin, several Hosts, or one that
//! is no loopback name on a loopback address, is refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use llamapool_http::host;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::app::App;
use crate::board::{Health, LinkState};
use crate::config::ProviderKind;
use crate::hosted::Hosted;
use crate::metrics;

/// Serves the status until the relay ends.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener) {
    let router = Router::new()
        .route("/status", get(status))
        .route("/version", get(version))
        .route("/metrics", get(metrics::render))
        .layer(from_fn_with_state(app.clone(), keep_strangers_out))
        .route(
            "/healthz",
            get(|| async { Json(json!({ "status": "ok" })) }),
        )
        .route("/readyz", get(readyz))
        .route("/control/{verb}", post(control))
        .with_state(app);
    let service =
        without_browsers(router, &listener).into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!(%error, "the status server ended");
    }
}

/// Refuses what a page in a browser sends.
pub(crate) fn without_browsers(router: Router, listener: &TcpListener) -> Router {
    let is_loopback = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback());
    router.layer(from_fn_with_state(is_loopback, keep_browsers_out))
}

async fn keep_browsers_out(
    State(is_loopback): State<bool>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let mut hosts = request
        .headers()
        .get_all(header::HOST)
        .iter()
        .map(|host| host.to_str().unwrap_or_default());
    let (named, is_ambiguous) = (hosts.next().unwrap_or_default(), hosts.next().is_some());
    if is_ambiguous
        || request.headers().contains_key(header::ORIGIN)
        || is_loopback && !host::is_loopback(host::without_port(named))
    {
        return refusal(
            StatusCode::FORBIDDEN,
            "the status server is not for browsers, and has one Host, which on loopback is localhost",
        );
    }
    next.run(request).await
}

/// Where a token is set, whoever is not on this machine must present it.
async fn keep_strangers_out(
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
    let (state, connected_s, error) = match &*app.board.link().borrow() {
        LinkState::Connecting => ("connecting", None, None),
        LinkState::Connected { since } => ("connected", Some(since.elapsed().as_secs()), None),
        LinkState::Waiting { error } => ("waiting", None, Some(error.clone())),
    };
    let providers: Vec<Value> = app.hosted.iter().map(|hosted| provider(hosted)).collect();
    // Whoever looks at a relay with one provider need not know that there may be more.
    let first = providers.first().cloned().unwrap_or_default();
    Json(json!({
        "state": state,
        "id": first["id"],
        "name": app.config.identity.name.as_str(),
        "version": app.config.build.version,
        "server_url": without_query(&app.config.dial.server_url),
        "connected_s": connected_s,
        "last_error": error,
        "connection_losses_total": app.board.losses(),
        "draining": app.is_draining(),
        "protected": first["protected"],
        "provider": {
            "url": first["url"], "status": first["status"], "for_ms": first["for_ms"], "error": first["error"],
        },
        "calls": first["calls"],
        "providers": providers,
    }))
}

/// What is known of one provider.
fn provider(hosted: &Hosted) -> Value {
    let offer = hosted.board.offer();
    let (status, error) = match &offer.health {
        Health::Unknown => ("unknown", None),
        Health::Reachable => ("reachable", None),
        Health::Unreachable(error) => ("unreachable", Some(error.clone())),
    };
    let calls = hosted.board.calls();
    let totals: serde_json::Map<_, _> = calls
        .totals()
        .into_iter()
        .map(|(outcome, count)| (outcome.to_owned(), count.into()))
        .collect();
    let (url, command) = match &hosted.config.kind {
        ProviderKind::Http(http) => (Some(without_query(&http.url)), None),
        // Its arguments may have a key among them.
        ProviderKind::Stdio(stdio) => (
            None,
            stdio
                .command
                .first()
                .map(|program| program.to_string_lossy()),
        ),
    };
    let bridge = hosted.provider.load().map(|load| load.snapshot());
    json!({
        "id": hosted.id(),
        "url": url,
        "command": command,
        "bridge": bridge,
        "status": status,
        "for_ms": offer.for_ms(),
        "error": error,
        "protected": hosted.board.is_protected(),
        "calls": { "in_flight": calls.running(), "totals": totals },
    })
}

/// A URL without what may be secret in it.
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
    let is_connected = matches!(*app.board.link().borrow(), LinkState::Connected { .. });
    let (all, reachable) = (
        app.hosted.len(),
        app.hosted
            .iter()
            .filter(|hosted| is_reachable(hosted))
            .count(),
    );
    if !is_connected {
        refused("the relay is not connected to the server")
    } else if app.is_draining() {
        refused("the relay is draining")
    } else if reachable == all {
        Json(json!({ "status": "ready" })).into_response()
    } else if all == 1 {
        refused("the provider is not known to be reachable")
    } else {
        // Which ones is not for everybody: an id can be all that protects a provider.
        refused(&format!(
            "{} of {all} providers are not known to be reachable",
            all - reachable
        ))
    }
}

fn is_reachable(hosted: &Hosted) -> bool {
    hosted.board.offer().health == Health::Reachable
}

async fn control(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    axum::extract::Path(verb): axum::extract::Path<String>,
) -> Response<Body> {
    if !may_control(&app, peer.ip(), &headers) {
        return unauthorized();
    }
    match verb.as_str() {
        // What was told to end does not take calls again.
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
    tracing::info!(verb, %peer, "told by the status server");
    Json(json!({ "status": "ok", "draining": app.is_draining() })).into_response()
}

fn may_control(app: &App, peer: IpAddr, headers: &HeaderMap) -> bool {
    if app.config.status.token.is_none() {
        peer.is_loopback()
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
    let expected = "expected Authorization: Bearer <STATUS_TOKEN>, or a call from loopback where no token is set";
    let mut response = refusal(StatusCode::UNAUTHORIZED, expected);
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        header::HeaderValue::from_static("Bearer"),
    );
    response
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    (status, Json(json!({ "error": message }))).into_response()
}
