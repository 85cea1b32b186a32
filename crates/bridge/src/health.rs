//! Whether the program runs, and the observer that is notified when that changes.

use std::sync::Arc;

use tokio::sync::watch;

/// Observes a bridge. The methods are called by the bridge's own tasks and must not block.
pub trait BridgeEvents: Send + Sync + 'static {
    /// A program wrote its first line: starting it works.
    fn on_healthy(&self);

    /// A program cannot be started, or ended before its first line. `reason` is for people.
    fn on_unhealthy(&self, reason: String);
}

/// The health of the program. Clones share one state.
#[derive(Clone)]
pub(crate) struct Health {
    events: Arc<dyn BridgeEvents>,
    is_unhealthy: watch::Sender<bool>,
}

impl Health {
    /// Returns a health that is not unhealthy yet.
    pub(crate) fn new(events: impl BridgeEvents) -> Self {
        Self {
            events: Arc::new(events),
            is_unhealthy: watch::Sender::new(false),
        }
    }

    /// Reports that a program wrote its first line.
    pub(crate) fn reachable(&self) {
        self.is_unhealthy.send_replace(false);
        self.events.on_healthy();
    }

    /// Reports that a program did not start.
    pub(crate) fn unreachable(&self, reason: String) {
        self.is_unhealthy.send_replace(true);
        self.events.on_unhealthy(reason);
    }

    /// Waits until the program is unhealthy.
    pub(crate) async fn until_unreachable(&self) {
        // The sender is held by `self`, so this cannot fail.
        let _ = self.is_unhealthy.subscribe().wait_for(|is| *is).await;
    }
}
