//! How busy a server is, for those who run it: a service manager, for example.

use std::sync::Arc;

use llamapool_http::ListenerStreams;
use tokio_util::task::TaskTracker;

use crate::scheduler::DrainGate;

/// A handle on how busy a server is. Clones are the same handle.
#[derive(Clone, Default)]
pub struct ServerLoad {
    /// Owns the tasks of the tunnels, one for each relay.
    pub(super) tunnels: TaskTracker,
    /// Every call passes it.
    pub(super) gate: Arc<DrainGate>,
    /// The streams on which callers only listen.
    pub(super) listeners: ListenerStreams,
}

impl ServerLoad {
    /// Returns the number of relays and workers that are connected, those included whose first offer
    /// has not arrived yet.
    pub fn relays(&self) -> usize {
        self.tunnels.len()
    }

    /// Returns the number of calls that run, those to LLMs that wait for a worker included.
    pub fn calls(&self) -> usize {
        self.gate.running()
    }

    /// Returns for how many of them a caller only listens.
    pub fn listeners(&self) -> usize {
        self.listeners.open()
    }
}
