//! Calls of an API that a runtime lacks and that is made of one that it has.
//!
//! From here on such a call is one of the runtime's API, so that waits, counts, cancels and failures are
//! those of every call; only what the server gets is made Ollama's again.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use llamapool_dialect::{
    AnswerTimes, AnswerTranslator, Endpoint, LlmErrorKind, RequestError, RequestInfo,
    RuntimeExtensions, is_translatable, read_request, translate_request,
};
use llamapool_http::CountedMemory;
use llamapool_limits::MemoryAccount;

use super::error::LlmError;
use super::meter::CallMeter;
use crate::config::RuntimeKind;

/// A request as the runtime gets it, its edits aside.
pub(super) struct RuntimeRequest {
    pub(super) endpoint: Endpoint,
    pub(super) path: Cow<'static, str>,
    pub(super) body: Bytes,
    pub(super) info: RequestInfo,
    /// What makes the caller's answer of the runtime's. `None` where that one is passed on.
    pub(super) translator: Option<AnswerTranslator>,
}

impl RuntimeRequest {
    /// Translates the request, if the runtime lacks its API and one can be made of another.
    pub(super) fn for_runtime(
        self,
        kind: RuntimeKind,
        memory: &MemoryAccount,
    ) -> Result<Self, LlmError> {
        if kind == RuntimeKind::Ollama || !is_translatable(self.endpoint) {
            return Ok(self);
        }
        let translated = translate_request(self.endpoint, &self.body, &extensions(kind));
        let translated = translated.map_err(|error| refused(&error))?;

        let body = counted(translated.body, memory)?;
        let info = read_request(translated.endpoint, None, &body);
        Ok(Self {
            endpoint: translated.endpoint,
            path: translated.path.into(),
            info: info.map_err(|error| refused(&error))?,
            body,
            translator: Some(translated.answer),
        })
    }
}

/// Returns bytes that count in the memory of an account as long as they are held.
pub(super) fn counted(bytes: Bytes, memory: &MemoryAccount) -> Result<Bytes, LlmError> {
    let held = bytes.len();
    let mut counted = CountedMemory::new(memory);
    counted.cover(held).map_err(|error| {
        let message = "the memory of the worker for calls is in use, see MAX_MEMORY";
        LlmError::new(LlmErrorKind::MemoryFull, message).with_source(error.to_string())
    })?;
    Ok(counted.seal(bytes, held))
}

/// Returns the error for a request that cannot be read.
pub(super) fn refused(error: &RequestError) -> LlmError {
    LlmError::new(error.kind(), error.to_string()).with_param(error.param())
}

/// Returns when what has just come of an answer was received.
pub(super) fn times(meter: &CallMeter) -> AnswerTimes {
    AnswerTimes {
        at: SystemTime::now(),
        elapsed: meter.elapsed(),
    }
}

/// Adds the words of the APIs that are made of others to those that a runtime of a kind has.
pub(super) fn add_translated(kind: Option<RuntimeKind>, apis: &mut Vec<String>) {
    if kind.is_none_or(|kind| kind == RuntimeKind::Ollama) {
        return;
    }
    let made = [
        (Endpoint::OllamaChat, Endpoint::ChatCompletions),
        (Endpoint::OllamaEmbed, Endpoint::Embeddings),
    ];
    for (endpoint, of) in made {
        let has_it = apis.iter().any(|api| api == of.api());
        let word = endpoint.translated_api().filter(|_| has_it);
        apis.extend(word.map(str::to_owned));
    }
}

/// Returns what a runtime has beyond OpenAI's API. Others refuse or ignore such members.
fn extensions(kind: RuntimeKind) -> RuntimeExtensions {
    match kind {
        RuntimeKind::LlamaCpp => RuntimeExtensions {
            repeat_penalty: Some("repeat_penalty"),
            template_arguments: true,
        },
        RuntimeKind::Vllm | RuntimeKind::Sglang => RuntimeExtensions {
            repeat_penalty: Some("repetition_penalty"),
            template_arguments: true,
        },
        RuntimeKind::LmStudio => RuntimeExtensions {
            repeat_penalty: Some("repeat_penalty"),
            template_arguments: false,
        },
        RuntimeKind::Ollama | RuntimeKind::OpenAi => RuntimeExtensions::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(kind: RuntimeKind, apis: &[&str]) -> Vec<String> {
        let mut apis = apis.iter().map(|&api| api.to_owned()).collect();
        add_translated(Some(kind), &mut apis);
        apis
    }

    #[test]
    fn an_api_is_made_only_of_one_that_is_there() {
        let chat = offered(RuntimeKind::LlamaCpp, &["chat"]);
        assert_eq!(chat, ["chat", "ollama_translated"]);
        let embeddings = offered(RuntimeKind::OpenAi, &["embeddings"]);
        assert_eq!(embeddings, ["embeddings", "ollama_embed_translated"]);
        assert_eq!(offered(RuntimeKind::Vllm, &["rerank"]), ["rerank"]);
        assert_eq!(offered(RuntimeKind::Ollama, &["chat"]), ["chat"]);
    }
}
