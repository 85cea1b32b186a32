//! The APIs of LLM runtimes, of OpenAI, Anthropic and Ollama: their routes, the members of requests
//! that matter on the way, events and their content, usage, assembly of an answer from its events,
//! error bodies, lists of models.
//!
//! Pure functions on bytes. No I/O, no clock, and no other crate of llamapool: server and worker both
//! need these words, and the tunnel and MCP must not.

mod assemble;
mod content;
mod events;
mod stream_filter;
mod usage;

pub use assemble::{AssembleError, Assembler};
pub use content::{EventMeaning, StreamPosition, StreamReader};
pub use events::{EventReader, EventTooLarge, Framing, RawEvent};
pub use stream_filter::StreamFilter;
pub use usage::{CountSource, Usage, usage_of_answer};
