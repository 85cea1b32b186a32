//! The configuration of a provider that is an LLM runtime.

use std::time::Duration;

use http::Uri;
use llamapool_wire::Secret;

/// A provider that is an LLM runtime.
#[derive(Debug, Clone)]
pub struct LlmConfig {
    /// Its URL, without the `/v1` of OpenAI's API at its end: http or https.
    pub url: Uri,
    /// Its key, sent as a bearer token.
    pub api_key: Option<Secret>,
    /// The kind. `None`: the worker finds out.
    pub kind: Option<RuntimeKind>,
    /// The version that is shown. `None`: the one that the runtime reports.
    pub version: Option<String>,
    /// The most concurrent calls. `None`: as many as the runtime reports slots.
    pub max_concurrency: Option<u32>,
    /// The most inputs of one embeddings request, 0 for any number.
    pub embedding_batch_size: u32,
    /// The time between two looks at the list of models.
    pub model_poll_interval: Duration,
    /// How long a whole call may take, `None` for no limit.
    pub request_timeout: Option<Duration>,
    /// How long connecting to the runtime may take.
    pub connect_timeout: Duration,
    /// The models that are offered.
    pub models: ModelPatterns,
    /// Further names of models.
    pub aliases: Vec<ModelAlias>,
    /// Divides the expected time of this worker, in thousandths.
    pub weight: u32,
    /// The form in which answers are asked for that callers want whole.
    pub upstream_stream: UpstreamStream,
    /// The most bytes of an answer that is collected or assembled.
    pub max_answer_bytes: usize,
}

/// The kind of an LLM runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Ollama.
    Ollama,
    /// The server of llama.cpp.
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// LM Studio.
    LmStudio,
    /// Any other with OpenAI's API.
    OpenAi,
}

/// Another name of a model on this worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAlias {
    /// The other name.
    pub alias: String,
    /// The runtime's name.
    pub model: String,
}

/// The form in which a worker asks for answers that callers want whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpstreamStream {
    /// As a stream where the runtime would not notice otherwise that a caller has left.
    #[default]
    Auto,
    /// As a stream wherever that is possible.
    Always,
    /// As the caller asked.
    AsAsked,
}

/// Patterns of names of models. `*` stands for anything, and a `!` in front leaves models out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelPatterns {
    included: Vec<String>,
    excluded: Vec<String>,
}

impl RuntimeKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Ollama,
        Self::LlamaCpp,
        Self::Vllm,
        Self::Sglang,
        Self::LmStudio,
        Self::OpenAi,
    ];

    /// Returns the word for the kind between worker and server.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llama_cpp",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::LmStudio => "lm_studio",
            Self::OpenAi => "openai",
        }
    }
}

impl ModelPatterns {
    /// Patterns as they are set. Without any that includes, all models are included.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut this = Self::default();
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(excluded) => this.excluded.push(excluded.to_owned()),
                None => this.included.push(pattern.to_owned()),
            }
        }
        this
    }

    /// Returns whether a model is offered.
    pub fn contains(&self, model: &str) -> bool {
        let is_match = |pattern: &String| matches(pattern, model);
        let is_included = self.included.is_empty() || self.included.iter().any(is_match);
        is_included && !self.excluded.iter().any(is_match)
    }
}

/// Returns whether a text matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };

    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_models() {
        let all = ModelPatterns::new([]);
        let some = ModelPatterns::new(["qwen*", "org/*:q4*_M", "!*embed*"]);

        assert!(all.contains("anything"));
        for offered in ["qwen3:8b", "qwen", "org/a:q4_K_M", "org/b/c:q4_M"] {
            assert!(some.contains(offered), "{offered}");
        }
        for left_out in ["a-qwen", "qwen-embed:1", "org/a:q4_K_S", "org/a:q5_K_M", ""] {
            assert!(!some.contains(left_out), "{left_out}");
        }
    }
}
