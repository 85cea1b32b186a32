//! Whole answers, and the lines that a stream is made of.

use std::time::Duration;

use bytes::Bytes;

use super::embeddings::write_embeddings;
use super::stream::StreamTranslator;
use super::tool_calls::ollama_calls;
use super::writing::{ObjectText, quoted};
use super::{AnswerTimes, AnswerTranslator};
use crate::answer::usage_of_answer;
use crate::assemble::AssembleError;
use crate::endpoint::Endpoint;
use crate::members::{NotJsonError, decoded, each_item, each_member, is_filled};
use crate::runtime_error::ErrorMembers;
use crate::usage::Usage;

/// The most characters of an error that is not JSON.
const MAX_ERROR_CHARS: usize = 500;
/// Nanoseconds of a millisecond.
const MILLISECOND: f64 = 1e6;

/// What one line has of a message. All values are JSON.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) content: Option<&'a str>,
    pub(super) thinking: Option<&'a str>,
    pub(super) tool_calls: Option<String>,
}

/// The end of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    /// Whether the answer was cut at its bound.
    pub(super) is_cut: bool,
    pub(super) timings: Timings,
}

/// The times that a runtime has measured, in milliseconds, as llama.cpp reports them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timings {
    prompt: Option<f64>,
    predicted: Option<f64>,
}

impl AnswerTranslator {
    /// Returns a translator of the answer's events.
    pub fn stream(&self) -> StreamTranslator {
        StreamTranslator::new(self.clone())
    }

    /// Makes a whole answer of a runtime's. `endpoint` is the one that the runtime was asked at.
    ///
    /// # Errors
    ///
    /// [`AssembleError::Malformed`]: the answer is none of the endpoint, or has what Ollama's API has no
    /// place for.
    pub fn whole(
        &self,
        endpoint: Endpoint,
        body: &[u8],
        times: AnswerTimes,
    ) -> Result<Bytes, AssembleError> {
        let text = std::str::from_utf8(body).map_err(|_| NotJsonError)?;
        let usage = usage_of_answer(endpoint, body);
        if self.called == Endpoint::OllamaEmbed {
            return write_embeddings(&self.model, text, (&usage, times)).map(Bytes::from);
        }

        let mut choice = None;
        let mut timings = Timings::default();
        each_member(text, |member| {
            match &*member.name {
                "choices" => each_item(member.value, |item| {
                    choice.get_or_insert(item);
                    Ok::<(), NotJsonError>(())
                })?,
                "timings" => timings = Timings::read(member.value),
                _ => {}
            }
            Ok::<(), NotJsonError>(())
        })?;
        let (part, is_cut) = whole_choice(choice.ok_or(NotJsonError)?)?;

        let ending = Ending { is_cut, timings };
        let mut out = self.begin(&part, times);
        ending.write(&usage, times, &mut out);
        Ok(Bytes::from(out.end()))
    }

    /// Makes an error of one of a runtime.
    pub fn error(body: &[u8]) -> Bytes {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let mut errors = ErrorMembers::default();
        let mut detail = None;
        let read = each_member(text, |member| {
            errors.take(&member.name, member.value);
            // FastAPI's own errors.
            if member.name == "detail" {
                detail = decoded(member.value);
            }
            Ok::<(), NotJsonError>(())
        });
        let message = match (read, detail) {
            (Ok(()), Some(detail)) if errors.error().is_none() => detail,
            (Ok(()), _) => errors.described().message,
            (Err(NotJsonError), _) if text.is_empty() => "the runtime names no reason".to_owned(),
            (Err(NotJsonError), _) => text.chars().take(MAX_ERROR_CHARS).collect(),
        };
        Bytes::from(error_line(&message))
    }

    /// Begins a line or a whole answer with a part of the message.
    pub(super) fn begin(&self, part: &Part<'_>, times: AnswerTimes) -> ObjectText {
        let content = part.content.unwrap_or("\"\"");
        let mut out = ObjectText::with_room(content.len() + 512);
        let created = humantime::format_rfc3339_micros(times.at).to_string();
        out.json("model", &self.model).text("created_at", &created);
        if self.called == Endpoint::OllamaGenerate {
            out.json("response", content);
            if let Some(thinking) = part.thinking {
                out.json("thinking", thinking);
            }
            return out;
        }

        let mut message = ObjectText::with_room(content.len() + 256);
        message.text("role", "assistant").json("content", content);
        if let Some(thinking) = part.thinking {
            message.json("thinking", thinking);
        }
        if let Some(calls) = &part.tool_calls {
            message.json("tool_calls", calls);
        }
        out.json("message", &message.end());
        out
    }
}

impl Ending {
    /// Writes the members that end an answer. A count that the runtime does not report is left out, and
    /// so is a time: only the whole is measured here.
    pub(super) fn write(&self, usage: &Usage, times: AnswerTimes, out: &mut ObjectText) {
        out.json("done", "true");
        out.text("done_reason", if self.is_cut { "length" } else { "stop" });
        write_total(times, out);
        let counts = Some(usage).filter(|usage| usage.source.is_trusted());
        let numbers = [
            ("prompt_eval_count", counts.and_then(|it| it.prompt)),
            ("prompt_eval_duration", nanoseconds(self.timings.prompt)),
            ("eval_count", counts.and_then(|it| it.completion)),
            ("eval_duration", nanoseconds(self.timings.predicted)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                out.json(name, &number.to_string());
            }
        }
    }
}

impl Timings {
    /// Reads the `timings` of an answer or of an event.
    pub(super) fn read(timings: &str) -> Self {
        let mut read = Self::default();
        let time = |value: &str| value.parse().ok().filter(|it: &f64| it.is_finite());
        // A value that is no object has no times.
        let _ = each_member(timings, |member| {
            match &*member.name {
                "prompt_ms" => read.prompt = time(member.value),
                "predicted_ms" => read.predicted = time(member.value),
                _ => {}
            }
            Ok::<(), NotJsonError>(())
        });
        read
    }
}

/// Writes the time that the whole call took.
pub(super) fn write_total(times: AnswerTimes, out: &mut ObjectText) {
    let total = times.elapsed.min(Duration::from_nanos(u64::MAX));
    out.json("total_duration", &total.as_nanos().to_string());
}

/// Returns an error as Ollama writes it.
pub(super) fn error_line(message: &str) -> String {
    let mut out = ObjectText::new();
    out.json("error", &quoted(message));
    out.end()
}

/// Returns whether a `finish_reason` is that the answer was cut.
pub(super) fn is_cut(reason: &str) -> bool {
    reason == "\"length\""
}

/// Reads the message of a whole answer, and whether it was cut.
fn whole_choice(choice: &str) -> Result<(Part<'_>, bool), AssembleError> {
    let mut part = Part::default();
    let mut cut = false;
    each_member(choice, |member| {
        match &*member.name {
            "message" if member.value.starts_with('{') => part = whole_message(member.value)?,
            "text" => part.content = text(member.value),
            "finish_reason" => cut = is_cut(member.value),
            _ => {}
        }
        Ok::<(), AssembleError>(())
    })?;
    Ok((part, cut))
}

fn whole_message(message: &str) -> Result<Part<'_>, AssembleError> {
    let mut part = Part::default();
    each_member(message, |member| {
        part.take(&member.name, member.value);
        if member.name == "tool_calls" && is_filled(member.value) {
            part.tool_calls = Some(ollama_calls(member.value)?);
        }
        Ok::<(), AssembleError>(())
    })?;
    Ok(part)
}

impl<'a> Part<'a> {
    /// Takes a member of a message or of a delta, if it is a text. Runtimes have two names for thoughts,
    /// and some send both.
    pub(super) fn take(&mut self, name: &str, value: &'a str) {
        match name {
            "content" => self.content = text(value),
            "reasoning_content" | "reasoning" => self.thinking = text(value).or(self.thinking),
            _ => {}
        }
    }

    /// Returns whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.content.is_none() && self.thinking.is_none() && self.tool_calls.is_none()
    }
}

/// Returns a string that is not empty, with its quotes.
fn text(value: &str) -> Option<&str> {
    Some(value).filter(|value| value.starts_with('"') && is_filled(value))
}

fn nanoseconds(milliseconds: Option<f64>) -> Option<u64> {
    // Saturates where the number is absurd.
    milliseconds.map(|milliseconds| (milliseconds.max(0.0) * MILLISECOND).round() as u64)
}
