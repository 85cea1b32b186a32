//! The handle of the log: takes events from any thread, and never waits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use llamapool_identity::{AuditEvent, Checkpoint};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::counts::{Counts, Refused};
use super::keeper::AuditKeeper;
use super::{AuditCalls, AuditConfig, AuditError};
use crate::data_dir::ServerData;

/// The events that wait for the disk at most. Texts in them are cut, so that they take some MiB.
const MAX_WAITING: usize = 8192;

/// The audit log. Clones are the same log; without one, all of it is free.
#[derive(Clone, Default)]
pub(crate) struct Audit(Option<Arc<Shared>>);

/// What the handles and the keeper share.
pub(super) struct Shared {
    queue: mpsc::Sender<AuditEvent>,
    pub(super) counts: Counts,
    calls: AuditCalls,
    is_required: bool,
    /// Whether the last attempt to write failed.
    is_failing: AtomicBool,
    /// Events that had no place in the queue.
    lost: AtomicU64,
    /// Attempts to write that failed.
    failures: AtomicU64,
    /// Whether the queue has been full since it was last empty, so that an error is logged once.
    is_full: AtomicBool,
    written: Mutex<Written>,
}

/// What is written.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    /// Where the log went on when it was opened.
    resumed: Option<Resumed>,
    /// The number of the last line.
    sequence: u64,
    checkpoint: Option<(Checkpoint, SystemTime)>,
}

/// Where a log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// The number of the last event of the store that is in it.
    pub(crate) change: i64,
    /// The time of the last line; `None`: there is none.
    pub(crate) at: Option<SystemTime>,
}

/// The state of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditStatus {
    /// Whether it cannot be written now.
    pub(crate) is_failing: bool,
    /// The number of the last line.
    pub(crate) sequence: u64,
    /// The checkpoint that was noted last.
    pub(crate) checkpoint: Option<(Checkpoint, SystemTime)>,
    pub(crate) lost: u64,
    pub(crate) failures: u64,
}

impl Audit {
    /// Opens the log of a server, and returns it with the keeper that writes it. Both do nothing if
    /// there is none.
    ///
    /// # Errors
    ///
    /// If it is required, and cannot be opened.
    pub(crate) fn open(
        config: &AuditConfig,
        data: &ServerData,
    ) -> std::io::Result<(Self, Option<AuditKeeper>)> {
        let directory = data.directory.as_ref().filter(|_| config.is_on);
        let Some(directory) = directory else {
            if config.is_required {
                let error = "AUDIT_REQUIRED needs AUDIT and DATA_DIR, where the log is: set them";
                return Err(std::io::Error::other(error));
            }
            return Ok((Self::default(), None));
        };
        Self::open_in(directory.folder(), config, &data.key)
    }

    pub(super) fn open_in(
        folder: &Path,
        config: &AuditConfig,
        key: &llamapool_wire::Secret,
    ) -> std::io::Result<(Self, Option<AuditKeeper>)> {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let shared = Arc::new(Shared {
            queue,
            counts: Counts::default(),
            calls: config.calls,
            is_required: config.is_required,
            is_failing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            written: Mutex::default(),
        });
        let folder = folder.join(llamapool_identity::AUDIT_FOLDER);
        let settings = config.files(folder);
        let keeper = AuditKeeper::open(settings, key, shared.clone(), waiting)?;
        Ok((Self(Some(shared)), Some(keeper)))
    }

    /// Writes an event. It is made only if there is a log.
    pub(crate) fn write(&self, event: impl FnOnce() -> AuditEvent) {
        let Some(shared) = &self.0 else {
            return;
        };
        let event = event();
        if shared.counts.lists(event.kind) {
            shared.send(event);
        }
    }

    /// Writes an event, unless there is no room for it now: `false`.
    pub(crate) fn offer(&self, event: AuditEvent) -> bool {
        let Some(shared) = &self.0 else {
            return true;
        };
        shared.queue.try_send(event).is_ok()
    }

    /// Counts a credential that was refused.
    pub(crate) fn refused(&self, reason: Refused) {
        if let Some(shared) = &self.0 {
            shared.counts.refused(reason);
        }
    }

    /// Returns this log if at least as much is written of calls.
    pub(crate) fn of_calls(&self, calls: AuditCalls) -> Self {
        let shared = self.0.as_ref().filter(|shared| shared.calls >= calls);
        Self(shared.cloned())
    }

    /// Returns whether there is a log.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Lets a sign-in or a change in.
    ///
    /// # Errors
    ///
    /// If it cannot be written down now, and must be.
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        match &self.0 {
            Some(shared) if shared.is_required && shared.cannot_write() => Err(AuditError),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns where the log goes on, once it could be opened.
    pub(crate) fn resumed(&self) -> Option<Resumed> {
        self.0.as_ref()?.written.lock().resumed
    }

    /// Returns the state of the log; `None` if there is none.
    pub(crate) fn status(&self) -> Option<AuditStatus> {
        let shared = self.0.as_ref()?;
        let written = *shared.written.lock();
        Some(AuditStatus {
            is_failing: shared.cannot_write(),
            sequence: written.sequence,
            checkpoint: written.checkpoint,
            lost: shared.lost.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
        })
    }
}

impl Shared {
    fn send(&self, event: AuditEvent) {
        if self.queue.try_send(event).is_ok() {
            return;
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!(
                waiting = MAX_WAITING,
                "the audit log loses events: as many wait for the disk as may"
            );
        }
    }

    fn cannot_write(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed) || self.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Returns how many events were lost in all.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes that all that waited is written.
    pub(super) fn note_empty(&self) {
        self.is_full.store(false, Ordering::Relaxed);
    }

    /// Notes that an attempt to write failed.
    pub(super) fn note_failure(&self, error: &std::io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "the audit log cannot be written");
        } else {
            tracing::error!(
                %error,
                is_required = self.is_required,
                "the audit log cannot be written: it is tried again every second"
            );
        }
    }

    /// Notes that lines are written.
    pub(super) fn note_written(&self, sequence: u64) {
        self.written.lock().sequence = sequence;
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log is written again");
        }
    }

    /// Notes where the log goes on.
    pub(super) fn note_resumed(&self, resumed: Resumed) {
        self.written.lock().resumed.get_or_insert(resumed);
    }

    /// Notes a checkpoint, unless it is the one of before: in the log, the metrics and the state, from
    /// where others may collect it.
    pub(super) fn note_checkpoint(&self, checkpoint: Checkpoint, now: SystemTime) {
        let before = self.written.lock().checkpoint.replace((checkpoint, now));
        if before.is_none_or(|(before, _)| before != checkpoint) {
            let Checkpoint { sequence, link } = checkpoint;
            tracing::info!(seq = sequence, hash = %link, "audit checkpoint");
        }
    }
}
