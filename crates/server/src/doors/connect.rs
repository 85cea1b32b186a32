//! The door where relays connect: `/api/mcp/connect`, and `/api/workers/connect` for workers.
//!
//! Every refusal is an ordinary HTTP answer before the upgrade. After it, `relays` runs the tunnel.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use llamapool_http::json_response;
use llamapool_identity::{AuditEvent, EventKind};
use llamapool_wire::{
    ASK_PROTOCOL, AskAnswer, Mark, PublicBase, Refusal, RelayId, SUBPROTOCOL, header as wire, path,
    people_line, read_ids, write_ids,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::TaskTracker;

use crate::auth::{Auth, RelayIdentity, RelayKind, RelayRefusedError};
use crate::error;
use crate::identity::KeyUse;
use crate::listen::Peer;
use crate::metrics::{Door, Metrics};
use crate::pool::WorkerPool;
use crate::relays::{Registry, RelaysConfig, Reservations, UPGRADE_TIMEOUT, run_tunnel};
use crate::scheduler::DrainGate;

/// The context of the door where relays connect.
pub(crate) struct ConnectDoor {
    pub(crate) auth: Arc<Auth>,
    pub(crate) registry: Registry,
    /// Takes the relays that are workers.
    pub(crate) pool: WorkerPool,
    /// Closed while the server drains.
    pub(crate) gate: Arc<DrainGate>,
    pub(crate) metrics: Metrics,
    pub(crate) config: RelaysConfig,
    /// The version of the server.
    pub(crate) version: &'static str,
    /// The base of the public URLs, where it is configured.
    pub(crate) public_base: Option<PublicBase>,
    /// Owns the tasks of the tunnels.
    pub(crate) tunnels: TaskTracker,
}

/// A relay connects.
pub(crate) async fn connect(
    State(door): State<Arc<ConnectDoor>>,
    request: Request,
) -> Response<Body> {
    let address = door
        .auth
        .audited_address(request.headers(), Peer::of(request.extensions()));
    let sender = Sender::of(&request, &door);
    match door.clone().admit(request, address).await {
        Ok(response) => response,
        Err(RelayRefusedError { refusal, message }) => {
            door.metrics.refused(Door::Relay, refusal.label());
            sender.log_refusal(refusal, &message);
            let reason = refusal.label();
            door.auth.audit().write(|| {
                AuditEvent::new(EventKind::RelayRefused)
                    .address(address)
                    .outcome(reason)
                    .with("error", message.as_str())
            });
            error::refused_relay(refusal, message)
        }
    }
}

impl ConnectDoor {
    async fn admit(
        self: Arc<Self>,
        mut request: Request,
        address: Option<IpAddr>,
    ) -> Result<Response<Body>, RelayRefusedError> {
        if self.gate.is_closed() {
            let message = "the server is draining";
            return Err(RelayRefusedError::new(Refusal::Draining, message));
        }

        let peer = Peer::of(request.extensions());
        let kind = match request.uri().path() {
            path::WORKER_CONNECT => RelayKind::Worker,
            _ => RelayKind::Mcp,
        };
        let identity = self.auth.relay(request.headers(), kind, peer)?;
        if lists(
            request.headers(),
            &header::SEC_WEBSOCKET_PROTOCOL,
            ASK_PROTOCOL,
        ) {
            return Ok(self.answer(&identity));
        }
        let accept = check_upgrade(request.method(), request.headers())?;
        let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
            return Err(wrong_version(
                "this connection cannot be upgraded; use HTTP/1.1",
            ));
        };
        let reservations = self
            .registry
            .claim(identity, self.config.takeover_wait)
            .await?;

        let mut response = switching_protocols(&accept, &reservations, self.version);
        let base = self.public_base.as_ref();
        let base = base.and_then(|base| HeaderValue::from_str(base.as_str()).ok());
        let base = base.map(|base| (wire::PUBLIC_URL, base));
        response.headers_mut().extend(base);
        let door = self.clone();
        self.tunnels
            .spawn(async move { door.serve(reservations, upgrade, (peer, address)).await });
        Ok(response)
    }

    /// Answers what would become of a claim, and claims nothing.
    fn answer(&self, identity: &RelayIdentity) -> Response<Body> {
        let answer = AskAnswer {
            version: self.version.to_owned(),
            public_url: self.auth.configured_public_url(),
            ids: self.registry.standings(identity),
        };
        // Plain structs of texts always have a JSON form.
        let json = serde_json::to_string(&answer).unwrap_or_default();
        json_response(StatusCode::OK, json)
    }

    /// Serves one relay from its upgrade to the end of its tunnel.
    async fn serve(
        &self,
        reservations: Reservations,
        upgrade: OnUpgrade,
        (peer, address): (Peer, Option<IpAddr>),
    ) {
        let id = reservations.ids_for_log();
        let key = reservations.key();
        let upgraded = tokio::select! {
            upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, upgrade) => upgraded,
            () = reservations.revoked() => return,
        };
        let Ok(Ok(upgraded)) = upgraded else {
            tracing::debug!(%id, "the connection of a relay was lost before its upgrade");
            return;
        };

        let event = |kind| {
            let key = key.as_ref().and_then(|key| key.holder().account());
            let actor = key.map_or("worker_key".to_owned(), |key| format!("key:{key}"));
            let event = AuditEvent::new(kind).actor(actor).id(&id);
            event.address(address)
        };
        self.auth.audit().write(|| event(EventKind::RelayConnected));
        let io = TokioIo::new(upgraded);
        let tunnel = &self.config.tunnel;
        let end = run_tunnel(reservations, io, peer.0, tunnel, &self.pool).await;

        self.metrics.tunnel_ended(&end);
        if key.as_ref().is_some_and(KeyUse::has_ended) {
            self.auth.audit().write(|| event(EventKind::RelayRevoked));
        }
        tracing::info!(
            %id,
            reason = %end,
            people = %people_line(Mark::Gone, &id, format_args!("relay gone: {end}")),
            "relay disconnected"
        );
    }
}

/// The sender of an upgrade, as far as the log of its refusal names it.
struct Sender {
    /// Its address; `None` where a proxy names none.
    remote: Option<IpAddr>,
    /// The ids that it asks for; empty if it asks for none.
    ids: String,
}

impl Sender {
    fn of(request: &Request, door: &ConnectDoor) -> Self {
        let headers = request.headers();
        let ids = read_ids(headers).unwrap_or_default();
        let ids: Vec<&str> = ids.iter().flatten().map(RelayId::as_str).collect();
        Self {
            remote: door
                .auth
                .relay_address(headers, Peer::of(request.extensions())),
            ids: ids.join(", "),
        }
    }

    fn log_refusal(&self, refusal: Refusal, message: &str) {
        let reason = refusal.label();
        let remote = self.remote.map(|remote| remote.to_string());
        let remote = remote.as_deref().unwrap_or("an unnamed address");
        let id = self.ids.as_str();
        tracing::warn!(
            reason, remote, id, error = message, repeats = true,
            people = %people_line(Mark::Failing, id, format_args!("relay at {remote} refused: {message}")),
            "a relay was refused"
        );
    }
}

/// Checks that a request is an upgrade that the server supports. Returns the answer to its
/// WebSocket challenge.
fn check_upgrade(method: &Method, headers: &HeaderMap) -> Result<String, RelayRefusedError> {
    let is_websocket = method == Method::GET
        && lists(headers, &header::CONNECTION, "upgrade")
        && lists(headers, &header::UPGRADE, "websocket");
    if !is_websocket {
        return Err(wrong_version(
            "not a WebSocket upgrade; this is where relays connect, see `llamapool mcp --help` and `llamapool worker --help`",
        ));
    }
    if !lists(headers, &header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(wrong_version("the WebSocket version is not 13"));
    }
    if !lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(wrong_version(format!(
            "the relay does not speak {SUBPROTOCOL}; relay and server differ in version"
        )));
    }

    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| wrong_version("the Sec-WebSocket-Key header is missing"))?;
    Ok(derive_accept_key(key.as_bytes()))
}

/// Returns whether a header, which is a list, contains this word.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| entry.trim().eq_ignore_ascii_case(word))
}

fn wrong_version(message: impl Into<String>) -> RelayRefusedError {
    RelayRefusedError::new(Refusal::Version, message)
}

fn switching_protocols(
    accept: &str,
    reservations: &Reservations,
    version: &'static str,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;

    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    headers.insert(wire::VERSION, HeaderValue::from_static(version));
    // Base64 has no byte that a header value cannot have.
    let accept = HeaderValue::from_str(accept);
    headers.extend(accept.map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));

    let ids: Vec<_> = reservations.ids().cloned().map(Some).collect();
    write_ids(headers, &ids);
    response
}
