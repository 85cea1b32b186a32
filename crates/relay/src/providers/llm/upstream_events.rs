//! The events of a runtime's answer, as they arrive.

use bytes::Bytes;
use http_body_util::BodyExt;
use llamapool_dialect::{EventReader, EventTooLargeError, Framing, RawEvent};

use crate::error::error_chain;
use crate::providers::pool::ProviderBody;

/// The events of an answer.
pub(super) struct UpstreamEvents {
    body: ProviderBody,
    reader: EventReader,
    is_ended: bool,
}

/// The events broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamEventsError {
    /// The connection ended before the answer did.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// An event is too large.
    #[error(transparent)]
    TooLarge(#[from] EventTooLargeError),
}

impl UpstreamEvents {
    /// The events of a body, of at most `max_event_bytes` each.
    pub(super) fn new(body: ProviderBody, framing: Framing, max_event_bytes: usize) -> Self {
        Self {
            body,
            reader: EventReader::new(framing, max_event_bytes),
            is_ended: false,
        }
    }

    /// Takes the next event that has arrived whole.
    pub(super) fn take(&mut self) -> Option<RawEvent> {
        let event = self.reader.next();
        if event.is_none() && self.is_ended {
            return self.reader.finish();
        }
        event
    }

    /// Returns whether the answer has ended, as HTTP ends one.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Reads on. Some bytes have arrived then, or the end.
    pub(super) async fn read(&mut self) -> Result<(), UpstreamEventsError> {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                let piece: Bytes = frame.into_data().unwrap_or_default();
                Ok(self.reader.push(piece)?)
            }
            Some(Err(error)) => Err(UpstreamEventsError::Broken(error_chain(&error))),
            None => {
                self.is_ended = true;
                Ok(())
            }
        }
    }
}
