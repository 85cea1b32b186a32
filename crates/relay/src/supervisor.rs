//! Keeps a tunnel up: one connection after the other, until the relay stops or has left all ids of
//! the tunnel.

use std::sync::Arc;
use std::time::Duration;

use llamapool_tunnel::TunnelEnd;
use llamapool_wire::{Mark, Refusal, people_line};
use tokio::time::Instant;

use crate::app::App;
use crate::backoff::Backoff;
use crate::config::Reconnect;
use crate::connection;
use crate::dial::DialError;
use crate::relay_tunnel::RelayTunnel;
use crate::status::link::LinkState;

/// The waits of a tunnel that a reload has added to a relay that does not reconnect, until the
/// tunnel is up for the first time: an id may be held by the relay's own calls of before.
const ADDED_MIN: Duration = Duration::from_millis(500);
const ADDED_MAX: Duration = Duration::from_secs(10);

/// One connection has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LostConnectionError {
    /// It never began.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The tunnel ended after it was up for this long.
    #[error("the connection to the server was lost: {0}")]
    Tunnel(TunnelEnd, Duration),
}

/// The least wait after a refusal that only an operator can change, such as a wrong key: until then
/// every attempt costs the server a line of its log.
const REFUSED_WAIT: Duration = Duration::from_secs(30);

/// What a relay without a key ends with, when the server asks for one. A server can run without
/// keys, so that only its answer shows that one is needed; no key that is not set becomes right.
const NO_KEY: &str = "WORKER_KEY is not set, and the server asks for one: it is what the server was \
                      given as WORKER_KEY, or shows at its start";

/// A relay has lost its connection, or got none, and does not try again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DisconnectedError(String);

impl DisconnectedError {
    /// Returns the error of a relay that does not reconnect.
    fn of(error: &LostConnectionError) -> Self {
        let hint = if is_final(error) {
            ""
        } else {
            " (use --reconnect to keep trying)"
        };
        Self(format!("{error}{hint}"))
    }
}

/// Keeps a tunnel up until the relay stops, or has left all ids of the tunnel.
pub(crate) async fn run(app: Arc<App>, tunnel: RelayTunnel) -> Result<(), DisconnectedError> {
    let result = keep_up(&app, &tunnel).await;
    app.link.remove(tunnel.number);
    result
}

async fn keep_up(app: &Arc<App>, tunnel: &RelayTunnel) -> Result<(), DisconnectedError> {
    let mut has_been_up = false;
    let mut backoff = match app.config.reconnect {
        Reconnect::Never if tunnel.is_first() => None,
        // The other tunnels must not end for one that a reload has added.
        Reconnect::Never => Some((Backoff::new(ADDED_MIN, ADDED_MAX), ADDED_MAX)),
        Reconnect::Forever {
            min,
            max,
            stable_after,
            ..
        } => Some((Backoff::new(min, max), stable_after)),
    };

    loop {
        let error = connect_once(app, tunnel).await;
        if app.stop.is_cancelled() || tunnel.is_over() {
            return Ok(());
        }
        app.link.set(
            tunnel.number,
            LinkState::Waiting {
                error: error.to_string(),
            },
        );

        has_been_up |= matches!(error, LostConnectionError::Tunnel(..));
        if has_been_up && app.config.reconnect == Reconnect::Never {
            return Err(DisconnectedError::of(&error));
        }
        // A tunnel that a reload has added goes on trying: the others must not end for it.
        if tunnel.is_first() && lacks_key(app, &error) {
            return Err(DisconnectedError(NO_KEY.to_owned()));
        }
        let Some((backoff, stable_after)) = &mut backoff else {
            return Err(DisconnectedError::of(&error));
        };
        let is_final = is_final(&error);
        if is_final && tunnel.is_first() && exits_on_refusal(app.config.reconnect) {
            return Err(DisconnectedError(error.to_string()));
        }
        if was_stable(&error, *stable_after) {
            backoff.reset();
        }
        let mut wait = backoff.next(rand::random());
        if is_final {
            wait += REFUSED_WAIT;
        }
        let wait = wait.max(retry_after(&error));
        log(&error, wait);
        tokio::select! {
            // Biased towards stopping: then there is nothing to wait for.
            biased;
            () = app.stop.cancelled() => return Ok(()),
            () = tunnel.over() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Dials, and serves the tunnel until its end. Stopping the relay ends the dialling.
async fn connect_once(app: &Arc<App>, tunnel: &RelayTunnel) -> LostConnectionError {
    app.link.set(tunnel.number, LinkState::Connecting);
    let slots = tunnel.slots();
    let wanted: Vec<_> = slots.iter().map(|slot| slot.id().cloned()).collect();
    let dialled = tokio::select! {
        biased;
        () = app.stop.cancelled() => {
            return LostConnectionError::Tunnel(TunnelEnd::Closed, Duration::ZERO);
        }
        () = tunnel.over() => {
            return LostConnectionError::Tunnel(TunnelEnd::Closed, Duration::ZERO);
        }
        dialled = tunnel.dialer.dial(&wanted) => dialled,
    };

    match dialled {
        Ok(dialled) => {
            // Ids that the server assigned are kept from here on.
            for (slot, id) in slots.iter().zip(&dialled.ids) {
                slot.assign_id(id.clone());
            }
            // The time of dialling does not count as time that the tunnel was up.
            let since = Instant::now();
            let end = connection::serve(app, tunnel, slots, dialled).await;
            LostConnectionError::Tunnel(end, since.elapsed())
        }
        Err(error) => LostConnectionError::Dial(error),
    }
}

/// Returns whether a tunnel was up for so long that the waits start over.
fn was_stable(error: &LostConnectionError, stable_after: Duration) -> bool {
    matches!(error, LostConnectionError::Tunnel(_, up) if *up >= stable_after)
}

/// Returns whether the server has refused the relay for a reason that another attempt does not
/// change.
fn is_final(error: &LostConnectionError) -> bool {
    let LostConnectionError::Dial(DialError::Refused { refusal, .. }) = error else {
        return false;
    };
    matches!(
        refusal,
        Some(
            Refusal::WrongKey
                | Refusal::KeyEnded
                | Refusal::IdNotAllowed
                | Refusal::InvalidHeader
                | Refusal::Version
        )
    )
}

/// Returns whether the relay has no key and the server wants one.
fn lacks_key(app: &App, error: &LostConnectionError) -> bool {
    let is_wrong_key = matches!(
        error,
        LostConnectionError::Dial(DialError::Refused {
            refusal: Some(Refusal::WrongKey),
            ..
        })
    );
    is_wrong_key && app.config.identity.worker_key.is_none()
}

fn exits_on_refusal(reconnect: Reconnect) -> bool {
    matches!(
        reconnect,
        Reconnect::Forever {
            exits_on_refusal: true,
            ..
        }
    )
}

/// Returns how long the server asks to wait, zero if it does not.
fn retry_after(error: &LostConnectionError) -> Duration {
    match error {
        LostConnectionError::Dial(DialError::Refused { retry_after, .. }) => *retry_after,
        _ => Duration::ZERO,
    }
}

fn log(error: &LostConnectionError, wait: Duration) {
    let seconds = wait.as_secs_f64().ceil();
    let text = format_args!("{error}; trying again in {seconds} s");
    match error {
        LostConnectionError::Dial(DialError::Refused {
            refusal: Some(Refusal::WrongKey),
            ..
        }) => {
            tracing::error!(
                %error, ?wait, repeats = true,
                people = %people_line(Mark::Down, "refused", text),
                "the server does not accept the worker key; trying again"
            );
        }
        _ => tracing::warn!(
            %error, ?wait, repeats = true,
            people = %people_line(Mark::Gone, "not connected", text),
            "not connected; trying again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dialling for long is not being up for long.
    #[test]
    fn only_a_tunnel_that_was_stable_starts_the_waits_over() {
        let stable_after = Duration::from_secs(10);
        let up_for =
            |seconds| LostConnectionError::Tunnel(TunnelEnd::Silent, Duration::from_secs(seconds));
        let dial_timeout = LostConnectionError::Dial(DialError::Timeout {
            server: "http://server".into(),
            timeout: Duration::from_secs(60),
        });

        assert!(was_stable(&up_for(10), stable_after));
        assert!(!was_stable(&up_for(9), stable_after));
        assert!(!was_stable(&dial_timeout, stable_after));
    }
}
