//! Counts of programs and sessions, which status, metrics and the server read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llamapool_wire::BridgeLoad;
use tokio::sync::watch;

/// The counts of a bridge. Clones share them.
#[derive(Debug, Clone)]
pub struct BridgeStats(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    children: AtomicU64,
    sessions: AtomicU64,
    started: AtomicU64,
    crashed: AtomicU64,
    changed: watch::Sender<()>,
}

/// Counts a program as running until it is dropped.
#[must_use]
pub(crate) struct RunningProgram(BridgeStats);

/// Counts a session as open until it is dropped.
#[must_use]
pub(crate) struct OpenSession(BridgeStats);

impl BridgeStats {
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

    /// Returns the counts as they are now.
    pub fn snapshot(&self) -> BridgeLoad {
        BridgeLoad {
            children: self.0.children.load(Ordering::Relaxed),
            sessions: self.0.sessions.load(Ordering::Relaxed),
            started_total: self.0.started.load(Ordering::Relaxed),
            crashed_total: self.0.crashed.load(Ordering::Relaxed),
        }
    }

    /// Returns a receiver that changes whenever a count does.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Counts a program that was started.
    pub(crate) fn program_started(&self) -> RunningProgram {
        self.0.children.fetch_add(1, Ordering::Relaxed);
        self.0.started.fetch_add(1, Ordering::Relaxed);
        self.0.changed.send_replace(());
        RunningProgram(self.clone())
    }

    /// Counts a session that was opened.
    pub(crate) fn session_opened(&self) -> OpenSession {
        self.0.sessions.fetch_add(1, Ordering::Relaxed);
        self.0.changed.send_replace(());
        OpenSession(self.clone())
    }

    /// Counts a program that exited without having been asked to.
    pub(crate) fn program_crashed(&self) {
        self.0.crashed.fetch_add(1, Ordering::Relaxed);
        self.0.changed.send_replace(());
    }
}

impl Drop for RunningProgram {
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
