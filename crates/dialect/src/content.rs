//! What the events of an answer mean: first content, progress, errors inside a 200, the orderly end,
//! and the position that a late error needs.

use crate::endpoint::Endpoint;
use crate::events::RawEvent;
use crate::members::{
    NotJson, decoded, each_item, each_member, is_filled, is_nothing, whole_number,
};
use crate::runtime_error::{ErrorMembers, RuntimeError};
use crate::usage::{Usage, UsageReader};

/// The last event of streams of chat and completions.
pub(crate) const DONE: &[u8] = b"[DONE]";
/// The most choices of one answer that are followed.
const MAX_CHOICES: usize = 128;

/// Follows the events of one answer.
#[derive(Debug)]
pub struct StreamReader {
    endpoint: Endpoint,
    has_content: bool,
    has_failed: bool,
    /// The dialect's last event came.
    has_ended: bool,
    /// The choices of chat and completions, and whether each has a `finish_reason`.
    choices: Vec<(u64, bool)>,
    usage: UsageReader,
    position: StreamPosition,
}

/// What one event is.
#[derive(Debug, Clone, PartialEq)]
pub enum EventMeaning {
    /// An event of the dialect that comes before content, such as `response.created`.
    Prelude,
    /// Text, a tool call or the end of a choice. The first one is first content.
    Content,
    /// The share of the prompt that was read, 0.0 to 1.0 (llama.cpp with `return_progress`).
    Progress {
        /// The share.
        share: f32,
    },
    /// The runtime failed. Before first content it counts as if it had been the head. An event that
    /// is not JSON is one too, though not one that the runtime reported: see
    /// [`StreamReader::has_failed`].
    Error {
        /// The status that the error stands for, 400 to 599; 502 if it names none.
        status: u16,
        /// The runtime's words.
        message: String,
    },
    /// A comment, a sign of life, usage, or what the dialect does not know.
    Other,
    /// The last event of the dialect. It may be first content too: look at
    /// [`StreamReader::has_content`], and at [`StreamReader::is_complete`].
    End,
}

/// How far a stream is, for an error that is added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPosition {
    /// The id of the response, once an event had it. Only for `responses`.
    pub response_id: Option<String>,
    /// The last `sequence_number`. Only for `responses`.
    pub sequence_number: Option<u64>,
}

impl StreamReader {
    /// Creates a reader of the stream of an endpoint. Where an endpoint has no events that are known
    /// here, the head of the answer is first content.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            has_content: !has_events(endpoint),
            has_failed: false,
            has_ended: false,
            choices: Vec::new(),
            usage: UsageReader::default(),
            position: StreamPosition::default(),
        }
    }

    /// Takes the next event and returns what it is.
    pub fn event(&mut self, event: &RawEvent) -> EventMeaning {
        if event.data.is_empty() || &*event.data == b"null" {
            return EventMeaning::Other;
        }
        if &*event.data == DONE {
            return self.done();
        }
        let Ok(data) = std::str::from_utf8(&event.data) else {
            return garbage(event);
        };

        let read = match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => self.chunk(data),
            Endpoint::Responses => self.response_event(event, data),
            Endpoint::Messages => self.message_event(data),
            Endpoint::OllamaChat | Endpoint::OllamaGenerate => self.ollama_line(data),
            _ => self.unknown_event(data),
        };
        read.unwrap_or_else(|NotJson| garbage(event))
    }

    /// Returns `true` after first content.
    pub fn has_content(&self) -> bool {
        self.has_content
    }

    /// Returns `true` after an error that the runtime reported inside the stream. The caller gets
    /// that one, and no other after it.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Returns `true` if the answer is whole, provided that its body ends now and as it should.
    pub fn is_complete(&self) -> bool {
        if self.has_failed {
            return false;
        }
        match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => {
                let all_finished = self.choices.iter().all(|(_, finished)| *finished);
                (all_finished && !self.choices.is_empty()) || self.lacks_finish_reason()
            }
            endpoint => self.has_ended || !has_events(endpoint),
        }
    }

    /// Returns `true` if the answer is whole only by its `[DONE]`: the runtime names no
    /// `finish_reason` in streams, and is better asked without one.
    pub fn lacks_finish_reason(&self) -> bool {
        let none_finished = self.choices.iter().all(|(_, finished)| !finished);
        none_finished && !self.choices.is_empty() && self.has_content && self.has_ended
    }

    /// Returns the counts so far.
    pub fn usage(&self) -> Usage {
        self.usage.usage(self.endpoint)
    }

    /// Returns how far the stream is.
    pub fn position(&self) -> StreamPosition {
        self.position.clone()
    }

    fn done(&mut self) -> EventMeaning {
        match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => {
                self.has_ended = true;
                EventMeaning::End
            }
            _ => EventMeaning::Other,
        }
    }

    fn failed(&mut self, error: RuntimeError) -> EventMeaning {
        self.has_failed = true;
        EventMeaning::Error {
            status: error.status,
            message: error.message,
        }
    }

    /// Returns what an event is that had content or not.
    fn content_or(&mut self, has_content: bool, otherwise: EventMeaning) -> EventMeaning {
        if has_content {
            self.has_content = true;
            return EventMeaning::Content;
        }
        match otherwise {
            EventMeaning::Prelude if self.has_content => EventMeaning::Other,
            otherwise => otherwise,
        }
    }

    /// Reads a chunk of chat or completions.
    fn chunk(&mut self, data: &str) -> Result<EventMeaning, NotJson> {
        let mut errors = ErrorMembers::default();
        let mut progress = None;
        let mut content = Content::default();
        each_member(data, |member| {
            match &*member.name {
                "choices" => each_item(member.value, |choice| {
                    content.add(self.choice(choice)?);
                    Ok::<(), NotJson>(())
                })?,
                "prompt_progress" => progress = share_of(member.value),
                name => {
                    self.usage.member(name, member.value);
                    errors.take(name, member.value);
                }
            }
            Ok::<(), NotJson>(())
        })?;

        if let Some(error) = errors.error() {
            return Ok(self.failed(error));
        }
        self.usage.content(content.texts);
        let otherwise = match progress {
            Some(share) => EventMeaning::Progress { share },
            None if content.has_choices => EventMeaning::Prelude,
            None => EventMeaning::Other,
        };
        Ok(self.content_or(content.texts > 0 || content.has_end, otherwise))
    }

    /// Reads one choice of a chunk.
    fn choice(&mut self, choice: &str) -> Result<Content, NotJson> {
        let mut index = 0;
        let mut content = Content {
            has_choices: true,
            ..Content::default()
        };
        each_member(choice, |member| {
            match &*member.name {
                "index" => index = whole_number(member.value).unwrap_or(0),
                "delta" if member.value.starts_with('{') => {
                    content.texts += u64::from(delta_has_content(member.value)?);
                }
                "text" => content.texts += u64::from(is_filled(member.value)),
                "finish_reason" => content.has_end = !is_nothing(member.value),
                "usage" => self.usage.member("usage", member.value),
                _ => {}
            }
            Ok::<(), NotJson>(())
        })?;

        self.usage.choice(index);
        let found = self.choices.iter().position(|(known, _)| *known == index);
        match found {
            Some(i) => self.choices[i].1 |= content.has_end,
            None if self.choices.len() < MAX_CHOICES => self.choices.push((index, content.has_end)),
            None => {}
        }
        Ok(content)
    }

    /// Reads an event of `responses`.
    fn response_event(&mut self, event: &RawEvent, data: &str) -> Result<EventMeaning, NotJson> {
        let mut errors = ErrorMembers::default();
        let mut kind = None;
        let mut response = None;
        each_member(data, |member| {
            match &*member.name {
                "type" => kind = Some(member.value),
                "response" => response = Some(member.value),
                "sequence_number" => {
                    let number = whole_number(member.value);
                    self.position.sequence_number = number.or(self.position.sequence_number);
                }
                _ => {}
            }
            errors.take(&member.name, member.value);
            Ok::<(), NotJson>(())
        })?;

        let kind = event_kind(event, kind);
        let response = match response {
            Some(response) if kind.starts_with("response.") && response.starts_with('{') => {
                self.response(response)?
            }
            _ => ErrorMembers::default(),
        };
        match kind.as_str() {
            "" if errors.error().is_some() => Ok(self.failed(errors.described())),
            "error" => Ok(self.failed(errors.described())),
            "response.failed" => Ok(self.failed(response.described())),
            "" | "keepalive" | "ping" => Ok(EventMeaning::Other),
            "response.created" | "response.queued" | "response.in_progress" => {
                Ok(self.content_or(false, EventMeaning::Prelude))
            }
            "response.completed" | "response.incomplete" => Ok(self.end()),
            kind => {
                self.usage.content(u64::from(kind.ends_with(".delta")));
                Ok(self.content_or(true, EventMeaning::Content))
            }
        }
    }

    /// Reads the `response` of an event.
    fn response<'a>(&mut self, response: &'a str) -> Result<ErrorMembers<'a>, NotJson> {
        let mut errors = ErrorMembers::default();
        each_member(response, |member| {
            match &*member.name {
                "id" if self.position.response_id.is_none() => {
                    self.position.response_id = decoded(member.value);
                }
                "usage" => self.usage.member("usage", member.value),
                "error" => {
                    errors.take("error", member.value);
                }
                _ => {}
            }
            Ok::<(), NotJson>(())
        })?;
        Ok(errors)
    }

    /// Reads an event of `messages`.
    fn message_event(&mut self, data: &str) -> Result<EventMeaning, NotJson> {
        let mut errors = ErrorMembers::default();
        let mut kind = None;
        let mut message = None;
        let mut usage = None;
        each_member(data, |member| {
            match &*member.name {
                "type" => kind = decoded(member.value),
                "message" => message = Some(member.value),
                "usage" => usage = Some(member.value),
                _ => {}
            }
            errors.take(&member.name, member.value);
            Ok::<(), NotJson>(())
        })?;

        if let Some(error) = errors.error() {
            return Ok(self.failed(error));
        }
        match kind.as_deref().unwrap_or_default() {
            "message_start" => {
                each_member(message.ok_or(NotJson)?, |member| {
                    if member.name == "usage" {
                        self.usage.start_usage(member.value);
                    }
                    Ok::<(), NotJson>(())
                })?;
                Ok(self.content_or(false, EventMeaning::Prelude))
            }
            "message_delta" => {
                usage
                    .into_iter()
                    .for_each(|usage| self.usage.merge_usage(usage));
                Ok(self.content_or(true, EventMeaning::Content))
            }
            "content_block_delta" => {
                self.usage.content(1);
                Ok(self.content_or(true, EventMeaning::Content))
            }
            "content_block_start" | "content_block_stop" => {
                Ok(self.content_or(true, EventMeaning::Content))
            }
            "message_stop" => Ok(self.end()),
            _ => Ok(EventMeaning::Other),
        }
    }

    /// Reads a line of Ollama's `chat` or `generate`.
    fn ollama_line(&mut self, data: &str) -> Result<EventMeaning, NotJson> {
        let mut errors = ErrorMembers::default();
        let mut is_done = false;
        let mut has_text = false;
        each_member(data, |member| {
            match &*member.name {
                "message" if member.value.starts_with('{') => {
                    has_text |= delta_has_content(member.value)?;
                }
                "response" | "thinking" => has_text |= is_filled(member.value),
                "done" => is_done = member.value == "true",
                name => {
                    self.usage.member(name, member.value);
                    errors.take(name, member.value);
                }
            }
            Ok::<(), NotJson>(())
        })?;

        if let Some(error) = errors.error() {
            return Ok(self.failed(error));
        }
        self.usage.content(u64::from(has_text));
        if is_done {
            return Ok(self.end());
        }
        Ok(self.content_or(has_text, EventMeaning::Prelude))
    }

    /// Reads an event of an endpoint whose events are not known here.
    fn unknown_event(&mut self, data: &str) -> Result<EventMeaning, NotJson> {
        let mut errors = ErrorMembers::default();
        each_member(data, |member| {
            self.usage.member(&member.name, member.value);
            errors.take(&member.name, member.value);
            Ok::<(), NotJson>(())
        })?;
        match errors.error() {
            Some(error) => Ok(self.failed(error)),
            None => Ok(EventMeaning::Content),
        }
    }

    fn end(&mut self) -> EventMeaning {
        self.has_content = true;
        self.has_ended = true;
        EventMeaning::End
    }
}

/// What the choices of a chunk have.
#[derive(Debug, Default)]
struct Content {
    has_choices: bool,
    has_end: bool,
    /// How many of them have text or tool calls.
    texts: u64,
}

impl Content {
    fn add(&mut self, other: Self) {
        self.has_choices |= other.has_choices;
        self.has_end |= other.has_end;
        self.texts += other.texts;
    }
}

/// Returns `true` if the events of the endpoint are known here.
fn has_events(endpoint: Endpoint) -> bool {
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

/// Returns `true` if a delta has more than a role.
pub(crate) fn delta_has_content(delta: &str) -> Result<bool, NotJson> {
    let mut has_content = false;
    each_member(delta, |member| {
        has_content |= member.name != "role" && is_filled(member.value);
        Ok::<(), NotJson>(())
    })?;
    Ok(has_content)
}

/// Returns the type of an event: that of its data, else its name.
pub(crate) fn event_kind(event: &RawEvent, kind: Option<&str>) -> String {
    let name = || {
        let name = event.name.as_deref().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    kind.and_then(decoded).unwrap_or_else(name)
}

/// Returns the share of the prompt that was read, `None` if it is not told.
fn share_of(progress: &str) -> Option<f32> {
    let mut total = None;
    let mut processed = None;
    each_member(progress, |member| {
        match &*member.name {
            "total" => total = whole_number(member.value),
            "processed" => processed = whole_number(member.value),
            _ => {}
        }
        Ok::<(), NotJson>(())
    })
    .ok()?;
    let share = processed? as f32 / total.filter(|total| *total > 0)? as f32;
    Some(share.clamp(0.0, 1.0))
}

fn garbage(event: &RawEvent) -> EventMeaning {
    let error = RuntimeError::garbage(&event.data);
    EventMeaning::Error {
        status: error.status,
        message: error.message,
    }
}
