//! The APIs of LLM runtimes, of OpenAI, Anthropic and Ollama: their routes, the members of requests
//! that matter on the way, events and their content, usage, assembly of an answer from its events,
//! error bodies, lists of models, and Ollama's API made of OpenAI's.
//!
//! Pure functions on bytes. No I/O, no clock, and no other crate of llamapool: server and worker both
//! need these words, and the tunnel and MCP must not.

mod answer;
mod assemble;
mod content;
mod content_type;
mod edits;
mod embeddings;
mod endpoint;
mod error_body;
mod events;
mod form;
mod json_walk;
mod members;
mod models;
mod ollama_lists;
mod repeated_chunk;
mod request;
mod runtime_error;
mod stream_filter;
mod translate;
mod usage;

pub use answer::{AnswerMeaning, WholeAnswer, read_answer, usage_of_answer};
pub use assemble::{AssembleError, Assembler};
pub use content::{EventMeaning, StreamPosition, StreamReader};
pub use edits::Edits;
pub use embeddings::{EmbeddingsError, EmbeddingsPart, check_embeddings, join_embeddings};
pub use endpoint::{Dialect, Endpoint, Route, RouteError, dialect_of, is_llm_path, route};
pub use error_body::{
    Executed, LlmErrorKind, codex_keep_alive, context_length_message, ends_in_order, error_body,
    keep_alive, late_error, model_not_found_message,
};
pub use events::{EventReader, EventTooLargeError, Framing, RawEvent};
pub use form::FormError;
pub use models::{ListedModel, ModelsPage, model_json, models_json, models_page_json};
pub use ollama_lists::{LoadedModel, ollama_ps, ollama_show, ollama_tags, ollama_version};
pub use request::{
    InputList, PrefixMark, RequestError, RequestInfo, TOKENS_OF_MEDIUM, read_request,
};
pub use stream_filter::StreamFilter;
pub use translate::{
    AnswerTimes, AnswerTranslator, RuntimeExtensions, StreamTranslator, TranslatedRequest,
    is_translatable, translate_request,
};
pub use usage::{CountSource, Usage};
