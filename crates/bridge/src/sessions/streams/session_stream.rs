//! One event stream of a session, and the requests that it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llamapool_mcp::{Message, TokenKey};
use llamapool_wire::CallError;
use tokio::time::Instant;

use crate::event_queue::EventSender;

/// How long a stream that has ended, or whose caller disconnected, can be resumed.
pub(super) const RESUMABLE: Duration = Duration::from_secs(5 * 60);

/// One stream.
pub(super) struct SessionStream {
    pub(super) kind: StreamKind,
    /// `None` when the stream can only be resumed.
    pub(super) sender: Option<Arc<EventSender>>,
    pub(super) form: ResponseForm,
    /// The number of the last event.
    pub(super) events: u64,
    /// Since when the stream is useful to a resuming caller only.
    pub(super) ended: Option<Instant>,
}

/// What a stream is for.
pub(super) enum StreamKind {
    /// The response to requests.
    Call {
        /// The requests without a response.
        waiting: Vec<PendingRequest>,
        progress: Vec<TokenKey>,
        is_cancelled: bool,
    },
    /// A stream for messages that belong to no call.
    Listener,
}

/// A request without a response.
pub(super) struct PendingRequest {
    pub(super) key: TokenKey,
    /// The id as the caller wrote it.
    pub(super) id: Bytes,
}

/// The form of a response over HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseForm {
    /// One JSON object is still possible.
    Undecided,
    EventStream,
}

impl PendingRequest {
    /// Returns `None` for a message without an id.
    pub(super) fn new(request: &Message) -> Option<Self> {
        let id = request.id.as_ref()?;
        Some(Self {
            key: id.key.clone(),
            id: request.text.slice(id.span.clone()),
        })
    }

    /// Returns whether SDKs take the id of a response for that of this request: a number is also
    /// accepted as a string.
    pub(super) fn is_answered_as(&self, response: &TokenKey) -> bool {
        matches!(self.key, TokenKey::Integer(id) if response.as_integer() == Some(id))
    }
}

impl SessionStream {
    /// Breaks the stream off. A request that its client cancelled is not reported as unanswered,
    /// for it may get no response.
    pub(super) fn fail(&self, failure: CallError) {
        let Some(sender) = &self.sender else { return };
        let unanswered = match &self.kind {
            StreamKind::Call {
                waiting,
                is_cancelled: false,
                ..
            } => waiting.iter().map(|request| request.id.clone()).collect(),
            _ => Vec::new(),
        };
        sender.fail(failure, unanswered);
    }

    pub(super) fn is_listener(&self) -> bool {
        matches!(self.kind, StreamKind::Listener)
    }

    /// Returns whether a request has no response yet, and may get one.
    pub(super) fn has_pending_request(&self) -> bool {
        match &self.kind {
            StreamKind::Call {
                waiting,
                is_cancelled,
                ..
            } => !is_cancelled && !waiting.is_empty(),
            StreamKind::Listener => false,
        }
    }

    /// Returns whether a caller reads the stream.
    pub(super) fn is_connected(&self) -> bool {
        self.sender
            .as_ref()
            .is_some_and(|sender| !sender.is_disconnected())
    }

    /// Returns whether the stream ended so long ago that it can no longer be resumed. Records the
    /// end of a stream that nothing else ended.
    pub(super) fn check_expired(&mut self, now: Instant) -> bool {
        let is_in_use = self.has_pending_request() || self.is_connected();
        if is_in_use && self.ended.is_none() {
            return false;
        }
        now >= *self.ended.get_or_insert(now) + RESUMABLE
    }
}
