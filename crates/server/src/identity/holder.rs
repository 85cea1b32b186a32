//! The holder of a valid key, or of a grant that its holder gave a client: what runs by it, and the end
//! of all that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use llamapool_identity::{CallerRights, Grant, Key, KeyId, Limits, LlmLimits, Networks, Rights};
use parking_lot::RwLock;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::meter::KeyMeter;

/// The holder of a valid key, or of a grant.
#[derive(Debug)]
pub(crate) struct KeyHolder {
    /// The key; that of its approver, for a grant; `None` if the owner allowed it.
    key: Option<KeyId>,
    /// What sessions are bound to.
    binding: Arc<str>,
    name: String,
    ended: CancellationToken,
    /// Calls and tunnels that run by the key.
    uses: AtomicUsize,
    /// The minute of the last use, since the epoch; 0: none in this run.
    used_in: AtomicU64,
    /// The greatest turn of a grant whose access token was used.
    turn: AtomicU32,
    account: Arc<Account>,
}

/// What the limits of a key are counted by: its own calls, and those by all grants that it allowed.
#[derive(Debug)]
struct Account {
    /// The limits for what begins: another limit ends nothing.
    limits: RwLock<Arc<Limits>>,
    /// The rights at the LLM API; `None` for a key that does not open it.
    llm: RwLock<Option<Arc<LlmRights>>>,
    networks: Networks,
    meter: Arc<KeyMeter>,
}

/// The rights of a key at the LLM API.
#[derive(Debug)]
pub(crate) struct LlmRights {
    /// Greater than that of all rights of the key before.
    pub(crate) version: u64,
    /// The name of the key.
    pub(crate) name: String,
    /// Patterns of its models.
    pub(crate) models: Vec<String>,
    /// Its bounds.
    pub(crate) limits: LlmLimits,
}

/// One call or tunnel that runs by a key. Clones are the same use, which ends with the last of them.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct KeyUse(Arc<CountedUse>);

/// A use while it is counted.
#[derive(Debug)]
struct CountedUse(Arc<KeyHolder>);

impl KeyHolder {
    /// Returns the holder of a key with rights of this version, by which nothing runs yet.
    pub(super) fn new(key: &Key, meter: Arc<KeyMeter>, version: u64) -> Arc<Self> {
        let account = Account {
            limits: RwLock::new(limits_of(key)),
            llm: RwLock::new(LlmRights::of(key, version)),
            networks: key.rights.networks().clone(),
            meter,
        };
        let binding = key.id.as_str().into();
        Self::of(Some(&key.id), binding, key.name.clone(), Arc::new(account))
    }

    /// Returns the holder of a grant, by which nothing runs yet. A session belongs to the approver and
    /// the client, so it outlives the grant. Its calls count as those of the key that allowed it.
    pub(super) fn of_grant(grant: &Grant, key: Option<&Arc<Self>>, client_name: &str) -> Arc<Self> {
        // No id of a key or a client has a space.
        let binding = format!("{} {}", grant.approver, grant.client);
        let approver = key.map_or("owner", |key| key.name.as_str());
        let name = format!("{approver} in {client_name}");
        let account = key.map_or_else(Arc::default, |key| key.account.clone());
        Self::of(grant.approver.key(), binding.into(), name, account)
    }

    fn of(
        key: Option<&KeyId>,
        binding: Arc<str>,
        name: String,
        account: Arc<Account>,
    ) -> Arc<Self> {
        Arc::new(Self {
            key: key.cloned(),
            binding,
            name,
            ended: CancellationToken::new(),
            uses: AtomicUsize::new(0),
            used_in: AtomicU64::new(0),
            turn: AtomicU32::new(0),
            account,
        })
    }

    /// Takes the limits of a key that has changed in these or its name alone.
    pub(super) fn set_limits(&self, key: &Key, version: u64) {
        *self.account.limits.write() = limits_of(key);
        let mut llm = self.account.llm.write();
        let is_same = llm.as_ref().is_none_or(|llm| llm.is_of(key));
        if !is_same {
            *llm = LlmRights::of(key, version);
        }
    }

    /// Returns the rights at the LLM API, `None` if the key does not open it.
    pub(crate) fn llm(&self) -> Option<Arc<LlmRights>> {
        self.account.llm.read().clone()
    }

    /// Returns the limits of the key.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.account.limits.read().clone()
    }

    /// Returns the addresses that the key may be used from.
    pub(crate) fn networks(&self) -> &Networks {
        &self.account.networks
    }

    /// Returns the meter of the key.
    pub(crate) fn meter(&self) -> &Arc<KeyMeter> {
        &self.account.meter
    }

    /// Returns the account that its shares count for: all grants of a key share with it.
    pub(crate) fn account(&self) -> Option<&KeyId> {
        self.key.as_ref()
    }

    /// Returns what sessions are bound to.
    pub(crate) fn binding(&self) -> &Arc<str> {
        &self.binding
    }

    /// Returns the name of the key, or those of the approver's key and the client.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Begins a call or a tunnel.
    pub(crate) fn begin(self: &Arc<Self>) -> KeyUse {
        self.uses.fetch_add(1, Ordering::Relaxed);
        KeyUse(Arc::new(CountedUse(self.clone())))
    }

    /// Ends all that runs by the key. Returns the number.
    pub(super) fn end(&self) -> usize {
        // Counted first: what ends is gone an instant later.
        let uses = self.uses.load(Ordering::Relaxed);
        self.ended.cancel();
        uses
    }

    pub(super) fn note_use(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let minute = since.map_or(0, |since| since.as_secs() / 60);
        if self.used_in.load(Ordering::Relaxed) != minute {
            self.used_in.store(minute, Ordering::Relaxed);
        }
    }

    /// Notes the turn of an access token that was used.
    pub(super) fn note_turn(&self, turn: u32) {
        self.turn.fetch_max(turn, Ordering::Relaxed);
    }

    /// Returns the greatest turn whose access token was used in this run.
    pub(super) fn last_turn(&self) -> u32 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Returns the minute of the last use in this run.
    pub(super) fn last_use(&self) -> Option<SystemTime> {
        let minute = self.used_in.load(Ordering::Relaxed);
        let since = Duration::from_secs(minute * 60);
        (minute > 0).then(|| SystemTime::UNIX_EPOCH + since)
    }
}

/// Of the owner, who has no limits.
impl Default for Account {
    fn default() -> Self {
        Self {
            limits: RwLock::default(),
            llm: RwLock::default(),
            networks: Networks::default(),
            meter: Arc::default(),
        }
    }
}

/// Returns the limits of a key; only keys of callers have some.
fn limits_of(key: &Key) -> Arc<Limits> {
    Arc::new(match &key.rights {
        Rights::Caller(rights) => Limits::clone(&rights.limits),
        Rights::Worker(_) | Rights::Admin(_) => Limits::default(),
    })
}

impl LlmRights {
    fn of(key: &Key, version: u64) -> Option<Arc<Self>> {
        let rights = llm_rights_of(key)?;
        Some(Arc::new(Self {
            version,
            name: key.name.clone(),
            models: rights.models.clone(),
            limits: rights.llm.clone(),
        }))
    }

    /// Returns whether they are those of a key.
    fn is_of(&self, key: &Key) -> bool {
        llm_rights_of(key).is_some_and(|rights| {
            self.name == key.name && self.models == rights.models && self.limits == rights.llm
        })
    }
}

/// Returns the rights of a key that opens the LLM API.
fn llm_rights_of(key: &Key) -> Option<&CallerRights> {
    key.rights.caller().filter(|rights| rights.opens_llm())
}

impl KeyUse {
    /// Returns the holder of the key.
    pub(crate) fn holder(&self) -> &Arc<KeyHolder> {
        &self.0.0
    }

    /// Waits until the key is revoked, has expired or has other rights.
    pub(crate) fn ended(&self) -> WaitForCancellationFutureOwned {
        self.0.0.ended.clone().cancelled_owned()
    }

    /// Returns whether that has happened.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.0.ended.is_cancelled()
    }
}

impl PartialEq for KeyUse {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.holder(), other.holder())
    }
}

impl Eq for KeyUse {}

impl Drop for CountedUse {
    fn drop(&mut self) {
        self.0.uses.fetch_sub(1, Ordering::Relaxed);
    }
}
