//! Looks whether a provider can be reached, before a caller finds out.
//!
//! It connects (TCP, and TLS where the URL wants it) and hangs up. Nothing is sent: a request, even a harmless one,
//! makes some providers open a session.

use std::sync::Arc;
use std::time::Duration;

use crate::board::Health;
use crate::hosted::Hosted;

/// Between two looks while the provider cannot be reached: so long at the most is its return unknown.
const WHILE_UNREACHABLE: Duration = Duration::from_secs(1);

/// Looks again and again. A call that meets an unreachable provider reports it at once, without waiting for this.
pub(crate) async fn run(hosted: Arc<Hosted>) {
    let interval = hosted.config.probe_interval;
    let mut offers = hosted.board.offers();
    loop {
        hosted.provider.probe().await;
        let is_reachable = hosted.board.offer().health == Health::Reachable;
        let wait = if is_reachable { interval } else { interval.min(WHILE_UNREACHABLE) };
        let turned = offers.wait_for(|offer| (offer.health == Health::Reachable) != is_reachable);
        tokio::select! {
            _ = turned => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
