//! The health of a bridge: programs can be started, or not. And its observer.

use std::sync::Arc;

use llamapool_mcp::ServerFacts;
use tokio::sync::watch;

/// Observes a bridge. Its tasks call the methods, which must not block.
pub trait BridgeEvents: Send + Sync + 'static {
    /// A program wrote its first message: starting it works.
    fn on_healthy(&self);

    /// A program cannot be started, or exited before its first message. `reason` is for the
    /// operator: it contains the program's last words.
    fn on_unhealthy(&self, reason: String);

    /// The first exchange with the program is over, with these facts or with none.
    fn on_facts(&self, _facts: Option<ServerFacts>) {}
}

/// The health of a bridge. Clones share one state.
#[derive(Clone)]
pub(crate) struct BridgeHealth {
    events: Arc<dyn BridgeEvents>,
    state: watch::Sender<HealthState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HealthState {
    /// Starting works, or was not tried yet.
    Healthy,
    /// A program that a caller had started did not start. That can be the caller's doing.
    Doubtful,
    /// A program that the bridge itself had started did not start.
    Unhealthy,
}

impl BridgeHealth {
    /// Creates the health of a bridge that has not started a program yet: it is not unhealthy.
    pub(crate) fn new(events: impl BridgeEvents) -> Self {
        Self {
            events: Arc::new(events),
            state: watch::Sender::new(HealthState::Healthy),
        }
    }

    /// Reports that a program wrote its first message.
    pub(crate) fn set_healthy(&self) {
        self.state.send_replace(HealthState::Healthy);
        self.events.on_healthy();
    }

    /// Reports that a program did not start.
    pub(crate) fn set_unhealthy(&self, reason: String) {
        self.state.send_replace(HealthState::Unhealthy);
        self.events.on_unhealthy(reason);
    }

    /// Reports the facts of the first exchange.
    pub(crate) fn set_facts(&self, facts: Option<ServerFacts>) {
        self.events.on_facts(facts);
    }

    /// Reports that a program did not start for a caller. One caller must not make a provider
    /// unreachable for all, so the bridge finds out by itself.
    pub(crate) fn set_doubtful(&self) {
        self.state.send_if_modified(|state| {
            let is_news = *state == HealthState::Healthy;
            if is_news {
                *state = HealthState::Doubtful;
            }
            is_news
        });
    }

    /// Waits until the bridge is not known to be healthy.
    pub(crate) async fn until_doubtful(&self) {
        let mut state = self.state.subscribe();
        // The sender is part of `self`, so this cannot fail.
        let _ = state.wait_for(|state| *state != HealthState::Healthy).await;
    }
}
