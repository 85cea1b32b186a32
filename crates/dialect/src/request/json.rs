//! Reading of JSON bodies.

mod prompt_members;
mod values;

use std::ops::Range;

use serde_json::value::RawValue;

use self::values::{conversation, flag, has_audio, integer, model, positive, string};
use super::cursor::{Cursor, Kind, Name};
use super::spans::{JsonSpans, Spans, StreamOptions};
use super::{MAX_CHOICES, RequestError, RequestInfo, shown};
use crate::endpoint::Endpoint;
use crate::json_walk::JsonWalk;

/// The byte order mark of UTF-8, which some clients put before their JSON.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";
/// The members that are read, of all endpoints, in the order of their names. None of them may be
/// there twice.
const READ: [&str; 32] = [
    "audio",
    "background",
    "best_of",
    "conversation",
    "documents",
    "echo",
    "functions",
    "images",
    "input",
    "instructions",
    "keep_alive",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "mcp_servers",
    "messages",
    "modalities",
    "model",
    "n",
    "name",
    "options",
    "previous_response_id",
    "prompt",
    "query",
    "return_progress",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "suffix",
    "system",
    "tools",
];
/// The older name of `model` in Ollama's `show`, which is read there alone.
const SHOWN_NAME: &str = "name";

/// The members of Ollama's `options` that are read, and their names in messages.
const OPTIONS: [(&str, &str); 3] = [
    ("num_ctx", "options.num_ctx"),
    ("num_gpu", "options.num_gpu"),
    ("num_predict", "options.num_predict"),
];

/// A member that is to be cut, until the next one is found.
struct Cut {
    start: usize,
    /// Where the value before it ends, if there is one.
    before: Option<usize>,
    end: usize,
}

/// A body that is being read.
struct Reader {
    endpoint: Endpoint,
    info: RequestInfo,
    spans: JsonSpans,
    /// The names that were found: one bit for each of [`READ`].
    names: u64,
    /// `name`, in Ollama's `show`.
    shown_name: Option<(Option<String>, Range<usize>)>,
    keep_alive: Option<Cut>,
    /// True if `keep_alive` is zero.
    is_kept_for_zero: bool,
    /// True if tools run elsewhere, where they may have an effect.
    has_hosted_tools: bool,
}

/// Reads the body of a request that is JSON.
pub(super) fn read(endpoint: Endpoint, body: &[u8]) -> Result<RequestInfo, RequestError> {
    let not_json = |problem: String| RequestError::NotJson { problem };
    let text = std::str::from_utf8(body).map_err(|error| not_json(error.to_string()))?;
    let start = if text.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    if text[start..].trim_ascii().is_empty() {
        return Err(RequestError::Empty);
    }
    if !is_json(&text[start..]) {
        // It knows the place and the words for it.
        serde_json::from_str::<&RawValue>(&text[start..])
            .map_err(|error| not_json(error.to_string()))?;
    }

    let mut cursor = Cursor::new(text, start);
    match cursor.kind()? {
        Kind::Object => {}
        other => {
            let found = other.as_str();
            return Err(RequestError::NotAnObject { found });
        }
    }
    let mut reader = Reader::new(endpoint);
    reader.read(&mut cursor)?;
    reader.finish()
}

impl Reader {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            info: RequestInfo {
                stores: true,
                ..RequestInfo::new(endpoint)
            },
            spans: JsonSpans::default(),
            names: 0,
            shown_name: None,
            keep_alive: None,
            is_kept_for_zero: false,
            has_hosted_tools: false,
        }
    }

    /// Reads all members.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RequestError> {
        let mut before = None;
        self.spans.start = cursor.at() + 1;
        cursor.each_member(|cursor, name| {
            self.spans.members += 1;
            if let Some(cut) = self.keep_alive.take() {
                self.spans.keep_alive = Some(cut.start..name.start);
            }
            match self.name(name)? {
                Some("keep_alive") => self.keep_alive(cursor, name.start, before)?,
                Some(known) => self.member(cursor, known)?,
                None => {
                    cursor.value()?;
                }
            }
            before = Some(cursor.at());
            Ok::<_, RequestError>(())
        })?;

        if let Some(cut) = self.keep_alive.take() {
            self.spans.keep_alive = Some(cut.before.unwrap_or(cut.start)..cut.end);
        }
        Ok(())
    }

    /// Returns the name of a member if it is one that is read.
    fn name(&mut self, name: Name<'_>) -> Result<Option<&'static str>, RequestError> {
        let text = name.decoded();
        let Some((bit, name)) = self.read_name(&text) else {
            let folded = fold(&text);
            let similar = folded.and_then(|folded| self.read_name(&folded));
            return similar.map_or(Ok(None), |(_, name)| {
                let found = shown(&text);
                Err(RequestError::OtherCase { found, name })
            });
        };
        if self.names & bit != 0 {
            return Err(RequestError::Duplicate { name });
        }
        self.names |= bit;
        Ok(Some(name))
    }

    /// Returns a name that is read, and its bit.
    fn read_name(&self, text: &str) -> Option<(u64, &'static str)> {
        let at = READ.binary_search(&text).ok()?;
        let is_read = READ[at] != SHOWN_NAME || self.endpoint == Endpoint::OllamaShow;
        is_read.then(|| (1 << at, READ[at]))
    }

    /// Reads the value of a member.
    fn member(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Result<(), RequestError> {
        match name {
            "model" => {
                let model = model(cursor)?;
                (self.info.model, self.spans.model) = (model.0, Some(model.1));
            }
            SHOWN_NAME => self.shown_name = Some(model(cursor)?),
            "stream" => {
                let (stream, span) = flag(cursor, name)?;
                self.info.stream = stream;
                self.spans.stream = Some(span);
            }
            "return_progress" => {
                let (wanted, span) = flag(cursor, name)?;
                self.info.wants_progress = wanted == Some(true);
                self.spans.return_progress = Some(span);
            }
            "stream_options" => self.stream_options(cursor)?,
            "options" => self.options(cursor)?,
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                self.output_tokens(integer(cursor)?);
            }
            "n" => {
                let choices = positive(integer(cursor)?).unwrap_or(1).min(MAX_CHOICES);
                self.info.choices = u32::try_from(choices).unwrap_or(1);
            }
            "store" | "background" | "previous_response_id" | "conversation" | "service_tier" => {
                self.state(cursor, name)?;
            }
            "best_of" | "echo" | "modalities" | "audio" => self.form(cursor, name)?,
            _ => self.prompt(cursor, name)?,
        }
        Ok(())
    }

    /// Reads a member of what the answer belongs to and how it is served.
    fn state(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Result<(), RequestError> {
        match name {
            "store" => self.info.stores = flag(cursor, name)?.0 != Some(false),
            "background" => self.info.is_background = flag(cursor, name)?.0 == Some(true),
            "previous_response_id" => self.info.previous_response = string(cursor, name)?,
            "conversation" => self.info.conversation = conversation(cursor)?,
            _ => {
                let tier = cursor.value()?;
                self.info.wants_low_priority = &cursor.text()[tier] == r#""flex""#;
            }
        }
        Ok(())
    }

    /// Reads a member that may make an answer of a kind that cannot be assembled.
    fn form(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Result<(), RequestError> {
        let must_stay = match name {
            "best_of" => integer(cursor)?.is_some_and(|best_of| best_of > 1),
            "echo" => flag(cursor, name)?.0 == Some(true),
            "modalities" => has_audio(cursor)?,
            _ => {
                let is_set = cursor.kind()? != Kind::Null;
                cursor.value()?;
                is_set
            }
        };
        self.info.must_stay_as_asked |= must_stay;
        Ok(())
    }

    /// Reads `stream_options`.
    fn stream_options(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RequestError> {
        const NAME: &str = "stream_options.include_usage";
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            let span = cursor.value()?;
            self.spans.stream_options = match kind {
                Kind::Null => StreamOptions::Null(span),
                _ => StreamOptions::Other,
            };
            return Ok(());
        }

        let start = cursor.at() + 1;
        let mut has_members = false;
        let mut include_usage = None;
        cursor.each_member::<RequestError>(|cursor, name| {
            has_members = true;
            if name.decoded() == "include_usage" {
                let (wanted, span) = flag(cursor, NAME)?;
                self.info.wants_usage = wanted == Some(true);
                if include_usage.replace(span).is_some() {
                    return Err(RequestError::Duplicate { name: NAME });
                }
            }
            Ok(())
        })?;
        self.spans.stream_options = StreamOptions::Object {
            start,
            has_members,
            include_usage,
        };
        Ok(())
    }

    /// Reads Ollama's `options`: those that the model is loaded with, and the length of the answer.
    fn options(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RequestError> {
        if cursor.kind()? != Kind::Object {
            cursor.value()?;
            return Ok(());
        }
        let mut names = Vec::with_capacity(OPTIONS.len());
        cursor.each_member::<RequestError>(|cursor, name| {
            let name = name.decoded();
            let Some((short, name)) = OPTIONS.iter().find(|(short, _)| *short == name) else {
                return Ok(());
            };
            if names.contains(short) {
                return Err(RequestError::Duplicate { name });
            }
            names.push(*short);

            let value = integer(cursor)?;
            match *short {
                "num_ctx" => self.info.num_ctx = positive(value),
                "num_gpu" => self.info.num_gpu = value,
                _ => self.output_tokens(value),
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Takes a bound on the tokens of an answer. Runtimes differ in which of several counts, so that
    /// the largest does here.
    fn output_tokens(&mut self, tokens: Option<i64>) {
        self.info.max_output_tokens = self.info.max_output_tokens.max(positive(tokens));
    }

    /// Reads `keep_alive`, a member that begins at `start` behind a value that ends at `before`.
    fn keep_alive(
        &mut self,
        cursor: &mut Cursor<'_>,
        start: usize,
        before: Option<usize>,
    ) -> Result<(), RequestError> {
        let kind = cursor.kind()?;
        let value = cursor.value()?;
        let text = &cursor.text()[value];
        self.is_kept_for_zero = match kind {
            Kind::Number => text.parse() == Ok(0.0),
            Kind::String => !text.contains(|char: char| ('1'..='9').contains(&char)),
            _ => false,
        };
        self.keep_alive = Some(Cut {
            start,
            before,
            end: cursor.at(),
        });
        Ok(())
    }

    /// Returns what was found, all in all.
    fn finish(self) -> Result<RequestInfo, RequestError> {
        let Self {
            endpoint,
            mut info,
            mut spans,
            ..
        } = self;
        if let Some((name, span)) = self.shown_name {
            let is_other = info.model.is_some() && name.is_some() && info.model != name;
            if is_other {
                return Err(RequestError::WrongValue {
                    name: SHOWN_NAME,
                    found: shown(&name.unwrap_or_default()),
                    expected: "the same as `model`",
                });
            }
            if info.model.is_none() {
                info.model = name;
                spans.model = Some(span);
            }
        }

        info.stores &= endpoint == Endpoint::Responses;
        info.is_repeatable &= !info.is_background && !self.has_hosted_tools;
        info.must_stay_as_asked |= info.is_background;
        let may_unload = matches!(endpoint, Endpoint::OllamaChat | Endpoint::OllamaGenerate);
        info.is_unload = may_unload && self.is_kept_for_zero && !info.has_prompt;
        info.spans = Spans::Json(spans);
        info.measure_prompt();
        if !generates_text(endpoint) {
            info.forget_prompt();
        }
        Ok(info)
    }
}

/// Returns whether a text is one JSON value.
fn is_json(text: &str) -> bool {
    let mut walk = JsonWalk::new(text);
    walk.value().is_ok() && walk.end().is_ok()
}

/// Returns whether an endpoint reads its prompt into a cache from which the next one may go on.
fn generates_text(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::ChatCompletions
            | Endpoint::Completions
            | Endpoint::Responses
            | Endpoint::Messages
            | Endpoint::OllamaChat
            | Endpoint::OllamaGenerate
    )
}

/// Returns a name as Go compares it, whose JSON takes any case: ASCII letters, and the two letters of
/// Unicode that fold to ASCII ones. `None` if that is the name itself.
fn fold(name: &str) -> Option<String> {
    let is_folded = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if name.bytes().all(is_folded) {
        return None;
    }
    let folded = name.chars().map(|char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    Some(folded.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_read_are_in_order_and_have_a_bit_each() {
        assert!(READ.is_sorted() && READ.len() <= 64);
    }
}
