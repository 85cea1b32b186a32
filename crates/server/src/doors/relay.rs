//! Where relays connect: `/api/mcp/connect`.
//!
//! Every refusal is an ordinary HTTP answer before the upgrade. After it, the tunnel's task owns everything that
//! belongs to the relay, and its end takes all of it away.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use llamapool_tunnel::{CloseCode, CloseReason, IncomingBody, ServerEnd, TunnelEnd};
use llamapool_wire::{
    Event, MAX_EVENT_BYTES, Offer, Refusal, RelayId, SUBPROTOCOL, header as wire, path, write_ids,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::app::App;
use crate::auth::{NotARelay, RelayIdentity};
use crate::error;
use crate::peer::Peer;
use crate::registry::{Arrival, Membership, Relay, RelayTunnel, Seat};

/// From the upgrade to the first event of each of the relay's ids; a relay has nothing to do in between.
const HELLO: Duration = Duration::from_secs(10);

/// A relay connects.
pub(crate) async fn connect(Shared(app): Shared<Arc<App>>, request: Request) -> Response<Body> {
    match admit(&app, request).await {
        Ok(response) => response,
        Err((refusal, message)) => {
            app.metrics.refused("relay", refusal.label());
            tracing::warn!(
                reason = refusal.label(),
                error = message,
                "a relay was refused"
            );
            error::refused_relay(refusal, message)
        }
    }
}

async fn admit(app: &Arc<App>, mut request: Request) -> Result<Response<Body>, NotARelay> {
    if app.gate.is_closed() {
        return Err((Refusal::Draining, "the server is draining".into()));
    }
    let identity = app.auth.relay(request.headers())?;
    let accept = check_upgrade(request.method(), request.headers())?;
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err((
            Refusal::Version,
            "this connection cannot be upgraded; use HTTP/1.1".into(),
        ));
    };
    let remote = request
        .extensions()
        .get::<Peer>()
        .copied()
        .unwrap_or_default();
    let seats = app
        .registry
        .claim(identity, app.config.relays.takeover_wait)
        .await?;
    let response = switching(&accept, &seats, app.config.build.version);
    app.keep(serve(app.clone(), seats, upgrade, remote));
    Ok(response)
}

/// The answer to the WebSocket's challenge, if this is an upgrade that the server understands.
fn check_upgrade(method: &Method, headers: &HeaderMap) -> Result<String, NotARelay> {
    let wrong = |message: &str| (Refusal::Version, message.to_owned());
    let lists = |name, word: &str| {
        let values = headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|entry: &str| entry.trim().eq_ignore_ascii_case(word))
    };
    if method != Method::GET
        || !lists(header::CONNECTION, "upgrade")
        || !lists(header::UPGRADE, "websocket")
    {
        return Err(wrong(
            "not a WebSocket upgrade; this is where relays connect, see `llamapool mcp --help`",
        ));
    }
    if !lists(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(wrong("the WebSocket version is not 13"));
    }
    if !lists(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(wrong(&format!(
            "the relay does not speak {SUBPROTOCOL}; relay and server differ in version"
        )));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| wrong("the Sec-WebSocket-Key header is missing"))?;
    Ok(derive_accept_key(key.as_bytes()))
}

fn switching(accept: &str, seats: &[Seat], version: &'static str) -> Response<Body> {
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
    headers
        .extend(HeaderValue::from_str(accept).map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    write_ids(
        headers,
        &seats
            .iter()
            .map(|seat| Some(seat.id().clone()))
            .collect::<Vec<_>>(),
    );
    response
}

/// One tunnel's life.
async fn serve(app: Arc<App>, seats: Vec<Seat>, upgrade: OnUpgrade, remote: Peer) {
    let id = names(&seats);
    let upgraded = match tokio::time::timeout(HELLO, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(_)) | Err(_) => {
            return tracing::debug!(%id, "the connection of a relay was lost before its upgrade");
        }
    };
    let end = run_tunnel(&app, seats, TokioIo::new(upgraded), remote).await;
    app.metrics.tunnel_ended(&end);
    tracing::info!(%id, reason = %end, "relay disconnected");
}

/// The ids of one relay for the log, such as `a, b`.
fn names(seats: &[Seat]) -> String {
    seats
        .iter()
        .map(|seat| seat.id().as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

async fn run_tunnel(app: &App, seats: Vec<Seat>, io: TokioIo<Upgraded>, remote: Peer) -> TunnelEnd {
    let (tunnel, mut driver) = ServerEnd::open(io, app.config.relays.tunnel.clone()).await;
    let shared = Arc::new(RelayTunnel::new(tunnel.clone(), remote.0, seats.len()));
    // A pong is no hello: a relay that only answers pings is not waited for longer than a silent one.
    let patience = HELLO.min(app.config.relays.tunnel.silence);
    let hellos = try_join_all(seats.iter().map(|seat| hello(&tunnel, seat.id())));
    // Biased towards the driver, without which nothing else moves.
    let hellos = tokio::select! {
        biased;
        end = &mut driver => return end,
        hellos = tokio::time::timeout(patience, hellos) => hellos,
    };
    let Ok(Ok(hellos)) = hellos else {
        tracing::warn!(id = %names(&seats), "a relay did not say what it offers");
        // Before the goodbye, which takes time: the ids are free now.
        drop(seats);
        tunnel.close(CloseReason::Protocol);
        return driver.await;
    };
    // None takes calls before all have said hello: the first one ends an older tunnel, and with it all its ids.
    let members = seats
        .into_iter()
        .zip(hellos)
        .map(|(seat, (events, offer))| {
            let membership = seat.occupy(Arrival {
                tunnel: shared.clone(),
                offer,
            });
            greet(&membership);
            (membership, events)
        });
    let members: Vec<_> = members.collect();
    // Whatever it is, it drops the members before the goodbye, as above: nobody is to be sent to a tunnel that takes
    // nothing.
    let (goodbye, end) = tokio::select! {
        biased;
        end = &mut driver => return end,
        end = tunnel.closed() => (None, end),
        (reason, end) = heed_all(members) => (Some(reason), end),
    };
    if let Some(reason) = goodbye {
        tunnel.close(reason);
    }
    driver.await;
    end
}

/// Heeds what the relay says, up to when the tunnel is of no more use: how to close it then, and why it ended.
async fn heed_all(members: Vec<(Membership, Events)>) -> (CloseReason, TunnelEnd) {
    match try_join_all(
        members
            .into_iter()
            .map(|(membership, events)| heed(membership, events)),
    )
    .await
    {
        Ok(_) => (CloseReason::Done, TunnelEnd::ClosedByPeer(CloseCode(1000))),
        Err(Nonsense) => (
            CloseReason::Protocol,
            TunnelEnd::Broken("what the relay said was no event".into()),
        ),
    }
}

/// Heeds what the relay says of one id until it leaves there; the others stay.
async fn heed(membership: Membership, events: Events) -> Result<(), Nonsense> {
    let relay = membership.relay();
    follow(events, relay).await?;
    relay.leaves().await;
    tracing::debug!(id = %relay.id, "the relay has left this id");
    Ok(())
}

fn greet(membership: &Membership) {
    let relay = membership.relay();
    let identity: &RelayIdentity = &relay.identity;
    let protected = relay.offered().offer.protected;
    tracing::info!(
        id = %relay.id, name = identity.name.as_str(), version = identity.version.as_str(), remote = %relay.tunnel.remote,
        protected, "relay connected"
    );
    if !protected {
        tracing::warn!(id = %relay.id, "anyone who reaches this server can call this id: its relay has no AUTH_TOKEN");
    }
}

/// Asks the relay for the events of an id; the stream and its first offer.
async fn hello(tunnel: &ServerEnd, id: &RelayId) -> Result<(Events, Offer), Nonsense> {
    let request = axum::http::Request::get(path::events(id))
        .body(Empty::<Bytes>::new())
        .map_err(|_| Nonsense)?;
    let answer = tunnel.send(request).await.map_err(|_| Nonsense)?;
    let mut events = Events {
        body: answer.into_body(),
        buffer: Vec::new(),
    };
    let offer = events.next_offer().await?.ok_or(Nonsense)?;
    Ok((events, offer))
}

/// Follows the events of an id until the relay takes its leave there.
async fn follow(mut events: Events, relay: &Relay) -> Result<(), Nonsense> {
    while let Some(offer) = events.next_offer().await? {
        if offer.provider != relay.offered().offer.provider
            || offer.draining != relay.offered().offer.draining
        {
            tracing::info!(id = %relay.id, draining = offer.draining, provider = ?offer.provider, "relay offers");
        }
        relay.offers(offer);
    }
    Ok(())
}

/// What a relay says is no event, or broke off.
struct Nonsense;

/// The lines of an id's event stream.
struct Events {
    body: IncomingBody,
    buffer: Vec<u8>,
}

impl Events {
    /// The next offer; nothing, when the relay takes its leave.
    async fn next_offer(&mut self) -> Result<Option<Offer>, Nonsense> {
        while let Some(line) = self.next_line().await? {
            match Event::from_line(&line) {
                Ok(Event::Offer(offer)) => return Ok(Some(offer)),
                Ok(Event::Unknown) => {}
                Err(error) => {
                    tracing::warn!(%error, "a relay sent an event that is none");
                    return Err(Nonsense);
                }
            }
        }
        Ok(None)
    }

    async fn next_line(&mut self) -> Result<Option<Vec<u8>>, Nonsense> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            if self.buffer.len() > MAX_EVENT_BYTES {
                return Ok(Some(std::mem::take(&mut self.buffer)));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let data = frame
                .map_err(|_| Nonsense)?
                .into_data()
                .map_err(|_| Nonsense)?;
            self.buffer.extend_from_slice(&data);
        }
    }
}
