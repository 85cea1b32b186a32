//! What the relay knows of itself: how the connection stands, and of each provider, what is offered and which calls
//! run. Status, metrics and the events to the server all read this, so they cannot disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use llamapool_http::{BodyEnd, BodyObserver};
use llamapool_wire::{Offer, ProviderHealth};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How the connection to the server stands.
#[derive(Debug, Clone)]
pub enum LinkState {
    /// The relay is connecting.
    Connecting,
    /// The tunnel is up.
    Connected {
        /// Since when.
        since: Instant,
    },
    /// The last attempt failed or the tunnel was lost; the next attempt follows.
    Waiting {
        /// Why.
        error: String,
    },
}

/// The part of the board that the whole relay has. It is written by many and read by many, as is the other part; every
/// piece has its own short lock.
pub(crate) struct Board {
    link: watch::Sender<LinkState>,
    reconnects: AtomicU64,
}

/// The part of the board that each provider has.
pub(crate) struct ProviderBoard {
    label: Arc<str>,
    offer: watch::Sender<LocalOffer>,
    calls: Arc<Calls>,
    protected: bool,
}

/// What the relay offers of one provider, with times of its own clock.
#[derive(Debug, Clone)]
pub(crate) struct LocalOffer {
    pub(crate) draining: bool,
    pub(crate) health: Health,
    since: Instant,
}

/// Whether the provider can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// Not looked yet.
    Unknown,
    /// It took the last connection.
    Reachable,
    /// It did not, because of this.
    Unreachable(String),
}

/// Reports on the provider's health. Clones report to the same board.
#[derive(Clone)]
pub(crate) struct HealthReport {
    label: Arc<str>,
    offer: watch::Sender<LocalOffer>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            link: watch::Sender::new(LinkState::Connecting),
            reconnects: AtomicU64::new(0),
        }
    }

    pub(crate) fn link(&self) -> watch::Receiver<LinkState> {
        self.link.subscribe()
    }

    pub(crate) fn set_link(&self, state: LinkState) {
        if matches!(state, LinkState::Waiting { .. }) {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.link.send_replace(state);
    }

    /// How often a connection was refused or lost.
    pub(crate) fn losses(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

impl ProviderBoard {
    /// The board of a provider; the label is for the log.
    pub(crate) fn new(label: Arc<str>, protected: bool) -> Self {
        let offer = LocalOffer {
            draining: false,
            health: Health::Unknown,
            since: Instant::now(),
        };
        Self {
            label,
            offer: watch::Sender::new(offer),
            calls: Arc::default(),
            protected,
        }
    }

    pub(crate) fn offers(&self) -> watch::Receiver<LocalOffer> {
        self.offer.subscribe()
    }

    pub(crate) fn offer(&self) -> LocalOffer {
        self.offer.borrow().clone()
    }

    /// The offer as the server hears it.
    pub(crate) fn public_offer(&self) -> Offer {
        let LocalOffer {
            draining,
            health,
            since,
        } = self.offer();
        let for_ms = since.elapsed().as_millis() as u64;
        let provider = match health {
            Health::Unknown => ProviderHealth::Unknown,
            Health::Reachable => ProviderHealth::Reachable { for_ms },
            Health::Unreachable(error) => ProviderHealth::Unreachable { for_ms, error },
        };
        Offer {
            draining,
            protected: self.protected,
            provider,
            bridge: None,
        }
    }

    pub(crate) fn set_draining(&self, draining: bool) {
        self.offer
            .send_if_modified(|offer| std::mem::replace(&mut offer.draining, draining) != draining);
    }

    pub(crate) fn health(&self) -> HealthReport {
        HealthReport {
            label: self.label.clone(),
            offer: self.offer.clone(),
        }
    }

    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Whether callers must present a token of the relay's own.
    pub(crate) fn is_protected(&self) -> bool {
        self.protected
    }
}

impl LocalOffer {
    /// For how long the provider has been as the health says, in milliseconds.
    pub(crate) fn for_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }
}

impl HealthReport {
    /// The provider took a connection.
    pub(crate) fn reachable(&self) {
        self.set(Health::Reachable);
    }

    /// The provider did not take a connection.
    pub(crate) fn unreachable(&self, error: String) {
        self.set(Health::Unreachable(error));
    }

    fn set(&self, health: Health) {
        let provider = &*self.label;
        self.offer.send_if_modified(|offer| {
            if offer.health == health {
                return false;
            }
            // Another reason for being unreachable is no new state: "since when" goes on.
            if !matches!(
                (&offer.health, &health),
                (Health::Unreachable(_), Health::Unreachable(_))
            ) {
                offer.since = Instant::now();
                match &health {
                    Health::Unreachable(error) => {
                        tracing::warn!(provider, error, "the provider cannot be reached")
                    }
                    _ => tracing::info!(provider, "the provider can be reached"),
                }
            }
            offer.health = health;
            true
        });
    }
}

/// The calls of one provider.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    running: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    left: AtomicU64,
    changed: Notify,
}

impl Calls {
    /// How many run now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// How many were answered whole, failed or broke off, and were left by their callers.
    pub(crate) fn totals(&self) -> [(&'static str, u64); 3] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("completed", of(&self.completed)),
            ("failed", of(&self.failed)),
            ("caller_left", of(&self.left)),
        ]
    }

    /// Waits until none runs.
    pub(crate) async fn none_running(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.running() == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// One call that runs; it is over when this is dropped.
pub(crate) struct RunningCall {
    calls: Arc<Calls>,
    ending: Option<BodyEnd>,
}

impl RunningCall {
    pub(crate) fn begin(calls: &Arc<Calls>) -> Self {
        calls.running.fetch_add(1, Ordering::SeqCst);
        Self {
            calls: calls.clone(),
            ending: None,
        }
    }

    /// It is answered whole, without a body that would say so.
    pub(crate) fn answered(&mut self) {
        self.ending = Some(BodyEnd::Complete);
    }

    /// llamapool answers with an error of its own.
    pub(crate) fn failed(&mut self) {
        self.ending = Some(BodyEnd::Broken);
    }
}

impl BodyObserver for RunningCall {
    fn on_data(&mut self, _: usize) {}

    fn on_end(&mut self, ending: BodyEnd) {
        self.ending.get_or_insert(ending);
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let total = match self.ending {
            Some(BodyEnd::Complete) => &self.calls.completed,
            Some(BodyEnd::Broken | BodyEnd::TimedOut) => &self.calls.failed,
            None => &self.calls.left,
        };
        total.fetch_add(1, Ordering::Relaxed);
        self.calls.running.fetch_sub(1, Ordering::SeqCst);
        self.calls.changed.notify_waiters();
    }
}
