//! The use and the limits of caller keys. It has ids and names, and no secret.

use llamapool_identity::{KeyKind, Limits, Networks, Rights, Usage};
use serde::Serialize;

use crate::identity::Identity;

/// The most keys that are listed.
const LISTED_KEYS: usize = 1000;

/// A caller key with its limits and what it has used.
#[derive(Serialize)]
pub(super) struct KeyUsage {
    key: String,
    name: String,
    limits: Limits,
    networks: Networks,
    /// The calls that run, without event streams that only listen.
    running: u32,
    /// Today, in UTC.
    today: Usage,
    /// In this month, in UTC.
    month: Usage,
}

/// Returns the valid caller keys that were used in this month or have limits.
pub(super) fn of_keys(identity: &Identity) -> Vec<KeyUsage> {
    let published = identity.published();
    let now = identity.now();
    let valid = published.snapshot.keys().filter(|key| key.is_valid(now));
    let mut keys: Vec<_> = valid
        .filter(|key| key.kind() == KeyKind::Caller)
        .filter_map(|key| {
            let Rights::Caller(rights) = &key.rights else {
                return None;
            };
            let meter = identity.meters().of(&key.id);
            let [today, month] = meter.used(now);
            let is_limited = !rights.limits.is_empty() || !rights.networks.is_all();
            (is_limited || month != Usage::default()).then_some((key, rights, meter, today, month))
        })
        .collect();

    // The names decide between equal ones, so that the order stays.
    keys.sort_by(|(one, .., used), (other, .., more)| {
        let by_use = more.calls.cmp(&used.calls);
        by_use.then_with(|| one.name.cmp(&other.name))
    });
    keys.truncate(LISTED_KEYS);
    let keys = keys.into_iter();
    keys.map(|(key, rights, meter, today, month)| KeyUsage {
        key: key.id.to_string(),
        name: key.name.clone(),
        limits: Limits::clone(&rights.limits),
        networks: rights.networks.clone(),
        running: meter.calls.running(),
        today,
        month,
    })
    .collect()
}
