//! Settings that each LLM runtime of a worker can have for itself, in a `[[provider]]` table of the
//! file.

use std::time::Duration;

use http::Uri;
use llamapool_relay::{
    LlmConfig, ModelAlias, ModelPatterns, ProviderConfig, ProviderKind, RuntimeKind, UpstreamStream,
};
use llamapool_settings::value::{DURATION, MEMORY, POSITIVE_DURATION, TEXT};
use llamapool_settings::{EntryScope, EntrySources, Setting, SettingsError, Sources, TypedSetting};
use llamapool_wire::{MAX_PROVIDERS, RelayId, Secret};

use super::value::{ALIASES, CONCURRENCY, INPUTS, PATTERNS, STYLE, UPSTREAM, WEIGHT};
use crate::settings::error::ConfigError;
use crate::settings::group::{ACCESS, LIMITS, MAIN, RUNTIME, TIME};
use crate::settings::relay::connection::CONNECT_TIMEOUT;
use crate::settings::relay::provider::duplicate_ids;
use crate::settings::url;
use crate::settings::value::{ID, SECRET};

static COMPLETION_BASE_URL: TypedSetting<Uri> = TypedSetting::new(
    "COMPLETION_BASE_URL",
    MAIN,
    url::PROVIDER_URL,
    "URL of the LLM runtime (http or https), with or without /v1 at its end.",
)
.aliases(&["OLLAMA_BASE_URL", "OLLAMA_URL"])
.described_default("found on this machine")
.entry("provider", "url", EntryScope::PerEntry);
static WORKER_ID: TypedSetting<Option<RelayId>> = TypedSetting::new(
    "WORKER_ID",
    MAIN,
    ID,
    "Id of the worker; no two workers have the same.",
)
.aliases(&["CLIENT_ID"])
.described_default("assigned by the server")
.entry("provider", "id", EntryScope::PerEntry);
static COMPLETION_API_KEY: TypedSetting<Secret> = TypedSetting::new(
    "COMPLETION_API_KEY",
    ACCESS,
    SECRET,
    "Key of the runtime, sent as a bearer token.",
)
.aliases(&["OLLAMA_API_KEY"])
.entry("provider", "api_key", EntryScope::Shared);
static API_STYLE: TypedSetting<Option<RuntimeKind>> = TypedSetting::new(
    "API_STYLE",
    RUNTIME,
    STYLE,
    "Kind of the runtime; auto finds it out.",
)
.default("auto")
.entry("provider", "style", EntryScope::Shared);
static COMPLETION_AGENT_VERSION: TypedSetting<Option<String>> = TypedSetting::new(
    "COMPLETION_AGENT_VERSION",
    RUNTIME,
    TEXT,
    "Version of the runtime that is shown.",
)
.described_default("the one that the runtime reports")
.entry("provider", "version", EntryScope::Shared);
static MAX_CONCURRENCY: TypedSetting<Option<u32>> = TypedSetting::new(
    "MAX_CONCURRENCY",
    RUNTIME,
    CONCURRENCY,
    "Most concurrent calls; auto: the slots of llama.cpp, 64 for vLLM and SGLang, else 2.",
)
.default("auto")
.entry("provider", "max_concurrency", EntryScope::Shared);
static EMBEDDING_BATCH_SIZE: TypedSetting<u32> = TypedSetting::new(
    "EMBEDDING_BATCH_SIZE",
    RUNTIME,
    INPUTS,
    "Most inputs of one embeddings request, which the server splits; 0: any number.",
)
.default("0")
.entry("provider", "embedding_batch_size", EntryScope::Shared);
static MODELS: TypedSetting<ModelPatterns> = TypedSetting::new(
    "MODELS",
    RUNTIME,
    PATTERNS,
    "Models that are offered: names with * for any text, and with ! in front to leave some out.",
)
.described_default("all")
.entry("provider", "models", EntryScope::Shared);
static MODEL_ALIASES: TypedSetting<Vec<ModelAlias>> = TypedSetting::new(
    "MODEL_ALIASES",
    RUNTIME,
    ALIASES,
    "Further names of models, as in gpt-4o=qwen3:8b.",
)
.described_default("none")
.entry("provider", "aliases", EntryScope::Shared);
static WORKER_WEIGHT: TypedSetting<u32> = TypedSetting::new(
    "WORKER_WEIGHT",
    RUNTIME,
    WEIGHT,
    "Divides the time that the server expects of this worker: 2.0 makes it look twice as fast.",
)
.default("1.0")
.entry("provider", "weight", EntryScope::Shared);
static UPSTREAM_STREAM: TypedSetting<UpstreamStream> = TypedSetting::new(
    "UPSTREAM_STREAM",
    RUNTIME,
    UPSTREAM,
    "Asks the runtime for streams where callers want whole answers, so that it notices callers \
     that leave: always, as-asked, or auto, where it would not notice otherwise.",
)
.default("auto")
.entry("provider", "upstream_stream", EntryScope::Shared);
static MAX_ANSWER_BYTES: TypedSetting<usize> = TypedSetting::new(
    "MAX_ANSWER_BYTES",
    LIMITS,
    MEMORY,
    "Largest answer that is collected, or put together from a stream.",
)
.default("64MiB");
static MODEL_POLL_INTERVAL: TypedSetting<Duration> = TypedSetting::new(
    "MODEL_POLL_INTERVAL",
    TIME,
    POSITIVE_DURATION,
    "Interval between two looks at the list of models.",
)
.default("30s");
static REQUEST_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "REQUEST_TIMEOUT",
    TIME,
    DURATION,
    "Longest time for a whole call; 0: no limit.",
)
.default("0");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &COMPLETION_BASE_URL.setting,
    &WORKER_ID.setting,
    &COMPLETION_API_KEY.setting,
    &API_STYLE.setting,
    &COMPLETION_AGENT_VERSION.setting,
    &MAX_CONCURRENCY.setting,
    &EMBEDDING_BATCH_SIZE.setting,
    &MODELS.setting,
    &MODEL_ALIASES.setting,
    &WORKER_WEIGHT.setting,
    &UPSTREAM_STREAM.setting,
    &MAX_ANSWER_BYTES.setting,
    &MODEL_POLL_INTERVAL.setting,
    &REQUEST_TIMEOUT.setting,
];

/// The runtimes of a worker.
pub(super) struct Runtimes {
    pub(super) providers: Vec<ProviderConfig>,
    /// Whether the one runtime is looked for.
    pub(super) finds_runtime: bool,
}

/// Returns the configuration of every runtime: those of the `[[provider]]` tables, or without any
/// table the one that the settings themselves describe.
pub(super) fn resolve(sources: &Sources) -> Result<Runtimes, ConfigError> {
    let entries = sources.entries("provider");
    let mut providers = Vec::new();
    let mut without_url = None;
    for (entry, number) in entries.iter().zip(1..) {
        let url = entry.explicit(&COMPLETION_BASE_URL)?;
        if url.is_none() {
            without_url.get_or_insert(number);
        }
        providers.push(ProviderConfig {
            id: entry.value(&WORKER_ID)?,
            auth_token: None,
            kind: ProviderKind::Llm(llm(sources, entry, url.unwrap_or_default())?),
        });
    }

    if providers.len() > MAX_PROVIDERS {
        return Err(ConfigError::TooManyProviders(providers.len()));
    }
    let names: Vec<String> = (1..=providers.len())
        .map(|number| format!("provider {number}"))
        .collect();
    let duplicates = duplicate_ids(&providers, &names);
    if !duplicates.is_empty() {
        return Err(ConfigError::one_or_several(duplicates));
    }
    match without_url {
        Some(number) if providers.len() > 1 => Err(ConfigError::MissingRuntimeUrl(number)),
        found => Ok(Runtimes {
            providers,
            finds_runtime: found.is_some(),
        }),
    }
}

fn llm(sources: &Sources, entry: &EntrySources<'_>, url: Uri) -> Result<LlmConfig, SettingsError> {
    let request_timeout = sources.value(&REQUEST_TIMEOUT)?;
    Ok(LlmConfig {
        url,
        api_key: entry.explicit(&COMPLETION_API_KEY)?,
        kind: entry.value(&API_STYLE)?,
        version: entry.value(&COMPLETION_AGENT_VERSION)?,
        max_concurrency: entry.value(&MAX_CONCURRENCY)?,
        embedding_batch_size: entry.value(&EMBEDDING_BATCH_SIZE)?,
        model_poll_interval: sources.value(&MODEL_POLL_INTERVAL)?,
        request_timeout: Some(request_timeout).filter(|timeout| !timeout.is_zero()),
        connect_timeout: sources.value(&CONNECT_TIMEOUT)?,
        models: entry.value(&MODELS)?,
        aliases: entry.value(&MODEL_ALIASES)?,
        weight: entry.value(&WORKER_WEIGHT)?,
        upstream_stream: entry.value(&UPSTREAM_STREAM)?,
        max_answer_bytes: sources.value(&MAX_ANSWER_BYTES)?,
    })
}
