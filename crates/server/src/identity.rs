//! The keys and the access of ids as the running server has them.
//!
//! What a call is decided with is one immutable value; a change publishes the next one, and ends what
//! ran by rights that no longer hold. `keeper` looks for changes of the store.

mod clock;
mod grant_holders;
mod holder;
mod keeper;
mod meter;
mod reload;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use llamapool_identity::{
    AccessLimits, AccessMode, DeclaredTwiceError, Epoch, Key, KeyError, KeyId, KeyKind, KeyOrigin,
    MessageRules, Records, Reload, Scope, Snapshot, TokenError, TokenSeal,
};
use llamapool_wire::RelayId;
use parking_lot::{Mutex, RwLock};

use self::clock::ForwardClock;
use self::grant_holders::GrantHolders;

pub(crate) use holder::{KeyHolder, KeyUse, LlmRights};
pub(crate) use keeper::IdentityKeeper;
pub(crate) use meter::{KeyMeter, KeyMeters, Meter, Place};
pub(crate) use reload::Replacements;
pub use reload::{AccessChanges, AccessReload, AccessReloadError};
pub(crate) use writer::{Applied, StoreWriter, WriteError};

/// The keys and the access that the settings declare.
#[derive(Debug, Clone, Default)]
pub struct IdentityConfig {
    /// The declared keys and rules of access.
    pub declared: Records,
    /// The access of ids that no rule covers.
    pub default_access: AccessMode,
}

/// The keys and the access of ids. Clones are the same.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Inner>);

struct Inner {
    config: RwLock<Arc<IdentityConfig>>,
    clock: ForwardClock,
    published: RwLock<Arc<Published>>,
    /// Whether every id is open, so that calls need no look at the table.
    is_open: AtomicBool,
    /// What runs by grants.
    grants: GrantHolders,
    /// The epochs that this server has begun and not stored yet: one of each id that has grants at most.
    epochs: Mutex<Vec<Epoch>>,
    /// Whether an id has rules of messages.
    has_messages: AtomicBool,
    /// Whether an id has limits.
    has_limits: AtomicBool,
    meters: KeyMeters,
}

/// A snapshot, with what runs by its keys.
pub(crate) struct Published {
    pub(crate) snapshot: Snapshot,
    /// Greater by one than that of the one before.
    version: u64,
    /// The valid keys.
    holders: HashMap<KeyId, Arc<KeyHolder>>,
}

/// A key that was presented, with its rights.
pub(crate) struct Presented {
    pub(crate) key: Arc<Key>,
    pub(crate) holder: Arc<KeyHolder>,
}

/// An access token that was presented.
pub(crate) struct PresentedToken {
    pub(crate) holder: Arc<KeyHolder>,
    /// How much it gives.
    pub(crate) scope: Scope,
    /// The most that another token of the same approver could give.
    pub(crate) widest: Scope,
}

impl Identity {
    /// Returns the keys and the access that are declared and stored.
    pub(crate) fn new(config: IdentityConfig, stored: Records) -> Self {
        Self::with_usage(config, stored, KeyMeters::default())
    }

    /// Returns the same of keys that have used something before.
    pub(crate) fn with_usage(config: IdentityConfig, stored: Records, meters: KeyMeters) -> Self {
        let mut snapshot = Snapshot::new(&config.declared, config.default_access, stored);
        // Keys may have changed while no server was running.
        let epochs = snapshot.begin_epochs(SystemTime::now());
        let is_open = snapshot.access().is_open();
        let has_messages = snapshot.access().has_messages();
        let has_limits = snapshot.access().has_limits();
        let none = Published {
            snapshot: Snapshot::default(),
            version: 0,
            holders: HashMap::new(),
        };
        // The first numbers are those of declared keys, in their order.
        for key in &config.declared.keys {
            meters.of(&key.id);
        }
        let (published, _) = none.next(snapshot, &meters, SystemTime::now());
        Self(Arc::new(Inner {
            config: RwLock::new(Arc::new(config)),
            clock: ForwardClock::default(),
            published: RwLock::new(Arc::new(published)),
            is_open: AtomicBool::new(is_open),
            grants: GrantHolders::default(),
            epochs: Mutex::new(epochs),
            has_messages: AtomicBool::new(has_messages),
            has_limits: AtomicBool::new(has_limits),
            meters,
        }))
    }

    /// Returns what an id asks of its callers.
    pub(crate) fn access(&self, id: &str) -> AccessMode {
        if self.0.is_open.load(Ordering::Relaxed) {
            return AccessMode::Open;
        }
        self.published().snapshot.access().mode(id)
    }

    /// Returns the rules of messages to an id.
    pub(crate) fn messages(&self, id: &str) -> MessageRules {
        if !self.0.has_messages.load(Ordering::Relaxed) {
            return MessageRules::default();
        }
        self.published().snapshot.access().messages(id)
    }

    /// Returns the limits of an id.
    pub(crate) fn limits(&self, id: &str) -> Option<Arc<AccessLimits>> {
        if !self.0.has_limits.load(Ordering::Relaxed) {
            return None;
        }
        self.published().snapshot.access().limits(id).cloned()
    }

    /// Returns what the settings declare.
    pub(crate) fn declared(&self) -> Arc<IdentityConfig> {
        self.0.config.read().clone()
    }

    /// Returns what ids ask of their callers, the default for all others last.
    pub(crate) fn modes(&self) -> Vec<(String, AccessMode)> {
        let published = self.published();
        let access = published.snapshot.access();
        let rules = access.rules();
        let mut rules: Vec<_> = rules.map(|(ids, mode)| (ids.to_string(), mode)).collect();
        if !rules.iter().any(|(ids, _)| ids == "*") {
            rules.push(("*".to_owned(), access.default_mode()));
        }
        rules
    }

    /// Returns whether there is a caller key that opens the LLM API.
    pub(crate) fn has_llm_keys(&self) -> bool {
        let published = self.published();
        let now = self.now();
        let mut keys = published.snapshot.keys().filter(|key| key.is_valid(now));
        keys.any(|key| key.opens_llm())
    }

    /// Returns what keys have used.
    pub(crate) fn meters(&self) -> &KeyMeters {
        &self.0.meters
    }

    /// Returns the key of a kind that a text is the secret of.
    pub(crate) fn authenticate(
        &self,
        presented: &[u8],
        kind: KeyKind,
    ) -> Result<Presented, KeyError> {
        let now = self.now();
        let published = self.published();
        let key = published.snapshot.authenticate(presented, kind, now)?;
        // A key that has ended since the last look of the keeper has no holder.
        let holder = published.holders.get(&key.id).ok_or(KeyError::Expired)?;
        holder.note_use(now);
        Ok(Presented {
            key: key.clone(),
            holder: holder.clone(),
        })
    }

    /// Returns the time by which keys end.
    pub(crate) fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// Returns what is published now.
    pub(crate) fn published(&self) -> Arc<Published> {
        self.0.published.read().clone()
    }

    /// Returns the holder of the grant of an access token that is presented at an id, and how much the
    /// token gives: a client may have narrowed this one alone.
    pub(crate) fn authenticate_token(
        &self,
        seal: &TokenSeal,
        presented: &str,
        id: &RelayId,
    ) -> Result<PresentedToken, TokenError> {
        let now = self.now();
        // Repeated only if a change was published meanwhile.
        loop {
            let published = self.published();
            let token = published
                .snapshot
                .authenticate_token(seal, presented, id, now)?;
            let client = published.snapshot.client(&token.grant.client);
            let name = client.map_or("a client", |client| client.name.as_str());
            let key = token.key.as_ref().map(|key| &key.id);
            let key = key.and_then(|id| published.holders.get(id));
            let is_current = || Arc::ptr_eq(&published, &self.published());
            if let Some(holder) = self.0.grants.of_token(&token, name, key, is_current) {
                holder.note_use(now);
                return Ok(PresentedToken {
                    holder,
                    scope: token.scope,
                    widest: token.widest,
                });
            }
        }
    }

    /// Publishes what has changed in the store. Returns the number of calls and tunnels that it ended.
    pub(crate) fn apply(&self, reload: Reload) -> usize {
        let config = self.declared();
        let declared = &config.declared;
        let published = self.published();
        let mut snapshot = match reload {
            Reload::All(records) => Snapshot::new(declared, config.default_access, records),
            Reload::Some(changed, sequence) => {
                published.snapshot.after(declared, changed, sequence)
            }
        };
        if !snapshot.shares_keys_with(&published.snapshot) {
            self.begin_epochs(&mut snapshot);
        }
        self.publish(snapshot)
    }

    /// Publishes other settings. Returns the number of calls and tunnels that they ended.
    ///
    /// Only the keeper of the store calls it: two that publish could undo each other's change.
    fn redeclare(&self, config: IdentityConfig) -> Result<usize, DeclaredTwiceError> {
        let published = self.published();
        let declared = &config.declared;
        let mut snapshot = published
            .snapshot
            .redeclared(declared, config.default_access)?;
        *self.0.config.write() = Arc::new(config);
        self.begin_epochs(&mut snapshot);
        Ok(self.publish(snapshot))
    }

    /// Ends what runs by keys and grants that have expired.
    pub(crate) fn end_expired(&self) -> usize {
        let mut snapshot = self.published().snapshot.clone();
        self.begin_epochs(&mut snapshot);
        self.publish(snapshot)
    }

    /// Returns whether something runs by a key or a grant that has expired.
    fn has_expired(&self, now: SystemTime) -> bool {
        let published = self.published();
        published.has_expired(now) || self.0.grants.has_expired(&published.snapshot, now)
    }

    /// Takes the epochs that this server has begun, to be stored.
    fn take_epochs(&self) -> Vec<Epoch> {
        std::mem::take(&mut *self.0.epochs.lock())
    }

    /// Puts epochs back that could not be stored.
    fn return_epochs(&self, epochs: Vec<Epoch>) {
        self.0.epochs.lock().extend(epochs);
    }

    /// Begins the epochs of ids whose keys are others now. At once, and not only when they are stored: a
    /// grant must not reach the program of another party.
    fn begin_epochs(&self, snapshot: &mut Snapshot) {
        let epochs = snapshot.begin_epochs(self.now());
        self.0.epochs.lock().extend(epochs);
    }

    fn publish(&self, snapshot: Snapshot) -> usize {
        let now = self.now();
        let is_open = snapshot.access().is_open();
        let has_messages = snapshot.access().has_messages();
        let has_limits = snapshot.access().has_limits();
        let mut published = self.0.published.write();
        let (next, ended) = published.next(snapshot.clone(), &self.0.meters, now);
        *published = Arc::new(next);
        self.0.is_open.store(is_open, Ordering::Relaxed);
        self.0.has_messages.store(has_messages, Ordering::Relaxed);
        self.0.has_limits.store(has_limits, Ordering::Relaxed);
        drop(published);

        // After the next snapshot is there: what ends now cannot begin again by the old one.
        let of_grants = self.0.grants.end_gone(&snapshot, now);
        let of_keys: usize = ended.iter().map(|holder| holder.end()).sum();
        of_keys + of_grants
    }
}

impl Published {
    /// Returns the holder of a valid key.
    pub(crate) fn holder(&self, id: &KeyId) -> Option<Arc<KeyHolder>> {
        self.holders.get(id).cloned()
    }

    /// Returns when a valid key was last used in this run.
    pub(crate) fn last_use(&self, id: &KeyId) -> Option<SystemTime> {
        self.holders.get(id)?.last_use()
    }

    /// Returns whether a holder is there whose key has ended.
    fn has_expired(&self, now: SystemTime) -> bool {
        let keys = self.holders.keys().filter_map(|id| self.snapshot.key(id));
        keys.into_iter().any(|key| !key.is_valid(now))
    }

    /// Returns when keys of the store were used in this run.
    fn uses(&self) -> Vec<(KeyId, SystemTime)> {
        let stored = self.holders.values().filter(|holder| {
            let key = holder.account().and_then(|id| self.snapshot.key(id));
            key.is_some_and(|key| key.origin == KeyOrigin::Stored)
        });
        stored
            .filter_map(|holder| Some((holder.account()?.clone(), holder.last_use()?)))
            .collect()
    }

    /// Returns the next one, and the holders that have no place in it.
    fn next(
        &self,
        snapshot: Snapshot,
        meters: &KeyMeters,
        now: SystemTime,
    ) -> (Self, Vec<Arc<KeyHolder>>) {
        let mut holders = HashMap::new();
        // Not the number of the store: that of a copy which takes its place may be smaller.
        let version = self.version + 1;
        for key in snapshot.keys().filter(|key| key.is_valid(now)) {
            let before = self.snapshot.key(&key.id);
            let keeps = before.is_some_and(|before| {
                // Another secret in the settings has no overlap: the one before is not valid any more.
                let is_replaced =
                    key.origin == KeyOrigin::Declared && key.secrets != before.secrets;
                !is_replaced && before.rights.continue_as(&key.rights)
            });
            let kept = self.holders.get(&key.id).filter(|_| keeps);
            let holder = match kept {
                Some(holder) => {
                    holder.set_limits(key, version);
                    holder.clone()
                }
                None => KeyHolder::new(key, meters.of(&key.id), version),
            };
            holders.insert(key.id.clone(), holder);
        }

        let is_gone = |(id, holder): &(&KeyId, &Arc<KeyHolder>)| {
            let next = holders.get(*id);
            next.is_none_or(|next| !Arc::ptr_eq(next, holder))
        };
        let gone = self.holders.iter().filter(is_gone);
        let gone = gone.map(|(_, holder)| holder.clone()).collect();
        let next = Self {
            snapshot,
            version,
            holders,
        };
        (next, gone)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llamapool_identity::{
        AccessRule, CallerRights, ChangedRecord, KeySecret, Limits, MessagePolicy, Rights,
        digest_of,
    };

    use super::*;

    fn key(id: &str, ids: &[&str]) -> Key {
        Key {
            id: id.parse().unwrap(),
            name: id.to_owned(),
            rights: Rights::Caller(CallerRights {
                ids: ids.iter().map(|id| id.parse().unwrap()).collect(),
                ..CallerRights::default()
            }),
            origin: KeyOrigin::Stored,
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            secrets: vec![KeySecret {
                digest: digest_of(id.as_bytes()),
                expires_at: None,
            }],
        }
    }

    fn identity(keys: Vec<Key>) -> Identity {
        let stored = Records {
            keys,
            ..Records::default()
        };
        Identity::new(IdentityConfig::default(), stored)
    }

    fn present(identity: &Identity, text: &str) -> Result<Arc<KeyHolder>, KeyError> {
        let presented = identity.authenticate(text.as_bytes(), KeyKind::Caller)?;
        Ok(presented.holder)
    }

    fn changed(identity: &Identity, key: Key) -> usize {
        identity.apply(Reload::Some(vec![ChangedRecord::Key(Box::new(key))], 1))
    }

    #[test]
    fn a_revocation_ends_what_runs_by_the_key_alone() {
        let identity = identity(vec![key("a", &["*"]), key("b", &["*"])]);
        let [one, other] = ["a", "b"].map(|text| present(&identity, text).unwrap().begin());

        let revoked = Key {
            revoked_at: Some(SystemTime::now()),
            ..key("a", &["*"])
        };
        let ended = changed(&identity, revoked);

        assert_eq!(ended, 1);
        assert!(one.has_ended() && !other.has_ended());
        assert_eq!(present(&identity, "a").err(), Some(KeyError::Revoked));
        assert!(present(&identity, "b").is_ok());
    }

    #[test]
    fn a_change_of_rights_ends_what_runs_and_a_new_name_does_not() {
        let identity = identity(vec![key("a", &["*"])]);
        let running = present(&identity, "a").unwrap().begin();

        let renamed = Key {
            name: "other".to_owned(),
            ..key("a", &["*"])
        };
        assert_eq!(changed(&identity, renamed), 0);
        assert!(!running.has_ended());

        assert_eq!(changed(&identity, key("a", &["notes"])), 1);
        assert!(running.has_ended());
        assert!(!present(&identity, "a").unwrap().begin().has_ended());
    }

    #[test]
    fn other_limits_end_nothing_and_hold_for_what_begins() {
        let identity = identity(vec![key("a", &["*"])]);
        let running = present(&identity, "a").unwrap().begin();
        let meter = running.holder().meter().clone();

        let limits = Limits {
            concurrency: Some(1),
            ..Limits::default()
        };
        let mut limited = key("a", &["*"]);
        if let Rights::Caller(rights) = &mut limited.rights {
            *rights.limits = limits.clone();
        }
        assert_eq!(changed(&identity, limited.clone()), 0);

        assert!(!running.has_ended());
        assert_eq!(*present(&identity, "a").unwrap().limits(), limits);

        // What it has used goes on where what runs does not.
        let mut narrowed = limited;
        if let Rights::Caller(rights) = &mut narrowed.rights {
            rights.networks = "10.0.0.0/8".parse().unwrap();
        }
        assert_eq!(changed(&identity, narrowed), 1);
        assert!(running.has_ended());
        let next = present(&identity, "a").unwrap();
        assert!(Arc::ptr_eq(next.meter(), &meter));
    }

    #[test]
    fn an_expired_key_ends_what_runs() {
        let brief = Key {
            expires_at: Some(SystemTime::now() + Duration::from_millis(20)),
            ..key("a", &["*"])
        };
        let identity = identity(vec![brief]);
        let running = present(&identity, "a").unwrap().begin();
        assert_eq!(identity.end_expired(), 0);

        while present(&identity, "a").is_ok() {
            std::thread::yield_now();
        }
        let ended = identity.end_expired();

        assert_eq!(ended, 1);
        assert!(running.has_ended());
    }

    #[test]
    fn the_access_of_ids_changes_while_the_server_runs() {
        let identity = identity(vec![]);
        assert_eq!(identity.access("notes"), AccessMode::Open);

        let rule = AccessRule::new("notes".parse().unwrap(), AccessMode::Keys);
        identity.apply(Reload::Some(vec![ChangedRecord::Access(vec![rule])], 1));

        assert_eq!(identity.access("notes"), AccessMode::Keys);
        assert_eq!(identity.access("other"), AccessMode::Open);
    }

    #[test]
    fn the_rules_of_messages_change_while_the_server_runs() {
        let identity = identity(vec![]);
        assert!(identity.messages("notes").is_empty());

        let rule = AccessRule {
            messages: MessagePolicy::read_only(),
            ..AccessRule::new("notes".parse().unwrap(), AccessMode::Open)
        };
        identity.apply(Reload::Some(vec![ChangedRecord::Access(vec![rule])], 1));

        assert!(!identity.messages("notes").is_empty());
        assert!(identity.messages("other").is_empty());

        identity.apply(Reload::Some(vec![ChangedRecord::Access(vec![])], 2));
        assert!(identity.messages("notes").is_empty());
    }
}
