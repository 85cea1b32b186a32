//! Requests: chats, prompts and inputs of embeddings.

use bytes::Bytes;

use super::fields::{Fields, items, wrong};
use super::messages::Messages;
use super::options::{write_format, write_options, write_think};
use super::writing::ObjectText;
use super::{AnswerTranslator, RuntimeExtensions, TranslatedRequest};
use crate::endpoint::Endpoint;
use crate::members::is_filled;
use crate::request::{BYTE_ORDER_MARK, RequestError};

const CHAT: &[&str] = &[
    "model", "messages", "tools", "format", "options", "think", "stream", "template", "logprobs",
];
const GENERATE: &[&str] = &[
    "model", "prompt", "suffix", "images", "system", "template", "context", "raw", "format",
    "options", "think", "stream", "logprobs",
];
const EMBED: &[&str] = &["model", "input", "dimensions"];

/// Why a template cannot be honoured, wherever it is asked for.
const HAS_TEMPLATE: &str = "it uses the template of the model";

/// Makes a request of OpenAI's API of one of Ollama's.
///
/// # Errors
///
/// A member has a wrong value, is there twice, or asks for what the runtime cannot do.
pub fn translate_request(
    endpoint: Endpoint,
    body: &[u8],
    extensions: &RuntimeExtensions,
) -> Result<TranslatedRequest, RequestError> {
    let text = std::str::from_utf8(body).map_err(|error| RequestError::NotJson {
        problem: error.to_string(),
    })?;
    let text = text
        .strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(text)
        .trim_ascii();
    let (endpoint_at_runtime, model, body) = match endpoint {
        Endpoint::OllamaChat => chat(text, extensions)?,
        Endpoint::OllamaGenerate => generate(text, extensions)?,
        _ => embed(text)?,
    };
    Ok(TranslatedRequest {
        endpoint: endpoint_at_runtime,
        path: match endpoint_at_runtime {
            Endpoint::Completions => "/v1/completions",
            Endpoint::Embeddings => "/v1/embeddings",
            _ => "/v1/chat/completions",
        },
        body: Bytes::from(body),
        answer: AnswerTranslator {
            called: endpoint,
            model,
        },
    })
}

/// What it is called at the runtime, the model as JSON, and the body.
type Translated = (Endpoint, String, String);

fn chat(text: &str, extensions: &RuntimeExtensions) -> Result<Translated, RequestError> {
    let fields = Fields::read(("the body", text), CHAT)?;
    fields.refuse("template", HAS_TEMPLATE)?;
    let list = fields.list("messages")?.unwrap_or("[]");
    if !is_filled(list) {
        return Err(nothing_to_do("messages"));
    }
    let mut messages = Messages::new(extensions.template_arguments);
    items("messages", list, |message| messages.add(message))?;

    let mut out = beginning(&fields, text)?;
    out.json("messages", &messages.end());
    if let Some(tools) = fields.list("tools")?
        && is_filled(tools)
    {
        out.json("tools", tools);
    }
    write_think(fields.get("think"), extensions, &mut out)?;
    write_rest(&fields, extensions, &mut out)?;
    Ok((Endpoint::ChatCompletions, model_of(&fields)?, out.end()))
}

fn generate(text: &str, extensions: &RuntimeExtensions) -> Result<Translated, RequestError> {
    let fields = Fields::read(("the body", text), GENERATE)?;
    fields.refuse("template", HAS_TEMPLATE)?;
    fields.refuse("suffix", "it does not insert between two texts")?;
    fields.refuse("context", "it keeps no conversation by tokens")?;
    let prompt = fields.string("prompt")?.unwrap_or("\"\"");
    let images = fields.list("images")?.filter(|images| is_filled(images));
    if !is_filled(prompt) && images.is_none() {
        return Err(nothing_to_do("prompt"));
    }

    let mut out = beginning(&fields, text)?;
    if fields.flag("raw")? {
        for name in ["system", "images", "format", "think"] {
            fields.refuse(name, "it completes a raw prompt as it is")?;
        }
        out.json("prompt", prompt);
        write_rest(&fields, extensions, &mut out)?;
        return Ok((Endpoint::Completions, model_of(&fields)?, out.end()));
    }

    let mut messages = Messages::new(extensions.template_arguments);
    if let Some(system) = fields.string("system")?
        && is_filled(system)
    {
        messages.add_text("system", system, None)?;
    }
    let images = images.map(|images| ("images", images));
    messages.add_text("user", prompt, images)?;
    out.json("messages", &messages.end());
    write_think(fields.get("think"), extensions, &mut out)?;
    write_rest(&fields, extensions, &mut out)?;
    Ok((Endpoint::ChatCompletions, model_of(&fields)?, out.end()))
}

fn embed(text: &str) -> Result<Translated, RequestError> {
    let fields = Fields::read(("the body", text), EMBED)?;
    let input = fields.get("input");
    let input = input.ok_or_else(|| wrong("input", "missing", "a string or a list"))?;
    if !input.starts_with(['"', '[']) {
        return Err(wrong("input", input, "a string or a list"));
    }

    let mut out = ObjectText::with_room(text.len() + 64);
    out.json("model", &model_of(&fields)?).json("input", input);
    if let Some(dimensions) = fields.number("dimensions")?.filter(|it| *it != "0") {
        out.json("dimensions", dimensions);
    }
    out.text("encoding_format", "float");
    Ok((Endpoint::Embeddings, model_of(&fields)?, out.end()))
}

/// Begins a request: its model, and whether its answer is a stream, which it is unless it says no.
fn beginning(fields: &Fields<'_>, text: &str) -> Result<ObjectText, RequestError> {
    fields.refuse("logprobs", "its probabilities are not translated")?;
    let streams = fields.get("stream").is_none() || fields.flag("stream")?;
    let mut out = ObjectText::with_room(text.len() + 256);
    out.json("model", &model_of(fields)?);
    out.json("stream", if streams { "true" } else { "false" });
    Ok(out)
}

fn write_rest(
    fields: &Fields<'_>,
    extensions: &RuntimeExtensions,
    out: &mut ObjectText,
) -> Result<(), RequestError> {
    write_format(fields.get("format"), out)?;
    write_options(fields.get("options"), extensions, out)
}

fn model_of(fields: &Fields<'_>) -> Result<String, RequestError> {
    Ok(fields.string("model")?.unwrap_or("\"\"").to_owned())
}

/// Ollama loads or unloads a model for a request without a prompt.
fn nothing_to_do(name: &'static str) -> RequestError {
    RequestError::NotTranslatable {
        name,
        reason: "it is empty, and this runtime loads its models by itself",
    }
}
