//! Ollama's API made of OpenAI's: `/api/chat`, `/api/generate` and `/api/embed` for a runtime that has
//! `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings` instead.
//!
//! A request is read here once, and a new one is written of it: values that mean the same in both APIs
//! are copied as they stand there. A member without an equal is left out where the answer is the same
//! without it (`keep_alive`, `options.num_ctx`), and is an error where it is not (`template`).
//! `/api/embeddings` is not made: its vectors have their own lengths, and those of other runtimes do not.

mod answer;
mod embeddings;
mod fields;
mod messages;
mod options;
mod request;
mod stream;
mod tool_calls;
mod writing;

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::endpoint::Endpoint;

pub use self::request::translate_request;
pub use self::stream::StreamTranslator;

/// What a runtime has beyond OpenAI's API, as far as Ollama's asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuntimeExtensions {
    /// The runtime's name of Ollama's `repeat_penalty`. A runtime that has one knows `top_k` and
    /// `min_p`, too.
    pub repeat_penalty: Option<&'static str>,
    /// Whether templates of chats take arguments by `chat_template_kwargs`, such as whether the model
    /// is to think, and whether they take the thoughts of earlier turns.
    pub template_arguments: bool,
}

/// A request in another API.
#[derive(Debug, Clone)]
pub struct TranslatedRequest {
    /// What it asks for.
    pub endpoint: Endpoint,
    /// The path at the runtime.
    pub path: &'static str,
    /// The body.
    pub body: Bytes,
    /// What makes the answer that its caller expects of the runtime's.
    pub answer: AnswerTranslator,
}

/// Makes answers of Ollama's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerTranslator {
    /// The endpoint that was called.
    called: Endpoint,
    /// The model that was asked for, as JSON.
    model: String,
}

/// When an answer, or a part of it, was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTimes {
    /// The moment.
    pub at: SystemTime,
    /// The time since the request was sent.
    pub elapsed: Duration,
}

/// Returns whether requests of an endpoint can be made ones of OpenAI's API.
pub fn is_translatable(endpoint: Endpoint) -> bool {
    endpoint.translated_api().is_some()
}
