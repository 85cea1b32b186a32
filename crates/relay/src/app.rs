//! What every part of the relay works with. It knows what it is made of, and not who puts it together: that is `relay`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config::RelayConfig;
use crate::dial::Dialer;
use crate::hosted::Hosted;

/// What every part of the relay works with.
pub(crate) struct App {
    pub(crate) config: RelayConfig,
    /// The providers, in the order of the configuration; at least one.
    pub(crate) hosted: Vec<Arc<Hosted>>,
    pub(crate) board: Board,
    pub(crate) dialer: Dialer,
    /// Asks the relay to drain and end.
    pub(crate) stop: CancellationToken,
}

impl App {
    /// The provider that callers reach under this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Hosted>> {
        self.hosted
            .iter()
            .find(|hosted| hosted.id().is_some_and(|own| own.as_str() == id))
    }

    /// Drains all providers, or takes calls for all of them again.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.hosted
            .iter()
            .for_each(|hosted| hosted.board.set_draining(draining));
    }

    /// Whether the relay takes no new calls.
    pub(crate) fn is_draining(&self) -> bool {
        self.hosted
            .iter()
            .all(|hosted| hosted.board.offer().draining)
    }

    /// How many calls run now, of all providers.
    pub(crate) fn running(&self) -> usize {
        self.hosted
            .iter()
            .map(|hosted| hosted.board.calls().running())
            .sum()
    }

    /// Waits until no call of any provider runs.
    pub(crate) async fn none_running(&self) {
        while self.running() > 0 {
            for hosted in &self.hosted {
                hosted.board.calls().none_running().await;
            }
        }
    }
}
