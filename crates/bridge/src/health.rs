//! The health of a bridge: programs can be started, or not. And its observer.

use std::sync::Arc;

use tokio::sync::watch;

/// Observes a bridge. Its tasks call the methods, which must not block.
pub trait BridgeEvents: Send + Sync + 'static {
    /// A program wrote its first line: starting it works.
    fn on_healthy(&self);

    /// A program cannot be started, or exited before its first line. `reason` is for people.
    fn on_unhealthy(&self, reason: String);
}

/// The health of a bridge. Clones share one state.
#[derive(Clone)]
pub(crate) struct BridgeHealth {
    events: Arc<dyn BridgeEvents>,
    is_unhealthy: watch::Sender<bool>,
}

impl BridgeHealth {
    /// Creates the health of a bridge that has not started a program yet: it is not unhealthy.
    pub(crate) fn new(events: impl BridgeEvents) -> Self {
        Self {
            events: Arc::new(events),
            is_unhealthy: watch::Sender::new(false),
        }
    }

    /// Reports that a program wrote its first line.
    pub(crate) fn set_healthy(&self) {
        self.is_unhealthy.send_replace(false);
        self.events.on_healthy();
    }

    /// Reports that a program did not start.
    pub(crate) fn set_unhealthy(&self, reason: String) {
        self.is_unhealthy.send_replace(true);
        self.events.on_unhealthy(reason);
    }

    /// Waits until the bridge is unhealthy.
    pub(crate) async fn until_unhealthy(&self) {
        // The sender is part of `self`, so this cannot fail.
        let _ = self.is_unhealthy.subscribe().wait_for(|is| *is).await;
    }
}
