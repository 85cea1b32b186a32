//! Looks whether a provider can be reached, before a caller finds out.
//!
//! Of one that speaks HTTP: it connects (TCP, and TLS where the URL wants it) and hangs up. Nothing is sent: a request,
//! even a harmless one, makes some providers open a session. A program's bridge finds out by itself, as it starts it.

use std::sync::Arc;
use std::time::Duration;

use crate::board::Health;
use crate::hosted::Hosted;
use crate::providers::{McpHttp, Provider};

/// Between two looks while the provider cannot be reached: so long at the most is its return unknown.
const WHILE_UNREACHABLE: Duration = Duration::from_secs(1);

/// Looks after a provider for as long as the relay lives.
pub(crate) async fn run(hosted: Arc<Hosted>) {
    match &hosted.provider {
        Provider::Http(http) => {
            tokio::join!(look(&hosted, http), http.tidy());
        }
        Provider::Stdio(stdio) => stdio.run().await,
    }
}

/// Looks again and again. A call that meets an unreachable provider reports it at once, without waiting for this.
async fn look(hosted: &Hosted, http: &McpHttp) {
    let interval = http.probe_interval();
    let mut offers = hosted.board.offers();
    loop {
        http.probe().await;
        let is_reachable = hosted.board.offer().health == Health::Reachable;
        let wait = if is_reachable {
            interval
        } else {
            interval.min(WHILE_UNREACHABLE)
        };
        let turned = offers.wait_for(|offer| (offer.health == Health::Reachable) != is_reachable);
        tokio::select! {
            _ = turned => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
