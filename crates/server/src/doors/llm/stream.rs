//! The body of a streamed answer: whole events as they come, signs of life between them, and, if it
//! fails, a last event with the reason before it is broken off. A stream of `responses` ends in order
//! after that event, which its API has for it.
//!
//! The body is a future that is polled with the caller's connection. Dropping it, when the caller
//! leaves, drops the call wherever it is: in the queue, at the worker, in the middle of its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::stream::unfold;
use http_body::Frame;
use http_body_util::StreamBody;
use llamapool_dialect::{Endpoint, LlmErrorKind, StreamPosition, ends_in_order, late_error};
use llamapool_http::BoxError;

use super::call::{Call, CallProgress, KeyEnd, Stage};
use super::context::LlmDoor;
use super::dispatch::{CallAnswer, ReadyCall};
use super::error::LlmError;
use super::live_body::{LiveBody, Piece};
use super::signs_of_life::{self, SignsOfLife};
use super::stored_responses::ResponseOwner;

/// A call that runs up to the first content of its answer.
type Run = Pin<Box<dyn Future<Output = (Call, Result<CallAnswer, LlmError>)> + Send>>;

/// The reason for breaking a body off.
#[derive(Debug, thiserror::Error)]
#[error("the answer failed after its head")]
struct BrokenOffError;

/// A stream whose head is sent before there is content.
pub(super) struct EarlyStream {
    door: Arc<LlmDoor>,
    endpoint: Endpoint,
    progress: Arc<CallProgress>,
    owner: ResponseOwner,
    is_codex: bool,
    key_end: Option<KeyEnd>,
}

/// The state of a stream between two frames.
struct Streaming {
    endpoint: Endpoint,
    /// The silence between events after which a sign is due.
    keepalive: Duration,
    signs: SignsOfLife,
    /// The end of the key of its call. `None` without a key, and once the end of the stream is decided.
    key_end: Option<KeyEnd>,
    phase: Phase,
}

enum Phase {
    /// There is no content yet.
    Waiting(Box<Waiting>),
    /// Events come.
    Live(Box<Live>),
    /// The last event was sent, and what follows is the break.
    Breaking,
    /// It is over.
    Over,
}

struct Waiting {
    run: Run,
    early: EarlyStream,
}

struct Live {
    call: Call,
    body: LiveBody,
    takes_signs: bool,
}

impl EarlyStream {
    /// Returns the parts of a call that its stream needs.
    pub(super) fn of(ready: &ReadyCall) -> Self {
        Self {
            door: ready.call.door.clone(),
            endpoint: ready.call.endpoint,
            progress: ready.call.progress().clone(),
            owner: ready.response_owner(),
            is_codex: ready.prepared.is_codex,
            key_end: ready.call.key_end(),
        }
    }

    /// Makes the body of the stream, which runs the call.
    pub(super) fn into_body(mut self, run: Run) -> Body {
        let config = &self.door.config;
        let keepalive = self.door.bounds.stream_keepalive;
        let mut signs = SignsOfLife::new(self.endpoint, self.is_codex, config.queue_update);
        signs.hurry();
        body_of(Streaming {
            endpoint: self.endpoint,
            keepalive,
            signs,
            key_end: self.key_end.take(),
            phase: Phase::Waiting(Box::new(Waiting { run, early: self })),
        })
    }

    /// Returns the line about the share of the prompt that is read, `None` if it is not known.
    fn reading(&self, attempt: u64) -> Option<String> {
        let share = self.door.pool.share_read(attempt)?;
        Some(format!("reading {:.0}%", share * 100.0))
    }

    /// Returns the line for people about how far the call is.
    fn line(&self) -> Option<String> {
        match self.progress.get() {
            Stage::Begun => None,
            Stage::Loading { model, attempt } => Some(
                self.reading(attempt)
                    .unwrap_or_else(|| format!("loading model={model}")),
            ),
            Stage::Reading { attempt } => {
                let reading = self.reading(attempt);
                Some(reading.unwrap_or_else(|| "reading".to_owned()))
            }
            Stage::Queued { call, model, since } => {
                let waited = since.elapsed().as_secs();
                let queue = self.door.pool.queue();
                let entry = queue.find(call);
                let place =
                    entry.map(|entry| format!("position={} of={} ", entry.position, entry.of));
                let place = place.unwrap_or_default();
                let expected = entry.and_then(|entry| entry.expected);
                let expected = expected.map(|micros| format!(" expected={}", seconds(micros)));
                let expected = expected.unwrap_or_default();
                Some(format!(
                    "queue {place}model={model} waited={waited}{expected}"
                ))
            }
        }
    }
}

/// Makes the body of a stream whose first content is here.
pub(super) fn live(call: Call, body: LiveBody, is_codex: bool) -> Body {
    let endpoint = call.endpoint;
    let keepalive = call.door.bounds.stream_keepalive;
    let signs = SignsOfLife::new(endpoint, is_codex, keepalive);
    let takes_signs = signs_of_life::fit(endpoint, body.framing());
    body_of(Streaming {
        endpoint,
        keepalive,
        signs,
        key_end: call.key_end(),
        phase: Phase::Live(Box::new(Live {
            call,
            body,
            takes_signs,
        })),
    })
}

fn body_of(stream: Streaming) -> Body {
    let frames = unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((frame.map(Frame::data), stream))
    });
    Body::new(StreamBody::new(frames))
}

impl Streaming {
    /// Returns the next bytes of the stream, `None` at its end.
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            let (bytes, phase) = match &mut self.phase {
                Phase::Over => return None,
                Phase::Breaking => {
                    // An error discards what waits to be sent: one turn of waiting flushes it.
                    tokio::task::yield_now().await;
                    self.phase = Phase::Over;
                    return Some(Err(BrokenOffError.into()));
                }
                Phase::Waiting(waiting) => tokio::select! {
                    // Biased towards the answer, before which no further sign is needed; and before
                    // both towards the end of the key.
                    biased;
                    () = ended(&mut self.key_end) => waiting.end_with_key(),
                    (call, answer) = &mut waiting.run => begin(&waiting.early, call, answer),
                    () = self.signs.due() => {
                        let line = waiting.early.line();
                        return Some(Ok(self.signs.sign(line.as_deref())));
                    }
                },
                Phase::Live(live) => tokio::select! {
                    biased;
                    () = ended(&mut self.key_end) => live.end_with_key(),
                    piece = live.body.next() => match piece {
                        Piece::Data(bytes) => {
                            self.signs.note_event();
                            return Some(Ok(bytes));
                        }
                        Piece::End => {
                            live.call.complete(StatusCode::OK.as_u16());
                            (None, Phase::Over)
                        }
                        Piece::Failed(error) => live.fail(&error),
                    },
                    () = self.signs.due(), if live.takes_signs => {
                        return Some(Ok(self.signs.sign(None)));
                    }
                },
            };
            if matches!(phase, Phase::Breaking | Phase::Over) {
                self.key_end = None;
            }
            if let Phase::Live(live) = &phase {
                self.signs.set_interval(self.keepalive);
                self.signs.note_event();
                debug_assert_eq!(live.call.endpoint, self.endpoint);
            }
            self.phase = phase;
            if let Some(bytes) = bytes {
                return Some(Ok(bytes));
            }
        }
    }
}

impl Live {
    /// Ends a stream that failed: with an event that has the reason, unless the runtime's own last
    /// event has one.
    fn fail(&mut self, error: &LlmError) -> (Option<Bytes>, Phase) {
        self.call.broke_off(error);
        self.last_event(error)
    }

    /// Ends a stream whose key has ended, in the same way.
    fn end_with_key(&mut self) -> (Option<Bytes>, Phase) {
        let error = LlmError::key_ended();
        self.call.end_with_key(&error);
        self.last_event(&error)
    }

    fn last_event(&self, error: &LlmError) -> (Option<Bytes>, Phase) {
        if self.body.framing().is_none() {
            return (None, Phase::Breaking);
        }
        let phase = phase_after_error(self.call.endpoint);
        if self.body.has_failed() {
            return (None, phase);
        }
        let event = last_event(&self.call, error, &self.body.position());
        (Some(event), phase)
    }
}

impl Waiting {
    /// Ends a stream without content whose key has ended. The call ends as its run is dropped.
    fn end_with_key(&self) -> (Option<Bytes>, Phase) {
        let LlmError { kind, message, .. } = LlmError::key_ended();
        let endpoint = self.early.endpoint;
        let event = late_error(endpoint, kind, &message, &StreamPosition::default(), false);
        (Some(event), phase_after_error(endpoint))
    }
}

/// Waits until a key has ended. Never returns without a key.
async fn ended(key_end: &mut Option<KeyEnd>) {
    match key_end {
        Some(end) => end.await,
        None => std::future::pending().await,
    }
}

/// Begins the answer of a call whose head was sent already.
fn begin(
    early: &EarlyStream,
    mut call: Call,
    answer: Result<CallAnswer, LlmError>,
) -> (Option<Bytes>, Phase) {
    let error = match answer {
        Ok(CallAnswer::Live(live)) => {
            let (_, body) = LiveBody::of(*live, early.endpoint, early.owner.clone());
            if signs_of_life::fit(early.endpoint, body.framing()) {
                let live = Live {
                    call,
                    body,
                    takes_signs: true,
                };
                return (None, Phase::Live(Box::new(live)));
            }
            no_stream()
        }
        // Embeddings are no stream.
        Ok(CallAnswer::Joined(_)) => no_stream(),
        Ok(CallAnswer::OfRuntime(answer)) => {
            let kind = kind_of_status(answer.status());
            let message = super::attempt::message_of(answer.body());
            let message =
                message.unwrap_or_else(|| format!("the runtime answered {}", answer.status()));
            LlmError::new(kind, message)
        }
        Err(error) => error,
    };
    call.fail(&error);
    let event = last_event(&call, &error, &StreamPosition::default());
    (Some(event), phase_after_error(call.endpoint))
}

/// Returns the event that ends a stream with an error.
fn last_event(call: &Call, error: &LlmError, position: &StreamPosition) -> Bytes {
    late_error(
        call.endpoint,
        error.kind,
        &error.message,
        position,
        call.is_repeatable,
    )
}

/// Returns what follows the last event of a stream that failed.
fn phase_after_error(endpoint: Endpoint) -> Phase {
    if ends_in_order(endpoint) {
        return Phase::Over;
    }
    Phase::Breaking
}

fn no_stream() -> LlmError {
    LlmError::new(
        LlmErrorKind::RuntimeGarbage,
        "the runtime sent no stream, although one was asked for",
    )
}

/// Returns the kind of a runtime's own error, where its status cannot be sent any more.
fn kind_of_status(status: StatusCode) -> LlmErrorKind {
    match status.as_u16() {
        404 => LlmErrorKind::ModelNotFound,
        413 => LlmErrorKind::RequestTooLarge,
        429 => LlmErrorKind::RateLimited,
        503 => LlmErrorKind::RuntimeBusy,
        400..=499 => LlmErrorKind::InvalidRequest,
        _ => LlmErrorKind::RuntimeClosed,
    }
}

/// Returns whole seconds, one for any part of one: a wait of none would be over.
fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}
