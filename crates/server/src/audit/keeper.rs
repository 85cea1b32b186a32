//! The keeper of the log: one task that writes what the others have given, and brings it to the disk.
//!
//! While the disk takes nothing it keeps one batch, and the queue fills up behind it; then events are
//! lost, counted, and the log says how many once it can be written again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use llamapool_identity::{AuditEvent, ChainKey, Checkpoint, EventKind};
use llamapool_wire::Secret;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::FileSettings;
use super::files::AuditFiles;
use super::log::{Resumed, Shared};

/// The events that are written together.
const MAX_BATCH: usize = 512;
/// The longest time until a line is on the disk, and between two tries to write.
const SYNCS: Duration = Duration::from_secs(1);
/// The time that counts are taken together for.
const COUNTS: Duration = Duration::from_secs(60);
/// The time between two checkpoints.
const CHECKPOINTS: Duration = Duration::from_secs(5 * 60);

/// The keeper of the log of a server.
pub(crate) struct AuditKeeper {
    shared: Arc<Shared>,
    waiting: mpsc::Receiver<AuditEvent>,
    /// What the next write takes.
    batch: VecDeque<AuditEvent>,
    disk: Option<Disk>,
    /// When it last did each of these; `None`: it is due.
    synced: Option<Instant>,
    counted: Option<Instant>,
    noted: Option<Instant>,
    /// The lost events that the log has.
    told_lost: u64,
}

/// The files, which are lent to the thread of each write.
struct Disk {
    settings: FileSettings,
    key: ChainKey,
    /// `None` until they could be opened.
    files: Option<AuditFiles>,
}

/// How far a write brings its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Written,
    OnDisk,
}

/// What a write did.
struct Done {
    disk: Disk,
    batch: VecDeque<AuditEvent>,
    resumed: Option<Resumed>,
    result: io::Result<Checkpoints>,
}

/// The last line, and whether it is to be noted.
struct Checkpoints {
    head: Checkpoint,
    is_due: bool,
}

impl AuditKeeper {
    /// Opens the files. A log that need not be written is opened later, if it cannot be now.
    ///
    /// # Errors
    ///
    /// If it must be written and cannot be opened.
    pub(super) fn open(
        settings: FileSettings,
        key: &Secret,
        shared: Arc<Shared>,
        waiting: mpsc::Receiver<AuditEvent>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let mut keeper = Self {
            shared,
            waiting,
            batch: VecDeque::new(),
            disk: None,
            synced: Some(now),
            counted: Some(now),
            noted: None,
            told_lost: 0,
        };
        let disk = Disk {
            settings,
            key: ChainKey::new(key),
            files: None,
        };
        let done = disk.write(VecDeque::new(), Until::OnDisk, SystemTime::now());
        match keeper.take(done) {
            Err(error) if keeper.shared.is_required() => Err(error),
            Ok(()) | Err(_) => Ok(keeper),
        }
    }

    /// Writes until the end of the server; then writes what is left.
    pub(crate) async fn run(mut self, end: CancellationToken) {
        let mut ticks = interval(SYNCS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !end.is_cancelled() {
            tokio::select! {
                () = end.cancelled() => {}
                _ = ticks.tick() => {}
                Some(event) = self.waiting.recv(), if self.batch.is_empty() => {
                    self.batch.push_back(event);
                }
            }
            self.fill();
            self.count();
            // A failure is noted where it is found, and the next tick tries again.
            let _ = self.write().await;
        }

        // What others have written up to their end.
        self.counted = None;
        self.count();
        while !self.waiting.is_empty() || !self.batch.is_empty() {
            self.fill();
            if self.write().await.is_err() {
                return;
            }
        }
        let closed = AuditEvent::new(EventKind::AuditClosed);
        self.batch.push_back(closed);
        self.synced = None;
        self.noted = None;
        let _ = self.write().await;
    }

    /// Fills the batch. Where a write has failed it has something left, and takes no more.
    fn fill(&mut self) {
        while self.batch.len() < MAX_BATCH
            && let Ok(event) = self.waiting.try_recv()
        {
            self.batch.push_back(event);
        }
    }

    /// Adds the lines of what was counted, once a minute, and of what was lost.
    fn count(&mut self) {
        if self.batch.len() >= MAX_BATCH {
            return;
        }
        if is_due(self.counted, COUNTS) {
            self.counted = Some(Instant::now());
            self.batch.extend(self.shared.counts.take());
        }
        let lost = self.shared.lost();
        if lost > self.told_lost {
            let count = lost - self.told_lost;
            self.told_lost = lost;
            let event = AuditEvent::new(EventKind::AuditLost).with("count", count);
            self.batch.push_back(event);
        }
    }

    /// Writes the batch, if there is one or something must be brought to the disk.
    async fn write(&mut self) -> io::Result<()> {
        let is_late = is_due(self.synced, SYNCS);
        let is_urgent = self.batch.iter().any(|event| event.kind.is_urgent());
        let files = self.disk.as_ref().and_then(|disk| disk.files.as_ref());
        let is_dirty = files.is_none_or(AuditFiles::is_dirty);
        if self.batch.is_empty() && !(is_dirty && is_late) {
            self.note_checkpoint();
            return Ok(());
        }
        let Some(disk) = self.disk.take() else {
            return Ok(());
        };
        let until = if is_urgent || is_late {
            Until::OnDisk
        } else {
            Until::Written
        };
        if until == Until::OnDisk {
            self.synced = Some(Instant::now());
        }
        let batch = std::mem::take(&mut self.batch);
        let now = SystemTime::now();
        // The disk takes its time.
        let writing = tokio::task::spawn_blocking(move || disk.write(batch, until, now));
        // The thread does not panic, and the runtime outlives this task.
        let Ok(done) = writing.await else {
            return Ok(());
        };
        self.take(done)
    }

    /// Takes what a write did.
    fn take(&mut self, done: Done) -> io::Result<()> {
        self.disk = Some(done.disk);
        self.batch = done.batch;
        if let Some(resumed) = done.resumed {
            self.shared.note_resumed(resumed);
        }
        match done.result {
            Err(error) => {
                self.shared.note_failure(&error);
                Err(error)
            }
            Ok(Checkpoints { head, is_due }) => {
                self.shared.note_written(head.sequence);
                if self.waiting.is_empty() {
                    self.shared.note_empty();
                }
                if is_due {
                    self.noted = None;
                }
                self.note_checkpoint();
                Ok(())
            }
        }
    }

    /// Notes the last line, if it is time to.
    fn note_checkpoint(&mut self) {
        if !is_due(self.noted, CHECKPOINTS) {
            return;
        }
        let files = self.disk.as_ref().and_then(|disk| disk.files.as_ref());
        if let Some(files) = files {
            self.noted = Some(Instant::now());
            self.shared.note_checkpoint(files.head(), SystemTime::now());
        }
    }
}

/// Returns whether something is to be done again.
fn is_due(done: Option<Instant>, period: Duration) -> bool {
    done.is_none_or(|done| done.elapsed() >= period)
}

impl Disk {
    /// Writes events, and opens the files before if that has failed.
    fn write(mut self, mut batch: VecDeque<AuditEvent>, until: Until, now: SystemTime) -> Done {
        let mut resumed = None;
        let result = self.try_write(&mut batch, until, now, &mut resumed);
        Done {
            disk: self,
            batch,
            resumed,
            result,
        }
    }

    fn try_write(
        &mut self,
        batch: &mut VecDeque<AuditEvent>,
        until: Until,
        now: SystemTime,
        resumed: &mut Option<Resumed>,
    ) -> io::Result<Checkpoints> {
        let mut is_due = false;
        let files = match &mut self.files {
            Some(files) => files,
            None => {
                let (files, found) =
                    AuditFiles::open(self.settings.clone(), self.key.clone(), now)?;
                *resumed = Some(found);
                is_due = true;
                self.files.insert(files)
            }
        };
        is_due |= files.append(now, batch)?;
        if until == Until::OnDisk {
            files.sync()?;
        }
        Ok(Checkpoints {
            head: files.head(),
            is_due,
        })
    }
}

#[cfg(test)]
mod tests;
