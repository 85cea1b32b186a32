//! The life of one relay's tunnel: its task owns everything that belongs to the relay, and its end
//! removes all of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use llamapool_tunnel::{CloseCode, CloseReason, ServerEnd, TunnelConfig, TunnelEnd};
use llamapool_wire::{Event, Mark, Offer, ProviderHealth, people_line};
use tokio::io::{AsyncRead, AsyncWrite};

use super::events::{EventStream, EventsError};
use super::registration::{Registration, Reservations};
use crate::auth::RelayKind;
use crate::directory::{EndNote, Member, RelayTunnel};
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
    let note = EndNote::default();
    let end = run(reservations, io, (remote, note.clone()), config, pool).await;
    // After its ids were left, for those that look at them.
    note.set(&end);
    end
}

async fn run<S>(
    reservations: Reservations,
    io: S,
    (remote, end_note): (SocketAddr, EndNote),
    config: &TunnelConfig,
    pool: &WorkerPool,
) -> TunnelEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let key = reservations.key();
    let key_ended = async move {
        match key {
            Some(key) => key.ended().await,
            None => std::future::pending().await,
        }
    };
    let (tunnel, mut driver) = ServerEnd::open(io, config.clone());
    let relay = RelayTunnel::new(tunnel.clone(), remote, reservations.len());
    let relay = Arc::new(relay.with_end_note(end_note));

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
    let registered = registrations.into_iter().zip(streams);
    let registered: Vec<_> = registered
        .map(|(registration, events)| Registered {
            seat: join_pool(pool, registration.member()),
            registration,
            events,
        })
        .collect();
    for Registered { registration, .. } in &registered {
        log_connected(registration.member());
    }

    // Each branch drops the registrations before the close handshake, as above: no call is to be
    // sent to a tunnel that takes none.
    let (close, end) = tokio::select! {
        biased;
        end = &mut driver => return end,
        () = key_ended => (Some(CloseReason::Revoked), TunnelEnd::Closed),
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
    loop {
        let event = tokio::select! {
            // Biased towards the relay, which may leave.
            biased;
            event = events.next_event() => event?,
            () = member.hold_changed() => {
                if let Some(seat) = &seat {
                    seat.set_offer(&member.as_held(member.offer().offer));
                }
                continue;
            }
        };
        let Some(event) = event else { break };
        match (event, &seat) {
            (Event::Offer(offer), seat) => {
                // Before the pool: the state reads them the other way round, so that a worker it shows as
                // draining has its problem there, too.
                let before = member.set_offer(offer.clone());
                if let Some(seat) = seat {
                    seat.set_offer(&member.as_held(offer.clone()));
                }
                log_offer(member, &before, &offer);
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

/// Logs an offer that differs from the one before in what operators look for. It is in effect by then,
/// so that a reader of the line may rely on it.
fn log_offer(member: &Member, before: &Offer, offer: &Offer) {
    let is_same = is_same_health(&offer.provider, &before.provider);
    if is_same && offer.draining == before.draining {
        return;
    }

    let (mark, text) = shown_health(offer);
    let (provider, error) = match &offer.provider {
        ProviderHealth::Unknown => ("unknown", None),
        ProviderHealth::Reachable { .. } => ("reachable", None),
        ProviderHealth::Unreachable { error, .. } => ("unreachable", Some(error.as_str())),
    };
    tracing::info!(
        id = %member.id,
        draining = offer.draining,
        provider,
        error,
        people = %people_line(mark, &member.id, text),
        "relay offers"
    );
}

/// Returns whether two states of a provider are the same for people: the time since when it is so
/// is none of it.
fn is_same_health(one: &ProviderHealth, other: &ProviderHealth) -> bool {
    match (one, other) {
        (
            ProviderHealth::Unreachable { error: one, .. },
            ProviderHealth::Unreachable { error: other, .. },
        ) => one == other,
        (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn shown_health(offer: &Offer) -> (Mark, String) {
    match &offer.provider {
        _ if offer.draining => (Mark::Draining, "draining: takes no new calls".to_owned()),
        ProviderHealth::Unknown => (Mark::Gone, "provider not looked at yet".to_owned()),
        ProviderHealth::Reachable { .. } => (Mark::Up, "provider up".to_owned()),
        ProviderHealth::Unreachable { error, .. } => {
            (Mark::Down, format!("provider down: {error}"))
        }
    }
}

/// Adds a relay to the pool, if it is a worker.
fn join_pool(pool: &WorkerPool, member: &Arc<Member>) -> Option<WorkerSeat> {
    let is_worker = member.identity.kind == RelayKind::Worker;
    is_worker.then(|| pool.join(member.clone(), &member.as_held(member.offer().offer)))
}

fn log_connected(member: &Member) {
    let identity = &member.identity;
    let name = identity.name.as_str();
    let remote = member.tunnel.remote;
    let protected = member.is_protected();
    let note = if protected || identity.kind == RelayKind::Worker {
        ""
    } else {
        " · no token: the access of the id decides"
    };

    tracing::info!(
        id = %member.id,
        name,
        version = identity.version.as_str(),
        %remote,
        protected,
        people = %people_line(
            Mark::Up,
            &member.id,
            format_args!("relay {name} connected from {}{note}", remote.ip()),
        ),
        "relay connected"
    );
}
