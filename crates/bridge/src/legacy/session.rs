//! One session of the older revisions: a program of its own, and the streams to its client.
//!
//! No id is changed on the way, so what the client and the program say goes through as it came (MCP 2025-11-25, stdio).

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use llamapool_mcp::Revision;
use llamapool_wire::{CallError, Cause};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::streams::{FIRST_STREAM, Streams};
use crate::child::{Ended, Hears};
use crate::input::Input;
use crate::load::OpenSession;
use crate::message::{Key, Kind, Message, messages};
use crate::pipe::Item;
use crate::rewrite::on_one_line;

/// How long a caller who does not read holds its own session back, before it is given up.
const SLOW_CALLER: Duration = Duration::from_secs(30);
/// The beginning of the ids of the bridge's own questions.
const OWN_ID: &str = "llamapool-ping-";

/// A session.
pub(super) struct Session {
    pub(super) id: Box<str>,
    pub(super) input: Input,
    streams: Mutex<Streams>,
    /// When its client last did something.
    used: Mutex<Used>,
    born: Instant,
    version: OnceLock<String>,
    /// Counts it as open, until it ends.
    open: Mutex<Option<OpenSession>>,
    /// Held until the program is gone: so many programs there are at the most.
    _place: OwnedSemaphorePermit,
}

struct Used {
    at: Instant,
    /// When a client who only listens was asked whether it is there.
    asked: Option<Instant>,
    questions: u64,
}

impl Session {
    pub(super) fn new(
        id: Box<str>,
        input: Input,
        kept_bytes: usize,
        open: OpenSession,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            input,
            streams: Mutex::new(Streams::new(kept_bytes)),
            used: Mutex::new(Used {
                at: now,
                asked: None,
                questions: 0,
            }),
            born: now,
            version: OnceLock::new(),
            open: Mutex::new(Some(open)),
            _place: place,
        }
    }

    pub(super) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its client does something.
    pub(super) fn touch(&self) {
        let mut used = self.used();
        used.at = Instant::now();
        used.asked = None;
    }

    /// The revision that client and program have agreed on.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.get().map(String::as_str)
    }

    /// Since when it exists.
    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Whether its client is gone: it has done nothing for so long, waits for nothing, and if it listens, has not said
    /// that it is there when it was asked.
    pub(super) fn is_abandoned(&self, idle: Duration, patience: Duration) -> bool {
        let listener = {
            let mut streams = self.streams();
            streams.tidy(Instant::now());
            if streams.is_busy() {
                return false;
            }
            streams.listener()
        };
        let mut used = self.used();
        if used.at.elapsed() < idle {
            return false;
        }
        let Some(listener) = listener else {
            return true;
        };
        match used.asked {
            Some(at) => at.elapsed() >= patience,
            None => {
                used.questions += 1;
                used.asked = Some(Instant::now());
                let ping = format!(
                    r#"{{"jsonrpc":"2.0","id":"{OWN_ID}{}","method":"ping"}}"#,
                    used.questions
                );
                listener.push(Item::Event(None, ping.into()));
                false
            }
        }
    }

    /// Whether a message of the client answers the bridge's own question, and so is not for the program.
    pub(super) fn is_own_answer(&self, message: &Message) -> bool {
        let Some(Key::Text(id)) = message.id.as_ref().map(|id| &id.key) else {
            return false;
        };
        message.kind == Kind::Response && id.starts_with(OWN_ID)
    }

    /// Ends it: nothing new, and its program's input is closed.
    pub(super) fn end(&self, why: &str) {
        tracing::debug!(why, "a session ends");
        self.over(&CallError::new(
            Cause::ProviderExited,
            format!("the session has ended: {why}"),
        ));
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.input.is_closed()
    }

    fn over(&self, failure: &CallError) {
        self.input.close();
        self.streams().end_all(failure);
        drop(
            self.open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_version(&self, messages: &[Message]) {
        if self.version.get().is_some() {
            return;
        }
        if let Some(version) = messages.iter().find_map(Message::negotiated_version) {
            if Revision::by_text_order(&version).is_some_and(Revision::primes_streams) {
                self.streams().start_with_an_event();
            }
            // The first answer is the one that counts, and it is the only one here.
            let _ = self.version.set(version);
        }
    }

    /// What the program wrote is no message. If it can be told whose answer it was to be, that call fails.
    fn garbage(&self, line: &Bytes, error: &dyn std::fmt::Display) {
        tracing::debug!(%error, bytes = line.len(), "the provider's program wrote a line that is no message");
        let Some(id) = Message::answered_by(line) else {
            return;
        };
        let failure = CallError::new(
            Cause::ProviderGarbage,
            format!("the MCP server's answer is no message: {error}"),
        );
        self.streams().fail(&id.key, failure);
    }
}

impl Hears for Session {
    async fn heard(&self, line: Bytes) {
        let line = on_one_line(line);
        let messages = match messages(&line) {
            Ok(messages) => messages,
            Err(error) => return self.garbage(&line, &error),
        };
        self.note_version(&messages);
        let Some(delivery) = self.streams().route(&messages, line) else {
            return;
        };
        let taken = delivery.inlet.put(delivery.item, SLOW_CALLER).await;
        if delivery.is_last {
            delivery.inlet.end();
            // A client that waited for long was not idle.
            self.touch();
        }
        if taken.is_err() {
            self.streams().give_up(delivery.stream);
        }
        if delivery.is_last && delivery.stream == FIRST_STREAM && self.version().is_none() {
            self.end("it began with an error");
        }
    }

    fn ended(&self, end: &Ended) {
        let message = format!(
            "the MCP server has ended ({end}) before it had answered; it may have executed the call"
        );
        self.over(&CallError::new(end.cause(), message));
    }
}
