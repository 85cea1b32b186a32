//! All keys, the access of all ids, and all clients and grants at one moment: what a call is decided
//! with. It never changes; a change makes the next one.

mod grants;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use crate::access::{Access, AccessMode, AccessRule};
use crate::client::Client;
use crate::epoch::Epoch;
use crate::grant::Grant;
use crate::key::{
    DeclaredTwiceError, Key, KeyDigest, KeyId, KeyKind, KeyOrigin, Rights, WorkerIds, digest_of,
};
use crate::pattern::{Exactness, best_match};
use crate::store::ChangedRecord;

use self::grants::OAuthRecords;

pub use grants::{AuthenticatedToken, GrantOverError, TokenError};

/// What the store or the settings of a server have.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The keys.
    pub keys: Vec<Key>,
    /// The rules of access.
    pub access: Vec<AccessRule>,
    /// The OAuth clients.
    pub clients: Vec<Client>,
    /// The grants.
    pub grants: Vec<Grant>,
    /// The epochs of ids that have grants.
    pub epochs: Vec<Epoch>,
    /// The number of the last change that is in them.
    pub sequence: i64,
}

/// All records at one moment. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    keys: Arc<KeyTable>,
    access: Arc<Access>,
    /// The rules that the store has.
    stored_access: Arc<Vec<AccessRule>>,
    oauth: OAuthRecords,
    sequence: i64,
}

/// The keys, by what finds them.
#[derive(Debug, Default)]
struct KeyTable {
    by_digest: HashMap<KeyDigest, Secret>,
    by_id: HashMap<KeyId, Arc<Key>>,
}

/// A secret, and the key that it belongs to.
#[derive(Debug, Clone)]
struct Secret {
    key: Arc<Key>,
    expires_at: Option<SystemTime>,
}

/// The reasons for refusing a key that was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such key.
    #[error("the key is not valid")]
    Unknown,
    /// It is for something else.
    #[error("the key is a {0} key")]
    OtherKind(KeyKind),
    /// It has expired, or was replaced by a rotation.
    #[error("the key has expired")]
    Expired,
    /// It was revoked.
    #[error("the key was revoked")]
    Revoked,
}

/// The reasons why a worker key may not serve an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// It has no pattern for the id.
    #[error("the worker key does not cover the id {0:?}")]
    NotCovered(String),
    /// Another key has a more exact pattern, which reserves the id.
    #[error("the id {0:?} is reserved for another worker key, which names it more exactly")]
    Reserved(String),
    /// It gets random ids only.
    #[error("the worker key gets ids that the server assigns, and the relay asks for {0:?}")]
    AssignedOnly(String),
    /// It covers named ids only.
    #[error("the worker key covers no id that the server assigns; set CLIENT_ID")]
    NoAssigned,
}

impl Snapshot {
    /// Returns the snapshot of what the settings declare and what the store has. A stored rule of
    /// access gives way to a declared one for the same pattern.
    pub fn new(declared: &Records, default_access: AccessMode, stored: Records) -> Self {
        let keys = stored.keys.into_iter().chain(declared.keys.clone());
        Self {
            keys: Arc::new(KeyTable::new(keys.map(Arc::new))),
            access: Arc::new(access_of(declared, default_access, &stored.access)),
            stored_access: Arc::new(stored.access),
            oauth: OAuthRecords::new(stored.clients, stored.grants, stored.epochs),
            sequence: stored.sequence,
        }
    }

    /// Returns the snapshot after changes of the store. Only the tables that they are in are copied.
    pub fn after(&self, declared: &Records, changed: Vec<ChangedRecord>, sequence: i64) -> Self {
        let mut next = self.clone();
        next.sequence = sequence;
        let mut keys = Vec::new();
        for record in changed {
            match record {
                ChangedRecord::Access(rules) => {
                    let default = self.access.default_mode();
                    next.access = Arc::new(access_of(declared, default, &rules));
                    next.stored_access = Arc::new(rules);
                }
                ChangedRecord::Key(key) => keys.push(Arc::from(key)),
                ChangedRecord::Client(client) => next.oauth.set_client(*client),
                ChangedRecord::ClientForgotten(id) => next.oauth.forget_client(&id),
                ChangedRecord::Epoch(epoch) => next.oauth.set_epoch(epoch),
                ChangedRecord::Grant(grant) => next.oauth.set_grant(*grant),
                ChangedRecord::GrantForgotten(id) => next.oauth.forget_grant(&id),
            }
        }
        if !keys.is_empty() {
            next.keys = Arc::new(self.keys.with(keys, declared));
        }
        next
    }

    /// Returns the snapshot with other declared keys and rules, and another default. What the store has
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// If a declared key is in the store as well.
    pub fn redeclared(
        &self,
        declared: &Records,
        default_access: AccessMode,
    ) -> Result<Self, DeclaredTwiceError> {
        let stored = self.keys().filter(|key| key.origin == KeyOrigin::Stored);
        Key::check_declared(&declared.keys, stored.map(Arc::as_ref))?;

        let access = access_of(declared, default_access, &self.stored_access);
        Ok(Self {
            keys: Arc::new(self.keys.with(Vec::new(), declared)),
            access: Arc::new(access),
            ..self.clone()
        })
    }

    /// Returns whether both have the same keys because nothing has changed in them.
    pub fn shares_keys_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.keys, &other.keys)
    }

    /// Returns the key that a text is the secret of. The time of the search depends on the SHA-256 of
    /// the text alone.
    ///
    /// # Errors
    ///
    /// If there is none of this kind, or it has ended.
    pub fn authenticate(
        &self,
        presented: &[u8],
        kind: KeyKind,
        now: SystemTime,
    ) -> Result<&Arc<Key>, KeyError> {
        let secret = self.keys.by_digest.get(&digest_of(presented));
        let Secret { key, expires_at } = secret.ok_or(KeyError::Unknown)?;
        if key.kind() != kind {
            return Err(KeyError::OtherKind(key.kind()));
        }
        if key.revoked_at.is_some() {
            return Err(KeyError::Revoked);
        }
        let is_over = expires_at.is_some_and(|at| at <= now);
        if is_over || !key.is_valid(now) {
            return Err(KeyError::Expired);
        }
        Ok(key)
    }

    /// Decides whether a worker key may serve an id; the bootstrap key (`None`) has the pattern `*`.
    /// Among all valid worker keys the most exact pattern reserves the id; equal ones share it.
    ///
    /// # Errors
    ///
    /// If it may not.
    pub fn may_serve(
        &self,
        key: Option<&Key>,
        id: &str,
        now: SystemTime,
    ) -> Result<(), ServeError> {
        let own = match key {
            None => Exactness::Prefix(0),
            Some(key) => {
                let exactness = exactness(key, id);
                exactness.ok_or_else(|| match &key.rights {
                    Rights::Worker(rights) if rights.ids == WorkerIds::Assigned => {
                        ServeError::AssignedOnly(id.to_owned())
                    }
                    _ => ServeError::NotCovered(id.to_owned()),
                })?
            }
        };

        let valid = self.keys.by_id.values().filter(|key| key.is_valid(now));
        let best = valid.filter_map(|key| exactness(key, id)).max();
        if best.is_some_and(|best| best > own) {
            return Err(ServeError::Reserved(id.to_owned()));
        }
        Ok(())
    }

    /// Decides whether a worker key may serve an id that the server assigns.
    ///
    /// # Errors
    ///
    /// If it covers named ids only.
    pub fn may_serve_assigned(&self, key: Option<&Key>) -> Result<(), ServeError> {
        let covers_all = |rights: &Rights| match rights {
            Rights::Worker(rights) => match &rights.ids {
                WorkerIds::Assigned => true,
                WorkerIds::Of(patterns) => patterns.iter().any(|pattern| pattern.matches("")),
            },
            Rights::Caller(_) | Rights::Admin(_) => false,
        };
        match key {
            Some(key) if !covers_all(&key.rights) => Err(ServeError::NoAssigned),
            _ => Ok(()),
        }
    }

    /// Returns a key.
    pub fn key(&self, id: &KeyId) -> Option<&Arc<Key>> {
        self.keys.by_id.get(id)
    }

    /// Returns all keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.by_id.values()
    }

    /// Returns the access of ids.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Returns the rules of access that the store has. A declared one for the same pattern goes before.
    pub fn stored_rules(&self) -> &[AccessRule] {
        &self.stored_access
    }

    /// Returns the number of the last stored change that is in it.
    pub fn sequence(&self) -> i64 {
        self.sequence
    }

    /// Returns the next moment after `now` at which a key or a secret ends.
    pub fn next_end(&self, now: SystemTime) -> Option<SystemTime> {
        self.keys
            .by_id
            .values()
            .filter_map(|key| key.next_end(now))
            .min()
    }
}

impl KeyTable {
    fn new(keys: impl Iterator<Item = Arc<Key>>) -> Self {
        let mut table = Self::default();
        for key in keys {
            for secret in &key.secrets {
                let entry = Secret {
                    key: key.clone(),
                    expires_at: secret.expires_at,
                };
                table.by_digest.insert(secret.digest, entry);
            }
            table.by_id.insert(key.id.clone(), key);
        }
        table
    }

    /// Returns the table with some stored keys changed. Declared ones go before them.
    fn with(&self, changed: Vec<Arc<Key>>, declared: &Records) -> Self {
        let is_stored = |key: &&Arc<Key>| key.origin == KeyOrigin::Stored;
        let ids: HashSet<_> = changed.iter().map(|key| &key.id).collect();
        let is_same = |key: &&Arc<Key>| !ids.contains(&key.id);
        let stored = self.by_id.values().filter(is_stored).filter(is_same);
        let declared = declared.keys.iter().cloned().map(Arc::new);
        Self::new(
            stored
                .cloned()
                .chain(changed.iter().cloned())
                .chain(declared),
        )
    }
}

/// Returns the access by stored and declared rules; the declared ones go before the others.
fn access_of(declared: &Records, default: AccessMode, stored: &[AccessRule]) -> Access {
    let rules = stored.iter().chain(&declared.access).cloned();
    Access::new(default, rules)
}

/// Returns how exactly a worker key names an id, `None` if it does not cover it.
fn exactness(key: &Key, id: &str) -> Option<Exactness> {
    let Rights::Worker(rights) = &key.rights else {
        return None;
    };
    best_match(rights.patterns(), id).map(|pattern| pattern.exactness())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::{CallerRights, KeySecret, WorkerRights};

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn key(id: &str, rights: Rights) -> Key {
        Key {
            id: id.parse().unwrap(),
            name: id.to_owned(),
            rights,
            origin: KeyOrigin::Stored,
            created_at: at(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            secrets: vec![KeySecret {
                digest: digest_of(id.as_bytes()),
                expires_at: None,
            }],
        }
    }

    fn worker(id: &str, patterns: &[&str]) -> Key {
        let patterns = patterns.iter().map(|text| text.parse().unwrap());
        key(id, Rights::Worker(WorkerRights::of(patterns.collect())))
    }

    fn snapshot(keys: Vec<Key>) -> Snapshot {
        let stored = Records {
            keys,
            ..Records::default()
        };
        Snapshot::new(&Records::default(), AccessMode::Open, stored)
    }

    #[test]
    fn a_key_is_found_by_its_secret_until_it_ends() {
        let mut old = key("old", Rights::Caller(CallerRights::default()));
        old.secrets[0].expires_at = Some(at(10));
        let mut brief = key("brief", Rights::Caller(CallerRights::default()));
        brief.expires_at = Some(at(20));
        let mut gone = key("gone", Rights::Caller(CallerRights::default()));
        gone.revoked_at = Some(at(1));
        let snapshot = snapshot(vec![old, brief, gone, worker("relay", &["*"])]);

        let found = |text: &str, now| {
            let key = snapshot.authenticate(text.as_bytes(), KeyKind::Caller, now);
            key.map(|key| key.id.to_string())
        };

        assert_eq!(found("old", at(9)), Ok("old".to_owned()));
        assert_eq!(found("old", at(10)), Err(KeyError::Expired));
        assert_eq!(found("brief", at(19)), Ok("brief".to_owned()));
        assert_eq!(found("brief", at(20)), Err(KeyError::Expired));
        assert_eq!(found("gone", at(2)), Err(KeyError::Revoked));
        assert_eq!(
            found("relay", at(2)),
            Err(KeyError::OtherKind(KeyKind::Worker))
        );
        assert_eq!(found("other", at(2)), Err(KeyError::Unknown));
        assert_eq!(snapshot.next_end(at(5)), Some(at(10)));
        assert_eq!(snapshot.next_end(at(10)), Some(at(20)));
    }

    #[test]
    fn the_most_exact_worker_key_reserves_an_id() {
        let [all, team, notes] = [
            worker("all", &["*"]),
            worker("team", &["team-*"]),
            worker("notes", &["notes", "team-a"]),
        ];
        let keys = vec![all.clone(), team.clone(), notes.clone()];
        let snapshot = snapshot(keys);
        let may = |key: Option<&Key>, id: &str| snapshot.may_serve(key, id, at(1));

        assert_eq!(may(Some(&all), "other"), Ok(()));
        assert_eq!(may(None, "other"), Ok(()));
        assert_eq!(may(Some(&team), "team-b"), Ok(()));
        assert_eq!(may(Some(&notes), "team-a"), Ok(()));
        let reserved = |id: &str| Err(ServeError::Reserved(id.to_owned()));
        assert_eq!(may(Some(&all), "notes"), reserved("notes"));
        assert_eq!(may(None, "notes"), reserved("notes"));
        assert_eq!(may(Some(&team), "team-a"), reserved("team-a"));
        let not_covered = Err(ServeError::NotCovered("other".to_owned()));
        assert_eq!(may(Some(&notes), "other"), not_covered);
    }

    #[test]
    fn a_key_that_has_ended_reserves_nothing() {
        let mut notes = worker("notes", &["notes"]);
        notes.expires_at = Some(at(10));
        let snapshot = snapshot(vec![notes]);

        let before = snapshot.may_serve(None, "notes", at(10) - SECOND);
        let after = snapshot.may_serve(None, "notes", at(10));

        assert_eq!(before, Err(ServeError::Reserved("notes".to_owned())));
        assert_eq!(after, Ok(()));
    }

    #[test]
    fn assigned_ids_are_for_keys_that_get_them() {
        let assigned = Rights::Worker(WorkerRights {
            ids: WorkerIds::Assigned,
            ..WorkerRights::of(Vec::new())
        });
        let assigned = key("assigned", assigned);
        let [all, notes] = [worker("all", &["*"]), worker("notes", &["notes"])];
        let snapshot = snapshot(vec![]);

        for key in [None, Some(&assigned), Some(&all)] {
            assert_eq!(snapshot.may_serve_assigned(key), Ok(()));
        }
        let refused = snapshot.may_serve_assigned(Some(&notes));
        assert_eq!(refused, Err(ServeError::NoAssigned));
        let named = snapshot.may_serve(Some(&assigned), "notes", at(1));
        assert_eq!(named, Err(ServeError::AssignedOnly("notes".to_owned())));
    }

    #[test]
    fn what_is_declared_goes_before_what_is_stored() {
        let rule = |mode| AccessRule::new("notes".parse().unwrap(), mode);
        let declared = Records {
            access: vec![rule(AccessMode::Keys)],
            ..Records::default()
        };
        let stored = Records {
            access: vec![rule(AccessMode::Open)],
            sequence: 7,
            ..Records::default()
        };

        let snapshot = Snapshot::new(&declared, AccessMode::Open, stored);

        assert_eq!(snapshot.access().mode("notes"), AccessMode::Keys);
        assert_eq!(snapshot.access().mode("other"), AccessMode::Open);
        assert_eq!(snapshot.sequence(), 7);
    }
}
