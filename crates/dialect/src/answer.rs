//! Whole answers with status 200: an answer, an error, or nothing of the dialect.

use crate::endpoint::Endpoint;
use crate::members::{NotJsonError, each_member};
use crate::runtime_error::ErrorMembers;
use crate::usage::{AnswerUsage, Usage};

/// The whole body of a 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeAnswer {
    /// What it is.
    pub meaning: AnswerMeaning,
    /// Its counts. All are `None` if it has none.
    pub usage: Usage,
}

/// The kind of the body of a 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerMeaning {
    /// An answer of the endpoint.
    Answer,
    /// An error that the runtime reports with 200. It counts as if it had been the head.
    Error {
        /// The status that the error stands for, 400 to 599; 502 if it names none.
        status: u16,
        /// The runtime's words.
        message: String,
    },
    /// Neither: a page of HTML, a JSON value of something else.
    Garbage,
}

/// Reads the whole body of a 200. Endpoints whose answers have any type, such as audio, have no garbage.
pub fn read_answer(endpoint: Endpoint, body: &[u8]) -> WholeAnswer {
    let expected = expected_members(endpoint);
    let otherwise = || match expected {
        [] => AnswerMeaning::Answer,
        _ => AnswerMeaning::Garbage,
    };
    let uncounted = |meaning| WholeAnswer {
        meaning,
        usage: Usage::default(),
    };
    let Ok(text) = std::str::from_utf8(body) else {
        return uncounted(otherwise());
    };

    let mut errors = ErrorMembers::default();
    let mut usage = AnswerUsage::default();
    let mut has_expected = false;
    let read = each_member(text.trim_ascii(), |member| {
        has_expected |= expected.contains(&&*member.name) && member.value != "null";
        errors.take(&member.name, member.value);
        usage.take(endpoint, &member.name, member.value);
        Ok::<(), NotJsonError>(())
    });
    if read.is_err() {
        return uncounted(otherwise());
    }

    let meaning = match errors.error() {
        _ if has_expected => AnswerMeaning::Answer,
        Some(error) => AnswerMeaning::Error {
            status: error.status,
            message: error.message,
        },
        None => otherwise(),
    };
    WholeAnswer {
        meaning,
        usage: usage.finish(endpoint),
    }
}

/// Returns the counts of a whole JSON answer. All are `None` if it has none.
pub fn usage_of_answer(endpoint: Endpoint, body: &[u8]) -> Usage {
    read_answer(endpoint, body).usage
}

/// Returns the members of which an answer of the endpoint has at least one. Empty if it may be
/// anything.
fn expected_members(endpoint: Endpoint) -> &'static [&'static str] {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions => &["choices"],
        Endpoint::Responses => &["output"],
        Endpoint::Messages => &["content"],
        Endpoint::CountTokens | Endpoint::ResponseInputTokens => &["input_tokens"],
        Endpoint::Embeddings => &["data"],
        Endpoint::OllamaChat => &["message", "done"],
        Endpoint::OllamaGenerate => &["response", "done"],
        Endpoint::OllamaEmbed => &["embeddings"],
        Endpoint::OllamaEmbeddings => &["embedding"],
        _ => &[],
    }
}
