//! One answer from the events of a stream, for a caller that did not ask for a stream.

mod chunks;
mod joined;
mod messages;
mod ollama;
mod responses;
mod tool_calls;

use bytes::Bytes;

use self::chunks::{Chunks, Kind};
use self::messages::Messages;
use self::ollama::Ollama;
use self::responses::Responses;
use crate::content::DONE;
use crate::endpoint::Endpoint;
use crate::events::RawEvent;
use crate::members::NotJsonError;
use crate::runtime_error::RuntimeError;

/// Puts the events of a stream together to the answer that the runtime would have given without one.
#[derive(Debug)]
pub struct Assembler {
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Chunks(Chunks),
    Responses(Responses),
    Messages(Messages),
    Ollama(Ollama),
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
        /// The expectation.
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
        /// The expectation.
        expected: &'static str,
    },
}

impl Assembler {
    /// Creates an assembler of answers of at most `max_bytes`. `None` for an endpoint that has no
    /// stream that can be put together.
    pub fn new(endpoint: Endpoint, max_bytes: usize) -> Option<Self> {
        let answer = match endpoint {
            Endpoint::ChatCompletions => Answer::Chunks(Chunks::new(Kind::Chat, max_bytes)),
            Endpoint::Completions => Answer::Chunks(Chunks::new(Kind::Completion, max_bytes)),
            Endpoint::Responses => Answer::Responses(Responses::new(max_bytes)),
            Endpoint::Messages => Answer::Messages(Messages::new(max_bytes)),
            Endpoint::OllamaChat | Endpoint::OllamaGenerate => {
                Answer::Ollama(Ollama::new(max_bytes))
            }
            _ => return None,
        };
        Some(Self { answer })
    }

    /// Takes the next event of the stream.
    ///
    /// # Errors
    ///
    /// [`AssembleError`]; the assembler is of no use afterwards.
    pub fn event(&mut self, event: &RawEvent) -> Result<(), AssembleError> {
        let data = &*event.data;
        let has_done = matches!(self.answer, Answer::Chunks(_));
        if data.is_empty() || data == b"null" || (data == DONE && !has_done) {
            return Ok(());
        }
        match &mut self.answer {
            Answer::Chunks(answer) => answer.event(&event.data),
            Answer::Responses(answer) => answer.event(event),
            Answer::Messages(answer) => answer.event(data),
            Answer::Ollama(answer) => answer.event(data),
        }
    }

    /// Returns the answer, which for `response.failed` is that failed response.
    ///
    /// `ended_orderly` is whether the body of the runtime ended as HTTP ends one. Without it the
    /// dialect's very last event, as `[DONE]`, must have come.
    ///
    /// # Errors
    ///
    /// [`AssembleError::Incomplete`] if what ends an answer is missing: a short answer is never taken
    /// for a whole one.
    pub fn finish(self, ended_orderly: bool) -> Result<Bytes, AssembleError> {
        match self.answer {
            Answer::Chunks(answer) => answer.finish(ended_orderly),
            Answer::Responses(answer) => answer.finish(),
            Answer::Messages(answer) => answer.finish(),
            Answer::Ollama(answer) => answer.finish(),
        }
    }
}

impl From<NotJsonError> for AssembleError {
    fn from(NotJsonError: NotJsonError) -> Self {
        Self::Malformed {
            expected: "a JSON object of the dialect",
        }
    }
}

impl From<RuntimeError> for AssembleError {
    fn from(error: RuntimeError) -> Self {
        Self::Failed {
            status: error.status,
            message: error.message,
        }
    }
}

fn utf8(data: &[u8]) -> Result<&str, NotJsonError> {
    std::str::from_utf8(data).map_err(|_| NotJsonError)
}
