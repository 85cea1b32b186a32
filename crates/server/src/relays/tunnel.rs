//! The life of one relay's tunnel: its task owns everything that belongs to the relay, and its end
//! removes all of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use llamapool_tunnel::{CloseCode, CloseReason, ServerEnd, TunnelConfig, TunnelEnd};
use llamapool_wire::{Event, Offer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::events::{EventStream, EventsError};
use super::registration::{Registration, Reservations};
use crate::auth::RelayKind;
use crate::directory::{Member, RelayTunnel};
use crate::pool::{WorkerPool, WorkerSeat};

/// The time from the upgrade to the first event of each of the relay's ids; a relay has nothing to
/// do in between. The upgrade itself has as long.
pub(crate) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the tunnel of a relay to its end. The relay takes calls under its ids from its first offers
/// on.
pub(crate) async fn run_tunnel<S>(
    reservations: Reservations,
    io: S,
    remote: SocketAddr,
    config: &TunnelConfig,
    pool: &WorkerPool,
) -> TunnelEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (tunnel, mut driver) = ServerEnd::open(io, config.clone()).await;
    let relay = RelayTunnel::new(tunnel.clone(), remote, reservations.len());
    let relay = Arc::new(relay);

    // A pong is no offer: a relay that only answers pings is not waited for longer than a silent
    // one.
    let patience = UPGRADE_TIMEOUT.min(config.silence);
    let opening = try_join_all(reservations.ids().map(|id| EventStream::open(&tunnel, id)));
    // Biased towards the driver, without which nothing else moves.
    let opened = tokio::select! {
        biased;
        end = &mut driver => return end,
        opened = tokio::time::timeout(patience, opening) => opened.ok().and_then(Result::ok),
        () = reservations.revoked() => None,
    };
    let Some(opened) = opened else {
        let id = reservations.ids_for_log();
        tracing::warn!(%id, "a relay did not send its first offers in time");
        // Before the close handshake, which takes time: the ids are free now.
        drop(reservations);
        tunnel.close(CloseReason::Protocol);
        return driver.await;
    };

    // No id takes calls before all have their first offer: the first registration ends an older
    // tunnel, and with it all its ids.
    let (streams, offers): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
    let registrations = reservations.register(&relay, offers);
    for registration in &registrations {
        log_connected(registration.member());
    }
    let registered = registrations.into_iter().zip(streams);
    let registered = registered
        .map(|(registration, events)| Registered {
            seat: join_pool(pool, registration.member()),
            registration,
            events,
        })
        .collect();

    // Each branch drops the registrations before the close handshake, as above: no call is to be
    // sent to a tunnel that takes none.
    let (close, end) = tokio::select! {
        biased;
        end = &mut driver => return end,
        end = tunnel.closed() => (None, end),
        (reason, end) = follow_all(registered) => (Some(reason), end),
    };
    if let Some(reason) = close {
        tunnel.close(reason);
    }
    driver.await;
    end
}

/// Follows the events of all ids until the tunnel is of no more use. Returns how to close it then,
/// and why it ended.
async fn follow_all(registered: Vec<Registered>) -> (CloseReason, TunnelEnd) {
    let following = registered.into_iter().map(follow);

    match try_join_all(following).await {
        Ok(_) => (CloseReason::Done, TunnelEnd::ClosedByPeer(CloseCode(1000))),
        Err(EventsError) => (
            CloseReason::Protocol,
            TunnelEnd::Broken("what the relay said was no event".into()),
        ),
    }
}

/// One id of a relay that takes calls.
struct Registered {
    registration: Registration,
    /// Its membership in the pool, if it is a worker.
    seat: Option<WorkerSeat>,
    events: EventStream,
}

/// Follows the events of one id until the relay has left it and its calls are over; the other ids
/// stay.
async fn follow(registered: Registered) -> Result<(), EventsError> {
    let Registered {
        registration,
        seat,
        mut events,
    } = registered;
    let member = registration.member();
    while let Some(event) = events.next_event().await? {
        match (event, &seat) {
            (Event::Offer(offer), seat) => {
                log_offer(member, &offer);
                if let Some(seat) = seat {
                    seat.set_offer(&offer);
                }
                member.set_offer(offer);
            }
            (Event::Models(models), Some(seat)) => seat.set_models(models),
            (Event::Load(load), Some(seat)) => seat.set_load(load),
            (Event::Call(report), Some(seat)) => seat.report(&report),
            (Event::Progress(progress), Some(seat)) => seat.progress(&progress),
            (_, _) => {}
        }
    }
    drop(events);

    if let Some(seat) = &seat {
        seat.leave();
    }
    member.drain().await;
    tracing::debug!(id = %member.id, "the relay has left this id");
    Ok(())
}

/// Logs an offer that differs from the last one in what operators look for.
fn log_offer(member: &Member, offer: &Offer) {
    let current = member.offer().offer;
    if offer.provider != current.provider || offer.draining != current.draining {
        tracing::info!(
            id = %member.id,
            draining = offer.draining,
            provider = ?offer.provider,
            "relay offers"
        );
    }
}

/// Adds a relay to the pool, if it is a worker.
fn join_pool(pool: &WorkerPool, member: &Arc<Member>) -> Option<WorkerSeat> {
    let is_worker = member.identity.kind == RelayKind::Worker;
    is_worker.then(|| pool.join(member.clone(), &member.offer().offer))
}

fn log_connected(member: &Member) {
    let identity = &member.identity;
    let protected = member.is_protected();
    tracing::info!(
        id = %member.id,
        name = identity.name.as_str(),
        version = identity.version.as_str(),
        remote = %member.tunnel.remote,
        protected,
        "relay connected"
    );
    if !protected && identity.kind == RelayKind::Mcp {
        tracing::warn!(
            id = %member.id,
            "anyone who reaches this server can call this id: its relay has no AUTH_TOKEN"
        );
    }
}
