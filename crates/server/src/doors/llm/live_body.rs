//! The body of an answer from its first content on, cut into whole events: no sign of life and no
//! error is put into the middle of one.

use axum::http::response::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use llamapool_dialect::{
    Endpoint, EventMeaning, EventReader, Framing, LlmErrorKind, RawEvent, StreamPosition,
    StreamReader,
};
use llamapool_tunnel::{IncomingBody, IncomingBodyError};

use super::answer::content_type;
use super::dispatch::LiveAnswer;
use super::error::LlmError;
use super::stored_responses::ResponseOwner;
use crate::pool::{PoolWorker, RunningCall};
use crate::scheduler::Pass;

/// The largest event of a stream, in bytes.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// The same for images, which come whole in an event.
const MAX_IMAGE_EVENT_BYTES: usize = 64 << 20;

/// The body of an answer from its first content on. Dropping it cancels the call at its worker, and
/// gives the slot back.
pub(super) struct LiveBody {
    body: IncomingBody,
    /// `None` for what is no stream of events.
    events: Option<Events>,
    has_ended: bool,
    owner: ResponseOwner,
    /// Whether the worker of its response is remembered.
    is_remembered: bool,
    endpoint: Endpoint,
    slot: Slot,
}

/// The place of a call at its worker.
pub(super) struct Slot {
    running: Option<RunningCall>,
    _pass: Pass,
}

struct Events {
    framing: Framing,
    reader: EventReader,
    /// Follows the numbers that a late error needs, where the API has some.
    follower: Option<StreamReader>,
    last: Option<RawEvent>,
}

/// The next part of a body.
pub(super) enum Piece {
    /// Whole events, or bytes of what is no stream.
    Data(Bytes),
    /// It ended as it should.
    End,
    /// It broke off.
    Failed(LlmError),
}

impl LiveBody {
    /// Takes an answer apart, into its head and its body.
    pub(super) fn of(live: LiveAnswer, endpoint: Endpoint, owner: ResponseOwner) -> (Parts, Self) {
        let (head, body) = live.answer.response.into_parts();
        let slot = Slot {
            running: live.running,
            _pass: live.answer.pass,
        };
        let framing = Framing::of(&content_type(&head.headers));
        let follows = endpoint == Endpoint::Responses;
        let events = framing.map(|framing| Events {
            framing,
            reader: EventReader::new(framing, max_event_bytes(endpoint)),
            follower: follows.then(|| StreamReader::new(endpoint)),
            last: None,
        });
        let body = Self {
            body,
            events,
            has_ended: false,
            owner,
            is_remembered: false,
            endpoint,
            slot,
        };
        (head, body)
    }

    /// Returns the body and the place of its call, to be collected.
    pub(super) fn into_parts(self) -> (IncomingBody, Slot, ResponseOwner) {
        (self.body, self.slot, self.owner)
    }

    /// Returns how its events are told apart, `None` if it has none.
    pub(super) fn framing(&self) -> Option<Framing> {
        self.events.as_ref().map(|events| events.framing)
    }

    /// Returns how far the stream is.
    pub(super) fn position(&self) -> StreamPosition {
        let follower = self
            .events
            .as_ref()
            .and_then(|events| events.follower.as_ref());
        follower.map(StreamReader::position).unwrap_or_default()
    }

    /// Returns whether the last event is an error of the runtime: no other follows it.
    pub(super) fn has_failed(&self) -> bool {
        let last = self.events.as_ref().and_then(|events| events.last.as_ref());
        last.is_some_and(|last| {
            let meaning = StreamReader::new(self.endpoint).event(last);
            matches!(meaning, EventMeaning::Error { .. })
        })
    }

    /// Returns the next part. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Piece {
        loop {
            if let Some(data) = self.take_events() {
                return Piece::Data(data);
            }
            if self.has_ended {
                return Piece::End;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    let Some(events) = &mut self.events else {
                        return Piece::Data(data);
                    };
                    if let Err(error) = events.reader.push(data) {
                        let kind = LlmErrorKind::RuntimeGarbage;
                        return Piece::Failed(LlmError::new(kind, error.to_string()));
                    }
                }
                Some(Err(error)) => return Piece::Failed(broken(&error)),
                None => self.has_ended = true,
            }
        }
    }

    /// Returns the events that are complete, `None` if none is.
    fn take_events(&mut self) -> Option<Bytes> {
        let events = self.events.as_mut()?;
        let first = events.take(self.has_ended)?;
        let mut count = 1;
        // Mostly there is one, which needs no copy.
        let mut several = BytesMut::new();
        while let Some(more) = events.take(self.has_ended) {
            if several.is_empty() {
                several.extend_from_slice(&first);
            }
            several.extend_from_slice(&more);
            count += 1;
        }

        if let Some(running) = &mut self.slot.running {
            // An event has a token, mostly.
            running.count_output(count);
            let ids = events.kept_ids().filter(|_| !self.is_remembered);
            for id in ids.into_iter().flatten() {
                self.is_remembered = true;
                self.owner.remember(&id, &running.worker);
            }
        }
        Some(if several.is_empty() {
            first
        } else {
            several.freeze()
        })
    }
}

impl Events {
    /// Returns the bytes of the next event, `None` if there is none.
    fn take(&mut self, has_ended: bool) -> Option<Bytes> {
        let event = if has_ended {
            self.reader.finish()?
        } else {
            self.reader.next()?
        };
        if let Some(follower) = &mut self.follower {
            follower.event(&event);
        }
        let raw = event.raw.clone();
        if !event.data.is_empty() {
            self.last = Some(event);
        }
        Some(raw)
    }

    /// Returns the ids of the response and of its conversation, as far as an event had them; `None`
    /// where no runtime keeps either.
    fn kept_ids(&self) -> Option<impl Iterator<Item = String> + use<>> {
        let position = self.follower.as_ref()?.position();
        let ids = position.response_id.into_iter();
        Some(ids.chain(position.conversation_id))
    }
}

impl Slot {
    /// Returns the worker of the call, `None` for a call without a slot.
    pub(super) fn worker(&self) -> Option<&PoolWorker> {
        self.running.as_ref().map(|running| &*running.worker)
    }

    /// Counts the output of an answer that was collected, for an estimate.
    pub(super) fn count_output(&mut self, tokens: u64) {
        if let Some(running) = &mut self.running {
            running.count_output(tokens);
        }
    }
}

fn max_event_bytes(endpoint: Endpoint) -> usize {
    match endpoint {
        Endpoint::ImageGenerations | Endpoint::ImageEdits | Endpoint::ImageVariations => {
            MAX_IMAGE_EVENT_BYTES
        }
        _ => MAX_EVENT_BYTES,
    }
}

/// Returns the failure of a stream that broke off.
fn broken(error: &IncomingBodyError) -> LlmError {
    let (kind, message) = match error {
        IncomingBodyError::TunnelLost(_) => (
            LlmErrorKind::WorkerLost,
            "the connection to the worker was lost in the middle of the answer",
        ),
        IncomingBodyError::Aborted => (
            LlmErrorKind::RuntimeClosed,
            "the runtime stopped in the middle of the answer",
        ),
        IncomingBodyError::ReaderStalled => (
            LlmErrorKind::Stalled,
            "the caller took nothing of the answer for too long",
        ),
        IncomingBodyError::OutOfMemory => (
            LlmErrorKind::AnswerTooLarge,
            "there is no memory for the unread answer, see MAX_MEMORY",
        ),
    };
    LlmError::new(kind, message).because(error)
}
