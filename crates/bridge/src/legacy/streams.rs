//! The event streams of one session: which message goes to which, and what can be said again to a caller who lost one.
//!
//! Nothing here waits, reads or writes. The one rule: a message goes to exactly one stream (MCP 2025-11-25, streamable
//! HTTP), and to a caller who can see it if there is one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llamapool_wire::CallError;
use tokio::time::Instant;

use super::kept::Kept;
use crate::event_id::EventId;
use crate::message::{Key, Kind, Message};
use crate::pipe::{Inlet, Item, Outlet, pipe};

/// How much of one stream waits for its caller to read.
const WAITING_BYTES: usize = 1024 * 1024;
/// How long a stream that has ended, or whose caller has left, can be resumed.
const RESUMABLE: Duration = Duration::from_secs(5 * 60);
/// How many streams of one session listen at once; one more ends the oldest.
const LISTENERS: usize = 8;
/// How many calls of one session run at once, those included whose callers have left.
pub(super) const CALLS: usize = 1024;
/// The number of the stream that answers `initialize`.
pub(super) const FIRST_STREAM: u64 = 1;
/// How many messages wait for a caller who listens, while none does.
const UNCLAIMED: usize = 64;
/// How many questions of the program are remembered, so that their cancellations follow them.
const QUESTIONS: usize = 256;

/// The streams.
pub(super) struct Streams {
    streams: BTreeMap<u64, Stream>,
    /// Requests without a response, by id.
    calls: HashMap<Key, u64>,
    /// The tokens under which they want to hear of their progress.
    progress: HashMap<Key, u64>,
    /// The program's own requests, the newest last.
    questions: VecDeque<(Key, u64)>,
    unclaimed: VecDeque<Bytes>,
    kept: Kept,
    opened: u64,
    /// Whether a stream begins with an event from which it can be resumed (MCP 2025-11-25; clients of older revisions
    /// do not expect one without a message).
    starts: bool,
}

struct Stream {
    kind: StreamKind,
    /// None when it can only be resumed.
    inlet: Option<Arc<Inlet>>,
    mode: Mode,
    /// So many events it had.
    events: u64,
    /// Since when it is of no use but to be resumed.
    over: Option<Instant>,
}

enum StreamKind {
    /// The answer to requests: those that have no response yet.
    Call {
        waiting: Vec<Waiting>,
        progress: Vec<Key>,
        is_cancelled: bool,
    },
    /// Whatever belongs to no call.
    Listener,
}

/// A request without a response.
struct Waiting {
    key: Key,
    /// Its id as its caller wrote it.
    id: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// One whole answer is possible still.
    Undecided,
    Events,
}

/// Where a message goes.
pub(super) struct Delivery {
    pub(super) stream: u64,
    pub(super) inlet: Arc<Inlet>,
    pub(super) item: Item,
    /// Nothing comes after it.
    pub(super) is_last: bool,
}

/// Why a call cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// A request with this id runs already.
    IdInUse,
    /// There are [`CALLS`] of them.
    TooMany,
}

/// What a caller wants to resume is not kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotKept;

impl Streams {
    /// No streams, with room for so many bytes of events that can be said again.
    pub(super) fn new(max_kept_bytes: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            calls: HashMap::new(),
            progress: HashMap::new(),
            questions: VecDeque::new(),
            unclaimed: VecDeque::new(),
            kept: Kept::new(max_kept_bytes),
            opened: FIRST_STREAM - 1,
            starts: false,
        }
    }

    /// Whether they do.
    pub(super) fn starts_with_an_event(&self) -> bool {
        self.starts
    }

    /// From now on streams begin with an event from which they can be resumed.
    pub(super) fn start_with_an_event(&mut self) {
        self.starts = true;
    }

    /// Opens the stream that answers these messages.
    pub(super) fn open_call(&mut self, messages: &[Message]) -> Result<(u64, Outlet), NotOpened> {
        let requests = || {
            messages
                .iter()
                .filter(|message| message.kind == Kind::Request)
        };
        let waiting: Vec<Waiting> = requests().filter_map(Waiting::of).collect();
        let is_double = |(at, request): (usize, &Waiting)| {
            self.calls.contains_key(&request.key)
                || waiting[..at].iter().any(|other| other.key == request.key)
        };
        if waiting.iter().enumerate().any(is_double) {
            return Err(NotOpened::IdInUse);
        }
        if self.calls.len() + waiting.len() > CALLS {
            return Err(NotOpened::TooMany);
        }
        let progress: Vec<Key> = requests()
            .filter_map(|request| Some(request.wants_progress()?.key))
            .collect();
        let stream = self.opened + 1;
        self.calls
            .extend(waiting.iter().map(|request| (request.key.clone(), stream)));
        self.progress
            .extend(progress.iter().map(|token| (token.clone(), stream)));
        Ok(self.open(
            StreamKind::Call {
                waiting,
                progress,
                is_cancelled: false,
            },
            Mode::Undecided,
        ))
    }

    /// Opens a stream for whatever belongs to no call.
    pub(super) fn open_listener(&mut self) -> Outlet {
        let listeners = self
            .streams
            .values()
            .filter(|stream| stream.is_listener() && stream.is_read());
        if listeners.clone().count() >= LISTENERS
            && let Some(inlet) = listeners.filter_map(|stream| stream.inlet.as_ref()).next()
        {
            inlet.end();
        }
        let (stream, outlet) = self.open(StreamKind::Listener, Mode::Events);
        self.start(stream);
        self.claim(stream);
        outlet
    }

    /// Goes on with a stream behind an event.
    pub(super) fn resume(&mut self, last: EventId) -> Result<Outlet, NotKept> {
        let stream = self.streams.get_mut(&last.stream).ok_or(NotKept)?;
        if last.number > stream.events {
            return Err(NotKept);
        }
        let missed = self.kept.behind(last).ok_or(NotKept)?;
        let (inlet, outlet) = pipe(WAITING_BYTES);
        missed.for_each(|(id, message)| inlet.push(Item::Event(Some(id), message)));
        let is_listener = stream.is_listener();
        if is_listener || stream.is_waiting() {
            stream.over = None;
            stream.inlet = Some(Arc::new(inlet));
        } else {
            inlet.end();
        }
        if is_listener {
            self.claim(last.stream);
        }
        Ok(outlet)
    }

    /// The answer to a call becomes an event stream.
    pub(super) fn become_events(&mut self, stream: u64) {
        if self
            .streams
            .get(&stream)
            .is_some_and(|stream| stream.mode == Mode::Undecided)
        {
            self.start(stream);
        }
    }

    /// The call was never handed to the program.
    pub(super) fn withdraw(&mut self, stream: u64) {
        self.forget(stream);
    }

    /// A client cancels a request: no response may come.
    pub(super) fn cancel(&mut self, request: &Key) {
        let stream = self
            .calls
            .get(request)
            .and_then(|stream| self.streams.get_mut(stream));
        if let Some(Stream {
            kind: StreamKind::Call { is_cancelled, .. },
            ..
        }) = stream
        {
            *is_cancelled = true;
        }
    }

    /// Where the messages of one line go; nowhere yet, if nobody listens, and nowhere at all if nobody waits for them.
    pub(super) fn route(&mut self, messages: &[Message], line: Bytes) -> Option<Delivery> {
        let target = messages.iter().find_map(|message| self.target(message));
        for message in messages {
            if let (Kind::Request, Some(id), Some(stream)) = (message.kind, &message.id, target) {
                self.questions.push_back((id.key.clone(), stream));
                let surplus = self.questions.len().saturating_sub(QUESTIONS);
                self.questions.drain(..surplus);
            }
        }
        let Some(stream) = target else {
            let is_for_anyone = messages
                .iter()
                .any(|message| message.kind != Kind::Response);
            if is_for_anyone && self.unclaimed.len() < UNCLAIMED {
                self.unclaimed.push_back(line);
            } else {
                tracing::debug!("the provider's program said something that nobody waits for");
            }
            return None;
        };
        let is_last = self.answered(stream, messages);
        self.deliver(stream, line, is_last)
    }

    /// Whether somebody waits for a call.
    pub(super) fn is_busy(&self) -> bool {
        self.streams
            .values()
            .any(|stream| stream.is_waiting() && stream.is_read())
    }

    /// A stream whose caller listens for whatever comes.
    pub(super) fn listener(&self) -> Option<Arc<Inlet>> {
        let mut listeners = self
            .streams
            .values()
            .rev()
            .filter(|stream| stream.is_listener() && stream.is_read());
        listeners.next().and_then(|stream| stream.inlet.clone())
    }

    /// A call fails, and whatever else its stream was to answer.
    pub(super) fn fail(&mut self, id: &Key, failure: CallError) {
        let Some(stream) = self.calls.get(id).copied() else {
            return;
        };
        if let Some(stream) = self.streams.get(&stream) {
            stream.fail(failure);
        }
        self.forget(stream);
    }

    /// A caller is given up: its stream can be resumed.
    pub(super) fn give_up(&mut self, stream: u64) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.inlet = None;
        }
    }

    /// Ends all streams: listeners well, calls with a failure.
    pub(super) fn end_all(&mut self, failure: &CallError) {
        for stream in std::mem::take(&mut self.streams).into_values() {
            match &stream.inlet {
                Some(inlet) if stream.is_listener() => inlet.end(),
                _ => stream.fail(failure.clone()),
            }
        }
        self.calls.clear();
    }

    /// Forgets what nobody can want any more.
    pub(super) fn tidy(&mut self, now: Instant) {
        let over = self
            .streams
            .iter_mut()
            .filter_map(|(id, stream)| stream.is_of_no_use(now).then_some(*id));
        let over: Vec<u64> = over.collect();
        over.into_iter().for_each(|stream| self.forget(stream));
    }

    fn open(&mut self, kind: StreamKind, mode: Mode) -> (u64, Outlet) {
        let (inlet, outlet) = pipe(WAITING_BYTES);
        self.opened += 1;
        let stream = Stream {
            kind,
            inlet: Some(Arc::new(inlet)),
            mode,
            events: 0,
            over: None,
        };
        self.streams.insert(self.opened, stream);
        (self.opened, outlet)
    }

    fn start(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.mode = Mode::Events;
        if self.starts
            && let Some(inlet) = &stream.inlet
        {
            inlet.push(Item::Start(EventId {
                stream: id,
                number: stream.events,
            }));
        }
    }

    /// What nobody has heard goes to a caller who listens now.
    fn claim(&mut self, stream: u64) {
        for line in std::mem::take(&mut self.unclaimed) {
            if let Some(delivery) = self.deliver(stream, line, false) {
                delivery.inlet.push(delivery.item);
            }
        }
    }

    fn target(&self, message: &Message) -> Option<u64> {
        let own = match (message.kind, message.method()) {
            (Kind::Response, _) => {
                let Some(id) = &message.id else {
                    return self.any();
                };
                return self.calls.get(&id.key).copied();
            }
            (Kind::Notification, "notifications/progress") => message
                .progress_of()
                .and_then(|token| self.progress.get(&token.key).copied()),
            (Kind::Notification, "notifications/cancelled") => {
                message.cancelled().and_then(|token| {
                    let question = self.questions.iter().rev().find(|(id, _)| *id == token.key);
                    question
                        .map(|(_, stream)| *stream)
                        .filter(|stream| self.streams.contains_key(stream))
                })
            }
            (Kind::Request | Kind::Notification, _) => None,
        };
        own.or_else(|| self.any())
    }

    /// The stream for what belongs to no call, or does not say to which.
    fn any(&self) -> Option<u64> {
        let calls = || {
            self.streams
                .iter()
                .filter(|(_, stream)| stream.is_waiting() && stream.is_read())
        };
        let newest = calls().next_back();
        if calls().count() == 1 {
            return newest.map(|(id, _)| *id);
        }
        let listens = |(_, stream): &(&u64, &Stream)| stream.is_listener() && stream.is_read();
        self.streams
            .iter()
            .rev()
            .find(listens)
            .or(newest)
            .map(|(id, _)| *id)
    }

    /// Notes what is answered; whether all of the stream's requests are.
    fn answered(&mut self, stream: u64, messages: &[Message]) -> bool {
        let Some(Stream {
            kind: StreamKind::Call {
                waiting, progress, ..
            },
            ..
        }) = self.streams.get_mut(&stream)
        else {
            return false;
        };
        for message in messages
            .iter()
            .filter(|message| message.kind == Kind::Response)
        {
            let Some(id) = message.id.as_ref() else {
                continue;
            };
            let Some(at) = waiting.iter().position(|request| request.key == id.key) else {
                continue;
            };
            waiting.remove(at);
            self.calls.remove(&id.key);
        }
        if waiting.is_empty() {
            for token in progress.drain(..) {
                self.progress.remove(&token);
            }
        }
        waiting.is_empty()
    }

    fn deliver(&mut self, id: u64, line: Bytes, is_last: bool) -> Option<Delivery> {
        let stream = self.streams.get_mut(&id)?;
        if stream.mode == Mode::Undecided && is_last && !self.starts {
            let stream = self.streams.remove(&id)?;
            return Some(Delivery {
                stream: id,
                inlet: stream.inlet?,
                item: Item::Whole(line, None),
                is_last,
            });
        }
        if stream.mode == Mode::Undecided {
            self.start(id);
        }
        let stream = self.streams.get_mut(&id)?;
        stream.events += 1;
        let event = EventId {
            stream: id,
            number: stream.events,
        };
        self.kept.keep(event, line.clone());
        if is_last {
            stream.over = Some(Instant::now());
        }
        let inlet = stream.inlet.clone()?;
        Some(Delivery {
            stream: id,
            inlet,
            item: Item::Event(Some(event), line),
            is_last,
        })
    }

    fn forget(&mut self, id: u64) {
        self.kept.forget(id);
        let Some(Stream {
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

impl Waiting {
    fn of(request: &Message) -> Option<Self> {
        let id = request.id.as_ref()?;
        Some(Self {
            key: id.key.clone(),
            id: request.text.slice(id.span.clone()),
        })
    }
}

impl Stream {
    /// Nothing more comes, because of this. No response may come for a request that was cancelled.
    fn fail(&self, failure: CallError) {
        let Some(inlet) = &self.inlet else { return };
        let unanswered = match &self.kind {
            StreamKind::Call {
                waiting,
                is_cancelled: false,
                ..
            } => waiting.iter().map(|it| it.id.clone()).collect(),
            _ => Vec::new(),
        };
        inlet.fail(failure, unanswered);
    }

    fn is_listener(&self) -> bool {
        self.kind.is_listener()
    }

    /// Whether a request of it has no response, and may get one.
    fn is_waiting(&self) -> bool {
        matches!(&self.kind, StreamKind::Call { waiting, is_cancelled: false, .. } if !waiting.is_empty())
    }

    /// Whether a caller reads it.
    fn is_read(&self) -> bool {
        self.inlet.as_ref().is_some_and(|inlet| !inlet.is_left())
    }

    /// Whether it is over, and for so long that nobody will resume it.
    fn is_of_no_use(&mut self, now: Instant) -> bool {
        let may_go_on = self.is_waiting() || self.is_read();
        if may_go_on && self.over.is_none() {
            return false;
        }
        now >= *self.over.get_or_insert(now) + RESUMABLE
    }
}

impl StreamKind {
    fn is_listener(&self) -> bool {
        matches!(self, Self::Listener)
    }
}

#[cfg(test)]
mod tests;
