//! An answer with events, from its first content on: passed on as it comes, or put together.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use llamapool_dialect::{
    AnswerTranslator, AssembleError, Assembler, Endpoint, EventMeaning, LlmErrorKind, RawEvent,
    StreamFilter, StreamTranslator,
};
use llamapool_http::{BoxError, CountedMemory};
use llamapool_limits::MemoryAccount;
use llamapool_wire::llm::CallEnd;

use super::error::LlmError;
use super::learned::Lesson;
use super::meter::CallMeter;
use super::patience::{Patience, WaitFor};
use super::translation;
use super::upstream_events::{UpstreamEvents, UpstreamEventsError};
use crate::response_body::ResponseBody;

/// The most bytes of events that are held back until first content. More than that counts as it.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// An answer with events.
pub(super) struct StreamAnswer {
    events: UpstreamEvents,
    endpoint: Endpoint,
    filter: StreamFilter,
    translator: Option<AnswerTranslator>,
    patience: Patience,
    meter: CallMeter,
    target: Target,
    share_read: f32,
    /// True if the filter passed the last event that was no repetition as it is.
    passes_repetitions: bool,
    /// Why the answer is broken off, once the caller has an event about it.
    broken: Option<BoxError>,
    is_over: bool,
}

/// What becomes of the events.
enum Target {
    /// They are passed on. What has not been sent yet is held here.
    Passing(BytesMut),
    /// Lines of another API are made of them. What has not been sent yet is held here.
    Translating(Box<StreamTranslator>, BytesMut),
    /// They are put together to one answer.
    Assembling(Box<Assembler>, CountedMemory, usize),
}

/// What comes before the first content.
pub(super) enum Beginning {
    /// The first content.
    Content(Box<StreamAnswer>),
    /// An error in the place of an answer: its status, and the JSON that the runtime sent.
    Error(u16, Bytes, Box<CallMeter>),
}

/// What is needed to read an answer with events.
pub(super) struct StreamParts {
    pub(super) events: UpstreamEvents,
    pub(super) endpoint: Endpoint,
    pub(super) filter: StreamFilter,
    /// What makes the caller's answer of the runtime's. `None` where that one is passed on.
    pub(super) translator: Option<AnswerTranslator>,
    pub(super) patience: Patience,
    pub(super) meter: CallMeter,
}

impl StreamAnswer {
    /// An answer that is passed on.
    pub(super) fn passing(parts: StreamParts) -> Self {
        let translator = parts.translator.as_ref().map(AnswerTranslator::stream);
        let target = match translator {
            Some(translator) => Target::Translating(Box::new(translator), BytesMut::new()),
            None => Target::Passing(BytesMut::new()),
        };
        Self::new(parts, target)
    }

    /// An answer that is put together, within the memory of an account.
    pub(super) fn assembling(
        parts: StreamParts,
        assembler: Assembler,
        memory: &MemoryAccount,
    ) -> Self {
        let memory = CountedMemory::new(memory);
        Self::new(parts, Target::Assembling(Box::new(assembler), memory, 0))
    }

    fn new(parts: StreamParts, target: Target) -> Self {
        Self {
            events: parts.events,
            endpoint: parts.endpoint,
            filter: parts.filter,
            translator: parts.translator,
            patience: parts.patience,
            meter: parts.meter,
            target,
            share_read: 0.0,
            passes_repetitions: false,
            broken: None,
            is_over: false,
        }
    }

    /// Reads up to the first content, which the next events follow within `idle`.
    pub(super) async fn begin(mut self, idle: Duration) -> Result<Beginning, LlmError> {
        let mut held = 0;
        loop {
            while let Some(event) = self.events.take() {
                held += event.raw.len();
                let data = event.data.clone();
                match self.take_event(event).map_err(|error| self.failed(error))? {
                    EventMeaning::Error { status, .. } if !self.meter.stream.has_content() => {
                        return self.error_instead(status, data);
                    }
                    EventMeaning::Progress { share } if share > self.share_read => {
                        self.share_read = share;
                        self.meter.read(share);
                        self.patience.prolong();
                    }
                    _ => {}
                }
                if self.meter.stream.has_content() || held > MAX_HELD_BYTES {
                    self.meter.first_content();
                    self.patience.begin(WaitFor::NextEvent, idle);
                    return Ok(Beginning::Content(Box::new(self)));
                }
            }
            if self.events.is_ended() {
                let message = "the runtime ended its answer before any content";
                return Err(self.failed(LlmError::new(LlmErrorKind::RuntimeClosed, message)));
            }

            let read = self.patience.wait(self.events.read()).await;
            let read = read.and_then(|read| read.map_err(broken));
            read.map_err(|error| self.failed(error))?;
        }
    }

    /// Returns the rest of the answer as a body.
    pub(super) fn into_body(self: Box<Self>) -> ResponseBody {
        let pieces = stream::unfold(self, |mut answer| async move {
            let piece = answer.next_piece().await?;
            Some((piece.map(Frame::data), answer))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    /// Returns whether the answer is put together to one.
    pub(super) fn assembles(&self) -> bool {
        matches!(self.target, Target::Assembling(..))
    }

    /// Returns the next piece for the caller, `None` at the end.
    async fn next_piece(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(error) = self.broken.take() {
                self.is_over = true;
                return Some(Err(error));
            }
            while let Some(event) = self.events.take() {
                if let Err(error) = self.take_event(event) {
                    return Some(self.break_off(error));
                }
            }
            if let Target::Passing(held) | Target::Translating(_, held) = &mut self.target
                && !held.is_empty()
            {
                return Some(Ok(held.split().freeze()));
            }
            if self.events.is_ended() {
                return self.finish();
            }

            let read = self.patience.wait(self.events.read()).await;
            match read.and_then(|read| read.map_err(broken)) {
                Ok(()) => self.patience.prolong(),
                Err(error) => return Some(self.break_off(error)),
            }
        }
    }

    /// Reads an event, and passes it on or adds it to the answer.
    fn take_event(&mut self, event: RawEvent) -> Result<EventMeaning, LlmError> {
        let meaning = self.meter.stream.event(&event);
        match &mut self.target {
            Target::Passing(held) => {
                // What repeats an event that was not changed is not changed either.
                if self.passes_repetitions && self.meter.stream.is_repetition() {
                    held.extend_from_slice(&event.raw);
                    return Ok(meaning);
                }
                let raw = event.raw.clone();
                let filtered = self.filter.apply(self.endpoint, event);
                self.passes_repetitions = filtered.as_ref() == Some(&raw);
                if let Some(bytes) = filtered {
                    held.extend_from_slice(&bytes);
                }
            }
            Target::Translating(translator, held) => {
                let times = translation::times(&self.meter);
                let lines = translator.event(&event, times).map_err(not_assembled)?;
                held.extend_from_slice(&lines);
                if meaning == EventMeaning::End && self.meter.stream.is_complete() {
                    let usage = self.meter.stream.usage();
                    let lines = translator.end(&usage, times).map_err(not_assembled)?;
                    held.extend_from_slice(&lines);
                }
            }
            Target::Assembling(assembler, memory, bytes) => {
                let is_error = matches!(meaning, EventMeaning::Error { .. });
                if is_error && !self.meter.stream.has_content() {
                    return Ok(meaning);
                }
                *bytes += event.raw.len();
                memory.cover(*bytes).map_err(|_| {
                    let message = "the worker has no memory for the answer, see MAX_MEMORY";
                    LlmError::new(LlmErrorKind::MemoryFull, message)
                })?;
                assembler.event(&event).map_err(not_assembled)?;
            }
        }
        Ok(meaning)
    }

    /// Ends the answer as the runtime has ended it.
    fn finish(&mut self) -> Option<Result<Bytes, BoxError>> {
        let is_complete = self.meter.stream.is_complete();
        let has_failed = self.meter.stream.has_failed();
        let target = std::mem::replace(&mut self.target, Target::Passing(BytesMut::new()));
        let rest = match target {
            Target::Passing(_) if !is_complete && !has_failed => {
                return Some(self.break_off(ended_early()));
            }
            Target::Assembling(assembler, memory, held) => {
                self.assembled(*assembler, (memory, held)).map(Some)
            }
            Target::Translating(translator, _) if is_complete => self.last_lines(*translator),
            Target::Translating(..) if !has_failed => Err(ended_early()),
            Target::Passing(_) | Target::Translating(..) => Ok(None),
        };

        self.is_over = true;
        match rest {
            // The caller has the runtime's own words about it.
            Ok(None) if has_failed => {
                self.meter.end(CallEnd::Failed);
                None
            }
            Ok(rest) => {
                self.meter.end(CallEnd::Complete);
                rest.map(Ok)
            }
            Err(error) => Some(Err(self.failed(error).log_message().into())),
        }
    }

    /// Returns the answer that was put together.
    fn assembled(
        &mut self,
        assembler: Assembler,
        (mut memory, held): (CountedMemory, usize),
    ) -> Result<Bytes, LlmError> {
        let mut answer = assembler.finish(true).map_err(not_assembled)?;
        if self.meter.stream.lacks_finish_reason() {
            self.meter.learn(Lesson::AsAsked);
        }
        if let Some(translator) = &self.translator {
            let times = translation::times(&self.meter);
            let translated = translator.whole(self.endpoint, &answer, times);
            answer = translated.map_err(not_assembled)?;
        }
        Ok(memory.seal(answer, held))
    }

    /// Returns the lines that end a translated answer, `None` if it has them: the runtime had announced the
    /// end of its own before.
    fn last_lines(&self, mut translator: StreamTranslator) -> Result<Option<Bytes>, LlmError> {
        let usage = self.meter.stream.usage();
        let lines = translator.end(&usage, translation::times(&self.meter));
        let lines = lines.map_err(not_assembled)?;
        Ok(Some(lines).filter(|lines| !lines.is_empty()))
    }

    /// Ends the answer as one that failed. A stream gets an event with the reason first, which nothing
    /// but this worker knows: the server only sees that the body breaks off. Except for a response: its
    /// last event has a code by which clients decide whether to ask again, and the server knows whether
    /// they may.
    fn break_off(&mut self, error: LlmError) -> Result<Bytes, BoxError> {
        let error = self.failed(error);
        let reason: BoxError = error.log_message().into();
        let stream = &self.meter.stream;
        if let Target::Passing(held) = &mut self.target
            && !stream.has_failed()
            && self.endpoint != Endpoint::Responses
        {
            let event = error.late_event(self.endpoint, &stream.position());
            held.extend_from_slice(&event);
            self.broken = Some(reason);
            return Ok(held.split().freeze());
        }
        self.is_over = true;
        Err(reason)
    }

    fn failed(&mut self, error: LlmError) -> LlmError {
        self.meter.end(CallEnd::Failed);
        error
    }

    /// Returns the error that the runtime sent in the place of an answer, as if it had been its head.
    fn error_instead(self, status: u16, data: Bytes) -> Result<Beginning, LlmError> {
        if self.meter.stream.has_failed() {
            return Ok(Beginning::Error(status, data, Box::new(self.meter)));
        }
        let mut this = self;
        let message = "the runtime's answer has an event that is not JSON";
        Err(this.failed(LlmError::new(LlmErrorKind::RuntimeGarbage, message)))
    }
}

/// Returns the error of an answer that ends before it is complete.
fn ended_early() -> LlmError {
    let message = "the runtime ended its answer before it was complete";
    LlmError::new(LlmErrorKind::RuntimeClosed, message)
}

fn broken(error: UpstreamEventsError) -> LlmError {
    let (kind, message) = match error {
        UpstreamEventsError::Broken(_) => (
            LlmErrorKind::RuntimeClosed,
            "the runtime closed the connection before its answer was complete",
        ),
        UpstreamEventsError::TooLarge(_) => (
            LlmErrorKind::RuntimeGarbage,
            "the runtime's answer has an event that is too large",
        ),
    };
    LlmError::new(kind, message).with_source(error.to_string())
}

/// Returns the error of an answer that could not be made of the runtime's.
pub(super) fn not_assembled(error: AssembleError) -> LlmError {
    let (kind, message) = match error {
        AssembleError::TooLarge { .. } => (
            LlmErrorKind::AnswerTooLarge,
            "the answer is larger than the worker puts together",
        ),
        AssembleError::Malformed { .. } => (
            LlmErrorKind::RuntimeGarbage,
            "the runtime's answer has events that do not make an answer",
        ),
        AssembleError::Failed { .. } => (
            LlmErrorKind::RuntimeClosed,
            "the runtime failed in the midst of its answer",
        ),
        AssembleError::Incomplete { .. } => (
            LlmErrorKind::RuntimeClosed,
            "the runtime ended its answer before it was complete",
        ),
    };
    LlmError::new(kind, message).with_source(error.to_string())
}
