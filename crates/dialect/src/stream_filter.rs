//! Takes out of a stream what llamapool itself had asked for: usage and progress.

use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::events::RawEvent;

/// What the caller had not asked for, and does not get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamFilter {
    /// The counts of tokens.
    pub strip_usage: bool,
    /// The chunks that report how far the prompt was read.
    pub strip_progress: bool,
}

impl StreamFilter {
    /// Returns the bytes of an event as the caller gets them, `None` if it gets nothing of it.
    ///
    /// Whatever is not taken out stays byte for byte. Only the chunks of chat and completions have
    /// something to take out.
    pub fn apply(&self, _endpoint: Endpoint, event: RawEvent) -> Option<Bytes> {
        Some(event.raw)
    }
}
