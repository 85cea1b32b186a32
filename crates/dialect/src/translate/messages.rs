//! The messages of a chat: texts, images, calls of tools and their results.

use std::collections::VecDeque;

use super::fields::{Fields, items, wrong};
use super::writing::{ObjectText, push_item, quoted};
use crate::members::{decoded, is_filled, text_inside};
use crate::request::RequestError;

const MESSAGE: &[&str] = &[
    "messages.role",
    "messages.content",
    "messages.images",
    "messages.thinking",
    "messages.tool_calls",
    "messages.tool_name",
    "messages.tool_call_id",
];
const CALL: &[&str] = &["messages.tool_calls.id", "messages.tool_calls.function"];
const FUNCTION: &[&str] = &[
    "messages.tool_calls.function.name",
    "messages.tool_calls.function.arguments",
];

/// The first characters of images in base64, and their types.
const IMAGES: &[(&str, &str)] = &[
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("Qk", "image/bmp"),
];
/// The most characters that decide about the type of an image, escapes included.
const MAGIC_CHARS: usize = 24;

/// Writes messages, and gives the calls of tools in them ids: Ollama matches the results by names.
#[derive(Debug, Default)]
pub(super) struct Messages {
    list: String,
    /// The number of calls so far.
    calls: usize,
    /// Calls without a result: their names and ids.
    open: VecDeque<(String, String)>,
    takes_thoughts: bool,
}

impl Messages {
    /// No messages yet. `takes_thoughts` is whether the runtime takes those of earlier turns.
    pub(super) fn new(takes_thoughts: bool) -> Self {
        Self {
            list: "[".to_owned(),
            takes_thoughts,
            ..Self::default()
        }
    }

    /// Returns the list.
    pub(super) fn end(mut self) -> String {
        self.list.push(']');
        self.list
    }

    /// Adds a text, given as a string of JSON, with images.
    pub(super) fn add_text(
        &mut self,
        role: &str,
        content: &str,
        images: Option<(&'static str, &str)>,
    ) -> Result<(), RequestError> {
        let mut message = ObjectText::with_room(content.len() + 64);
        message.text("role", role);
        write_content(&mut message, content, images)?;
        push_item(&mut self.list, &message.end());
        Ok(())
    }

    /// Adds a message of Ollama's.
    pub(super) fn add(&mut self, message: &str) -> Result<(), RequestError> {
        let fields = Fields::read(("messages", message), MESSAGE)?;
        let role = fields.string("messages.role")?;
        let role = role.ok_or_else(|| wrong("messages.role", "missing", "a string"))?;
        let content = fields.string("messages.content")?.unwrap_or("\"\"");
        let images = fields.list("messages.images")?;
        let images = images.map(|images| ("messages.images", images));

        let mut written = ObjectText::with_room(message.len() + 64);
        written.json("role", role);
        write_content(&mut written, content, images)?;
        if let Some(thoughts) = fields.string("messages.thinking")?
            && self.takes_thoughts
            && is_filled(thoughts)
        {
            written.json("reasoning_content", thoughts);
        }
        if let Some(calls) = fields.list("messages.tool_calls")?
            && is_filled(calls)
        {
            written.json("tool_calls", &self.calls(calls)?);
        }
        if role == "\"tool\"" {
            written.json("tool_call_id", &self.id_of_result(&fields)?);
        }
        push_item(&mut self.list, &written.end());
        Ok(())
    }

    /// Returns the calls of a message with ids, their arguments as texts.
    fn calls(&mut self, list: &str) -> Result<String, RequestError> {
        let mut calls = "[".to_owned();
        items("messages.tool_calls", list, |call| {
            let call = Fields::read(("messages.tool_calls", call), CALL)?;
            let function = call.get("messages.tool_calls.function").unwrap_or("null");
            let function = Fields::read(("messages.tool_calls.function", function), FUNCTION)?;
            let name = function.string("messages.tool_calls.function.name")?;
            let name = name.ok_or_else(|| wrong(FUNCTION[0], "missing", "a string"))?;
            let id = call.string("messages.tool_calls.id")?;
            let id = match id.filter(|id| is_filled(id)) {
                Some(id) => id.to_owned(),
                None => quoted(&format!("call_{}", self.calls)),
            };
            self.calls += 1;
            self.open.push_back((name.to_owned(), id.clone()));

            let arguments = function.get("messages.tool_calls.function.arguments");
            let arguments = arguments_text(arguments.unwrap_or("{}"))?;
            let mut written = ObjectText::new();
            written.json("name", name).json("arguments", &arguments);
            let function = written.end();
            let mut written = ObjectText::new();
            written.json("id", &id).text("type", "function");
            written.json("function", &function);
            push_item(&mut calls, &written.end());
            Ok(())
        })?;
        calls.push(']');
        Ok(calls)
    }

    /// Returns the id of the call that a message is the result of: the one that it names, else the
    /// first call of that tool without a result, else the first one at all.
    fn id_of_result(&mut self, fields: &Fields<'_>) -> Result<String, RequestError> {
        if let Some(id) = fields.string("messages.tool_call_id")?
            && is_filled(id)
        {
            self.open.retain(|(_, open)| open != id);
            return Ok(id.to_owned());
        }
        let name = fields.string("messages.tool_name")?;
        let named = name.filter(|name| is_filled(name)).and_then(|name| {
            let name = decoded(name);
            let mut open = self.open.iter();
            open.position(|(open, _)| decoded(open) == name)
        });
        match self.open.remove(named.unwrap_or(0)) {
            Some((_, id)) => Ok(id),
            None => {
                self.calls += 1;
                Ok(quoted(&format!("call_{}", self.calls - 1)))
            }
        }
    }
}

/// Returns arguments, an object, as the string that OpenAI's API has in their place.
fn arguments_text(arguments: &str) -> Result<String, RequestError> {
    match arguments.as_bytes().first() {
        Some(b'{') => Ok(quoted(arguments)),
        Some(b'"') => Ok(arguments.to_owned()),
        _ => Err(wrong(FUNCTION[1], arguments, "an object")),
    }
}

/// Writes a text, or the parts of one with images.
fn write_content(
    message: &mut ObjectText,
    content: &str,
    images: Option<(&'static str, &str)>,
) -> Result<(), RequestError> {
    let Some((name, images)) = images.filter(|(_, images)| is_filled(images)) else {
        message.json("content", content);
        return Ok(());
    };

    let out = message.name("content");
    out.push('[');
    if is_filled(content) {
        out.push_str(r#"{"type":"text","text":"#);
        out.push_str(content);
        out.push('}');
    }
    items(name, images, |image| {
        let (kind, data) = image_of(image)
            .ok_or_else(|| wrong(name, image, "PNG, JPEG, GIF, WebP or BMP in base64"))?;
        let prefix = match kind {
            Some(kind) => format!("data:{kind};base64,"),
            None => String::new(),
        };
        push_item(
            out,
            &format!(r#"{{"type":"image_url","image_url":{{"url":"{prefix}{data}"}}}}"#),
        );
        Ok(())
    })?;
    out.push(']');
    Ok(())
}

/// Returns the type of an image and its base64, as it stands between the quotes. The type is `None`
/// for a data URL, which has it.
fn image_of(image: &str) -> Option<(Option<&'static str>, &str)> {
    let data = text_inside(image)?;
    if data.starts_with("data:") {
        return Some((None, data));
    }
    // The slash of a JPEG may be escaped.
    let magic: String = data.chars().take(MAGIC_CHARS).collect();
    let magic = magic.replace("\\/", "/");
    let (_, kind) = IMAGES.iter().find(|(start, _)| magic.starts_with(start))?;
    Some((Some(kind), data))
}
