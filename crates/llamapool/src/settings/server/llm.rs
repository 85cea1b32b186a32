//! Settings of calls to LLM runtimes.

use std::collections::HashSet;
use std::time::Duration;

use llamapool_server::{AffinityScope, LlmConfig, ModelAlias};
use llamapool_settings::value::{
    COUNT, COUNT_OR_ZERO, DURATION, POSITIVE_DURATION, SWITCH, expected, items,
};
use llamapool_settings::{
    EntryScope, Setting, Sources, Syntax, TypedSetting, ValueError, ValueType,
};

use crate::settings::error::ConfigError;
use crate::settings::group::{LIMITS, RUNTIME, TIME};

/// Aliases of models, one a line.
const ALIASES: ValueType<Vec<ModelAlias>> = ValueType {
    syntax: Syntax::List,
    parse: aliases,
};
/// The most aliases of a server.
const MAX_ALIASES: usize = 10_000;
/// The name of an alias, which may be empty.
const ALIAS_NAME: ValueType<String> = ValueType {
    syntax: Syntax::Text,
    parse: |text| {
        let name = text.trim();
        if name.strip_suffix('*').unwrap_or(name).contains('*') {
            expected("a name with no * but at its end")
        } else {
            Ok(name.to_owned())
        }
    },
};
/// The models of an alias, in order.
const ALIAS_TARGETS: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::List,
    parse: |text| {
        let targets: Vec<String> = items(text).map(str::to_owned).collect();
        if targets.is_empty() {
            expected("at least one model")
        } else {
            Ok(targets)
        }
    },
};
/// The scope of prompts that are compared.
const SCOPE: ValueType<AffinityScope> = ValueType {
    syntax: Syntax::Text,
    parse: |text| match text.trim() {
        "pool" => Ok(AffinityScope::Pool),
        "key" => Ok(AffinityScope::Key),
        _ => expected("pool or key"),
    },
};
/// Whether something of a request is passed on or taken out.
const PASS_OR_STRIP: ValueType<bool> = ValueType {
    syntax: Syntax::Text,
    parse: |text| match text.trim() {
        "pass" => Ok(true),
        "strip" => Ok(false),
        _ => expected("pass or strip"),
    },
};

static LLM_QUEUE_SIZE: TypedSetting<usize> = TypedSetting::new(
    "LLM_QUEUE_SIZE",
    LIMITS,
    COUNT_OR_ZERO,
    "Most calls to LLMs that wait for a worker; 0: none waits.",
)
.default("1000");
static LLM_QUEUE_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "LLM_QUEUE_TIMEOUT",
    TIME,
    POSITIVE_DURATION,
    "Longest wait of a call to an LLM for a worker.",
)
.default("10m");
static LLM_QUEUE_UPDATE_SECONDS: TypedSetting<usize> = TypedSetting::new(
    "LLM_QUEUE_UPDATE_SECONDS",
    TIME,
    COUNT,
    "Interval in seconds of the comments with the place in the queue, in streams of callers that wait.",
)
.default("10");
static LLM_AGEING: TypedSetting<Duration> = TypedSetting::new(
    "LLM_AGEING",
    TIME,
    DURATION,
    "Wait after which a call to an LLM rises by one class; 0: never.",
)
.default("30s");
static LLM_HEAD_PATIENCE: TypedSetting<Duration> = TypedSetting::new(
    "LLM_HEAD_PATIENCE",
    TIME,
    DURATION,
    "Time for which the headers of a stream are held back, so that a failure has its own status.",
)
.default("10s");
static LLM_FIRST_TOKEN_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "LLM_FIRST_TOKEN_TIMEOUT",
    TIME,
    POSITIVE_DURATION,
    "Longest wait for the first content of an LLM's answer.",
)
.default("10m");
static LLM_TOKEN_IDLE: TypedSetting<Duration> = TypedSetting::new(
    "LLM_TOKEN_IDLE",
    TIME,
    POSITIVE_DURATION,
    "Longest pause between two events of an LLM's answer, where its runtime shows no work.",
)
.default("2m");
static LLM_BODY_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "LLM_BODY_TIMEOUT",
    TIME,
    DURATION,
    "Longest pause of a caller inside the body of a call to an LLM; 0: no limit but 10 minutes for \
     all of it.",
)
.default("60s");
static LLM_AFFINITY_ENTRIES: TypedSetting<usize> = TypedSetting::new(
    "LLM_AFFINITY_ENTRIES",
    LIMITS,
    COUNT_OR_ZERO,
    "Most beginnings of prompts that are remembered, 48 bytes each, to find the worker that has \
     them in its cache; 0: none.",
)
.default("262144");
static LLM_AFFINITY_SCOPE: TypedSetting<AffinityScope> = TypedSetting::new(
    "LLM_AFFINITY_SCOPE",
    RUNTIME,
    SCOPE,
    "Compares beginnings of prompts of all callers (pool), or of each key by itself (key).",
)
.default("pool");
static LLM_ALIAS_FALLBACK: TypedSetting<bool> = TypedSetting::new(
    "LLM_ALIAS_FALLBACK",
    RUNTIME,
    SWITCH,
    "Lets another quantization stand in for a model that no worker has.",
)
.default("true");
static LLM_ALIASES: TypedSetting<Vec<ModelAlias>> = TypedSetting::new(
    "LLM_ALIASES",
    RUNTIME,
    ALIASES,
    "Further names of models, as ALIAS=MODEL or ALIAS=MODEL|MODEL, of which the first with a worker \
     is taken; * at the end of an alias stands for anything.",
);
static MAX_PARALLEL_EMBEDDINGS: TypedSetting<usize> = TypedSetting::new(
    "MAX_PARALLEL_EMBEDDINGS",
    LIMITS,
    COUNT,
    "Most parts of one request for embeddings that run at once on several workers; 1: divides only \
     what one worker does not take whole.",
)
.default("8")
.aliases(&["LLM_MAX_PARALLEL_EMBEDDINGS"]);
static LLM_ALIAS_NAME: TypedSetting<String> = TypedSetting::new(
    "LLM_ALIAS_NAME",
    RUNTIME,
    ALIAS_NAME,
    "Further name of models; * at its end stands for anything, and an empty one is for requests \
     without a model.",
)
.described_default("none: each table has one")
.entry("alias", "name", EntryScope::TablesOnly);
static LLM_ALIAS_TARGETS: TypedSetting<Vec<String>> = TypedSetting::new(
    "LLM_ALIAS_TARGETS",
    RUNTIME,
    ALIAS_TARGETS,
    "Models that it stands for, of which the first with a worker is taken.",
)
.described_default("none: each table has some")
.entry("alias", "targets", EntryScope::TablesOnly);
static LLM_REMEMBERED_RESPONSES: TypedSetting<usize> = TypedSetting::new(
    "LLM_REMEMBERED_RESPONSES",
    LIMITS,
    COUNT,
    "Most stored responses whose worker is remembered, for an hour each.",
)
.default("65536");
static LLM_ROUTE_HEADER: TypedSetting<bool> = TypedSetting::new(
    "LLM_ROUTE_HEADER",
    RUNTIME,
    SWITCH,
    "Adds Llamapool-Route to answers: worker, model, reason, wait, attempts.",
)
.default("true");
static GENAI_METRICS: TypedSetting<bool> = TypedSetting::new(
    "GENAI_METRICS",
    RUNTIME,
    SWITCH,
    "Adds metrics under OpenTelemetry's names for generative AI, which may still change.",
)
.default("false");
static LLM_BILLING_HEADER: TypedSetting<bool> = TypedSetting::new(
    "LLM_BILLING_HEADER",
    RUNTIME,
    PASS_OR_STRIP,
    "Whether the first block of Claude Code's prompts, which changes with every request and voids \
     caches, is passed on: pass or strip.",
)
.default("strip");
static LLM_KEEP_ALIVE: TypedSetting<bool> = TypedSetting::new(
    "LLM_KEEP_ALIVE",
    RUNTIME,
    PASS_OR_STRIP,
    "Whether keep_alive of callers with a key of their own, which pins and unloads Ollama's models, \
     is passed on: pass or strip.",
)
.default("strip");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &LLM_ALIASES.setting,
    &LLM_ALIAS_NAME.setting,
    &LLM_ALIAS_TARGETS.setting,
    &LLM_ALIAS_FALLBACK.setting,
    &LLM_AFFINITY_SCOPE.setting,
    &LLM_ROUTE_HEADER.setting,
    &GENAI_METRICS.setting,
    &LLM_BILLING_HEADER.setting,
    &LLM_KEEP_ALIVE.setting,
    &LLM_QUEUE_SIZE.setting,
    &LLM_AFFINITY_ENTRIES.setting,
    &LLM_REMEMBERED_RESPONSES.setting,
    &MAX_PARALLEL_EMBEDDINGS.setting,
    &LLM_QUEUE_TIMEOUT.setting,
    &LLM_QUEUE_UPDATE_SECONDS.setting,
    &LLM_AGEING.setting,
    &LLM_HEAD_PATIENCE.setting,
    &LLM_FIRST_TOKEN_TIMEOUT.setting,
    &LLM_TOKEN_IDLE.setting,
    &LLM_BODY_TIMEOUT.setting,
];

/// Returns the configuration.
pub(super) fn resolve(sources: &Sources) -> Result<LlmConfig, ConfigError> {
    Ok(LlmConfig {
        queue_size: sources.value(&LLM_QUEUE_SIZE)?,
        queue_timeout: sources.value(&LLM_QUEUE_TIMEOUT)?,
        queue_update: Duration::from_secs(sources.value(&LLM_QUEUE_UPDATE_SECONDS)? as u64),
        ageing: sources.value(&LLM_AGEING)?,
        head_patience: sources.value(&LLM_HEAD_PATIENCE)?,
        first_token_timeout: sources.value(&LLM_FIRST_TOKEN_TIMEOUT)?,
        token_idle_timeout: sources.value(&LLM_TOKEN_IDLE)?,
        body_timeout: sources.value(&LLM_BODY_TIMEOUT)?,
        affinity_entries: sources.value(&LLM_AFFINITY_ENTRIES)?,
        affinity_scope: sources.value(&LLM_AFFINITY_SCOPE)?,
        alias_fallback: sources.value(&LLM_ALIAS_FALLBACK)?,
        max_parallel_embeddings: sources.value(&MAX_PARALLEL_EMBEDDINGS)?,
        remembered_responses: sources.value(&LLM_REMEMBERED_RESPONSES)?,
        route_header: sources.value(&LLM_ROUTE_HEADER)?,
        gen_ai_metrics: sources.value(&GENAI_METRICS)?,
        strips_billing_header: !sources.value(&LLM_BILLING_HEADER)?,
        passes_keep_alive: sources.value(&LLM_KEEP_ALIVE)?,
        aliases: all_aliases(sources)?,
    })
}

/// Returns the aliases of the setting and those of the `[[alias]]` tables.
fn all_aliases(sources: &Sources) -> Result<Vec<ModelAlias>, ConfigError> {
    let mut aliases = sources.value(&LLM_ALIASES)?;
    for entry in sources.entry_tables("alias") {
        let name = entry.required(&LLM_ALIAS_NAME)?;
        let targets = entry.required(&LLM_ALIAS_TARGETS)?;
        aliases.extend(
            name.zip(targets)
                .map(|(name, targets)| ModelAlias { name, targets }),
        );
    }
    if aliases.len() > MAX_ALIASES {
        return Err(ConfigError::TooManyAliases(aliases.len(), MAX_ALIASES));
    }

    let mut names = HashSet::new();
    match aliases.iter().find(|alias| !names.insert(&alias.name)) {
        Some(twice) => Err(ConfigError::DuplicateAlias(twice.name.clone())),
        None => Ok(aliases),
    }
}

fn aliases(text: &str) -> Result<Vec<ModelAlias>, ValueError> {
    let aliases = text.lines().flat_map(items).map(|item| {
        let (name, targets) = item.split_once('=')?;
        let targets: Vec<_> = targets
            .split('|')
            .map(|one| one.trim().to_owned())
            .collect();
        let is_good = targets.iter().all(|target| !target.is_empty());
        is_good.then(|| ModelAlias {
            name: name.trim().to_owned(),
            targets,
        })
    });
    match aliases.collect() {
        Some(aliases) => Ok(aliases),
        None => expected("ALIAS=MODEL or ALIAS=MODEL|MODEL, as in claude-*=qwen3:32b"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::server::sources_of_file;

    fn resolved(file: &str) -> Result<Vec<(String, String)>, String> {
        let sources = sources_of_file(file)?;
        let config = resolve(&sources).map_err(|error| error.to_string())?;
        let aliases = config.aliases.into_iter();
        Ok(aliases
            .map(|alias| (alias.name, alias.targets.join("|")))
            .collect())
    }

    #[test]
    fn aliases_are_tables_of_the_file_beside_the_setting() {
        let file = "llm_aliases = ['gpt-4o=qwen3:8b']\n\
             [[alias]]\nname = 'claude-*'\ntargets = ['qwen3:32b', 'qwen3:8b']\n\
             [[key]]\nkey = 'a'\n\
             [[alias]]\nname = ''\ntargets = 'llama3'\n";

        let found = resolved(file).unwrap();

        let expected = [
            ("gpt-4o", "qwen3:8b"),
            ("claude-*", "qwen3:32b|qwen3:8b"),
            ("", "llama3"),
        ];
        let expected = expected.map(|(name, targets)| (name.to_owned(), targets.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(resolved("").unwrap(), []);
    }

    #[test]
    fn aliases_that_are_wrong_or_twice_there_are_refused() {
        for (file, error) in [
            ("[[alias]]\ntargets = ['m']", "expected name"),
            ("[[alias]]\nname = 'a'", "expected targets"),
            ("[[alias]]\nname = 'a'\ntargets = []", "at least one model"),
            (
                "[[alias]]\nname = 'a*b'\ntargets = ['m']",
                "no * but at its end",
            ),
            (
                "[[alias]]\nname = 'a'\ntarget = ['m']",
                "did you mean targets?",
            ),
            (
                "llm_aliases = ['a=m']\n[[alias]]\nname = 'a'\ntargets = ['n']",
                "two aliases have the name \"a\"",
            ),
        ] {
            let found = resolved(file).unwrap_err();
            assert!(found.contains(error), "{file}: {found}");
        }
    }

    #[test]
    fn an_alias_has_one_model_or_several() {
        let found = aliases("claude-*=qwen3:32b|qwen3:8b, =llama3\ngpt-4o = qwen3:8b").unwrap();

        let found: Vec<_> = found
            .iter()
            .map(|alias| (alias.name.as_str(), alias.targets.join("|")))
            .collect();
        assert_eq!(
            found,
            [
                ("claude-*", "qwen3:32b|qwen3:8b".to_owned()),
                ("", "llama3".to_owned()),
                ("gpt-4o", "qwen3:8b".to_owned()),
            ]
        );
        for bad in ["a", "a=", "a=b|"] {
            assert!(aliases(bad).is_err(), "{bad}");
        }
    }
}
