//! Reading of JSON bodies.

use std::ops::Range;

use serde_json::value::RawValue;

use super::cursor::{Cursor, Kind, Name, WalkError};
use super::prompt::first_item;
use super::spans::{JsonSpans, Spans, StreamOptions};
use super::{MAX_CHOICES, RequestError, RequestInfo, model_name, shown};
use crate::endpoint::{Dialect, Endpoint};

/// The byte order mark of UTF-8, which some clients put before their JSON.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";
/// The beginning of the block that Claude Code puts first into `system`. It differs in each request,
/// so that no cache of a prompt behind it is ever right.
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// The members that are read, of all endpoints. None of them may be there twice.
const READ: [&str; 31] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "echo",
    "tools",
    "functions",
    "system",
    "instructions",
    "input",
    "prompt",
    "suffix",
    "images",
    "query",
    "documents",
    "options",
    "keep_alive",
    "return_progress",
    "store",
    "background",
    "previous_response_id",
    "conversation",
    "service_tier",
    "mcp_servers",
    "modalities",
    "audio",
];
/// The older name of `model` in Ollama's `show`.
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

/// What is found while a body is read.
struct Reader {
    endpoint: Endpoint,
    info: RequestInfo,
    spans: JsonSpans,
    /// The names that were found.
    names: Vec<&'static str>,
    /// `name`, in Ollama's `show`.
    shown_name: Option<(Option<String>, Range<usize>)>,
    keep_alive: Option<Cut>,
    /// Whether `keep_alive` is zero.
    is_kept_for_zero: bool,
    /// Whether tools run elsewhere, where they may have an effect.
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
    serde_json::from_str::<&RawValue>(&text[start..])
        .map_err(|error| not_json(error.to_string()))?;

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
            names: Vec::with_capacity(READ.len()),
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
        let is_shown_name = self.endpoint == Endpoint::OllamaShow;
        let also = is_shown_name.then_some(&SHOWN_NAME);
        let mut known = READ.iter().chain(also).copied();

        let Some(name) = known.clone().find(|known| *known == text) else {
            let similar = known.find(|known| is_same_but_for_case(known, &text));
            return similar.map_or(Ok(None), |name| {
                let found = shown(&text);
                Err(RequestError::OtherCase { found, name })
            });
        };
        if self.names.contains(&name) {
            return Err(RequestError::Duplicate { name });
        }
        self.names.push(name);
        Ok(Some(name))
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

    /// Reads a member that is a part of the prompt, or says what the prompt is for.
    fn prompt(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Result<(), RequestError> {
        match name {
            "tools" => self.tools(cursor)?,
            "functions" => {
                self.info.has_tools |= is_filled_array(cursor)?;
                self.info.tools.add_value(cursor)?;
            }
            "mcp_servers" => {
                self.has_hosted_tools |= is_filled_array(cursor)?;
                cursor.value()?;
            }
            "system" => self.system(cursor)?,
            "instructions" => self.info.system.add_value(cursor)?,
            "images" => self.info.messages.add_pictures(cursor)?,
            "suffix" | "query" => self.info.messages.add_value(cursor)?,
            _ => self.inputs(cursor, name)?,
        }
        Ok(())
    }

    /// Reads `messages`, `input`, `prompt` or `documents`.
    fn inputs(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Result<(), RequestError> {
        let items = self.info.messages.add_items(cursor)?;

        let is_the_prompt = match self.endpoint {
            Endpoint::OllamaChat => name == "messages",
            Endpoint::OllamaGenerate => name == "prompt",
            _ => true,
        };
        self.info.has_prompt |= is_the_prompt && items.count > 0;

        let counted = match self.endpoint {
            Endpoint::Embeddings | Endpoint::OllamaEmbed => "input",
            Endpoint::Rerank => "documents",
            Endpoint::Completions => "prompt",
            _ => return Ok(()),
        };
        if name == counted {
            self.info.inputs = items.count.max(1);
            // A stream of several completions mixes their pieces.
            self.info.must_stay_as_asked |= items.is_list;
        }
        Ok(())
    }

    /// Reads `tools`. Those of other types than these run at the runtime, or elsewhere behind it.
    fn tools(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RequestError> {
        self.info.has_tools |= is_filled_array(cursor)?;
        if cursor.kind()? == Kind::Array {
            let mut ahead = Cursor::new(cursor.text(), cursor.at());
            ahead.each_item::<RequestError>(|tool| {
                let kind = member_of(tool, "type")?.map(|place| &tool.text()[place]);
                let known = [r#""function""#, r#""custom""#, "null"];
                self.has_hosted_tools |= kind.is_some_and(|kind| !known.contains(&kind));
                Ok(())
            })?;
        }
        self.info.tools.add_value(cursor)?;
        Ok(())
    }

    /// Reads `system`. A first block that differs in each request is no part of the prompt.
    fn system(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RequestError> {
        let has_header = self.endpoint.dialect() == Dialect::Anthropic;
        if !has_header || cursor.kind()? != Kind::Array {
            self.info.system.add_items(cursor)?;
            return Ok(());
        }

        let mut is_first = true;
        let mut header: Option<Range<usize>> = None;
        cursor.each_item::<RequestError>(|cursor| {
            if let Some(header) = header.take() {
                self.spans.billing_header = Some(header.start..cursor.at());
            }
            if std::mem::take(&mut is_first) && is_billing_header(cursor)? {
                header = Some(cursor.value()?);
            } else {
                self.info.system.add_value(cursor)?;
            }
            Ok(())
        })?;
        if header.is_some() {
            self.spans.billing_header = header;
        }
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

/// Reads the name of a model.
fn model(cursor: &mut Cursor<'_>) -> Result<(Option<String>, Range<usize>), RequestError> {
    cursor.kind()?;
    let start = cursor.at();
    let name = string(cursor, "model")?;
    let name = name.map(model_name).transpose()?.flatten();
    Ok((name, start..cursor.at()))
}

/// Reads a string or null.
fn string(cursor: &mut Cursor<'_>, name: &'static str) -> Result<Option<String>, RequestError> {
    let kind = cursor.kind()?;
    let value = cursor.value()?;
    let text = &cursor.text()[value];
    match kind {
        Kind::Null => Ok(None),
        Kind::String => serde_json::from_str(text)
            .map(Some)
            .map_err(|_| wrong(name, text, "a string of Unicode characters")),
        _ => Err(wrong(name, text, "a string")),
    }
}

/// Reads a boolean or null.
fn flag(
    cursor: &mut Cursor<'_>,
    name: &'static str,
) -> Result<(Option<bool>, Range<usize>), RequestError> {
    let value = cursor.value()?;
    let flag = match &cursor.text()[value.clone()] {
        "true" => Some(true),
        "false" => Some(false),
        "null" => None,
        other => return Err(wrong(name, other, "true or false")),
    };
    Ok((flag, value))
}

/// Reads an integer. `None` for everything else: whether that is right, the runtime decides.
fn integer(cursor: &mut Cursor<'_>) -> Result<Option<i64>, WalkError> {
    let value = cursor.value()?;
    Ok(cursor.text()[value].parse().ok())
}

fn positive(number: Option<i64>) -> Option<u64> {
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
}

/// Reads `conversation`: its id, or an object that has it.
fn conversation(cursor: &mut Cursor<'_>) -> Result<Option<String>, RequestError> {
    const NAME: &str = "conversation";
    if cursor.kind()? != Kind::Object {
        return string(cursor, NAME);
    }
    let id = member_of(cursor, "id")?;
    cursor.value()?;
    match id {
        Some(id) => string(&mut Cursor::new(cursor.text(), id.start), NAME),
        None => Err(wrong(NAME, "an object without `id`", "one with it")),
    }
}

/// Reads `modalities`, and returns whether the answer is spoken.
fn has_audio(cursor: &mut Cursor<'_>) -> Result<bool, WalkError> {
    if cursor.kind()? != Kind::Array {
        cursor.value()?;
        return Ok(false);
    }
    let mut has_audio = false;
    cursor.each_item::<WalkError>(|cursor| {
        let value = cursor.value()?;
        has_audio |= &cursor.text()[value] == r#""audio""#;
        Ok(())
    })?;
    Ok(has_audio)
}

/// Returns whether the value at the cursor is an array with items.
fn is_filled_array(cursor: &mut Cursor<'_>) -> Result<bool, WalkError> {
    Ok(cursor.kind()? == Kind::Array && first_item(cursor)?.is_some())
}

/// Returns whether the value at the cursor is the block that Claude Code puts first.
fn is_billing_header(cursor: &mut Cursor<'_>) -> Result<bool, WalkError> {
    let text = member_of(cursor, "text")?.map(|place| &cursor.text()[place]);
    let text = text.and_then(|text| text.strip_prefix('"'));
    Ok(text.is_some_and(|text| text.starts_with(BILLING_HEADER)))
}

/// Returns the place of a member's value in the object at the cursor, which stays where it is.
/// `None` if there is no such member, or no object.
fn member_of(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<Range<usize>>, WalkError> {
    if cursor.kind()? != Kind::Object {
        return Ok(None);
    }
    let mut ahead = Cursor::new(cursor.text(), cursor.at());
    let walked = ahead.each_member::<Search>(|cursor, found| {
        if found.decoded() == name {
            return Err(Search::Found(cursor.value()?));
        }
        Ok(())
    });
    match walked {
        Err(Search::Found(value)) => Ok(Some(value)),
        Err(Search::Failed(error)) => Err(error),
        Ok(_) => Ok(None),
    }
}

/// The end of a search, before the end of the object.
enum Search {
    Found(Range<usize>),
    Failed(WalkError),
}

impl From<WalkError> for Search {
    fn from(error: WalkError) -> Self {
        Self::Failed(error)
    }
}

fn wrong(name: &'static str, found: &str, expected: &'static str) -> RequestError {
    RequestError::WrongValue {
        name,
        found: shown(found),
        expected,
    }
}

/// Returns whether two names are the same for Go, whose JSON takes either: ASCII letters without
/// regard to case, and the two letters of Unicode that fold to ASCII ones.
fn is_same_but_for_case(known: &str, found: &str) -> bool {
    let fold = |char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => char::to_ascii_lowercase(&other),
    };
    known.chars().eq(found.chars().map(fold))
}
