//! What the events of an answer mean: first content, progress, errors inside a 200, the orderly end,
//! and the position that a late error needs.

use crate::endpoint::Endpoint;
use crate::events::RawEvent;
use crate::usage::Usage;

/// Follows the events of one answer.
#[derive(Debug)]
pub struct StreamReader {
    endpoint: Endpoint,
    has_content: bool,
    position: StreamPosition,
}

/// What one event is.
#[derive(Debug, Clone, PartialEq)]
pub enum EventMeaning {
    /// An event of the dialect that comes before content, such as `response.created`.
    Prelude,
    /// Text, a tool call or the end of a choice. The first one is first content.
    Content,
    /// The share of the prompt that was read, 0.0 to 1.0 (llama.cpp with `return_progress`).
    Progress {
        /// The share.
        share: f32,
    },
    /// The runtime failed. Before first content it counts as if it had been the head.
    Error {
        /// The status that the error stands for, 400 to 599; 502 if it names none.
        status: u16,
        /// The runtime's words.
        message: String,
    },
    /// A comment, a sign of life, usage, or what the dialect does not know.
    Other,
    /// The last event of the dialect. It may be first content too: look at
    /// [`StreamReader::has_content`], and at [`StreamReader::is_complete`].
    End,
}

/// How far a stream is, for an error that is added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPosition {
    /// The id of the response, once an event had it. Only for `responses`.
    pub response_id: Option<String>,
    /// The last `sequence_number`. Only for `responses`.
    pub sequence_number: Option<u64>,
}

impl StreamReader {
    /// Creates a reader of the stream of an endpoint. Where an endpoint has no events that it knows,
    /// the head of the answer is first content.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            has_content: false,
            position: StreamPosition::default(),
        }
    }

    /// Takes the next event and returns what it is.
    pub fn event(&mut self, _event: &RawEvent) -> EventMeaning {
        EventMeaning::Other
    }

    /// Returns `true` after first content.
    pub fn has_content(&self) -> bool {
        self.has_content
    }

    /// Returns `true` after an error of the runtime inside the stream. Its stream then ends without
    /// another error.
    pub fn has_failed(&self) -> bool {
        false
    }

    /// Returns `true` if the answer is whole, provided that its body ends now and as it should.
    pub fn is_complete(&self) -> bool {
        false
    }

    /// Returns `true` if the answer is whole only by its `[DONE]`: the runtime names no
    /// `finish_reason` in streams, and is better asked without one.
    pub fn lacks_finish_reason(&self) -> bool {
        false
    }

    /// Returns the counts so far.
    pub fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Returns how far the stream is.
    pub fn position(&self) -> StreamPosition {
        self.position.clone()
    }
}
