//! Events, each made a line as it comes. A call of a tool comes in one line, when it is complete.

use bytes::Bytes;
use memchr::memmem;

use super::answer::{Ending, Part, Timings, error_line, is_cut};
use super::tool_calls::ollama_calls;
use super::{AnswerTimes, AnswerTranslator};
use crate::assemble::{AssembleError, Assembler};
use crate::content::DONE;
use crate::endpoint::Endpoint;
use crate::events::RawEvent;
use crate::members::{NotJsonError, each_item, each_member, is_nothing, whole_number};
use crate::runtime_error::ErrorMembers;
use crate::usage::Usage;

/// The most bytes of the calls of tools in one answer.
const MAX_CALLS_BYTES: usize = 4 << 20;

/// Makes lines of Ollama's API of the events of a chat or a completion.
#[derive(Debug)]
pub struct StreamTranslator {
    answer: AnswerTranslator,
    /// Puts the parts of calls of tools together, once there are some.
    calls: Option<Box<Assembler>>,
    ending: Ending,
    is_ended: bool,
}

impl StreamTranslator {
    pub(super) fn new(answer: AnswerTranslator) -> Self {
        Self {
            answer,
            calls: None,
            ending: Ending::default(),
            is_ended: false,
        }
    }

    /// Takes the next event, and returns what its caller gets at once: lines, or nothing.
    ///
    /// # Errors
    ///
    /// The event is none of the API, or the calls of tools are too large.
    pub fn event(&mut self, event: &RawEvent, times: AnswerTimes) -> Result<Bytes, AssembleError> {
        let data = &*event.data;
        if data.is_empty() || data == b"null" || data == DONE || self.is_ended {
            return Ok(Bytes::new());
        }
        let text = std::str::from_utf8(data).map_err(|_| NotJsonError)?;
        let mut errors = ErrorMembers::default();
        let mut part = Part::default();
        let mut has_calls = false;
        each_member(text, |member| {
            match &*member.name {
                "choices" if member.value.starts_with('[') => each_item(member.value, |choice| {
                    has_calls |= self.choice(choice, &mut part)?;
                    Ok::<(), NotJsonError>(())
                })?,
                "timings" => self.ending.timings = Timings::read(member.value),
                name => drop(errors.take(name, member.value)),
            }
            Ok::<(), NotJsonError>(())
        })?;

        if let Some(error) = errors.error() {
            self.is_ended = true;
            return Ok(Bytes::from(error_line(&error.message) + "\n"));
        }
        if has_calls {
            self.calls()?.event(event)?;
        }
        Ok(Bytes::from(self.line(&part, times)))
    }

    /// Returns the last lines, of an answer that is whole: the calls of tools, and the end. Nothing if they
    /// were returned before.
    ///
    /// # Errors
    ///
    /// The arguments of a call are no object.
    pub fn end(&mut self, usage: &Usage, times: AnswerTimes) -> Result<Bytes, AssembleError> {
        if std::mem::replace(&mut self.is_ended, true) {
            return Ok(Bytes::new());
        }
        let mut lines = match self.calls.take() {
            Some(calls) => {
                let part = Part {
                    tool_calls: Some(complete(*calls)?),
                    ..Part::default()
                };
                self.line(&part, times)
            }
            None => String::new(),
        };

        let mut last = self.answer.begin(&Part::default(), times);
        self.ending.write(usage, times, &mut last);
        lines.push_str(&last.end());
        lines.push('\n');
        Ok(Bytes::from(lines))
    }

    /// Reads a choice of an event into a part. Returns whether it has calls of tools. Only one choice was
    /// asked for.
    fn choice<'a>(&mut self, choice: &'a str, part: &mut Part<'a>) -> Result<bool, NotJsonError> {
        let mut has_calls = false;
        let mut found = Part::default();
        let mut index = 0;
        let mut cut = None;
        each_member(choice, |member| {
            match &*member.name {
                "index" => index = whole_number(member.value).unwrap_or(0),
                "delta" if member.value.starts_with('{') => {
                    has_calls |= memmem::find(member.value.as_bytes(), b"\"tool_calls\"").is_some();
                    each_member(member.value, |member| {
                        found.take(&member.name, member.value);
                        Ok::<(), NotJsonError>(())
                    })?;
                }
                "text" => found.take("content", member.value),
                "finish_reason" if !is_nothing(member.value) => cut = Some(is_cut(member.value)),
                _ => {}
            }
            Ok::<(), NotJsonError>(())
        })?;
        if index > 0 {
            return Ok(false);
        }
        *part = found;
        self.ending.is_cut = cut.unwrap_or(self.ending.is_cut);
        Ok(has_calls)
    }

    fn calls(&mut self) -> Result<&mut Assembler, AssembleError> {
        if self.calls.is_none() {
            let calls = Assembler::new(Endpoint::ChatCompletions, MAX_CALLS_BYTES);
            self.calls = calls.map(Box::new);
        }
        self.calls.as_deref_mut().ok_or(AssembleError::Malformed {
            expected: "one of a chat",
        })
    }

    /// Returns a line with a part, empty for an empty one.
    fn line(&self, part: &Part<'_>, times: AnswerTimes) -> String {
        if part.is_empty() {
            return String::new();
        }
        let mut line = self.answer.begin(part, times);
        line.json("done", "false");
        let mut line = line.end();
        line.push('\n');
        line
    }
}

/// Returns the calls that came in parts.
fn complete(mut calls: Assembler) -> Result<String, AssembleError> {
    calls.event(&RawEvent {
        data: Bytes::from_static(DONE),
        ..RawEvent::default()
    })?;
    let answer = calls.finish(true)?;
    let text = std::str::from_utf8(&answer).map_err(|_| NotJsonError)?;
    let mut complete = "[]".to_owned();
    each_member(text, |member| {
        if member.name != "choices" {
            return Ok(());
        }
        each_item(member.value, |choice| {
            if let Some(calls) = calls_of(choice)? {
                complete = ollama_calls(calls)?;
            }
            Ok::<(), AssembleError>(())
        })
    })?;
    Ok(complete)
}

/// Returns the calls of tools of a whole choice.
fn calls_of(choice: &str) -> Result<Option<&str>, NotJsonError> {
    let mut found = None;
    each_member(choice, |member| {
        if member.name == "message" {
            each_member(member.value, |member| {
                if member.name == "tool_calls" {
                    found = Some(member.value);
                }
                Ok::<(), NotJsonError>(())
            })?;
        }
        Ok::<(), NotJsonError>(())
    })?;
    Ok(found)
}
