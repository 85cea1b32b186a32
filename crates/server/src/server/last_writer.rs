//! A task that has something to write up to the end of the server, after all others.

use std::future::Future;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ending::FAREWELL;

/// A task that writes up to the end of the server.
pub(super) struct LastWriter {
    end: CancellationToken,
    task: JoinSet<()>,
}

impl LastWriter {
    /// Starts it. It ends some time after its token is cancelled.
    pub(super) fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let end = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(end.clone()));
        Self { end, task }
    }

    /// Lets it write what is left of something.
    pub(super) async fn finish(self, what: &'static str) {
        self.end.cancel();
        let ended = self.task.join_all();
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tracing::warn!(what, "could not be written");
        }
    }
}
