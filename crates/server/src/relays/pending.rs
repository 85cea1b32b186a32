//! Claims whose relay has not sent its first offers yet. They hold places, and give way to others
//! when there are none left: opening a connection costs its sender less than a place is worth.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llamapool_limits::Network;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a claim is safe: a relay sends its first offers right after its upgrade, within a few
/// round trips.
const SAFE_FOR: Duration = Duration::from_secs(1);
/// The time for a claim that is revoked to end: a turn of its task.
const END_WAIT: Duration = Duration::from_millis(500);

/// The claims without first offers. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct PendingClaims(Arc<Pending>);

#[derive(Default)]
struct Pending {
    entries: Mutex<Slab<Entry>>,
    /// Notified when a claim has ended.
    ended: Notify,
}

struct Entry {
    network: Network,
    since: Instant,
    revoked: CancellationToken,
}

/// One claim without first offers. Dropping it ends it.
#[must_use]
pub(crate) struct PendingClaim {
    claims: PendingClaims,
    key: usize,
    revoked: CancellationToken,
}

impl PendingClaims {
    /// Adds the claim of a relay.
    pub(super) fn add(&self, network: Network) -> PendingClaim {
        let revoked = CancellationToken::new();
        let key = self.0.entries.lock().insert(Entry {
            network,
            since: Instant::now(),
            revoked: revoked.clone(),
        });
        PendingClaim {
            claims: self.clone(),
            key,
            revoked,
        }
    }

    /// Revokes the claim that has waited longest of the network that has most, or of `network`, and
    /// waits until a claim has ended. Returns `false` if there is none to revoke.
    pub(super) async fn revoke_one(&self, network: Option<Network>) -> bool {
        let ended = self.0.ended.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();

        if !self.cancel_one(network) {
            return false;
        }
        tokio::time::timeout(END_WAIT, ended).await.is_ok()
    }

    fn cancel_one(&self, network: Option<Network>) -> bool {
        let claims = self.0.entries.lock();
        let is_old =
            |entry: &&Entry| entry.since.elapsed() >= SAFE_FOR && !entry.revoked.is_cancelled();
        let old: Vec<_> = claims
            .iter()
            .map(|(_, entry)| entry)
            .filter(is_old)
            .collect();
        let mut counts: HashMap<Network, usize> = HashMap::new();
        for entry in &old {
            *counts.entry(entry.network).or_default() += 1;
        }

        let candidates = old
            .iter()
            .filter(|entry| network.is_none_or(|network| entry.network == network));
        let first =
            candidates.max_by_key(|entry| (counts.get(&entry.network), Reverse(entry.since)));
        first.inspect(|entry| entry.revoked.cancel()).is_some()
    }
}

impl PendingClaim {
    /// Waits until the claim is revoked.
    pub(crate) async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}

impl Drop for PendingClaim {
    fn drop(&mut self) {
        self.claims.0.entries.lock().try_remove(self.key);
        self.claims.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use llamapool_limits::network_of;

    use super::*;

    fn network(last: u8) -> Network {
        network_of([192, 0, 2, last].into())
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_claim_of_the_network_with_most_gives_way() {
        let claims = PendingClaims::default();
        let alone = claims.add(network(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        let oldest = claims.add(network(2));
        tokio::time::advance(Duration::from_millis(1)).await;
        let newest = claims.add(network(2));

        assert!(!claims.cancel_one(None), "all are new");
        tokio::time::advance(SAFE_FOR).await;
        assert!(claims.cancel_one(None));

        assert!(oldest.revoked.is_cancelled());
        assert!(!alone.revoked.is_cancelled() && !newest.revoked.is_cancelled());

        drop(oldest);
        assert!(claims.cancel_one(Some(network(2))));
        assert!(newest.revoked.is_cancelled() && !alone.revoked.is_cancelled());
        assert!(!claims.cancel_one(Some(network(3))));
    }
}
