//! An answer with events, from its first content on: passed on as it comes, or put together.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use llamapool_dialect::{
    AssembleError, Assembler, Endpoint, EventMeaning, LlmErrorKind, RawEvent, StreamFilter,
};
use llamapool_http::{BoxError, CountedMemory};
use llamapool_limits::MemoryAccount;
use llamapool_wire::llm::CallEnd;

use super::error::LlmError;
use super::learned::Lesson;
use super::meter::CallMeter;
use super::patience::{Patience, WaitFor};
use super::upstream_events::{UpstreamEvents, UpstreamEventsError};
use crate::response_body::ResponseBody;

/// The most bytes of events that are held back until first content. More than that counts as it.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// An answer with events.
pub(super) struct StreamAnswer {
    events: UpstreamEvents,
    endpoint: Endpoint,
    filter: StreamFilter,
    patience: Patience,
    meter: CallMeter,
    target: Target,
    share_read: f32,
    /// Why the answer is broken off, once the caller has an event about it.
    broken: Option<BoxError>,
    is_over: bool,
}

/// What becomes of the events.
enum Target {
    /// They are passed on. What has not been sent yet is held here.
    Passing(BytesMut),
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
    pub(super) patience: Patience,
    pub(super) meter: CallMeter,
}

impl StreamAnswer {
    /// An answer that is passed on.
    pub(super) fn passing(parts: StreamParts) -> Self {
        Self::new(parts, Target::Passing(BytesMut::new()))
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
            patience: parts.patience,
            meter: parts.meter,
            target,
            share_read: 0.0,
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
            if let Target::Passing(held) = &mut self.target
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
                if let Some(bytes) = self.filter.apply(self.endpoint, event) {
                    held.extend_from_slice(&bytes);
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
        let stream = &self.meter.stream;
        let is_complete = stream.is_complete();
        let has_failed = stream.has_failed();
        if let Target::Assembling(assembler, mut memory, held) =
            std::mem::replace(&mut self.target, Target::Passing(BytesMut::new()))
        {
            return match assembler.finish(true) {
                Ok(answer) => {
                    self.is_over = true;
                    if self.meter.stream.lacks_finish_reason() {
                        self.meter.learn(Lesson::AsAsked);
                    }
                    self.meter.end(CallEnd::Complete);
                    Some(Ok(memory.seal(answer, held)))
                }
                Err(error) => {
                    self.is_over = true;
                    Some(Err(self.failed(not_assembled(error)).log_message().into()))
                }
            };
        }

        if is_complete {
            self.meter.end(CallEnd::Complete);
            return None;
        }
        if has_failed {
            // The caller has the runtime's own words about it.
            self.meter.end(CallEnd::Failed);
            return None;
        }
        let message = "the runtime ended its answer before it was complete";
        Some(self.break_off(LlmError::new(LlmErrorKind::RuntimeClosed, message)))
    }

    /// Ends the answer as one that failed. A stream gets an event with the reason first, which nothing
    /// but this worker knows: the server only sees that the body breaks off.
    fn break_off(&mut self, error: LlmError) -> Result<Bytes, BoxError> {
        let error = self.failed(error);
        let reason: BoxError = error.log_message().into();
        let stream = &self.meter.stream;
        if let Target::Passing(held) = &mut self.target
            && !stream.has_failed()
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

fn not_assembled(error: AssembleError) -> LlmError {
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
