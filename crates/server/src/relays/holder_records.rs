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

    /// Writes the records to the data directory whenever they have changed. Never returns.
    /// `held` returns the ids that are held now.
    pub(crate) async fn keep_written(&self, held: impl Fn() -> Vec<RelayId>) {
        let mut refreshed = tokio::time::Instant::now();
        loop {
            let next_refresh = refreshed + REFRESH_INTERVAL;
            let changed = tokio::time::timeout_at(next_refresh, self.0.changed.notified());
            if changed.await.is_err() {
                refreshed = next_refresh;
                self.refresh(&held());
            }

            self.write().await;
            tokio::time::sleep(WRITE_PAUSE).await;
        }
    }

    /// Writes the records to the data directory, if there is one.
    pub(crate) async fn write(&self) {
        let Some(directory) = self.0.directory.clone() else {
            return;
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
        if let Ok(Err(error)) = writing.await {
            tracing::warn!(%error, "the holders of ids are not written: a restart forgets the newest");
        }
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
