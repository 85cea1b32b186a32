//! Keeps a tunnel up: one connection after the other, until the relay stops.

use std::sync::Arc;
use std::time::Duration;

use llamapool_tunnel::TunnelEnd;
use llamapool_wire::Refusal;
use tokio::time::Instant;

use crate::app::App;
use crate::backoff::Backoff;
use crate::config::Reconnect;
use crate::connection;
use crate::dial::DialError;
use crate::status::link::LinkState;

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

/// A relay that does not reconnect has lost its connection, or got none.
#[derive(Debug, thiserror::Error)]
#[error("{0} (use --reconnect to keep trying)")]
pub struct DisconnectedError(String);

/// Keeps a tunnel up until the relay stops.
pub(crate) async fn run(app: Arc<App>) -> Result<(), DisconnectedError> {
    let mut backoff = match app.config.reconnect {
        Reconnect::Never => None,
        Reconnect::Forever {
            min,
            max,
            stable_after,
        } => Some((Backoff::new(min, max), stable_after)),
    };

    loop {
        let error = connect_once(&app).await;
        if app.stop.is_cancelled() {
            return Ok(());
        }
        app.link.set(LinkState::Waiting {
            error: error.to_string(),
        });

        let Some((backoff, stable_after)) = &mut backoff else {
            return Err(DisconnectedError(error.to_string()));
        };
        if was_stable(&error, *stable_after) {
            backoff.reset();
        }
        let wait = backoff.next(rand::random()).max(retry_after(&error));
        log(&error, wait);
        tokio::select! {
            // Biased towards stopping: then there is nothing to wait for.
            biased;
            () = app.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Dials, and serves the tunnel until its end. Stopping the relay ends the dialling.
async fn connect_once(app: &Arc<App>) -> LostConnectionError {
    app.link.set(LinkState::Connecting);
    let wanted: Vec<_> = app
        .providers
        .iter()
        .map(|entry| entry.id().cloned())
        .collect();
    let dialled = tokio::select! {
        biased;
        () = app.stop.cancelled() => {
            return LostConnectionError::Tunnel(TunnelEnd::Closed, Duration::ZERO);
        }
        dialled = app.dialer.dial(&wanted) => dialled,
    };

    match dialled {
        Ok(dialled) => {
            // Ids that the server assigned are kept from here on.
            for (entry, id) in app.providers.iter().zip(&dialled.ids) {
                entry.assign_id(id.clone());
            }
            // The time of dialling does not count as time that the tunnel was up.
            let since = Instant::now();
            let end = connection::serve(app, dialled).await;
            LostConnectionError::Tunnel(end, since.elapsed())
        }
        Err(error) => LostConnectionError::Dial(error),
    }
}

/// Returns whether a tunnel was up for so long that the waits start over.
fn was_stable(error: &LostConnectionError, stable_after: Duration) -> bool {
    matches!(error, LostConnectionError::Tunnel(_, up) if *up >= stable_after)
}

/// Returns how long the server asks to wait, zero if it does not.
fn retry_after(error: &LostConnectionError) -> Duration {
    match error {
        LostConnectionError::Dial(DialError::Refused { retry_after, .. }) => *retry_after,
        _ => Duration::ZERO,
    }
}

fn log(error: &LostConnectionError, wait: Duration) {
    match error {
        LostConnectionError::Dial(DialError::Refused {
            refusal: Some(Refusal::WrongKey),
            ..
        }) => {
            tracing::error!(%error, ?wait, "the server does not accept the worker key; trying again");
        }
        _ => tracing::warn!(%error, ?wait, "not connected; trying again"),
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
