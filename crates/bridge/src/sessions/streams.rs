//! The event streams of one session: which stream a message goes to, and what a caller that lost a
//! stream can replay.
//!
//! Nothing here waits, reads or writes. A message goes to exactly one stream (MCP 2025-11-25,
//! streamable HTTP), and to one with a connected caller if there is any.

mod session_stream;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use llamapool_limits::MemoryAccount;
use llamapool_mcp::{Message, MessageKind, TokenKey};
use llamapool_wire::{CallError, Cause};
use tokio::time::Instant;

use self::session_stream::{PendingRequest, ResponseForm, SessionStream, StreamKind};
use super::event_log::EventLog;
use crate::event_id::EventId;
use crate::event_queue::{EventReceiver, EventSender, ResponsePart, event_queue};

/// How much of one stream waits for its caller to read.
const WAITING_BYTES: usize = 1024 * 1024;
/// How many listeners one session has at once; one more ends the oldest.
const LISTENERS: usize = 8;
/// How many calls of one session are pending at once, including those whose callers disconnected.
pub(super) const CALLS: usize = 1024;
/// The number of the stream that answers `initialize`.
pub(super) const FIRST_STREAM: u64 = 1;
/// How many messages wait for a listener while there is none.
const UNCLAIMED: usize = 64;
/// How many requests of the program are remembered, so that their cancellations follow them.
const QUESTIONS: usize = 256;

/// The streams of a session.
pub(super) struct Streams {
    streams: BTreeMap<u64, SessionStream>,
    /// The streams of the requests without a response, by id.
    calls: HashMap<TokenKey, u64>,
    /// The streams of those requests, by progress token.
    progress: HashMap<TokenKey, u64>,
    /// The program's own requests, the newest last.
    questions: VecDeque<(TokenKey, u64)>,
    /// Messages for the next listener.
    unclaimed: VecDeque<Bytes>,
    log: EventLog,
    memory: MemoryAccount,
    last_stream: u64,
    /// True if a stream begins with an event without a message, from which it can be resumed (MCP
    /// 2025-11-25; clients of older revisions do not expect one).
    primes: bool,
}

/// A message and the stream it goes to.
pub(super) struct Delivery {
    pub(super) stream: u64,
    pub(super) sender: Arc<EventSender>,
    pub(super) part: ResponsePart,
    /// True if the stream ends after it.
    pub(super) is_last: bool,
}

/// Why a call is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OpenCallError {
    /// A request with the same id is pending.
    IdInUse,
    /// [`CALLS`] calls are pending.
    TooMany,
}

/// The events that a caller wants to replay are not in the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResumeError;

impl Streams {
    /// Creates a session's streams. What waits in them is counted in `memory`.
    pub(super) fn new(log: EventLog, memory: &MemoryAccount) -> Self {
        Self {
            streams: BTreeMap::new(),
            calls: HashMap::new(),
            progress: HashMap::new(),
            questions: VecDeque::new(),
            unclaimed: VecDeque::new(),
            log,
            memory: memory.clone(),
            last_stream: FIRST_STREAM - 1,
            primes: false,
        }
    }

    /// Returns whether streams begin with an event from which they can be resumed.
    pub(super) fn primes_streams(&self) -> bool {
        self.primes
    }

    /// Makes streams begin with such an event from now on.
    pub(super) fn set_primes_streams(&mut self) {
        self.primes = true;
    }

    /// Opens the stream that answers the requests among these messages.
    pub(super) fn open_call(
        &mut self,
        messages: &[Message],
    ) -> Result<(u64, EventReceiver), OpenCallError> {
        let requests = || messages.iter().filter(|message| message.is_request());
        let waiting: Vec<PendingRequest> = requests().filter_map(PendingRequest::new).collect();
        self.check_ids(&waiting)?;
        if self.calls.len() + waiting.len() > CALLS {
            return Err(OpenCallError::TooMany);
        }

        let progress: Vec<TokenKey> = requests()
            .filter_map(|request| Some(request.progress_token()?.key))
            .collect();
        let stream = self.last_stream + 1;
        let ids = waiting.iter().map(|request| request.key.clone());
        self.calls.extend(ids.map(|id| (id, stream)));
        let tokens = progress.iter().cloned();
        self.progress.extend(tokens.map(|token| (token, stream)));

        let kind = StreamKind::Call {
            waiting,
            progress,
            is_cancelled: false,
        };
        Ok(self.open(kind, ResponseForm::Undecided))
    }

    /// Opens a stream for messages that belong to no call.
    pub(super) fn open_listener(&mut self) -> EventReceiver {
        let connected = self
            .streams
            .values()
            .filter(|stream| stream.is_listener() && stream.is_connected());
        if connected.clone().count() >= LISTENERS
            && let Some(oldest) = connected.filter_map(|stream| stream.sender.as_ref()).next()
        {
            oldest.finish();
        }

        let (stream, receiver) = self.open(StreamKind::Listener, ResponseForm::EventStream);
        self.begin_events(stream);
        self.send_unclaimed(stream);
        receiver
    }

    /// Resumes a stream after an event.
    pub(super) fn resume(&mut self, last: EventId) -> Result<EventReceiver, ResumeError> {
        let stream = self.streams.get_mut(&last.stream).ok_or(ResumeError)?;
        if last.number > stream.events {
            return Err(ResumeError);
        }
        let missed = self.log.after(last).ok_or(ResumeError)?;

        let (sender, receiver) = event_queue(WAITING_BYTES, &self.memory);
        for (id, message) in missed {
            sender.push(ResponsePart::Event(Some(id), message));
        }

        let is_listener = stream.is_listener();
        if is_listener || stream.has_pending_request() {
            stream.ended = None;
            stream.sender = Some(Arc::new(sender));
        } else {
            sender.finish();
        }
        if is_listener {
            self.send_unclaimed(last.stream);
        }
        Ok(receiver)
    }

    /// Makes the response to a call an event stream, unless its form is decided already.
    pub(super) fn become_event_stream(&mut self, stream: u64) {
        let is_undecided = self
            .streams
            .get(&stream)
            .is_some_and(|stream| stream.form == ResponseForm::Undecided);
        if is_undecided {
            self.begin_events(stream);
        }
    }

    /// Removes a call that was never sent to the program.
    pub(super) fn withdraw(&mut self, stream: u64) {
        self.remove(stream);
    }

    /// Records that a client cancels a request: no response may come.
    pub(super) fn cancel(&mut self, request: &TokenKey) {
        let stream = self
            .calls
            .get(request)
            .and_then(|stream| self.streams.get_mut(stream));
        if let Some(SessionStream {
            kind: StreamKind::Call { is_cancelled, .. },
            ..
        }) = stream
        {
            *is_cancelled = true;
        }
    }

    /// Decides the stream for the messages of one line. `None` if they wait for a listener, or
    /// belong to no stream.
    pub(super) fn route(&mut self, messages: &[Message], line: Bytes) -> Option<Delivery> {
        self.fail_mistyped(messages);
        let target = messages.iter().find_map(|message| self.target(message));
        let Some(stream) = target else {
            self.keep_unclaimed(messages, line);
            return None;
        };

        for message in messages {
            if let (true, Some(id)) = (message.is_request(), &message.id) {
                self.questions.push_back((id.key.clone(), stream));
                let surplus = self.questions.len().saturating_sub(QUESTIONS);
                self.questions.drain(..surplus);
            }
        }
        let is_last = self.note_responses(stream, messages);
        self.deliver(stream, line, is_last)
    }

    /// Returns whether a connected caller waits for a response.
    pub(super) fn has_pending_call(&self) -> bool {
        self.streams
            .values()
            .any(|stream| stream.has_pending_request() && stream.is_connected())
    }

    /// Returns the newest listener with a connected caller.
    pub(super) fn listener(&self) -> Option<Arc<EventSender>> {
        self.streams
            .values()
            .rev()
            .find(|stream| stream.is_listener() && stream.is_connected())
            .and_then(|stream| stream.sender.clone())
    }

    /// Fails the call that a response with this id is meant for, whether the id is a string or a
    /// number, and with it all other requests of its stream.
    pub(super) fn fail(&mut self, id: &TokenKey, failure: CallError) {
        let text = || {
            id.as_integer()
                .map(|id| TokenKey::Text(id.to_string().into()))
        };
        let stream = self
            .call_of(id)
            .or_else(|| self.calls.get(&text()?).copied());
        let Some(stream) = stream else {
            return;
        };
        if let Some(stream) = self.streams.get(&stream) {
            stream.fail(failure);
        }
        self.remove(stream);
    }

    /// Disconnects the caller of a stream. The stream can be resumed.
    pub(super) fn detach(&mut self, stream: u64) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.sender = None;
        }
    }

    /// Ends all streams: listeners cleanly, calls with a failure.
    pub(super) fn end_all(&mut self, failure: &CallError) {
        for stream in std::mem::take(&mut self.streams).into_values() {
            match &stream.sender {
                Some(sender) if stream.is_listener() => sender.finish(),
                _ => stream.fail(failure.clone()),
            }
        }
        self.calls.clear();
    }

    /// Removes the streams that can no longer be resumed.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut expired = Vec::new();
        for (id, stream) in &mut self.streams {
            if stream.check_expired(now) {
                expired.push(*id);
            }
        }
        for stream in expired {
            self.remove(stream);
        }
    }

    /// Checks that no id is pending already, or twice among these requests.
    fn check_ids(&self, requests: &[PendingRequest]) -> Result<(), OpenCallError> {
        for (at, request) in requests.iter().enumerate() {
            let is_pending = self.calls.contains_key(&request.key);
            let is_repeated = requests[..at].iter().any(|other| other.key == request.key);
            if is_pending || is_repeated {
                return Err(OpenCallError::IdInUse);
            }
        }
        Ok(())
    }

    fn open(&mut self, kind: StreamKind, form: ResponseForm) -> (u64, EventReceiver) {
        let (sender, receiver) = event_queue(WAITING_BYTES, &self.memory);
        self.last_stream += 1;
        let stream = SessionStream {
            kind,
            sender: Some(Arc::new(sender)),
            form,
            events: 0,
            ended: None,
        };
        self.streams.insert(self.last_stream, stream);
        (self.last_stream, receiver)
    }

    /// Makes a stream an event stream and sends its first event, where the revision has one.
    fn begin_events(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.form = ResponseForm::EventStream;
        if self.primes
            && let Some(sender) = &stream.sender
        {
            sender.push(ResponsePart::Primer(EventId {
                stream: id,
                number: stream.events,
            }));
        }
    }

    /// Keeps a line without a stream for the next listener, unless it is a response.
    fn keep_unclaimed(&mut self, messages: &[Message], line: Bytes) {
        let is_for_listeners = messages
            .iter()
            .any(|message| message.kind != MessageKind::Response);
        if is_for_listeners && self.unclaimed.len() < UNCLAIMED {
            self.unclaimed.push_back(line);
        } else {
            tracing::debug!("the provider's program said something that nobody waits for");
        }
    }

    /// Sends the unclaimed messages to a new listener.
    fn send_unclaimed(&mut self, stream: u64) {
        for line in std::mem::take(&mut self.unclaimed) {
            if let Some(delivery) = self.deliver(stream, line, false) {
                delivery.sender.push(delivery.part);
            }
        }
    }

    /// Returns the stream for one message.
    fn target(&self, message: &Message) -> Option<u64> {
        let own = match (message.kind, message.method()) {
            (MessageKind::Response, _) => {
                let Some(id) = &message.id else {
                    return self.fallback();
                };
                return self.call_of(&id.key);
            }
            (MessageKind::Notification, "notifications/progress") => message
                .reported_progress_token()
                .and_then(|token| find(&self.progress, &token.key)),
            (MessageKind::Notification, "notifications/cancelled") => message
                .cancelled_request()
                .and_then(|token| self.stream_of_question(&token.key)),
            (MessageKind::Request | MessageKind::Notification, _) => None,
        };
        own.or_else(|| self.fallback())
    }

    /// Returns the stream of the request that a response with this id answers.
    fn call_of(&self, id: &TokenKey) -> Option<u64> {
        find(&self.calls, id)
    }

    /// Fails the calls with a string as their id whose response has a number instead. No client
    /// accepts that.
    fn fail_mistyped(&mut self, messages: &[Message]) {
        let responses = messages
            .iter()
            .filter(|it| it.kind == MessageKind::Response);
        for id in responses.filter_map(|response| response.id.as_ref()) {
            if self.call_of(&id.key).is_none() {
                let message =
                    "the id of the MCP server's answer is no string, unlike the request's";
                self.fail(&id.key, CallError::new(Cause::ProviderGarbage, message));
            }
        }
    }

    /// Returns the stream that a request of the program went to.
    fn stream_of_question(&self, id: &TokenKey) -> Option<u64> {
        let mut newest_first = self.questions.iter().rev();
        let (_, stream) = newest_first.find(|(question, _)| question == id)?;
        self.streams.contains_key(stream).then_some(*stream)
    }

    /// Returns the stream for messages that name no call: that of the only call, else the newest
    /// listener, else that of the newest call.
    fn fallback(&self) -> Option<u64> {
        let calls = || {
            self.streams
                .iter()
                .filter(|(_, stream)| stream.has_pending_request() && stream.is_connected())
        };
        let newest_call = calls().next_back();
        if calls().count() == 1 {
            return newest_call.map(|(id, _)| *id);
        }

        let mut newest_first = self.streams.iter().rev();
        newest_first
            .find(|(_, stream)| stream.is_listener() && stream.is_connected())
            .or(newest_call)
            .map(|(id, _)| *id)
    }

    /// Records responses. Returns whether every request of the stream has one.
    fn note_responses(&mut self, stream: u64, messages: &[Message]) -> bool {
        let Some(SessionStream {
            kind: StreamKind::Call {
                waiting, progress, ..
            },
            ..
        }) = self.streams.get_mut(&stream)
        else {
            return false;
        };

        let responses = messages
            .iter()
            .filter(|message| message.kind == MessageKind::Response);
        for id in responses.filter_map(|response| response.id.as_ref()) {
            let same = |request: &PendingRequest| request.key == id.key;
            let at = waiting.iter().position(same).or_else(|| {
                let mut waiting = waiting.iter();
                waiting.position(|request| request.is_answered_as(&id.key))
            });
            if let Some(at) = at {
                self.calls.remove(&waiting.remove(at).key);
            }
        }

        if waiting.is_empty() {
            for token in progress.drain(..) {
                self.progress.remove(&token);
            }
        }
        waiting.is_empty()
    }

    /// Makes a line a part of a stream. `None` if the stream has no caller; the event is then only
    /// logged.
    fn deliver(&mut self, id: u64, line: Bytes, is_last: bool) -> Option<Delivery> {
        let is_undecided = self.streams.get(&id)?.form == ResponseForm::Undecided;
        if is_undecided && is_last && !self.primes {
            let stream = self.streams.remove(&id)?;
            return Some(Delivery {
                stream: id,
                sender: stream.sender?,
                part: ResponsePart::Whole(line, None),
                is_last,
            });
        }
        if is_undecided {
            self.begin_events(id);
        }

        let stream = self.streams.get_mut(&id)?;
        stream.events += 1;
        let event = EventId {
            stream: id,
            number: stream.events,
        };
        self.log.append(event, line.clone());
        if is_last {
            stream.ended = Some(Instant::now());
        }
        Some(Delivery {
            stream: id,
            sender: stream.sender.clone()?,
            part: ResponsePart::Event(Some(event), line),
            is_last,
        })
    }

    fn remove(&mut self, id: u64) {
        self.log.remove(id);
        let Some(SessionStream {
            kind: StreamKind::Call {
                waiting, progress, ..
            },
            ..
        }) = self.streams.remove(&id)
        else {
            return;
        };
        for request in waiting {
            self.calls.remove(&request.key);
        }
        self.progress.retain(|token, _| !progress.contains(token));
    }
}

/// Returns the stream of a token: of the same one, or of the number that it spells as a string.
fn find(streams: &HashMap<TokenKey, u64>, token: &TokenKey) -> Option<u64> {
    let number = || token.as_integer().map(TokenKey::Integer);
    let stream = streams.get(token);
    stream.or_else(|| streams.get(&number()?)).copied()
}

#[cfg(test)]
mod tests;
