//! The state of one provider: its health, whether it drains, and its calls.

use std::sync::Arc;

use llamapool_wire::{Offer, ProviderHealth};
use tokio::sync::watch;
use tokio::time::Instant;

use super::calls::CallCounters;

/// The state of one provider. Many tasks write and read it; each part has a short lock of its own.
pub(crate) struct ProviderStatus {
    label: Arc<str>,
    state: watch::Sender<ProviderState>,
    calls: Arc<CallCounters>,
    is_protected: bool,
}

/// The part of a provider's state that the server is notified of, with times of this process.
#[derive(Debug, Clone)]
pub(crate) struct ProviderState {
    pub(crate) is_draining: bool,
    pub(crate) health: Health,
    health_since: Instant,
}

/// Reachability of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// It was not probed yet.
    Unknown,
    /// It took the last connection.
    Reachable,
    /// It did not take the last connection, because of this error.
    Unreachable(String),
}

/// Reports the health of a provider to its status. Clones report to the same status.
#[derive(Clone)]
pub(crate) struct HealthReporter {
    label: Arc<str>,
    state: watch::Sender<ProviderState>,
}

impl ProviderStatus {
    /// The status of a provider that was not probed yet. `label` names it in the log;
    /// `is_protected` is true if callers must present a token of the relay's own.
    pub(crate) fn new(label: Arc<str>, is_protected: bool) -> Self {
        let state = ProviderState {
            is_draining: false,
            health: Health::Unknown,
            health_since: Instant::now(),
        };
        Self {
            label,
            state: watch::Sender::new(state),
            calls: Arc::default(),
            is_protected,
        }
    }

    /// Returns the state, now and at every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<ProviderState> {
        self.state.subscribe()
    }

    /// Returns the state now.
    pub(crate) fn state(&self) -> ProviderState {
        self.state.borrow().clone()
    }

    /// Returns whether the provider takes no new calls.
    pub(crate) fn is_draining(&self) -> bool {
        self.state.borrow().is_draining
    }

    /// Returns whether the provider took the last connection.
    pub(crate) fn is_reachable(&self) -> bool {
        self.state.borrow().health == Health::Reachable
    }

    /// Returns the offer that the server receives, without a bridge's load.
    pub(crate) fn offer(&self) -> Offer {
        let state = self.state();
        let for_ms = state.health_age_ms();
        let provider = match state.health {
            Health::Unknown => ProviderHealth::Unknown,
            Health::Reachable => ProviderHealth::Reachable { for_ms },
            Health::Unreachable(error) => ProviderHealth::Unreachable { for_ms, error },
        };
        Offer {
            draining: state.is_draining,
            protected: self.is_protected,
            provider,
            bridge: None,
            llm: None,
        }
    }

    /// Stops new calls, or takes them again.
    pub(crate) fn set_draining(&self, is_draining: bool) {
        self.state.send_if_modified(|state| {
            std::mem::replace(&mut state.is_draining, is_draining) != is_draining
        });
    }

    /// Returns the reporter of this provider's health.
    pub(crate) fn health_reporter(&self) -> HealthReporter {
        HealthReporter {
            label: self.label.clone(),
            state: self.state.clone(),
        }
    }

    /// Returns the name of the provider in the log.
    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Returns the counters of this provider's calls.
    pub(crate) fn calls(&self) -> &Arc<CallCounters> {
        &self.calls
    }

    /// Returns whether callers must present a token of the relay's own.
    pub(crate) fn is_protected(&self) -> bool {
        self.is_protected
    }
}

impl ProviderState {
    /// Returns for how long the health has been the same, in milliseconds.
    pub(crate) fn health_age_ms(&self) -> u64 {
        self.health_since.elapsed().as_millis() as u64
    }
}

impl HealthReporter {
    /// Reports that the provider took a connection.
    pub(crate) fn reachable(&self) {
        self.set(Health::Reachable);
    }

    /// Reports that the provider did not take a connection.
    pub(crate) fn unreachable(&self, error: String) {
        self.set(Health::Unreachable(error));
    }

    /// Returns whether the provider took the last connection.
    pub(crate) fn is_reachable(&self) -> bool {
        self.state.borrow().health == Health::Reachable
    }

    /// Waits until [`is_reachable`](Self::is_reachable) is no longer `was_reachable`.
    pub(crate) async fn until_changed_from(&self, was_reachable: bool) {
        // The sender lives as long as this reporter.
        let _ = self
            .state
            .subscribe()
            .wait_for(|state| (state.health == Health::Reachable) != was_reachable)
            .await;
    }

    fn set(&self, health: Health) {
        self.state.send_if_modified(|state| {
            if state.health == health {
                return false;
            }
            // Another error of an unreachable provider is not a new state: its time continues.
            let stays_unreachable = matches!(
                (&state.health, &health),
                (Health::Unreachable(_), Health::Unreachable(_))
            );
            if !stays_unreachable {
                state.health_since = Instant::now();
                self.log(&health);
            }
            state.health = health;
            true
        });
    }

    fn log(&self, health: &Health) {
        let provider = &*self.label;
        match health {
            Health::Unreachable(error) => {
                tracing::warn!(provider, error, "the provider cannot be reached")
            }
            _ => tracing::info!(provider, "the provider can be reached"),
        }
    }
}
