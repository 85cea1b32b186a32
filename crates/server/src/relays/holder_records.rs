//! The relays that held each id last: trust on first use.
//!
//! An id that was held with a `CLIENT_SECRET` is kept for relays with the same one, also while none
//! of them is connected and after this server was restarted: a worker key alone takes no id away
//! from its relay. An id that was held without a secret may go to any relay, and a change of the
//! relay is noticed. Only keyed hashes are remembered.
//!
//! A check of keys that are bound to ids belongs before this one, in `Registry::claim`.

mod table;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use llamapool_limits::Network;
use llamapool_wire::{RelayId, Secret};
use parking_lot::Mutex;
use ring::hmac;
use tokio::sync::Notify;

use self::table::{HolderRecord, HolderTable};
use crate::auth::RelayIdentity;
use crate::data_dir::{DataDir, ServerData};

/// The file of the records in the data directory.
const FILE: &str = "ids.json";
/// The least time between two writes of the file: however many relays come, the disk gets one
/// small file a second.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
/// The time between two attempts to write the file while the disk is full or cannot be written.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// So many attempts that fail are one warning: one an hour.
const FAILURES_PER_WARNING: u32 = 360;
/// How often the ids that are held now are recorded as held: a crash loses as much of the time for
/// which they are kept.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a change of the holder is noticed at least, also where ids are not kept.
const NOTICED_FOR: Duration = Duration::from_secs(24 * 3600);

/// A keyed hash, of which the first 128 bits are kept.
type Digest = u128;

/// The records. Clones are the same records.
#[derive(Clone)]
pub(crate) struct HolderRecords(Arc<Shared>);

struct Shared {
    /// How long an id is kept for the secret that it was held with last. Zero: not at all.
    keep: Duration,
    key: hmac::Key,
    table: Mutex<HolderTable>,
    directory: Option<DataDir>,
    changed: Notify,
}

/// The id is kept for relays with another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptForAnother {
    /// For how long, unless one of those comes before.
    pub(super) remaining: Duration,
}

/// The holder of an id changed: a relay process holds it that did not hold it before, and no secret
/// shows that both belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HolderChange {
    /// Both connect from the same network.
    SameNetwork,
    /// They connect from different networks.
    OtherNetwork,
}

impl HolderRecords {
    /// Reads the records of the data directory, if there is one.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read: without it every id would go to the first that
    /// comes.
    pub(crate) fn open(data: &ServerData, keep: Duration) -> std::io::Result<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, data.key.expose().as_bytes());
        let key = hmac::sign(&root, b"llamapool holders of ids");
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());

        let table = match &data.directory {
            Some(directory) => read_table(directory, &key)?,
            None => HolderTable::new(fingerprint(&key)),
        };
        Ok(Self(Arc::new(Shared {
            keep,
            key,
            table: Mutex::new(table),
            directory: data.directory.clone(),
            changed: Notify::new(),
        })))
    }

    /// Checks that an id is not kept for relays with another secret.
    pub(super) fn check(
        &self,
        id: &RelayId,
        identity: &RelayIdentity,
    ) -> Result<(), KeptForAnother> {
        let Shared { keep, table, .. } = &*self.0;
        let table = table.lock();
        let Some((record, secret)) = table.get(id).and_then(|it| Some((it, it.secret?))) else {
            return Ok(());
        };

        let presented = identity
            .secret
            .as_ref()
            .map(|it| self.secret_digest(id, it));
        let age = record.age(SystemTime::now());
        match keep
            .checked_sub(age)
            .filter(|remaining| !remaining.is_zero())
        {
            Some(remaining) if presented != Some(secret) => Err(KeptForAnother { remaining }),
            _ => Ok(()),
        }
    }

    /// Records that a relay holds an id now. Returns how the holder changed, `None` if it is the
    /// same as before, or the first.
    pub(super) fn record(&self, id: &RelayId, identity: &RelayIdentity) -> Option<HolderChange> {
        let record = HolderRecord {
            secret: identity
                .secret
                .as_ref()
                .map(|it| self.secret_digest(id, it)),
            instance: self.digest(&[b"instance", identity.instance.expose().as_bytes()]),
            network: self.network_digest(identity.network),
            seen: table::seconds(SystemTime::now()),
        };
        let before = self.0.table.lock().put(id, record.clone());
        self.0.changed.notify_one();

        let before = before?;
        let belong_together = before.instance == record.instance
            || (before.secret.is_some() && before.secret == record.secret);
        if belong_together {
            return None;
        }
        Some(if before.network == record.network {
            HolderChange::SameNetwork
        } else {
            HolderChange::OtherNetwork
        })
    }

    /// Records that ids are held until now.
    pub(super) fn refresh<'a>(&self, ids: impl IntoIterator<Item = &'a RelayId>) {
        let now = table::seconds(SystemTime::now());
        let mut table = self.0.table.lock();
        for id in ids {
            table.refresh(id, now);
        }
        drop(table);
        self.0.changed.notify_one();
    }

    /// Writes the records to the data directory whenever they have changed, and until that has
    /// worked: a disk may be full for a while. Never returns. `held` returns the ids that are held
    /// now, and `count_failure` is called for each attempt that fails.
    pub(crate) async fn keep_written(
        &self,
        held: impl Fn() -> Vec<RelayId>,
        count_failure: impl Fn(),
    ) {
        let mut refreshed = tokio::time::Instant::now();
        let mut failures = 0_u32;
        loop {
            let next_refresh = refreshed + REFRESH_INTERVAL;
            let changed = tokio::time::timeout_at(next_refresh, self.0.changed.notified());
            if failures == 0 && changed.await.is_err() {
                refreshed = next_refresh;
                self.refresh(&held());
            }

            let Err(error) = self.try_to_write().await else {
                if failures > 0 {
                    tracing::info!(failures, "the holders of ids are written again");
                }
                failures = 0;
                tokio::time::sleep(WRITE_PAUSE).await;
                continue;
            };
            count_failure();
            if failures.is_multiple_of(FAILURES_PER_WARNING) {
                warn_of_lost_records(&error);
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Writes the records to the data directory, if there is one.
    pub(crate) async fn write(&self) {
        if let Err(error) = self.try_to_write().await {
            warn_of_lost_records(&error);
        }
    }

    async fn try_to_write(&self) -> std::io::Result<()> {
        let Some(directory) = self.0.directory.clone() else {
            return Ok(());
        };
        let records = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let keep = records.0.keep.max(NOTICED_FOR);
            let json = {
                let mut table = records.0.table.lock();
                table.remove_older_than(keep, SystemTime::now());
                table.to_json()
            };
            directory.write(FILE, &json)
        });

        // A task that panicked has said so.
        writing.await.unwrap_or(Ok(()))
    }

    fn secret_digest(&self, id: &RelayId, secret: &Secret) -> Digest {
        self.digest(&[
            b"secret",
            id.as_str().as_bytes(),
            secret.expose().as_bytes(),
        ])
    }

    fn network_digest(&self, network: Network) -> Digest {
        let text = match network {
            Network::V4(address) => address.to_string(),
            Network::V6(prefix) => format!("{prefix:016x}"),
        };
        self.digest(&[b"network", text.as_bytes()])
    }

    /// Returns the keyed hash of parts, none of which has a zero byte.
    fn digest(&self, parts: &[&[u8]]) -> Digest {
        digest(&self.0.key, parts)
    }
}

fn warn_of_lost_records(error: &std::io::Error) {
    tracing::warn!(%error, "the holders of ids are not written: a restart forgets the newest");
}

fn digest(key: &hmac::Key, parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
        context.update(b"\0");
    }
    let tag = context.sign();
    tag.as_ref()
        .iter()
        .take(size_of::<Digest>())
        .fold(0, |digest, byte| digest << 8 | Digest::from(*byte))
}

/// Returns a hash by which records are found to be made with another key.
fn fingerprint(key: &hmac::Key) -> Digest {
    digest(key, &[b"fingerprint"])
}

fn read_table(directory: &DataDir, key: &hmac::Key) -> std::io::Result<HolderTable> {
    let fingerprint = fingerprint(key);
    let Some(json) = directory.read(FILE)? else {
        return Ok(HolderTable::new(fingerprint));
    };

    let table = HolderTable::from_json(&json).map_err(|error| {
        let error = format!("{error}; delete the file to keep no id for the relay that held it");
        directory.error(FILE, &error)
    })?;
    if table.fingerprint() != fingerprint {
        tracing::warn!("the holders of ids were recorded with another key and are forgotten");
        return Ok(HolderTable::new(fingerprint));
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
