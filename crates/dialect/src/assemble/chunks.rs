//! Chat and completions from their chunks.

use bytes::Bytes;

use super::joined::{Joined, Room, Value, close, write_name};
use super::tool_calls::{ToolCalls, add_function, write_object};
use super::{AssembleError, utf8};
use crate::content::DONE;
use crate::members::{NotJsonError, each_item, each_member, is_filled, is_nothing, whole_number};
use crate::runtime_error::ErrorMembers;

/// The most choices of one answer.
const MAX_CHOICES: usize = 128;
/// Members that come behind the choices, as in answers without a stream.
const LAST_MEMBERS: &[&str] = &["usage", "timings"];

/// The place of the text of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message.
    Chat,
    /// A plain text.
    Completion,
}

/// An answer of chat or completions, as far as it came.
#[derive(Debug)]
pub(super) struct Chunks {
    kind: Kind,
    room: Room,
    members: Joined,
    choices: Vec<Choice>,
    is_done: bool,
}

#[derive(Debug, Default)]
struct Choice {
    index: u64,
    /// The value of `finish_reason`, `None` while it is null or empty.
    finish_reason: Option<String>,
    /// The message, or the text.
    content: Joined,
    tool_calls: ToolCalls,
    /// The older form of a tool call.
    function_call: Joined,
    has_logprobs: bool,
    logprobs: Joined,
    members: Joined,
    has_content: bool,
}

impl Chunks {
    pub(super) fn new(kind: Kind, max_bytes: usize) -> Self {
        Self {
            kind,
            room: Room::new(max_bytes),
            members: Joined::default(),
            choices: Vec::new(),
            is_done: false,
        }
    }

    pub(super) fn event(&mut self, data: &[u8]) -> Result<(), AssembleError> {
        if data == DONE {
            self.is_done = true;
            return Ok(());
        }

        let mut errors = ErrorMembers::default();
        each_member(utf8(data)?, |member| {
            let name = &*member.name;
            errors.take(name, member.value);
            match name {
                "choices" if member.value == "null" => Ok(()),
                "choices" => each_item(member.value, |choice| self.add_choice(choice)),
                "object" => self.members.last(name, self.kind.object(), &mut self.room),
                // Answers without a stream have neither.
                "error" | "prompt_progress" => Ok(()),
                _ => self.members.last(name, member.value, &mut self.room),
            }
        })?;
        match errors.error() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    pub(super) fn finish(mut self, ended_orderly: bool) -> Result<Bytes, AssembleError> {
        self.finish_choices(ended_orderly)?;

        let mut out = String::from("{");
        let is_last = |name: &str| LAST_MEMBERS.contains(&name);
        self.members.write_chosen(&mut out, |name| !is_last(name));
        if self.members.get("object").is_none() {
            write_name("object", &mut out);
            out.push_str(self.kind.object());
            out.push(',');
        }

        write_name("choices", &mut out);
        out.push('[');
        for choice in &self.choices {
            choice.write(self.kind, &mut out);
            out.push(',');
        }
        close(&mut out, ']');
        out.push(',');
        self.members.write_chosen(&mut out, is_last);
        close(&mut out, '}');
        Ok(Bytes::from(out))
    }

    /// Sorts the choices and gives each an end, if the answer is whole.
    fn finish_choices(&mut self, ended_orderly: bool) -> Result<(), AssembleError> {
        let unfinished = |choice: &&mut Choice| choice.finish_reason.is_none();
        let missing = self.choices.iter_mut().filter(unfinished).count();
        let has_content = self.choices.iter().any(|choice| choice.has_content);

        let is_whole = match missing {
            0 => !self.choices.is_empty() && (ended_orderly || self.is_done),
            // A runtime that names no `finish_reason` at all has but `[DONE]` to end with.
            _ => missing == self.choices.len() && has_content && ended_orderly && self.is_done,
        };
        if !is_whole {
            return Err(AssembleError::Incomplete {
                expected: "a `finish_reason` of every choice",
            });
        }
        for choice in &mut self.choices {
            let by_calls = !choice.tool_calls.is_empty();
            let reason = if by_calls {
                "\"tool_calls\""
            } else {
                "\"stop\""
            };
            choice
                .finish_reason
                .get_or_insert_with(|| reason.to_owned());
        }
        self.choices.sort_by_key(|choice| choice.index);
        Ok(())
    }

    fn add_choice(&mut self, text: &str) -> Result<(), AssembleError> {
        let mut index = 0;
        let mut rest = Vec::new();
        each_member(text, |member| {
            match &*member.name {
                "index" => index = whole_number(member.value).unwrap_or(0),
                _ => rest.push(member),
            }
            Ok::<(), NotJsonError>(())
        })?;

        let found = self.choices.iter().position(|choice| choice.index == index);
        let i = match found {
            Some(i) => i,
            None if self.choices.len() < MAX_CHOICES => {
                self.choices.push(Choice {
                    index,
                    ..Choice::default()
                });
                self.choices.len() - 1
            }
            None => {
                return Err(AssembleError::Malformed {
                    expected: "one of at most 128 choices",
                });
            }
        };
        let choice = &mut self.choices[i];
        for member in rest {
            choice.add(&member.name, member.value, &mut self.room)?;
        }
        Ok(())
    }
}

impl Kind {
    /// Returns the value of `object` of an answer.
    fn object(self) -> &'static str {
        match self {
            Self::Chat => "\"chat.completion\"",
            Self::Completion => "\"text_completion\"",
        }
    }
}

impl Choice {
    fn add(&mut self, name: &str, value: &str, room: &mut Room) -> Result<(), AssembleError> {
        match name {
            "delta" if value == "null" => Ok(()),
            "delta" => each_member(value, |member| {
                self.add_delta(&member.name, member.value, room)
            }),
            "text" => {
                self.has_content |= is_filled(value);
                self.content.join("text", value, room)
            }
            "finish_reason" if is_nothing(value) => Ok(()),
            "finish_reason" => {
                room.take(value.len())?;
                self.finish_reason = Some(value.to_owned());
                Ok(())
            }
            "logprobs" => {
                self.has_logprobs = true;
                if value == "null" {
                    return Ok(());
                }
                let logprobs = &mut self.logprobs;
                each_member(value, |member| {
                    logprobs.append(&member.name, member.value, room)
                })
            }
            _ => self.members.append(name, value, room),
        }
    }

    fn add_delta(&mut self, name: &str, value: &str, room: &mut Room) -> Result<(), AssembleError> {
        match name {
            "role" if is_nothing(value) => Ok(()),
            "role" => self.content.last(name, value, room),
            "tool_calls" => {
                self.tool_calls.add(value, room)?;
                self.has_content |= !self.tool_calls.is_empty();
                Ok(())
            }
            "function_call" => {
                self.has_content |= is_filled(value);
                add_function(&mut self.function_call, value, room)
            }
            _ => {
                self.has_content |= is_filled(value);
                self.content.join(name, value, room)
            }
        }
    }

    fn write(&self, kind: Kind, out: &mut String) {
        out.push_str("{\"index\":");
        out.push_str(&self.index.to_string());
        out.push(',');
        match kind {
            Kind::Chat => {
                write_name("message", out);
                self.write_message(out);
                out.push(',');
            }
            Kind::Completion => {
                write_name("text", out);
                match self.content.get("text") {
                    Some(text @ Value::Text(_)) => text.write(out),
                    _ => out.push_str("\"\""),
                }
                out.push(',');
            }
        }

        self.members.write_members(out);
        if self.has_logprobs {
            write_name("logprobs", out);
            if self.logprobs.is_empty() {
                out.push_str("null");
            } else {
                write_object(&self.logprobs, out);
            }
            out.push(',');
        }
        write_name("finish_reason", out);
        out.push_str(self.finish_reason.as_deref().unwrap_or("null"));
        out.push('}');
    }

    fn write_message(&self, out: &mut String) {
        out.push('{');
        if !self.content.has("role") {
            out.push_str("\"role\":\"assistant\",");
        }
        let has_calls = !self.tool_calls.is_empty() || !self.function_call.is_empty();
        if !self.content.has("content") {
            let content = if has_calls { "null" } else { "\"\"" };
            write_name("content", out);
            out.push_str(content);
            out.push(',');
        }
        self.content.write_chosen(out, |name| match name {
            "role" | "content" => self.content.has(name),
            _ => true,
        });

        if !self.tool_calls.is_empty() {
            write_name("tool_calls", out);
            self.tool_calls.write(out);
            out.push(',');
        }
        if !self.function_call.is_empty() {
            write_name("function_call", out);
            write_object(&self.function_call, out);
        }
        close(out, '}');
    }
}
