//! The check of the fuzz target in `fuzz/` that concerns the answers of runtimes to polls.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use llamapool_wire::Event;
use llamapool_wire::llm::{MAX_MODELS, ModelInfo, Models};
use serde_json::Value;

use super::runtime;
use crate::config::RuntimeKind;

/// The longest list that is compared with what the server reads of it: the bound of its line is
/// `wire`'s.
const MAX_COMPARED: usize = 16;

/// Reads bytes as each kind of runtime's answers to polls. What is read of them has bounds, and can be
/// sent to a server, which reads the same number of models.
pub fn poll_answers(data: &[u8]) {
    if let Ok(metrics) = std::str::from_utf8(data) {
        runtime::fuzz_metrics(metrics);
    }
    let json: Value = serde_json::from_slice(data).unwrap_or_default();
    runtime::fuzz_loads(&json, data);
    for kind in [
        RuntimeKind::Ollama,
        RuntimeKind::LlamaCpp,
        RuntimeKind::Vllm,
        RuntimeKind::Sglang,
        RuntimeKind::LmStudio,
        RuntimeKind::OpenAi,
    ] {
        for models in runtime::fuzz_models(kind, &json) {
            assert!(models.len() <= MAX_MODELS);
            is_readable(models);
        }
    }
}

fn is_readable(mut models: Vec<ModelInfo>) {
    models.truncate(MAX_COMPARED);
    let number = models.len();
    let line = Event::Models(Models { models }).to_line();
    match Event::from_line(line.trim_end().as_bytes()) {
        Ok(Event::Models(read)) => assert_eq!(read.models.len(), number),
        Ok(other) => panic!("a list of models is read as {other:?}"),
        // Only its length is a reason.
        Err(error) => assert!(
            line.len() > llamapool_wire::llm::MAX_MODELS_BYTES,
            "{error}"
        ),
    }
}
