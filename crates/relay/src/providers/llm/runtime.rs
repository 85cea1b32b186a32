//! What each kind of runtime reports about itself, and how it is asked.
//!
//! All answers are those of a program that may be wrong: a member that is missing or of another type
//! counts as not reported, and only an answer without any list of models is an error.

mod llama_cpp;
mod lm_studio;
mod ollama;
mod openai;
mod prometheus;
mod sglang;
mod vllm;

use std::collections::HashMap;

use llamapool_wire::llm::ModelInfo;
use serde_json::Value;

pub(super) use self::llama_cpp::router::Pushes;
use super::client::{PollClient, PollError};
use crate::config::RuntimeKind;

/// The concurrent calls of a runtime that does not report its slots.
const DEFAULT_CONCURRENCY: u32 = 2;

/// The load of a runtime, as one poll found it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PolledLoad {
    /// The models that are loaded.
    pub(super) resident: Resident,
    /// The number of slots.
    pub(super) slots: Option<u32>,
    /// The slots that compute.
    pub(super) busy: Option<u32>,
    /// The calls that wait inside the runtime.
    pub(super) waiting: Option<u32>,
    /// Whether the runtime pushes changes of its models.
    pub(super) pushes_changes: bool,
}

/// The models that a runtime has loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Resident {
    /// It does not report them.
    #[default]
    Unknown,
    /// All of its models.
    All,
    /// All of its models, once they are loaded.
    AllLoading,
    /// These.
    These(Vec<ResidentModel>),
}

/// A model that is loaded or being loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ResidentModel {
    /// Its name.
    pub(super) name: String,
    /// Its context in tokens as it is loaded, 0 if it is not reported.
    pub(super) context: u64,
    /// Whether it is still being loaded.
    pub(super) is_loading: bool,
}

/// What was learned of models by their digests, so that each is asked about once.
#[derive(Default)]
pub(super) struct ModelDetails(HashMap<String, ollama::Details>);

/// Asks for the version, `None` where the runtime does not report it.
pub(super) async fn version(kind: RuntimeKind, client: &PollClient) -> Option<String> {
    match kind {
        RuntimeKind::Ollama => ollama::version(client).await,
        RuntimeKind::LlamaCpp => llama_cpp::version(client).await,
        RuntimeKind::Vllm => vllm::version(client).await,
        RuntimeKind::Sglang => sglang::version(client).await,
        RuntimeKind::LmStudio | RuntimeKind::OpenAi => None,
    }
}

/// Asks for all models.
pub(super) async fn models(
    kind: RuntimeKind,
    client: &PollClient,
    version: &str,
    details: &mut ModelDetails,
) -> Result<Vec<ModelInfo>, PollError> {
    let mut models = match kind {
        RuntimeKind::Ollama => ollama::models(client, details).await?,
        RuntimeKind::LlamaCpp => llama_cpp::models(client).await?,
        RuntimeKind::LmStudio => lm_studio::models(client).await?,
        RuntimeKind::Vllm | RuntimeKind::Sglang | RuntimeKind::OpenAi => {
            openai::models(client).await?
        }
    };
    models.retain(|model| !model.name.is_empty());
    for model in &mut models {
        model.apis = apis(kind, version, model);
    }
    Ok(models)
}

/// Asks for the load.
pub(super) async fn load(kind: RuntimeKind, client: &PollClient) -> Result<PolledLoad, PollError> {
    match kind {
        RuntimeKind::Ollama => ollama::load(client).await,
        RuntimeKind::LlamaCpp => llama_cpp::load(client).await,
        RuntimeKind::Vllm => vllm::load(client).await,
        RuntimeKind::Sglang => sglang::load(client).await,
        RuntimeKind::LmStudio => lm_studio::load(client).await,
        RuntimeKind::OpenAi => openai::load(client).await,
    }
}

/// Asks how many slots compute now, `None` where the runtime does not report that.
pub(super) async fn busy(kind: RuntimeKind, client: &PollClient) -> Result<Option<u32>, PollError> {
    match kind {
        RuntimeKind::LlamaCpp => llama_cpp::busy(client).await,
        RuntimeKind::Vllm | RuntimeKind::Sglang => Ok(load(kind, client).await?.busy),
        RuntimeKind::Ollama | RuntimeKind::LmStudio | RuntimeKind::OpenAi => Ok(None),
    }
}

/// Returns whether a runtime of the kind reports how many of its slots compute.
pub(super) fn shows_work(kind: RuntimeKind) -> bool {
    matches!(
        kind,
        RuntimeKind::LlamaCpp | RuntimeKind::Vllm | RuntimeKind::Sglang
    )
}

/// Returns whether a runtime of the kind ends a call whose connection is lost, in any phase.
pub(super) fn aborts_at_once(kind: RuntimeKind) -> bool {
    matches!(kind, RuntimeKind::Vllm | RuntimeKind::Sglang)
}

/// Returns whether a runtime of the kind may keep responses that later calls refer to.
pub(super) fn keeps_responses(kind: RuntimeKind) -> bool {
    !matches!(kind, RuntimeKind::Ollama | RuntimeKind::LlamaCpp)
}

/// Returns how many calls run at once where the settings do not decide it.
pub(super) fn concurrency(kind: Option<RuntimeKind>, load: &PolledLoad) -> u32 {
    match kind {
        Some(RuntimeKind::LlamaCpp) => load.slots.unwrap_or(DEFAULT_CONCURRENCY).max(1),
        Some(RuntimeKind::Vllm | RuntimeKind::Sglang) => match (load.waiting, load.busy) {
            // More than run now would wait inside the runtime, where no other worker gets them.
            (Some(waiting), Some(running)) if waiting > 0 => running.clamp(1, vllm::CONCURRENCY),
            _ => vllm::CONCURRENCY,
        },
        _ => DEFAULT_CONCURRENCY,
    }
}

/// Returns the APIs that take a model, by the runtime's kind and version. What is wrong in it is
/// learned from calls.
fn apis(kind: RuntimeKind, version: &str, model: &ModelInfo) -> Vec<String> {
    let is_embedding = model.outputs.iter().any(|output| output == "embedding");
    let has_words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let of_text = match kind {
        RuntimeKind::Ollama if is_embedding => return has_words(&["embeddings", "ollama"]),
        RuntimeKind::LmStudio if is_embedding => return has_words(&["embeddings"]),
        RuntimeKind::Ollama => return ollama::apis(version),
        RuntimeKind::LlamaCpp => &[
            "chat",
            "completions",
            "responses",
            "messages",
            "count_tokens",
        ][..],
        RuntimeKind::Vllm => &["chat", "completions", "responses", "messages"],
        RuntimeKind::Sglang => &["chat", "completions", "responses"],
        RuntimeKind::LmStudio => {
            return has_words(&["chat", "completions", "responses", "messages"]);
        }
        RuntimeKind::OpenAi => &[
            "chat",
            "completions",
            "responses",
            "messages",
            "count_tokens",
            "transcriptions",
            "speech",
            "images",
        ],
    };
    // These runtimes do not report which of their models embed or rank.
    has_words(&[of_text, &["embeddings", "rerank"]].concat())
}

/// Reads JSON as the answers of a kind of runtime that list models.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz_models(kind: RuntimeKind, json: &Value) -> Vec<Vec<ModelInfo>> {
    let mut lists = match kind {
        RuntimeKind::Ollama => ollama::fuzz_models(json),
        RuntimeKind::LlamaCpp => llama_cpp::fuzz_models(json),
        RuntimeKind::LmStudio => lm_studio::fuzz_models(json),
        RuntimeKind::Vllm | RuntimeKind::Sglang | RuntimeKind::OpenAi => openai::fuzz_models(json),
    };
    let version = text(json, "version");
    for model in lists.iter_mut().flatten() {
        model.apis = apis(kind, &version, model);
    }
    lists
}

/// Reads JSON, and bytes that may be a stream, as answers about the load.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz_loads(json: &Value, stream: &[u8]) {
    for load in [ollama::load_of(json), llama_cpp::load_of(json)] {
        for kind in [
            RuntimeKind::LlamaCpp,
            RuntimeKind::Vllm,
            RuntimeKind::Ollama,
        ] {
            assert!(concurrency(Some(kind), &load) >= 1);
        }
    }
    llama_cpp::busy_of(json);
    llama_cpp::router::fuzz(json, stream);
}

/// Reads a text as metrics.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz_metrics(metrics: &str) {
    for load in [vllm::load_of(metrics), sglang::load_of(metrics)] {
        let most = concurrency(Some(RuntimeKind::Vllm), &load);
        assert!((1..=vllm::CONCURRENCY).contains(&most));
    }
}

/// Returns a member that is a text, empty if there is none.
fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

/// Returns a member that is a count, 0 if there is none.
fn number(value: &Value, member: &str) -> u64 {
    value[member].as_u64().unwrap_or_default()
}

/// Returns the texts of a member that is a list.
fn texts(value: &Value, member: &str) -> Vec<String> {
    let items = value[member].as_array().map_or(&[][..], Vec::as_slice);
    let texts = items.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// Returns the number that a text such as `134.52M` or `8B` means, 0 if it is none.
fn parameters(text: &str) -> u64 {
    let Some(unit) = text.chars().last() else {
        return 0;
    };
    let factor = match unit.to_ascii_uppercase() {
        'K' => 1e3,
        'M' => 1e6,
        'B' => 1e9,
        'T' => 1e12,
        _ => return 0,
    };
    let number = text[..text.len() - unit.len_utf8()].trim().parse::<f64>();
    // Saturates where the text is absurd.
    number.map_or(0, |number| (number * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_models_are_read_from_their_texts() {
        for (text, count) in [
            ("134.52M", 134_520_000),
            ("8B", 8_000_000_000),
            ("0.5b", 500_000_000),
            ("", 0),
            ("B", 0),
            ("many", 0),
            ("8µ", 0),
        ] {
            assert_eq!(parameters(text), count, "{text}");
        }
    }

    #[test]
    fn concurrency_is_what_the_runtime_can_run_at_once() {
        let load = |slots, busy, waiting| PolledLoad {
            slots,
            busy,
            waiting,
            ..PolledLoad::default()
        };
        let of = |kind, load: PolledLoad| concurrency(Some(kind), &load);

        assert_eq!(of(RuntimeKind::LlamaCpp, load(Some(4), None, None)), 4);
        assert_eq!(of(RuntimeKind::LlamaCpp, load(None, None, None)), 2);
        assert_eq!(of(RuntimeKind::Vllm, load(None, Some(9), Some(0))), 64);
        assert_eq!(of(RuntimeKind::Vllm, load(None, Some(9), Some(3))), 9);
        assert_eq!(of(RuntimeKind::Sglang, load(None, Some(0), Some(3))), 1);
        assert_eq!(of(RuntimeKind::Ollama, load(None, None, None)), 2);
        assert_eq!(concurrency(None, &PolledLoad::default()), 2);
    }
}
