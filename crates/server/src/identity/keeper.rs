//! The keeper of the store: one task that looks for changes, applies and acknowledges them, ends what
//! has expired, and writes what the server itself has to write.

use std::time::{Duration, SystemTime};

use llamapool_identity::{Day, GrantUse, KeyId, Store, StoreError, Usage};
use llamapool_wire::{Mark, people_line};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Identity;
use super::reload::Replacements;
use super::writer::{Answer, StoreWriter, Write, Writes};
use crate::audit::{Audit, ExpiredKeys, StoredEvents};

/// The time between two looks: a part of the 300 ms in which a revocation takes effect.
const LOOKS: Duration = Duration::from_millis(150);
/// The time between two writes of when keys were used last.
const USE_WRITES: Duration = Duration::from_secs(30);
/// The time between two writes of what keys have used: as much is lost when the process is killed.
const USAGE_WRITES: Duration = Duration::from_secs(10);
/// The writes that are published together.
const MAX_BATCH: usize = 16;

/// The keeper of the store of a server.
pub(crate) struct IdentityKeeper {
    identity: Identity,
    /// Lent to the thread of each look.
    store: Option<Store>,
    /// The writes of the server itself.
    writes: Writes,
    /// The settings that take the place of those before.
    replacements: Replacements,
    version: Option<i64>,
    /// Whether the last look failed, so that an error is logged once.
    is_failing: bool,
    written: Instant,
    last_uses: Vec<(KeyId, SystemTime)>,
    last_grant_uses: Vec<GrantUse>,
    usage_written: Instant,
    /// What the audit log is to have of the store. Lent with it.
    events: StoredEvents,
    expired: ExpiredKeys,
    audit: Audit,
}

/// A look at the store.
struct Occasion {
    /// The version that was found last.
    version: Option<i64>,
    /// Whether this server has written since.
    has_written: bool,
    /// The uses that are to be written, if it is time to.
    uses: Option<Uses>,
    /// What keys have used, if it is time to write that.
    usage: Vec<(KeyId, Day, Usage)>,
}

/// Uses that are to be written.
struct Uses {
    keys: Vec<(KeyId, SystemTime)>,
    grants: Vec<GrantUse>,
}

/// What a look found.
struct Look {
    store: Store,
    events: StoredEvents,
    result: Result<Found, StoreError>,
}

struct Found {
    version: i64,
    /// What has ended with changes of others; `None` if there were none.
    ended: Option<usize>,
    /// What has ended in all.
    ended_here: usize,
}

impl IdentityKeeper {
    /// Returns the keeper of a store, and the queue of writes to it. Without a store it only ends what
    /// has expired.
    pub(crate) fn new(
        identity: Identity,
        store: Option<Store>,
        replacements: Replacements,
        audit: &Audit,
    ) -> (Self, StoreWriter) {
        let (writer, writes) = StoreWriter::new(audit.clone());
        let keeper = Self {
            identity,
            store,
            writes,
            replacements,
            audit: audit.clone(),
            version: None,
            is_failing: false,
            written: Instant::now(),
            last_uses: Vec::new(),
            last_grant_uses: Vec::new(),
            usage_written: Instant::now(),
            events: StoredEvents::new(audit.clone()),
            expired: ExpiredKeys::new(audit.clone()),
        };
        (keeper, writer)
    }

    /// Looks for changes, and writes, until the end of the server; then writes what is not written yet.
    pub(crate) async fn run(mut self, end: CancellationToken) {
        let mut looks = interval(LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A look that has begun is never left in its middle: it has the store.
        while !end.is_cancelled() {
            let mut batch = Vec::new();
            tokio::select! {
                () = end.cancelled() => {}
                _ = looks.tick() => {}
                // None once no part of the server writes.
                Some(first) = self.writes.recv() => batch.push(first),
                Some(settings) = self.replacements.recv() => {
                    settings.publish(&self.identity, &self.audit);
                    // The next look stores the epochs that began with it.
                    self.version = None;
                }
            }
            while batch.len() < MAX_BATCH
                && let Ok(next) = self.writes.try_recv()
            {
                batch.push(next);
            }
            if end.is_cancelled() {
                self.written -= USE_WRITES;
                self.usage_written -= USAGE_WRITES;
            }
            self.look(batch).await;
            self.expire();
        }
    }

    /// Writes, reads what has changed, and applies it.
    async fn look(&mut self, batch: Vec<Write>) {
        let Some(store) = self.store.take() else {
            return;
        };
        let identity = self.identity.clone();
        let mut occasion = Occasion {
            version: self.version,
            has_written: !batch.is_empty(),
            uses: self.uses_to_write(),
            usage: self.usage_to_write(),
        };
        let mut events = self.events.clone();
        // SQLite waits for the disk and for other processes.
        let look = tokio::task::spawn_blocking(move || {
            let mut store = store;
            let before = occasion.version;
            let result = occasion.write_and_apply(batch, &mut store, &identity);
            let is_new = |found: &Found| before != Some(found.version);
            let has_new = occasion.has_written || result.as_ref().is_ok_and(is_new);
            if has_new || events.is_behind() {
                write_events(&mut events, &store, identity.now());
            }
            Look {
                store,
                events,
                result,
            }
        });

        // The thread does not panic, and the runtime outlives this task.
        let Ok(Look {
            store,
            events,
            result,
        }) = look.await
        else {
            return;
        };
        self.store = Some(store);
        self.events = events;
        match result {
            Ok(found) => {
                self.version = Some(found.version);
                self.is_failing = false;
                if let Some(ended) = found.ended {
                    tracing::info!(
                        ended,
                        people = %people_line(
                            Mark::Note,
                            "access",
                            format_args!("keys or access have changed; {ended} calls and relays ended"),
                        ),
                        "keys or access have changed"
                    );
                }
            }
            Err(error) if self.is_failing => tracing::debug!(%error, "keys cannot be read"),
            Err(error) => {
                self.is_failing = true;
                tracing::error!(%error, "keys cannot be read: those that were read last hold");
            }
        }
    }

    fn expire(&mut self) {
        let now = self.identity.now();
        self.expired.look(&self.identity.published().snapshot, now);
        if self.identity.has_expired(self.identity.now()) {
            let ended = self.identity.end_expired();
            tracing::info!(
                ended,
                people = %people_line(
                    Mark::Note,
                    "access",
                    format_args!("keys or grants have expired; {ended} calls and relays ended"),
                ),
                "keys or grants have expired"
            );
        }
    }

    /// Takes what keys have used, if it is time to write that.
    fn usage_to_write(&mut self) -> Vec<(KeyId, Day, Usage)> {
        if self.usage_written.elapsed() < USAGE_WRITES {
            return Vec::new();
        }
        self.usage_written = Instant::now();
        self.identity.meters().take_unstored()
    }

    /// Returns the uses that are not written yet, if it is time to write them, and to clean up.
    fn uses_to_write(&mut self) -> Option<Uses> {
        if self.written.elapsed() < USE_WRITES {
            return None;
        }
        self.written = Instant::now();

        let mut uses = self.identity.published().uses();
        uses.sort();
        let is_new = |use_: &(KeyId, SystemTime)| self.last_uses.binary_search(use_).is_err();
        let keys = uses.iter().filter(|use_| is_new(use_)).cloned().collect();
        self.last_uses = uses;

        let mut grants = self.identity.0.grants.uses();
        grants.sort();
        let is_new = |use_: &GrantUse| self.last_grant_uses.binary_search(use_).is_err();
        let new = grants.iter().copied().filter(is_new).collect();
        self.last_grant_uses = grants;
        Some(Uses { keys, grants: new })
    }
}

impl Occasion {
    /// Writes, and applies what has changed: for all writes at once, except for those that are told what
    /// they have ended.
    fn write_and_apply(
        &mut self,
        batch: Vec<Write>,
        store: &mut Store,
        identity: &Identity,
    ) -> Result<Found, StoreError> {
        let mut answers: Vec<Answer> = Vec::new();
        for write in batch {
            // What cannot be applied here is tried again for the last of them.
            if write.is_alone {
                self.apply(&mut answers, store, identity).ok();
            }
            answers.push((write.run)(store));
            if write.is_alone {
                self.apply(&mut answers, store, identity).ok();
            }
        }
        self.apply(&mut answers, store, identity)
    }

    /// Applies what has changed, and then answers: what was made can be used now.
    fn apply(
        &mut self,
        answers: &mut Vec<Answer>,
        store: &mut Store,
        identity: &Identity,
    ) -> Result<Found, StoreError> {
        let found = self.changes_in(store, identity);
        let ended = found.as_ref().ok().map(|found| found.ended_here);
        answers.drain(..).for_each(|answer| answer(ended));
        if let Ok(found) = &found {
            self.version = Some(found.version);
        }
        found
    }

    /// Applies what has changed, and acknowledges what others have changed.
    fn changes_in(&mut self, store: &mut Store, identity: &Identity) -> Result<Found, StoreError> {
        // It counts what other connections write, and not what this one does.
        let found = store.data_version()?;
        write_usage(store, identity, std::mem::take(&mut self.usage))?;
        if let Some(uses) = self.uses.take() {
            self.has_written |= write_uses(store, &uses, identity.now())?;
        }
        if self.version == Some(found) && !self.has_written {
            return Ok(Found {
                version: found,
                ended: None,
                ended_here: 0,
            });
        }

        let before = identity.published().snapshot.sequence();
        let reload = store.changes_since(before)?;
        let mut ended = identity.apply(reload);
        ended += store_epochs(store, identity)?;

        // A command waits for its own change. No command waits for those of this server.
        let is_of_others = self.version != Some(store.data_version()?);
        let now = identity.published().snapshot.sequence();
        if is_of_others {
            // The first look acknowledges what was read at the start, too.
            store.acknowledge(now, ended as u64)?;
        }
        Ok(Found {
            version: found,
            ended: (is_of_others && now != before).then_some(ended),
            ended_here: ended,
        })
    }
}

fn write_events(events: &mut StoredEvents, store: &Store, now: SystemTime) {
    if let Err(error) = events.write_new(store, now) {
        tracing::debug!(%error, "the events of the store cannot be read");
    }
}

/// Stores the epochs that have begun. Returns the number of calls that ended with them.
fn store_epochs(store: &mut Store, identity: &Identity) -> Result<usize, StoreError> {
    let epochs = identity.take_epochs();
    if epochs.is_empty() {
        return Ok(0);
    }
    let stored = store.set_epochs(&epochs, identity.now());
    if let Err(error) = stored {
        identity.return_epochs(epochs);
        return Err(error);
    }
    let before = identity.published().snapshot.sequence();
    Ok(identity.apply(store.changes_since(before)?))
}

/// Writes what keys have used. What cannot be written is kept for the next time.
fn write_usage(
    store: &mut Store,
    identity: &Identity,
    usage: Vec<(KeyId, Day, Usage)>,
) -> Result<(), StoreError> {
    if usage.is_empty() {
        return Ok(());
    }
    let today = Day::of(identity.now());
    store.add_usage(&usage, today).inspect_err(|_| {
        identity.meters().put_back(usage);
    })
}

/// Writes when keys and grants were used last, and cleans up. Returns whether that has changed records.
fn write_uses(store: &mut Store, uses: &Uses, now: SystemTime) -> Result<bool, StoreError> {
    if !uses.keys.is_empty() {
        store.note_use(&uses.keys)?;
    }
    if !uses.grants.is_empty() {
        store.note_grant_use(&uses.grants, now)?;
    }
    let grants = store.clean_grants(now)?;
    let clients = store.forget_clients(now)?;
    Ok(grants.is_some() || clients.is_some())
}
