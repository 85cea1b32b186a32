//! What a request asks for, as far as it matters on the way: read once, with the places of the
//! members that may be edited.

use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::error_body::LlmErrorKind;

/// Tokens that an image, a sound or another file counts for.
pub const TOKENS_OF_MEDIUM: u64 = 1500;

/// A request that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestInfo {
    /// The model. `None` if it is missing, null or empty.
    pub model: Option<String>,
    /// `stream`. `None` if it is missing or null.
    pub stream: Option<bool>,
    /// The most tokens of an answer, for each choice. `None` if none are given, or no positive
    /// integer.
    pub max_output_tokens: Option<u64>,
    /// How many answers are asked for: at least 1, at most 128.
    pub choices: u32,
    /// Bytes of the prompt, without the base64 in it.
    pub prompt_bytes: u64,
    /// Images, sounds and files in the prompt.
    pub media: u32,
    /// Inputs of embeddings, documents to be ranked, or prompts; else 1.
    pub inputs: u32,
    /// Whether the prompt is not empty. Ollama loads a model for a request without one.
    pub has_prompt: bool,
    /// Whether there are tools.
    pub has_tools: bool,
    /// Whether the call may be sent again after a runtime may have begun with it, if it is not one
    /// that [`stores`](Self::stores) at a runtime that keeps responses.
    pub is_repeatable: bool,
    /// Whether the caller asked for the usage in the stream.
    pub wants_usage: bool,
    /// Whether the caller asked for llama.cpp's progress events.
    pub wants_progress: bool,
    /// Whether a runtime that keeps responses keeps this one.
    pub stores: bool,
    /// Whether the response is made in the background.
    pub is_background: bool,
    /// The response that this one goes on from.
    pub previous_response: Option<String>,
    /// The conversation that this response belongs to.
    pub conversation: Option<String>,
    /// The context in tokens that Ollama is to load the model with.
    pub num_ctx: Option<u64>,
    /// The layers that Ollama is to load onto the GPU.
    pub num_gpu: Option<i64>,
    /// Whether the caller lowers the class of the call.
    pub wants_low_priority: bool,
    /// Whether the request asks Ollama to unload the model at once, and for nothing else.
    pub is_unload: bool,
    /// Whether the form of the answer must not be changed: its parts could not be told apart, or
    /// not be put together.
    pub must_stay_as_asked: bool,
}

/// A place in a prompt where a worker's cache of it may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixMark {
    /// Hash of the whole prompt up to here.
    pub hash: u64,
    /// Bytes of the prompt up to here, without the base64 in it.
    pub bytes: u64,
    /// Images, sounds and files up to here.
    pub media: u32,
}

/// A body that cannot be read, or that says what cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no body.
    #[error("the body is empty, expected JSON")]
    Empty,
}

impl RequestError {
    /// Returns the kind of the error, which has the status.
    pub fn kind(&self) -> LlmErrorKind {
        LlmErrorKind::InvalidRequest
    }

    /// Returns the name of the member that is wrong. `None` if it is the body as a whole.
    pub fn param(&self) -> Option<&'static str> {
        None
    }
}

/// Reads the body of a request.
///
/// A body is JSON whatever its `Content-Type`, as `curl -d` claims a form, but for the endpoints
/// that take forms.
pub fn read_request(
    _endpoint: Endpoint,
    _content_type: Option<&str>,
    body: &Bytes,
) -> Result<RequestInfo, RequestError> {
    if body.is_empty() {
        return Err(RequestError::Empty);
    }
    Ok(RequestInfo::default())
}

impl RequestInfo {
    /// Returns the tokens of the prompt, estimated from its bytes.
    pub fn estimated_prompt_tokens(&self, bytes_per_token: f64) -> u64 {
        tokens(self.prompt_bytes, self.media, bytes_per_token)
    }

    /// Returns the places where caches of the prompt may end, the deepest last.
    ///
    /// `seed` has the model, the scope in which prompts are compared, and what is random in this
    /// process.
    pub fn prefix_marks(&self, _body: &Bytes, _seed: u64) -> Vec<PrefixMark> {
        Vec::new()
    }
}

impl PrefixMark {
    /// Returns the tokens of the prompt up to here, estimated as those of the whole prompt are.
    pub fn estimated_tokens(&self, bytes_per_token: f64) -> u64 {
        tokens(self.bytes, self.media, bytes_per_token)
    }
}

fn tokens(bytes: u64, media: u32, bytes_per_token: f64) -> u64 {
    // A ratio that is zero or no number makes no estimate: then each byte is a token.
    let ratio = if bytes_per_token > 0.0 {
        bytes_per_token
    } else {
        1.0
    };
    let text = (bytes as f64 / ratio).ceil() as u64;
    text.saturating_add(u64::from(media) * TOKENS_OF_MEDIUM)
}
