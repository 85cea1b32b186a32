//! Liveness of the peer: pings, signs of life, and the silence that ends a tunnel.
//!
//! The connection task records signs of life and sends the pings. The timers run beside it, in the
//! task that drives the tunnel, so they fire even while the connection is stuck in a full socket.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::close::TunnelEnd;
use crate::config::TunnelConfig;

/// Signs of life of the peer, and the requests for them.
#[derive(Debug)]
pub(crate) struct Liveness {
    created: Instant,
    /// Time of the last sign of life, in microseconds since `created`.
    last_received: AtomicU64,
    received: Notify,
    is_ping_requested: AtomicBool,
    connection: AtomicWaker,
}

impl Liveness {
    pub(super) fn new() -> Self {
        Self {
            created: Instant::now(),
            last_received: AtomicU64::new(0),
            received: Notify::new(),
            is_ping_requested: AtomicBool::new(false),
            connection: AtomicWaker::new(),
        }
    }

    /// Records a sign of life. For the connection task.
    pub(super) fn record_received(&self) {
        let now = self.age().as_micros() as u64;
        self.last_received.store(now, Ordering::Relaxed);
        self.received.notify_waiters();
    }

    /// Registers the connection task, for [`wake_connection`](Self::wake_connection).
    pub(super) fn register_connection(&self, waker: &Waker) {
        self.connection.register(waker);
    }

    /// Wakes the connection task.
    pub(crate) fn wake_connection(&self) {
        self.connection.wake();
    }

    /// Takes the request for a ping, if there is one. For the connection task.
    pub(super) fn take_ping_request(&self) -> bool {
        self.is_ping_requested.load(Ordering::Relaxed)
            && self.is_ping_requested.swap(false, Ordering::AcqRel)
    }

    fn request_ping(&self) {
        self.is_ping_requested.store(true, Ordering::Release);
        self.wake_connection();
    }

    /// Sends heartbeats until the peer has been silent for too long.
    pub(crate) async fn watch(&self, config: &TunnelConfig) -> TunnelEnd {
        loop {
            let left = config.silence.saturating_sub(self.silence());
            if left.is_zero() {
                return TunnelEnd::Silent;
            }
            tokio::time::sleep(config.heartbeat.min(left)).await;
            self.request_ping();
        }
    }

    /// Sends a ping, and returns whether a sign of life arrives within `patience`.
    pub(crate) async fn is_alive(&self, patience: Duration) -> bool {
        let received = self.received.notified();
        tokio::pin!(received);
        // From here on a sign of life counts, also one that arrives before the first poll below.
        received.as_mut().enable();

        self.request_ping();
        tokio::time::timeout(patience, received).await.is_ok()
    }

    /// Returns the time since the last sign of life.
    pub(crate) fn silence(&self) -> Duration {
        let last_received = self.last_received.load(Ordering::Relaxed);
        self.age()
            .saturating_sub(Duration::from_micros(last_received))
    }

    fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.created)
    }
}
