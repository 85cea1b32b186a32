//! The context of calls to the LLM API.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use llamapool_identity::{Class as KeyClass, KeyOrigin};
use llamapool_limits::{Claim, MemoryAccount, MemoryBudget, Owner};
use llamapool_pool::{BudgetLimits, Class, KeyId, KeySettings, PoolConfig, ServerAlias};

use super::stored_responses::StoredResponses;
use crate::audit::Audit;
use crate::auth::{Auth, LlmCaller};
use crate::identity::{Identity, KeyHolder, LlmRights};
use crate::pool::{KeyBounds, PoolSettings, WorkerPool};
use crate::scheduler::DrainGate;

/// The factor of the share of memory of the LLM API as a whole: it leaves a ninth to everything
/// else.
const MEMORY_FACTOR: usize = 8;
/// The part of the queue that one key may use, where it has no bound of its own.
const QUEUE_SHARE: usize = 4;
/// The weight of a key with the weight 1, in the pool's thousandths.
const WEIGHT_UNIT: u32 = 1000;

/// A further name of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAlias {
    /// The name; with `*` at its end, all names that begin so; empty for requests without a model.
    pub name: String,
    /// The models, of which the first one that has a worker is taken.
    pub targets: Vec<String>,
}

/// The scope in which beginnings of prompts are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AffinityScope {
    /// All callers.
    #[default]
    Pool,
    /// Each key by itself, so that none learns from timing what another one asked.
    Key,
}

/// Calls to the LLM API.
#[derive(Debug, Clone)]
pub struct LlmConfig {
    /// The most calls that wait; 0: none may.
    pub queue_size: usize,
    /// The longest wait for a worker.
    pub queue_timeout: Duration,
    /// The time between two lines about the place in the queue.
    pub queue_update: Duration,
    /// The wait after which a call rises by one class; zero: never.
    pub ageing: Duration,
    /// How long the head of a stream is held back for a status that is true.
    pub head_patience: Duration,
    /// The time for the first content of an answer.
    pub first_token_timeout: Duration,
    /// The time between two events of an answer.
    pub token_idle_timeout: Duration,
    /// The time between two pieces of a request's body.
    pub body_timeout: Duration,
    /// The most beginnings of prompts that are remembered.
    pub affinity_entries: usize,
    /// The scope in which they are compared.
    pub affinity_scope: AffinityScope,
    /// Set if another quantization stands in for a model that no worker has.
    pub alias_fallback: bool,
    /// The most stored responses whose worker is remembered.
    pub remembered_responses: usize,
    /// Set if answers get the header `Llamapool-Route`.
    pub route_header: bool,
    /// Set if there are metrics under OpenTelemetry's names.
    pub gen_ai_metrics: bool,
    /// Set if the block that Claude Code changes in every request is taken out of prompts.
    pub strips_billing_header: bool,
    /// Set if the callers of keys may keep and unload Ollama's models.
    pub passes_keep_alive: bool,
    /// The most parts of one request for embeddings that run at once.
    pub max_parallel_embeddings: usize,
    /// The further names of models.
    pub aliases: Vec<ModelAlias>,
}

/// The bounds that the LLM API shares with other doors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedBounds {
    /// The largest request body, in bytes.
    pub(crate) max_request_bytes: u64,
    /// The largest answer that is collected, in bytes.
    pub(crate) max_answer_bytes: usize,
    /// The time for a whole call; zero: no limit.
    pub(crate) call_timeout: Duration,
    /// The time without a byte after which a stream gets a sign of life; zero: never.
    pub(crate) stream_keepalive: Duration,
}

/// The context of calls to the LLM API: what the stages of a call work with.
pub(crate) struct LlmDoor {
    pub(crate) auth: Arc<Auth>,
    pub(crate) pool: WorkerPool,
    /// Closed while the server drains.
    pub(crate) gate: Arc<DrainGate>,
    /// The memory of the process.
    pub(crate) memory: MemoryBudget,
    /// The workers of responses that runtimes keep.
    pub(crate) responses: StoredResponses,
    /// Gets a line of every call, if the settings say so.
    pub(crate) audit: Audit,
    pub(crate) config: LlmConfig,
    pub(crate) bounds: SharedBounds,
    /// Hashes prompts with a seed of this process, so that no caller can choose the results.
    pub(crate) hasher: RandomState,
    /// When the clock of the pool was zero.
    pub(crate) started: SystemTime,
}

impl LlmDoor {
    /// Returns the account of the memory of a caller.
    pub(super) fn account(&self, caller: &LlmCaller) -> MemoryAccount {
        let [caller, address] = caller.owners.claims();
        let api = Claim {
            owner: Owner::of(&"llm api"),
            factor: MEMORY_FACTOR,
        };
        self.memory.account([caller, address, api])
    }

    /// Returns the number of the key of a caller, by whose bounds the pool has it wait and spend: that
    /// of the operator for everyone without a key of their own.
    pub(super) fn key_of(&self, caller: &LlmCaller) -> KeyId {
        match caller.principal.key_use() {
            Some(key) => self.config.bound(&self.pool, key.holder()),
            None => WorkerPool::OPERATOR,
        }
    }
}

impl LlmConfig {
    /// Returns what the pool begins with.
    pub(crate) fn pool_settings(&self, seed: u64) -> PoolSettings {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let config = PoolConfig {
            queue_size: self.queue_size,
            queue_timeout: micros(self.queue_timeout),
            ageing: micros(self.ageing),
            affinity_entries: self.affinity_entries,
            affinity_by_key: self.affinity_scope == AffinityScope::Key,
            alias_fallback: self.alias_fallback,
            seed,
            ..PoolConfig::default()
        };
        let aliases = self.aliases.iter().map(|alias| ServerAlias {
            name: alias.name.clone(),
            targets: alias.targets.clone(),
        });
        PoolSettings {
            config,
            aliases: aliases.collect(),
        }
    }

    /// Lists the declared keys in the pool, before they have called.
    pub(crate) fn list_declared(&self, pool: &WorkerPool, identity: &Identity) {
        let published = identity.published();
        let keys = published.snapshot.keys();
        let declared = keys.filter(|key| key.origin == KeyOrigin::Declared);
        for holder in declared.filter_map(|key| published.holder(&key.id)) {
            self.bound(pool, &holder);
        }
    }

    /// Has a key wait and spend by its present bounds. Returns its number. A key that does not open the
    /// LLM API has no bounds, and makes no calls.
    fn bound(&self, pool: &WorkerPool, holder: &KeyHolder) -> KeyId {
        let number = KeyId(holder.meter().number());
        if let Some(rights) = holder.llm() {
            pool.set_bounds(number, rights.version, || self.bounds_of(&rights));
        }
        number
    }

    fn bounds_of(&self, rights: &LlmRights) -> KeyBounds {
        let limits = &rights.limits;
        let class = match limits.class {
            KeyClass::Low => Class::Low,
            KeyClass::Normal => Class::Normal,
            KeyClass::High => Class::High,
        };
        let max_waiting = limits.max_queued.map(|most| most as usize);
        let settings = KeySettings {
            name: rights.name.clone(),
            weight: limits.weight.unwrap_or(1).saturating_mul(WEIGHT_UNIT),
            class,
            max_concurrency: limits.max_concurrency.map(|most| most as usize),
            max_waiting: max_waiting.or(Some(self.queue_size.div_ceil(QUEUE_SHARE))),
            models: rights.models.clone(),
        };
        KeyBounds {
            version: rights.version,
            settings,
            limits: BudgetLimits {
                requests_per_minute: limits.requests_per_minute,
                tokens_per_minute: limits.tokens_per_minute,
                tokens_per_day: limits.tokens_per_day,
            },
        }
    }
}

impl Default for LlmConfig {
    fn default() -> Self {
        Self {
            queue_size: 1000,
            queue_timeout: Duration::from_secs(600),
            queue_update: Duration::from_secs(10),
            ageing: Duration::from_secs(30),
            head_patience: Duration::from_secs(10),
            first_token_timeout: Duration::from_secs(600),
            token_idle_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(60),
            affinity_entries: 262_144,
            affinity_scope: AffinityScope::Pool,
            alias_fallback: true,
            remembered_responses: 65_536,
            route_header: true,
            gen_ai_metrics: false,
            strips_billing_header: true,
            passes_keep_alive: false,
            max_parallel_embeddings: 8,
            aliases: Vec::new(),
        }
    }
}
