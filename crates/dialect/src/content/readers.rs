//! The readers of each dialect's events.

use super::{
    DeltaContent, EventMeaning, MAX_CHOICES, StreamReader, content_of_delta, delta_has_content,
    event_kind,
};
use crate::events::RawEvent;
use crate::members::{
    NotJsonError, decoded, each_item, each_member, is_filled, is_nothing, whole_number,
};
use crate::repeated_chunk::RepeatedChunk;
use crate::runtime_error::ErrorMembers;

impl StreamReader {
    /// Reads a chunk of chat or completions.
    pub(super) fn chunk(
        &mut self,
        event: &RawEvent,
        data: &str,
    ) -> Result<EventMeaning, NotJsonError> {
        let mut errors = ErrorMembers::default();
        let mut progress = None;
        let mut content = ChunkContent::default();
        each_member(data, |member| {
            match &*member.name {
                "choices" => each_item(member.value, |choice| {
                    content.add(self.choice(choice)?);
                    Ok::<(), NotJsonError>(())
                })?,
                "prompt_progress" => progress = share_of(member.value),
                name => {
                    self.usage.member(name, member.value);
                    errors.take(name, member.value);
                }
            }
            Ok::<(), NotJsonError>(())
        })?;

        if let Some(error) = errors.error() {
            return Ok(self.failed(error));
        }
        self.usage.content(content.texts);
        self.repeated = content
            .repeatable()
            .map(|text| RepeatedChunk::new(&event.data, data, text));
        let otherwise = match progress {
            Some(share) => EventMeaning::Progress { share },
            None if content.has_choices => EventMeaning::Prelude,
            None => EventMeaning::Other,
        };
        Ok(self.content_or(content.texts > 0 || content.has_end, otherwise))
    }

    /// Reads one choice of a chunk.
    fn choice<'a>(&mut self, choice: &'a str) -> Result<ChunkContent<'a>, NotJsonError> {
        let mut index = 0;
        let mut content = ChunkContent {
            has_choices: true,
            ..ChunkContent::default()
        };
        each_member(choice, |member| {
            match &*member.name {
                "index" => index = whole_number(member.value).unwrap_or(0),
                "delta" if member.value.starts_with('{') => match content_of_delta(member.value)? {
                    DeltaContent::None => {}
                    DeltaContent::Text(text) => content.add_text(Some(text)),
                    DeltaContent::Other => content.add_text(None),
                },
                "text" if is_filled(member.value) => {
                    let is_string = member.value.starts_with('"');
                    content.add_text(is_string.then_some(member.value));
                }
                "finish_reason" => content.has_end |= !is_nothing(member.value),
                "usage" => self.usage.member("usage", member.value),
                _ => {}
            }
            Ok::<(), NotJsonError>(())
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
    pub(super) fn response_event(
        &mut self,
        event: &RawEvent,
        data: &str,
    ) -> Result<EventMeaning, NotJsonError> {
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
            Ok::<(), NotJsonError>(())
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
    fn response<'a>(&mut self, response: &'a str) -> Result<ErrorMembers<'a>, NotJsonError> {
        let mut errors = ErrorMembers::default();
        each_member(response, |member| {
            match &*member.name {
                "id" if self.position.response_id.is_none() => {
                    self.position.response_id = decoded(member.value);
                }
                "conversation" if self.position.conversation_id.is_none() => {
                    self.position.conversation_id = id_of(member.value);
                }
                "usage" => self.usage.member("usage", member.value),
                "error" => {
                    errors.take("error", member.value);
                }
                _ => {}
            }
            Ok::<(), NotJsonError>(())
        })?;
        Ok(errors)
    }

    /// Reads an event of `messages`.
    pub(super) fn message_event(&mut self, data: &str) -> Result<EventMeaning, NotJsonError> {
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
            Ok::<(), NotJsonError>(())
        })?;

        if let Some(error) = errors.error() {
            return Ok(self.failed(error));
        }
        match kind.as_deref().unwrap_or_default() {
            "message_start" => {
                each_member(message.ok_or(NotJsonError)?, |member| {
                    if member.name == "usage" {
                        self.usage.start_usage(member.value);
                    }
                    Ok::<(), NotJsonError>(())
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
    pub(super) fn ollama_line(&mut self, data: &str) -> Result<EventMeaning, NotJsonError> {
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
            Ok::<(), NotJsonError>(())
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

    /// Reads an event of an endpoint that this module has no events of. It may be anything.
    pub(super) fn unknown_event(&mut self, data: &str) -> EventMeaning {
        let mut errors = ErrorMembers::default();
        let read = each_member(data, |member| {
            self.usage.member(&member.name, member.value);
            errors.take(&member.name, member.value);
            Ok::<(), NotJsonError>(())
        });
        match (read, errors.error()) {
            (Ok(()), Some(error)) => self.failed(error),
            _ => EventMeaning::Content,
        }
    }
}

/// The contents of the choices of a chunk.
#[derive(Debug, Default)]
struct ChunkContent<'a> {
    has_choices: bool,
    has_end: bool,
    /// How many of them have text or tool calls.
    texts: u64,
    /// The last text that is one string, with its quotes.
    text: Option<&'a str>,
}

impl<'a> ChunkContent<'a> {
    fn add(&mut self, other: Self) {
        self.has_choices |= other.has_choices;
        self.has_end |= other.has_end;
        self.texts += other.texts;
        self.text = other.text.or(self.text);
    }

    /// Adds content, which may be one string.
    fn add_text(&mut self, text: Option<&'a str>) {
        self.texts += 1;
        self.text = text;
    }

    /// Returns the text in which the next chunk may differ, if there is one and nothing else.
    fn repeatable(&self) -> Option<&'a str> {
        self.text.filter(|_| self.texts == 1 && !self.has_end)
    }
}

/// Returns the share of the prompt that was read, `None` if it is missing.
fn share_of(progress: &str) -> Option<f32> {
    let mut total = None;
    let mut processed = None;
    each_member(progress, |member| {
        match &*member.name {
            "total" => total = whole_number(member.value),
            "processed" => processed = whole_number(member.value),
            _ => {}
        }
        Ok::<(), NotJsonError>(())
    })
    .ok()?;
    let share = processed? as f32 / total.filter(|total| *total > 0)? as f32;
    Some(share.clamp(0.0, 1.0))
}

/// Returns the id in a member that is one, or an object that has it.
fn id_of(value: &str) -> Option<String> {
    let mut id = decoded(value);
    // A string has no members.
    let _ = each_member(value, |member| {
        if member.name == "id" {
            id = decoded(member.value);
        }
        Ok::<(), NotJsonError>(())
    });
    id
}
