//! The immortal loop: one tunnel after the other, until the relay is told to stop.

use std::sync::Arc;
use std::time::Duration;

use llamapool_tunnel::TunnelEnd;
use llamapool_wire::Refusal;
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
    /// It ended after it had held for this long.
    #[error("the connection to the server was lost: {0}")]
    Tunnel(TunnelEnd, Duration),
}

/// Why a relay that does not reconnect has ended.
#[derive(Debug, thiserror::Error)]
#[error("{0} (use --reconnect to keep trying)")]
pub struct GaveUp(String);

/// Keeps a tunnel up until the relay is told to stop.
pub(crate) async fn run(app: Arc<App>) -> Result<(), GaveUp> {
    let mut backoff = match app.config.reconnect {
        Reconnect::Never => None,
        Reconnect::Forever {
            min,
            max,
            stable_after,
        } => Some((Backoff::new(min, max), stable_after)),
    };
    loop {
        let lost = live_once(&app).await;
        if app.stop.is_cancelled() {
            return Ok(());
        }
        app.board.set_link(LinkState::Waiting {
            error: lost.to_string(),
        });
        let Some((backoff, stable_after)) = &mut backoff else {
            return Err(GaveUp(lost.to_string()));
        };
        if has_held(&lost, *stable_after) {
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
async fn live_once(app: &Arc<App>) -> Lost {
    app.board.set_link(LinkState::Connecting);
    let wanted: Vec<_> = app
        .hosted
        .iter()
        .map(|hosted| hosted.id().cloned())
        .collect();
    let connected = tokio::select! {
        biased;
        () = app.stop.cancelled() => return Lost::Tunnel(TunnelEnd::Closed, Duration::ZERO),
        connected = app.dialer.dial(&wanted) => connected,
    };
    match connected {
        Ok(connected) => {
            // Ids that the server assigned are kept from here on.
            for (hosted, id) in app.hosted.iter().zip(&connected.ids) {
                hosted.keep_id(id.clone());
            }
            // Dialling may have taken long, and is no time that the tunnel held.
            let since = Instant::now();
            let end = connect_once(app, connected).await;
            Lost::Tunnel(end, since.elapsed())
        }
        Err(error) => Lost::Dial(error),
    }
}

/// Whether a tunnel was up for so long that its loss is the first of a new row.
fn has_held(lost: &Lost, stable_after: Duration) -> bool {
    matches!(lost, Lost::Tunnel(_, held) if *held >= stable_after)
}

fn asked_to_wait(lost: &Lost) -> Duration {
    match lost {
        Lost::Dial(DialError::Refused { retry_after, .. }) => *retry_after,
        _ => Duration::ZERO,
    }
}

fn report(lost: &Lost, wait: Duration) {
    match lost {
        Lost::Dial(DialError::Refused {
            refusal: Some(Refusal::WrongKey),
            ..
        }) => {
            tracing::error!(error = %lost, ?wait, "the server does not accept the worker key; trying again");
        }
        _ => tracing::warn!(error = %lost, ?wait, "not connected; trying again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tunnel_that_was_up_for_long_enough_starts_the_waits_over() {
        let stable_after = Duration::from_secs(10);
        let lost_after = |seconds| Lost::Tunnel(TunnelEnd::Silent, Duration::from_secs(seconds));
        assert!(has_held(&lost_after(10), stable_after));
        assert!(!has_held(&lost_after(9), stable_after));
        let patience = Duration::from_secs(60);
        let dialled = Lost::Dial(DialError::Timeout {
            server: "http://server".into(),
            patience,
        });
        assert!(
            !has_held(&dialled, stable_after),
            "dialling for long is not holding for long"
        );
    }
}
