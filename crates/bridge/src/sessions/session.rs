//! One session of the older revisions: a program of its own, and the streams to its client.
//!
//! No id is changed, so the messages of client and program are forwarded byte for byte (MCP
//! 2025-11-25, stdio).

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use llamapool_mcp::{Message, MessageKind, Revision, TokenKey, parse_messages_tolerant};
use llamapool_wire::{CallError, Cause};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::event_log::EventLog;
use super::places::{SessionPlace, SessionUse};
use super::streams::{FIRST_STREAM, Streams};
use crate::caller::BridgeCaller;
use crate::child::{Exit, ProgramObserver};
use crate::event_queue::ResponsePart;
use crate::invalid_lines::InvalidLines;
use crate::program_input::ProgramInput;
use crate::rewrite::parse_as_line;
use crate::stats::OpenSession;

/// How long a caller that does not read holds its own session back, before its stream is given up.
const SLOW_CALLER: Duration = Duration::from_secs(30);
/// The beginning of the ids of the bridge's own pings.
const PING_ID: &str = "llamapool-ping-";

/// A session.
pub(super) struct Session {
    pub(super) id: Box<str>,
    pub(super) input: ProgramInput,
    caller: BridgeCaller,
    streams: Mutex<Streams>,
    invalid_lines: InvalidLines,
    activity: Mutex<Activity>,
    created: Instant,
    version: OnceLock<String>,
    /// Counts the session as open, until it ends.
    open: Mutex<Option<OpenSession>>,
    /// Held until the program is gone, which bounds the number of programs.
    _place: SessionPlace,
}

/// When the client was last active.
struct Activity {
    at: Instant,
    /// When a call was last running, or the client listening.
    busy_at: Instant,
    /// True if the client made a request after the first one.
    is_used: bool,
    /// When a client that only listens was sent a ping that it has not answered.
    pinged: Option<Instant>,
    pings: u64,
}

impl Session {
    /// Creates the session of a program that was started, with its event log.
    pub(super) fn new(
        id: Box<str>,
        input: ProgramInput,
        log: EventLog,
        open: OpenSession,
        place: SessionPlace,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            invalid_lines: InvalidLines::new(input.provider()),
            streams: Mutex::new(Streams::new(log, input.memory())),
            input,
            caller: place.caller(),
            activity: Mutex::new(Activity {
                at: now,
                busy_at: now,
                is_used: false,
                pinged: None,
                pings: 0,
            }),
            created: now,
            version: OnceLock::new(),
            open: Mutex::new(Some(open)),
            _place: place,
        }
    }

    /// Locks the streams.
    pub(super) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock()
    }

    /// Records that the client is active.
    pub(super) fn touch(&self) {
        let mut activity = self.activity.lock();
        activity.at = Instant::now();
        activity.pinged = None;
    }

    /// Records that the client makes a request, which is not the first one.
    pub(super) fn note_request(&self) {
        self.activity.lock().is_used = true;
    }

    /// Returns the session as far as the choice needs it of the one that gives way.
    pub(super) fn usage(&self, now: Instant) -> SessionUse {
        let is_busy = {
            let streams = self.streams();
            streams.has_pending_call() || streams.listener().is_some()
        };
        let activity = self.activity.lock();
        let since = activity.at.max(activity.busy_at);
        SessionUse {
            caller: self.caller,
            idle: (!is_busy).then(|| now.saturating_duration_since(since)),
            is_used: activity.is_used,
        }
    }

    /// Returns the revision that client and program have agreed on.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.get().map(String::as_str)
    }

    /// Returns the time since the session was created.
    pub(super) fn age(&self) -> Duration {
        self.created.elapsed()
    }

    /// Returns whether the client is gone: it was inactive for `idle`, no call is pending, and if
    /// it listens, it has not answered a ping within `patience`. Sends that ping.
    pub(super) fn check_abandoned(&self, idle: Duration, patience: Duration) -> bool {
        let listener = {
            let mut streams = self.streams();
            streams.expire(Instant::now());
            if streams.has_pending_call() {
                drop(streams);
                self.activity.lock().busy_at = Instant::now();
                return false;
            }
            streams.listener()
        };

        let mut activity = self.activity.lock();
        if listener.is_some() {
            activity.busy_at = Instant::now();
        }
        if activity.at.elapsed() < idle {
            return false;
        }
        let Some(listener) = listener else {
            return true;
        };
        if let Some(pinged) = activity.pinged {
            return pinged.elapsed() >= patience;
        }

        activity.pings += 1;
        activity.pinged = Some(Instant::now());
        let number = activity.pings;
        let ping = format!(r#"{{"jsonrpc":"2.0","id":"{PING_ID}{number}","method":"ping"}}"#);
        listener.push(ResponsePart::Event(None, ping.into()));
        false
    }

    /// Returns whether a message is the response to a ping of the bridge, which the program must
    /// not receive.
    pub(super) fn is_pong(&self, message: &Message) -> bool {
        let Some(TokenKey::Text(id)) = message.id.as_ref().map(|id| &id.key) else {
            return false;
        };
        message.kind == MessageKind::Response && id.starts_with(PING_ID)
    }

    /// Ends the session: its streams end and its program's input is closed.
    pub(super) fn end(&self, why: &str) {
        let message = format!("the session has ended: {why}");
        self.close(&CallError::new(Cause::ProviderExited, message));
    }

    /// Returns whether the session has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.input.is_closed()
    }

    fn close(&self, failure: &CallError) {
        self.input.close();
        self.streams().end_all(failure);
        drop(self.open.lock().take());
    }

    /// Records the revision of the first response, which answers `initialize`.
    fn note_version(&self, messages: &[Message]) {
        if self.version.get().is_some() {
            return;
        }
        let Some(version) = messages.iter().find_map(Message::negotiated_revision) else {
            return;
        };
        if Revision::by_text_order(&version).is_some_and(Revision::primes_streams) {
            self.streams().set_primes_streams();
        }
        // One task reads the program's lines, so no other value can have been set since.
        let _ = self.version.set(version);
    }

    /// Handles a line that is no message: the calls whose responses can be read in it fail.
    fn on_invalid_line(&self, line: &[u8], error: &dyn std::fmt::Display) {
        let (answered, failure) = self.invalid_lines.record(line, error);
        for id in answered {
            self.streams().fail(&id, failure.clone());
        }
    }
}

impl ProgramObserver for Session {
    async fn on_line(&self, line: Bytes) {
        let (line, messages) = match parse_as_line(line.clone(), parse_messages_tolerant) {
            Ok(parsed) => parsed,
            Err(error) => return self.on_invalid_line(&line, &error),
        };
        self.note_version(&messages);

        let Some(delivery) = self.streams().route(&messages, line) else {
            return;
        };
        let sent = delivery.sender.send(delivery.part, SLOW_CALLER).await;
        if delivery.is_last {
            delivery.sender.finish();
            // A client that waited for a long call was not idle.
            self.touch();
        }
        if sent.is_err() {
            self.streams().detach(delivery.stream);
        }
        if delivery.is_last && delivery.stream == FIRST_STREAM && self.version().is_none() {
            self.end("it began with an error");
        }
    }

    fn on_exit(&self, exit: &Exit) {
        self.close(&exit.failure());
    }
}
