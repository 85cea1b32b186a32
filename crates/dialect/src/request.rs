//! The members of a request that matter on the way: read once, with the places of those that may be
//! edited. Everything else is left to the runtime.

mod cursor;
mod error;
mod json;
mod prefix;
mod prompt;
mod spans;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use crate::content_type::ContentType;
use crate::endpoint::Endpoint;
use crate::form;

use self::cursor::{Cursor, MAX_DEPTH, WalkError};
use self::prompt::Blocks;

pub use self::error::RequestError;
pub(crate) use self::error::{escaped, shown};
pub(crate) use self::json::BYTE_ORDER_MARK;
pub(crate) use self::spans::{FormSpans, JsonSpans, Spans, StreamOptions};

/// Tokens that an image, a sound or another file counts for.
pub const TOKENS_OF_MEDIUM: u64 = 1500;
/// The longest name of a model, in characters.
pub(crate) const MAX_MODEL_NAME_CHARS: usize = 256;
/// The most answers that a request is counted for.
const MAX_CHOICES: u64 = 128;

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
    /// Inputs of embeddings, documents to be ranked, or prompts to be completed; else 1.
    pub inputs: u32,
    /// True if the prompt is not empty. Ollama loads a model for a request without one.
    pub has_prompt: bool,
    /// True if there are tools.
    pub has_tools: bool,
    /// True if the call may be sent again after a runtime may have begun with it, if it is not one
    /// that [`stores`](Self::stores) at a runtime that keeps responses.
    pub is_repeatable: bool,
    /// True if the caller asked for the usage in the stream.
    pub wants_usage: bool,
    /// True if the caller asked for llama.cpp's progress events.
    pub wants_progress: bool,
    /// True if a runtime that keeps responses keeps this one.
    pub stores: bool,
    /// True if the response is made in the background.
    pub is_background: bool,
    /// The response that this one goes on from.
    pub previous_response: Option<String>,
    /// The conversation that this response belongs to.
    pub conversation: Option<String>,
    /// The context in tokens that Ollama is to load the model with.
    pub num_ctx: Option<u64>,
    /// The layers that Ollama is to load onto the GPU.
    pub num_gpu: Option<i64>,
    /// True if the caller lowers the class of the call.
    pub wants_low_priority: bool,
    /// True if the request asks Ollama to unload the model at once, and for nothing else.
    pub is_unload: bool,
    /// True if the form of the answer must not be changed, because an answer could not be assembled
    /// from its events.
    pub must_stay_as_asked: bool,
    /// The places of what may be edited.
    pub(crate) spans: Spans,
    /// The prompt in the order in which templates use it. Empty where no cache has prompts.
    tools: Blocks,
    system: Blocks,
    messages: Blocks,
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

/// Reads the body of a request.
///
/// A body is JSON under any `Content-Type`, as `curl -d` claims a form, except where the endpoint
/// takes forms. A request for which the server answers by itself, or that has no body at its
/// runtime, is not read.
pub fn read_request(
    endpoint: Endpoint,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<RequestInfo, RequestError> {
    let content_type = content_type.map(ContentType::parse).unwrap_or_default();
    let is_form = content_type.is("multipart/form-data");

    if endpoint.takes_form() && is_form {
        return form::read(endpoint, content_type.parameter("boundary"), body);
    }
    if endpoint.takes_form() && !content_type.is("application/json") {
        return Err(RequestError::ExpectedForm {
            found: content_type.described(),
        });
    }
    if !endpoint.takes_json() && !endpoint.takes_form() {
        return Ok(RequestInfo::new(endpoint));
    }
    if is_form {
        return Err(RequestError::UnexpectedForm);
    }
    json::read(endpoint, body)
}

impl RequestInfo {
    /// Returns what is true of a request of which nothing is known.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            choices: 1,
            inputs: 1,
            is_repeatable: endpoint.is_repeatable(),
            must_stay_as_asked: !endpoint.can_stream(),
            ..Self::default()
        }
    }

    /// Counts the prompt.
    fn measure_prompt(&mut self) {
        let parts = [&self.tools, &self.system, &self.messages];
        self.prompt_bytes = parts.iter().map(|part| part.text_bytes()).sum();
        let media = parts.iter().map(|part| part.media());
        self.media = media.fold(0, u32::saturating_add);
    }

    /// Drops the blocks of the prompt, after it was counted.
    fn forget_prompt(&mut self) {
        for part in [&mut self.tools, &mut self.system, &mut self.messages] {
            *part = Blocks::default();
        }
    }

    /// Returns the tokens of the prompt, estimated from its bytes.
    pub fn estimated_prompt_tokens(&self, bytes_per_token: f64) -> u64 {
        tokens(self.prompt_bytes, self.media, bytes_per_token)
    }

    /// Returns the inputs of a request for embeddings, of which each may be sent by itself. `None` if
    /// they are no list, or more than [`InputList::MAX_ITEMS`]. `body` is the one that was read.
    pub fn divisible_inputs(&self, body: &Bytes) -> Option<InputList> {
        match &self.spans {
            Spans::Json(spans) => inputs_of(body, spans.inputs.as_ref()?),
            Spans::Form(_) | Spans::None => None,
        }
    }

    /// Returns the places where caches of the prompt may end, the deepest last; none for endpoints
    /// that do not generate text.
    ///
    /// `seed` has the model, the scope in which prompts are compared, and what is random in this
    /// process. `body` is the one that was read.
    pub fn prefix_marks(&self, body: &Bytes, seed: u64) -> Vec<PrefixMark> {
        let parts = [&self.tools, &self.system, &self.messages];
        let blocks = parts.into_iter().flat_map(|part| &part.0);
        prefix::marks(body, blocks, seed)
    }
}

/// The inputs of a request for embeddings, each by its place in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputList {
    /// The place of the list.
    pub(crate) list: Range<usize>,
    items: Vec<Range<usize>>,
}

impl InputList {
    /// The most inputs of a request that is divided: of more, their places would need much memory.
    pub const MAX_ITEMS: usize = 65_536;

    /// Returns the number of inputs, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the place of some inputs: from the beginning of the first one to the end of the last one.
    /// `None` if one of them is not there, or there is none.
    pub(crate) fn place_of(&self, items: &Range<usize>) -> Option<Range<usize>> {
        let items = self.items.get(items.clone())?;
        Some(items.first()?.start..items.last()?.end)
    }
}

/// Returns the inputs of the list at `list` in a body, `None` if they are too many.
fn inputs_of(body: &[u8], list: &Range<usize>) -> Option<InputList> {
    let text = std::str::from_utf8(body).ok()?;
    text.get(list.clone())?;
    let mut cursor = Cursor::new(text, list.start);
    let mut items = Vec::new();
    let walked = cursor.each_item::<WalkError>(|cursor| {
        let value = cursor.value()?;
        if items.len() <= InputList::MAX_ITEMS {
            items.push(value);
        }
        Ok(())
    });
    walked.ok()?;
    let list = list.clone();
    let is_divisible = (1..=InputList::MAX_ITEMS).contains(&items.len());
    is_divisible.then_some(InputList { list, items })
}

/// Returns `name` if it can be the name of a model, `None` if it is empty.
pub(crate) fn model_name(name: String) -> Result<Option<String>, RequestError> {
    let chars = name.chars().count();
    if chars > MAX_MODEL_NAME_CHARS {
        return Err(RequestError::LongModelName { chars });
    }
    if name.chars().any(char::is_control) {
        let found = shown(&name);
        return Err(RequestError::UnprintableModelName { found });
    }
    Ok(Some(name).filter(|name| !name.is_empty()))
}

fn tokens(bytes: u64, media: u32, bytes_per_token: f64) -> u64 {
    // Zero and what is no number are no ratios: then each byte counts for a token.
    let ratio = if bytes_per_token > 0.0 {
        bytes_per_token
    } else {
        1.0
    };
    let text = (bytes as f64 / ratio).ceil() as u64;
    text.saturating_add(u64::from(media) * TOKENS_OF_MEDIUM)
}
