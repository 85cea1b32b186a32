//! Other providers while the relay runs: what is the same goes on untouched, what is gone drains and
//! ends, what is new gets a tunnel of its own.
//!
//! An id that is there before and after keeps its place at the server, whatever is behind it: a
//! provider that has changed is replaced within the relay, its running calls finish at the old one.

mod plan;
mod running;

use tokio::sync::{mpsc, oneshot};

use crate::config::ProviderConfig;
use llamapool_wire::MAX_PROVIDERS;

pub(crate) use self::running::Running;

/// Replaces the providers of a running relay.
#[derive(Clone)]
pub struct Reloader(mpsc::Sender<Reload>);

/// The requests for other providers, as the relay receives them.
pub(crate) struct Reloads {
    sender: mpsc::Sender<Reload>,
    receiver: mpsc::Receiver<Reload>,
}

/// One request for other providers.
pub(crate) struct Reload {
    pub(crate) providers: Vec<ProviderConfig>,
    pub(crate) done: oneshot::Sender<ReloadReport>,
}

/// The names of the providers that a reload has changed, and the number of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Providers that were added.
    pub added: Vec<String>,
    /// Providers that were replaced, with the same id.
    pub changed: Vec<String>,
    /// Providers that were removed.
    pub removed: Vec<String>,
    /// The number of providers that are the same.
    pub unchanged: usize,
}

/// The providers were not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There is no provider, or more than a relay may have.
    #[error("a relay has 1 to {MAX_PROVIDERS} providers, and this one was given {0}")]
    Providers(usize),
    /// The relay drains or has ended.
    #[error("the relay is stopping")]
    Stopping,
}

impl Reloader {
    /// Replaces the providers, and returns once the new ones are there; they connect afterwards.
    ///
    /// # Errors
    ///
    /// If there are none or too many, or the relay is stopping.
    pub async fn reload(
        &self,
        providers: Vec<ProviderConfig>,
    ) -> Result<ReloadReport, ReloadError> {
        let count = providers.len();
        if count == 0 || count > MAX_PROVIDERS {
            return Err(ReloadError::Providers(count));
        }
        let (done, report) = oneshot::channel();
        let request = Reload { providers, done };
        let sent = self.0.send(request).await;
        sent.map_err(|_| ReloadError::Stopping)?;
        report.await.map_err(|_| ReloadError::Stopping)
    }
}

impl Reloads {
    /// The requests of one relay.
    pub(crate) fn new() -> Self {
        // One waits while another one is done.
        let (sender, receiver) = mpsc::channel(1);
        Self { sender, receiver }
    }

    /// Returns the handle that sends them.
    pub(crate) fn reloader(&self) -> Reloader {
        Reloader(self.sender.clone())
    }

    /// Waits for the next request.
    pub(crate) async fn next(&mut self) -> Reload {
        match self.receiver.recv().await {
            Some(reload) => reload,
            // Never: a sender is held here.
            None => std::future::pending().await,
        }
    }
}
