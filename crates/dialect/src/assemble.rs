//! One answer from the events of a stream, for a caller that did not ask for a stream.

use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::events::RawEvent;

/// Puts the events of a stream together to the answer that the runtime would have given without one.
#[derive(Debug)]
pub struct Assembler {
    max_bytes: usize,
}

/// Why no answer could be made of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The answer is larger than allowed.
    #[error("the assembled answer is larger than {max} bytes")]
    TooLarge {
        /// The bound in bytes.
        max: usize,
    },
    /// An event is not what the dialect sends.
    #[error("an event of the stream is not {expected}")]
    Malformed {
        /// What was expected.
        expected: &'static str,
    },
    /// The runtime reported an error inside the stream.
    #[error("the runtime reported an error inside the stream: {message}")]
    Failed {
        /// The status that the error stands for.
        status: u16,
        /// The runtime's words.
        message: String,
    },
    /// The stream ended without what ends an answer of the dialect.
    #[error("the stream ended without {expected}")]
    Incomplete {
        /// What was expected.
        expected: &'static str,
    },
}

impl Assembler {
    /// Creates an assembler of answers of at most `max_bytes`. `None` for an endpoint that has no
    /// stream that can be put together.
    pub fn new(_endpoint: Endpoint, max_bytes: usize) -> Option<Self> {
        Some(Self { max_bytes })
    }

    /// Takes the next event of the stream.
    ///
    /// # Errors
    ///
    /// [`AssembleError`]; the assembler is of no use afterwards.
    pub fn event(&mut self, _event: &RawEvent) -> Result<(), AssembleError> {
        Err(AssembleError::TooLarge {
            max: self.max_bytes,
        })
    }

    /// Returns the answer. `ended_orderly` is whether the body of the runtime ended as HTTP ends one.
    ///
    /// # Errors
    ///
    /// [`AssembleError::Incomplete`] if the dialect's last event is missing: a short answer is never
    /// taken for a whole one.
    pub fn finish(self, _ended_orderly: bool) -> Result<Bytes, AssembleError> {
        Err(AssembleError::Incomplete {
            expected: "its last event",
        })
    }
}
