//! Models as workers report them, and as callers ask for them.

use std::sync::Arc;

/// One model of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolModel {
    /// The runtime's own name.
    pub name: String,
    /// Other names for it on this worker.
    pub aliases: Vec<String>,
    /// Digest of the weights; empty where the runtime has none.
    pub digest: String,
    /// Size in bytes, 0 if unknown.
    pub size: u64,
    /// Number of parameters, 0 if unknown.
    pub params: u64,
    /// Quantization, such as `Q4_K_M`; empty if unknown.
    pub quantization: String,
    /// Family or architecture; empty if unknown.
    pub family: String,
    /// Context in tokens as it is or would be loaded, 0 if unknown.
    pub context: u64,
    /// Context in tokens that the model was trained for, 0 if unknown.
    pub context_trained: u64,
    /// What goes in: `text`, `image`, `audio`.
    pub inputs: Vec<String>,
    /// What comes out: `text`, `embedding`, `image`, `audio`.
    pub outputs: Vec<String>,
    /// Capabilities, such as `tools`.
    pub capabilities: Vec<String>,
    /// The APIs of the runtime that take it, such as `chat`.
    pub apis: Vec<String>,
    /// When it was made, in seconds since 1970; 0 if unknown.
    pub created: u64,
}

/// The load of a worker. Models are indices of the list that it reported last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolLoad {
    /// Slots that others than this server use.
    pub elsewhere: u32,
    /// Calls whose caller has left and that the runtime still computes.
    pub abandoned: u32,
    /// The models that are loaded and ready.
    pub resident: Vec<u16>,
    /// The models that are being loaded.
    pub loading: Vec<u16>,
    /// The measured speed of some models. Others keep theirs.
    pub speed: Vec<PoolSpeed>,
}

/// The measured speed of one model on one worker, as moving averages; 0 where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PoolSpeed {
    /// Index of the model.
    pub model: u16,
    /// Tokens of a prompt that are read in a second.
    pub prefill: f64,
    /// Tokens that are written in a second.
    pub decode: f64,
    /// Time to load the model, in milliseconds.
    pub load_ms: u64,
}

/// A further name that the server gives to models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAlias {
    /// The name; with `*` at its end, all names that begin so. May be empty: requests without a model.
    pub name: String,
    /// The models, of which the first one that has a worker is taken.
    pub targets: Vec<String>,
}

/// How a name was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It is the name of a model.
    Exact,
    /// With or without `:latest`.
    Latest,
    /// But for the case of ASCII letters.
    Case,
    /// An alias of workers.
    WorkerAlias,
    /// An alias of the server.
    ServerAlias,
    /// Another quantization of the model stands in.
    Quantization,
}

/// A model that a call may be placed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// The name in the catalogue, for lists, labels and statistics.
    pub name: Arc<str>,
    /// How it was found.
    pub matched: Match,
    pub(crate) entry: usize,
    pub(crate) serial: u64,
}

/// The result of a look for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// There is such a model, and a worker that is connected or was a short while ago.
    Found(ResolvedModel),
    /// There is such a model, and none of its workers has the API.
    UnsupportedApi {
        /// The name in the catalogue.
        name: Arc<str>,
    },
    /// There is no such model, or this key may not use it.
    NotFound,
}
