//! The immortal loop: one tunnel after the other, until the relay is told to stop.

use std::sync::Arc;
use std::time::Duration;

use llamapool_tunnel::End;
use llamapool_wire::{Refusal, RelayId};
use tokio::time::Instant;

use crate::app::App;
use crate::backoff::Backoff;
use crate::board::LinkState;
use crate::config::Reconnect;
use crate::connect_once::connect_once;
use crate::dial::DialError;

/// Why one tunnel's life is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// It never began.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It ended.
    #[error("the connection to the server was lost: {0}")]
    Tunnel(End),
}

/// Why a relay that does not reconnect has ended.
#[derive(Debug, thiserror::Error)]
#[error("{0} (use --reconnect to keep trying)")]
pub struct GaveUp(String);

/// Keeps a tunnel up until the relay is told to stop.
pub(crate) async fn run(app: Arc<App>) -> Result<(), GaveUp> {
    let mut id = app.config.identity.id.clone();
    let mut backoff = match app.config.reconnect {
        Reconnect::Never => None,
        Reconnect::Forever { min, max, stable_after } => Some((Backoff::new(min, max), stable_after)),
    };
    loop {
        let began = Instant::now();
        let lost = live_once(&app, &mut id).await;
        if app.stop.is_cancelled() {
            return Ok(());
        }
        app.board.set_link(LinkState::Waiting { error: lost.to_string() });
        let Some((backoff, stable_after)) = &mut backoff else { return Err(GaveUp(lost.to_string())) };
        if matches!(lost, Lost::Tunnel(_)) && began.elapsed() >= *stable_after {
            backoff.reset();
        }
        let wait = backoff.next(rand::random()).max(asked_to_wait(&lost));
        report(&lost, wait);
        tokio::select! {
            // Biased towards stopping: then there is nothing to wait for.
            biased;
            () = app.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One tunnel's life. While it has not begun, being told to stop ends it.
async fn live_once(app: &Arc<App>, id: &mut Option<RelayId>) -> Lost {
    app.board.set_link(LinkState::Connecting);
    let connected = tokio::select! {
        biased;
        () = app.stop.cancelled() => return Lost::Tunnel(End::Closed),
        connected = app.dialer.dial(id.as_ref()) => connected,
    };
    match connected {
        Ok(connected) => {
            // An id that the server assigned is kept from here on.
            *id = Some(connected.id.clone());
            Lost::Tunnel(connect_once(app, connected).await)
        }
        Err(error) => Lost::Dial(error),
    }
}

fn asked_to_wait(lost: &Lost) -> Duration {
    match lost {
        Lost::Dial(DialError::Refused { retry_after, .. }) => *retry_after,
        _ => Duration::ZERO,
    }
}

fn report(lost: &Lost, wait: Duration) {
    match lost {
        Lost::Dial(DialError::Refused { refusal: Some(Refusal::WrongKey), .. }) => {
            tracing::error!(error = %lost, ?wait, "the server does not accept the worker key; trying again");
        }
        _ => tracing::warn!(error = %lost, ?wait, "not connected; trying again"),
    }
}
