//! What goes into a decision about a call, and what comes out.

use std::sync::Arc;

use crate::{CallId, Class, KeyId, ResolvedModel, WorkerId};

/// A beginning of a prompt. Marks of one prompt follow each other in growing length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixMark {
    /// The hash of the prompt up to here.
    pub hash: u64,
    /// Length of the prompt up to here, in bytes.
    pub bytes: u64,
}

/// The API that a call asks for, in words of workers' lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedApi {
    /// The word of workers whose runtime has it, such as `chat`.
    pub word: &'static str,
    /// The word of workers that make it of another API. They get the call only while no worker of the model
    /// has it. `None` if it is never made.
    pub translated: Option<&'static str>,
}

/// A call that asks for a worker.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The number of the call.
    pub call: CallId,
    /// The key of its caller.
    pub key: KeyId,
    /// The model.
    pub model: ResolvedModel,
    /// The API that a worker must have for the model, such as `chat`. `ollama_embed` is `ollama` where
    /// it makes embeddings, which workers of one variant of the model answer alone.
    pub api: AskedApi,
    /// The estimated tokens of the prompt.
    pub prompt_tokens: u64,
    /// The inputs among which these tokens are, such as those of embeddings: each of them alone must fit
    /// into a context.
    pub inputs: u32,
    /// Text of the prompt in bytes, from which bytes per token are learned. 0: learn nothing, as for
    /// prompts with pictures.
    pub prompt_bytes: u64,
    /// The most tokens that the caller wants, `None` if it did not set a bound.
    pub output_tokens: Option<u64>,
    /// Beginnings of the prompt, the longest last, at most [`Ask::MAX_MARKS`].
    pub marks: Vec<PrefixMark>,
    /// A class below the key's; a higher one counts as the key's.
    pub class: Option<Class>,
    /// The context that the call wants the model to be loaded with, in tokens.
    pub num_ctx: Option<u64>,
    /// The moment at which it must have been placed, at most the pool's timeout from now.
    pub deadline: Option<u64>,
    /// Workers that must not be chosen.
    pub excluded: Vec<WorkerId>,
    /// The only worker that may be chosen.
    pub only: Option<WorkerId>,
    /// Whether it may wait in a queue.
    pub may_wait: bool,
    /// Whether it takes a slot of its worker. `false` for what a runtime answers beside its slots, such
    /// as counting tokens: it never waits for one.
    pub takes_slot: bool,
}

/// The worker that runs a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The worker.
    pub worker: WorkerId,
    /// The worker's own name of the model.
    pub model_name: Arc<str>,
    /// Why this one.
    pub reason: Reason,
    /// Expected microseconds to first content.
    pub expected: u64,
    /// Tokens of the prompt that are expected in the worker's cache.
    pub predicted_prefix: u64,
    /// Microseconds that the call waited in the queue.
    pub waited: u64,
}

/// Why a worker was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It has the model loaded.
    Warm,
    /// It has a beginning of the prompt in its cache.
    Prefix,
    /// It is loading the model.
    Loading,
    /// It has to load the model.
    Cold,
    /// It has to load the model anew, with another context.
    Reload,
    /// The call is bound to it.
    Only,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It runs now.
    Run(Run),
    /// It waits; a [`Decision`] follows.
    Waiting {
        /// Calls that wait for the model, this one included.
        of: usize,
    },
    /// It does not run, and the pool has no call of this number.
    Refused(RefusedError),
}

/// The reason why a call gets no worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedError {
    /// There is no such model any more.
    #[error("the model has no worker any more")]
    ModelGone,
    /// All workers of the model are away, draining or excluded.
    #[error("no worker of the model takes calls")]
    NoWorker,
    /// The only worker that could run it is away.
    #[error("the worker that the call belongs to is away")]
    WorkerOffline,
    /// All slots are taken, and the call may not wait.
    #[error("no slot is free, and the call does not wait")]
    Busy,
    /// The queue of the pool is full.
    #[error("the queue is full with {limit} calls")]
    QueueFull {
        /// The most calls that wait.
        limit: usize,
    },
    /// Too many calls of the key wait.
    #[error("{limit} calls of this key wait already")]
    TooManyWaiting {
        /// The most calls of the key that wait.
        limit: usize,
    },
    /// The key has all its calls running, and this one may not wait.
    #[error("{limit} calls of this key run already, and the call does not wait")]
    KeyBusy {
        /// The most calls of the key that run.
        limit: usize,
    },
    /// The call waited until its deadline.
    #[error("no worker became free before the deadline")]
    QueueTimeout,
    /// The prompt is far beyond the context of every worker.
    #[error("the prompt has about {tokens} tokens, the largest context has {context}")]
    ContextExceeded {
        /// The estimated tokens of the prompt.
        tokens: u64,
        /// The largest context of the model, in tokens.
        context: u64,
    },
    /// The pool has a call of this number already.
    #[error("call {} is in the pool already", .0.0)]
    Duplicate(CallId),
    /// The pool has no running call of this number.
    #[error("call {} is not running", .0.0)]
    Unknown(CallId),
}

/// A decision about a call that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It runs now.
    Run(CallId, Run),
    /// It left the queue without a worker. The pool has no call of this number any more.
    Expired(CallId, RefusedError),
}

/// Why a running call is placed again. Its place in the queue is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The attempt failed: another worker.
    OtherWorker,
    /// The runtime is loading the model and took nothing: the same worker once it is ready, or another.
    Loading,
    /// The runtime refused the prompt as too long: a worker with a larger context.
    LargerContext,
}

/// What became of a running call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Microseconds for which it held a slot; `None` for the time since the decision.
    pub slot_time: Option<u64>,
    /// Tokens of the prompt, 0 if unknown.
    pub prompt_tokens: u64,
    /// Tokens of the prompt that came from the cache.
    pub cached_tokens: u64,
    /// Tokens that were written, 0 if unknown.
    pub completion_tokens: u64,
    /// Whether the counts are the runtime's own. Others teach nothing.
    pub trusted: bool,
}

impl From<&'static str> for AskedApi {
    fn from(word: &'static str) -> Self {
        Self {
            word,
            translated: None,
        }
    }
}

impl Ask {
    /// The most marks of a prompt; of more, the longest prefixes are kept.
    pub const MAX_MARKS: usize = 64;

    /// Returns a call with a prompt of unstated length that may wait, takes a slot, and has no further
    /// wishes.
    pub fn new(call: CallId, key: KeyId, model: ResolvedModel, api: impl Into<AskedApi>) -> Self {
        Self {
            call,
            key,
            model,
            api: api.into(),
            prompt_tokens: 0,
            inputs: 1,
            prompt_bytes: 0,
            output_tokens: None,
            marks: Vec::new(),
            class: None,
            num_ctx: None,
            deadline: None,
            excluded: Vec::new(),
            only: None,
            may_wait: true,
            takes_slot: true,
        }
    }
}

impl Reason {
    /// Returns the word of the routing header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Prefix => "prefix",
            Self::Loading => "loading",
            Self::Cold => "cold",
            Self::Reload => "reload",
            Self::Only => "only",
        }
    }
}
