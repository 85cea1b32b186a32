//! The table of the records: bounded, and JSON on disk.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use llamapool_wire::RelayId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;

/// The most ids that are remembered: some MiB, more than a server has relays. When there are more,
/// those without a secret are forgotten first, then the oldest of the network that has most: a
/// relay that takes id after id makes the server forget its own.
const MAX_RECORDS: usize = 16_384;
/// How many records are removed when there are too many, so that the search is rare.
const REMOVED_AT_ONCE: usize = MAX_RECORDS / 16;
/// The version of the file.
const VERSION: u32 = 1;

/// The records of all ids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HolderTable {
    version: u32,
    /// Of the key of all hashes.
    #[serde(with = "hex")]
    key: Digest,
    ids: HashMap<RelayId, HolderRecord>,
}

/// The relay that held an id last, as keyed hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HolderRecord {
    /// Of its secret; `None` if it had none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "optional_hex"
    )]
    pub(super) secret: Option<Digest>,
    /// Of its process.
    #[serde(with = "hex")]
    pub(super) instance: Digest,
    /// Of the network that it connected from.
    #[serde(with = "hex")]
    pub(super) network: Digest,
    /// When it was last known to hold the id, in seconds since 1970.
    pub(super) seen: u64,
}

/// The file of the records is not one that this version can read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("not the JSON of this file ({0})")]
    Json(#[from] serde_json::Error),
    #[error("version {0}, expected {VERSION}")]
    Version(u32),
}

impl HolderTable {
    pub(super) fn new(key: Digest) -> Self {
        Self {
            version: VERSION,
            key,
            ids: HashMap::new(),
        }
    }

    pub(super) fn from_json(json: &[u8]) -> Result<Self, TableError> {
        let table: Self = serde_json::from_slice(json)?;
        if table.version == VERSION {
            Ok(table)
        } else {
            Err(TableError::Version(table.version))
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Texts and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the hash of the key that the records were made with.
    pub(super) fn fingerprint(&self) -> Digest {
        self.key
    }

    pub(super) fn get(&self, id: &RelayId) -> Option<&HolderRecord> {
        self.ids.get(id)
    }

    /// Replaces the record of an id. Returns the one before.
    pub(super) fn put(&mut self, id: &RelayId, record: HolderRecord) -> Option<HolderRecord> {
        let before = self.ids.insert(id.clone(), record);
        if self.ids.len() > MAX_RECORDS {
            self.remove_some();
        }
        before
    }

    /// Sets when an id was last held.
    pub(super) fn refresh(&mut self, id: &RelayId, seen: u64) {
        if let Some(record) = self.ids.get_mut(id) {
            record.seen = seen;
        }
    }

    /// Removes the records of ids that nobody has held for so long.
    pub(super) fn remove_older_than(&mut self, age: Duration, now: SystemTime) {
        self.ids.retain(|_, record| record.age(now) < age);
    }

    /// Removes those that are needed least.
    fn remove_some(&mut self) {
        let greediest = self.greediest_network();
        let mut order: Vec<_> = self
            .ids
            .iter()
            .map(|(id, record)| {
                let is_spared = record.secret.is_some() && Some(record.network) != greediest;
                (is_spared, record.secret.is_some(), record.seen, id.clone())
            })
            .collect();
        order.sort();

        for (.., id) in order.into_iter().take(REMOVED_AT_ONCE) {
            self.ids.remove(&id);
        }
    }

    /// Returns the network whose relays held most ids with a secret.
    fn greediest_network(&self) -> Option<Digest> {
        let mut counts: HashMap<Digest, usize> = HashMap::new();
        for record in self.ids.values().filter(|record| record.secret.is_some()) {
            *counts.entry(record.network).or_default() += 1;
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(network, _)| network)
    }
}

impl HolderRecord {
    /// Returns the time since the relay was last known to hold the id. A clock that went back does
    /// not make a record older.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        Duration::from_secs(seconds(now).saturating_sub(self.seen))
    }
}

/// Returns a time in seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Hashes as hexadecimal digits: JSON numbers are not that long.
mod hex {
    use super::{Deserialize, Deserializer, Digest, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{digest:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(from)?;
        Digest::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// Hashes that may be missing.
mod optional_hex {
    use super::{Deserialize, Deserializer, Digest, Serializer, hex};

    pub(super) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => hex::serialize(digest, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Digest>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| Digest::from_str_radix(&text, 16).map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(secret: Option<Digest>, network: Digest, seen: u64) -> HolderRecord {
        HolderRecord {
            secret,
            instance: 7,
            network,
            seen,
        }
    }

    #[test]
    fn a_table_is_read_as_it_was_written_and_others_are_errors() {
        let mut table = HolderTable::new(u128::MAX);
        table.put(&"a".parse().unwrap(), record(Some(1), 2, 3));
        table.put(&"b".parse().unwrap(), record(None, 2, 4));

        let read = HolderTable::from_json(&table.to_json()).unwrap();

        assert_eq!(read.ids, table.ids);
        assert_eq!(read.fingerprint(), u128::MAX);
        for wrong in [&b""[..], b"{}", b"[]", &table.to_json()[..9]] {
            let error = HolderTable::from_json(wrong).unwrap_err().to_string();
            assert!(error.starts_with("not the JSON"), "{error}");
        }
        table.version = 2;
        let error = HolderTable::from_json(&table.to_json()).unwrap_err();
        assert_eq!(error.to_string(), "version 2, expected 1");
    }

    /// A relay that takes id after id does not make the server forget those of others.
    #[test]
    fn a_full_table_forgets_the_ids_of_the_network_with_most() {
        let mut table = HolderTable::new(0);
        let victim = "victim".parse().unwrap();
        table.put(&victim, record(Some(1), 1, 0));
        table.put(&"open".parse().unwrap(), record(None, 1, u64::MAX));

        for n in 0..2 * MAX_RECORDS {
            let id = format!("flood-{n}").parse().unwrap();
            table.put(&id, record(Some(2), 2, n as u64));
        }

        assert!(table.ids.len() <= MAX_RECORDS);
        assert!(table.get(&victim).is_some());
        assert!(table.get(&"open".parse().unwrap()).is_none());
        let newest = format!("flood-{}", 2 * MAX_RECORDS - 1).parse().unwrap();
        assert!(table.get(&newest).is_some());
    }

    #[test]
    fn records_grow_old_whatever_the_clock_does() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let record = record(None, 1, 100);
        assert_eq!(record.age(at(160)), Duration::from_secs(60));
        assert_eq!(record.age(at(40)), Duration::ZERO);

        let mut table = HolderTable::new(0);
        let id: RelayId = "a".parse().unwrap();
        table.put(&id, record);
        table.remove_older_than(Duration::from_secs(61), at(160));
        assert!(table.get(&id).is_some());
        table.refresh(&id, 150);
        table.remove_older_than(Duration::from_secs(60), at(209));
        assert!(table.get(&id).is_some());
        table.remove_older_than(Duration::from_secs(60), at(210));
        assert!(table.get(&id).is_none());
    }
}
