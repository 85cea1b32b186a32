//! What a bridge runs at this moment, and what it has run: one set of counts, which status, metrics and the server read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llamapool_wire::BridgeLoad;
use tokio::sync::watch;

/// The counts. Each goes up and down with a guard.
#[derive(Debug, Clone)]
pub struct Load(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    children: AtomicU64,
    sessions: AtomicU64,
    started: AtomicU64,
    crashed: AtomicU64,
    changed: watch::Sender<()>,
}

/// A program that runs.
#[must_use]
pub(crate) struct RunningChild(Load);

/// A session that is open.
#[must_use]
pub(crate) struct OpenSession(Load);

impl Load {
    pub(crate) fn new() -> Self {
        let counts = Counts {
            children: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            started: AtomicU64::new(0),
            crashed: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        };
        Self(Arc::new(counts))
    }

    /// What is counted now.
    pub fn now(&self) -> BridgeLoad {
        BridgeLoad {
            children: self.0.children.load(Ordering::Relaxed),
            sessions: self.0.sessions.load(Ordering::Relaxed),
            started_total: self.0.started.load(Ordering::Relaxed),
            crashed_total: self.0.crashed.load(Ordering::Relaxed),
        }
    }

    /// Changes whenever a count does.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    pub(crate) fn child(&self) -> RunningChild {
        self.0.children.fetch_add(1, Ordering::Relaxed);
        self.0.started.fetch_add(1, Ordering::Relaxed);
        self.0.changed.send_replace(());
        RunningChild(self.clone())
    }

    pub(crate) fn session(&self) -> OpenSession {
        self.0.sessions.fetch_add(1, Ordering::Relaxed);
        self.0.changed.send_replace(());
        OpenSession(self.clone())
    }

    pub(crate) fn crashed(&self) {
        self.0.crashed.fetch_add(1, Ordering::Relaxed);
        self.0.changed.send_replace(());
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        self.0.0.children.fetch_sub(1, Ordering::Relaxed);
        self.0.0.changed.send_replace(());
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.0.sessions.fetch_sub(1, Ordering::Relaxed);
        self.0.0.changed.send_replace(());
    }
}
