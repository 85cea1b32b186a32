//! Writes to the store while the server runs: a bounded queue to the keeper, which has the store. A
//! write is durable and published when it returns, so what it has made can be used at once, and what it
//! has ended is over.

use std::time::Duration;

use llamapool_identity::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::audit::{Audit, AuditError};

/// The writes that wait at most.
const MAX_WAITING: usize = 64;
/// How long a write waits for its turn and its end. SQLite itself waits 5 s for other processes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sending half of the queue. Clones are the same queue.
#[derive(Clone)]
pub(crate) struct StoreWriter {
    queue: mpsc::Sender<Write>,
    /// Refuses all writes while it cannot be written and must be.
    audit: Audit,
}

/// The receiving half.
pub(super) type Writes = mpsc::Receiver<Write>;

/// A write.
pub(super) struct Write {
    /// Returns what is to be done once its change is published.
    pub(super) run: Box<dyn FnOnce(&mut Store) -> Answer + Send>,
    /// Whether it is published apart from others, as it is told what it has ended.
    pub(super) is_alone: bool,
}

/// Gets the calls and tunnels that ended with the change; `None` if it is stored and could not be
/// published.
pub(super) type Answer = Box<dyn FnOnce(Option<usize>) + Send>;

/// What a change has written, and ended.
#[derive(Debug)]
pub(crate) struct Applied<T> {
    pub(crate) value: T,
    /// The calls and tunnels that ended with it.
    pub(crate) ended: usize,
}

/// The reasons why something was not written, or not in time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The store failed, or has no room.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be written into the audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// It waited too long. It may still be written.
    #[error("the store took longer than {PATIENCE:?}")]
    TooSlow,
    /// It is written, and not published yet: the next look of the keeper does.
    #[error("the change is stored, and not applied yet")]
    NotApplied,
    /// The keeper of the store has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreWriter {
    /// Returns both halves of a queue.
    pub(super) fn new(audit: Audit) -> (Self, Writes) {
        let (queue, receiver) = mpsc::channel(MAX_WAITING);
        (Self { queue, audit }, receiver)
    }

    /// Writes, and waits until the change is published.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        let (value, _) = self.send(change, false).await?;
        Ok(value)
    }

    /// Writes a change of who may do what, waits until it is published, and returns what has ended
    /// with it.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Applied<T>, WriteError> {
        let (value, ended) = self.send(change, true).await?;
        let value = value?;
        let ended = ended.ok_or(WriteError::NotApplied)?;
        Ok(Applied { value, ended })
    }

    async fn send<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Store) -> T + Send + 'static,
        is_alone: bool,
    ) -> Result<(T, Option<usize>), WriteError> {
        self.audit.check()?;
        let (answer, answered) = oneshot::channel();
        let run = move |store: &mut Store| -> Answer {
            let written = change(store);
            // The sender of the write may have gone; the write stands.
            Box::new(move |ended| drop(answer.send((written, ended))))
        };
        let write = Write {
            run: Box::new(run),
            is_alone,
        };

        let written = timeout(PATIENCE, async {
            let sent = self.queue.send(write).await;
            sent.map_err(|_| WriteError::Closed)?;
            answered.await.map_err(|_| WriteError::Closed)
        });
        written.await.map_err(|_| WriteError::TooSlow)?
    }
}
