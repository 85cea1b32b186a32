//! One request and its answer inside the tunnel, as one end sees them.
//!
//! A stream has two directions, each with one body, and each ends by itself: cleanly, by an abort of its sender, or because
//! its receiver wants no more. Besides, all of it may be over at once: cancelled, or lost with the tunnel. The connection
//! says what has arrived, the two halves say what this end does; dropping a half before its end says so, too.
//!
//! The one rule: what is over for both ends is forgotten at once, and its place is free.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use crate::config::PIECE_BYTES;
use crate::frame::{CancelReason, Frame, put_data, put_head};
use crate::outbox::{NoRequest, Turn};
use crate::tunnel::Tunnel;
use crate::unread::Unread;

/// One request and its answer.
pub(crate) struct Stream {
    tunnel: Arc<Tunnel>,
    state: Mutex<State>,
}

struct State {
    /// Its number, when its head is in the outbox or has come from there.
    number: u32,
    /// The head of the answer that has come.
    head: Option<ArrivedHead>,
    has_head: bool,
    unread: Unread,
    /// How much of the peer's room is used up: what waits here, and what was read and not given back.
    used: u32,
    incoming: Direction,
    /// How much the peer takes of this end's body now.
    room: u32,
    outgoing: Direction,
    over: Option<Over>,
    /// In the outbox's queue.
    turn: Turn,
    is_forgotten: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// One of those that the peer serves at once.
    place: Option<OwnedSemaphorePermit>,
}

/// A head that has come.
#[derive(Debug)]
pub(crate) struct ArrivedHead {
    pub(crate) bytes: Bytes,
    /// Nothing comes behind it.
    pub(crate) ends: bool,
}

/// How far the body of one direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Open,
    Ended,
    Aborted,
    Unwanted,
}

/// Why all of a stream is over.
#[derive(Debug, Clone)]
pub(crate) enum Over {
    Cancelled(CancelReason),
    /// The tunnel was lost; this is how.
    Lost(Arc<str>),
}

/// The peer says of a stream what cannot be: the tunnel ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Impossible {
    #[error("a second head on stream {0}")]
    SecondHead(u32),
    #[error("a body before its head on stream {0}")]
    BodyBeforeHead(u32),
    #[error("a body that goes on behind its end on stream {0}")]
    BehindTheEnd(u32),
    #[error("more of a body than there was room for on stream {0}")]
    NoRoom(u32),
    #[error("more room than can be counted on stream {0}")]
    TooMuchRoom(u32),
}

/// What comes of a body.
pub(crate) enum Incoming {
    Data(Bytes),
    End,
    Aborted,
    Over(Over),
}

impl Stream {
    /// A request that is to be sent.
    pub(crate) fn to_open(tunnel: Arc<Tunnel>, place: OwnedSemaphorePermit) -> Arc<Self> {
        let room = tunnel.peer_window();
        Arc::new(Self {
            tunnel,
            state: Mutex::new(State::new(0, Direction::Open, room, Some(place))),
        })
    }

    /// A request that has come under this number.
    pub(crate) fn opened_by_peer(tunnel: Arc<Tunnel>, number: u32, ends: bool) -> Arc<Self> {
        let incoming = if ends {
            Direction::Ended
        } else {
            Direction::Open
        };
        let mut state = State::new(number, incoming, tunnel.peer_window(), None);
        state.has_head = true;
        Arc::new(Self {
            tunnel,
            state: Mutex::new(state),
        })
    }

    /// Puts the head of a request, and with it all of its body where that is there.
    pub(crate) fn open(
        self: &Arc<Self>,
        write: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        ends: bool,
    ) -> Result<(), NoRequest> {
        let mut guard = self.lock();
        let state = &mut *guard;
        self.tunnel.outbox.put_request(|out, number| {
            state.number = number;
            state.begin(out, write, body, ends);
            self.tunnel.streams.insert(number, self.clone());
        })?;
        drop(guard);
        self.tunnel.send_off();
        Ok(())
    }

    /// How many bytes may be in a piece of this end's body now.
    pub(crate) fn room(&self) -> usize {
        PIECE_BYTES.min(self.lock().room as usize)
    }

    /// Puts the head of the answer, and with it all of its body where that is there.
    pub(crate) fn answer(
        &self,
        write: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        ends: bool,
    ) {
        self.change(|state, tunnel| {
            if state.over.is_none() {
                tunnel.outbox.put(|out| state.begin(out, write, body, ends));
            }
        });
    }

    /// Waits for a turn in the outbox.
    pub(crate) fn poll_turn(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let mut state = self.lock();
        if let Some(over) = &state.over {
            return Poll::Ready(Err(over.clone()));
        }
        if self.tunnel.outbox.has_room(self, &mut state.turn) {
            return Poll::Ready(Ok(()));
        }
        remember(&mut state.writer, cx);
        Poll::Pending
    }

    /// Puts as much of the data as there is room for; ready when all of it is on its way.
    pub(crate) fn poll_put(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        ends: bool,
    ) -> Poll<Result<(), Unwanted>> {
        self.change(|state, tunnel| {
            loop {
                if state.over.is_some() || state.outgoing != Direction::Open {
                    return Poll::Ready(Err(Unwanted));
                }
                let room = data.len().min(state.room as usize).min(PIECE_BYTES);
                if (room == 0 && !data.is_empty()) || !tunnel.outbox.has_room(self, &mut state.turn)
                {
                    remember(&mut state.writer, cx);
                    return Poll::Pending;
                }
                let piece = data.split_to(room);
                let is_last = ends && data.is_empty();
                if !piece.is_empty() || is_last {
                    tunnel
                        .outbox
                        .put(|out| put_data(out, state.number, &piece, is_last));
                }
                state.room -= room as u32;
                if data.is_empty() {
                    state.outgoing = if is_last {
                        Direction::Ended
                    } else {
                        state.outgoing
                    };
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// Ready when nobody wants this end's body any more.
    pub(crate) fn poll_unwanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.over.is_some() || state.outgoing == Direction::Unwanted {
            return Poll::Ready(());
        }
        remember(&mut state.writer, cx);
        Poll::Pending
    }

    /// Says that this end's body has broken off, behind what was sent of it.
    pub(crate) fn abort(self: &Arc<Self>) {
        self.change(|state, tunnel| {
            if state.over.is_none() && state.outgoing == Direction::Open {
                tunnel.outbox.put_frame(&Frame::Abort {
                    stream: state.number,
                });
                state.outgoing = Direction::Aborted;
            }
        });
    }

    /// Ends all of it, whatever is still under way.
    pub(crate) fn cancel(&self, why: CancelReason) {
        // Whoever holds the other half learns it, too.
        self.arrived(|state| {
            if state.number != 0 && !state.is_done() {
                self.tunnel.outbox.put_frame(&Frame::Cancel {
                    stream: state.number,
                    why,
                });
            }
            state.over.get_or_insert(Over::Cancelled(why));
        });
        self.tunnel.send_off();
    }

    /// Wants no more of the peer's body.
    pub(crate) fn refuse_the_rest(self: &Arc<Self>) {
        self.change(|state, tunnel| {
            if state.over.is_none() && state.incoming == Direction::Open {
                tunnel.outbox.put_frame(&Frame::Enough {
                    stream: state.number,
                });
                state.incoming = Direction::Unwanted;
            }
        });
    }

    /// The head of the answer.
    pub(crate) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<ArrivedHead, Over>> {
        let mut state = self.lock();
        if let Some(head) = state.head.take() {
            return Poll::Ready(Ok(head));
        }
        if let Some(over) = &state.over {
            return Poll::Ready(Err(over.clone()));
        }
        remember(&mut state.reader, cx);
        Poll::Pending
    }

    /// What comes next of the peer's body. Room is given back as it is read.
    pub(crate) fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let mut state = self.lock();
        if let Some(data) = state.unread.pop() {
            self.give_room_back(&mut state);
            drop(state);
            self.tunnel.send_off();
            return Poll::Ready(Incoming::Data(data));
        }
        match (&state.over, state.incoming) {
            (_, Direction::Ended) => Poll::Ready(Incoming::End),
            (_, Direction::Aborted) => Poll::Ready(Incoming::Aborted),
            (Some(over), _) => Poll::Ready(Incoming::Over(over.clone())),
            (None, Direction::Open | Direction::Unwanted) => {
                remember(&mut state.reader, cx);
                Poll::Pending
            }
        }
    }

    /// Whether all of the peer's body has come and was read.
    pub(crate) fn has_ended(&self) -> bool {
        let state = self.lock();
        state.incoming == Direction::Ended && state.unread.is_empty()
    }

    /// Half of the window at a time, so that bodies within it cost no frame for their room.
    fn give_room_back(&self, state: &mut State) {
        let read = state.used - state.unread.len() as u32;
        if read >= self.tunnel.window / 2
            && state.incoming == Direction::Open
            && state.over.is_none()
        {
            self.tunnel.outbox.put_frame(&Frame::Room {
                stream: state.number,
                bytes: read,
            });
            state.used -= read;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, &Tunnel) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state, &self.tunnel);
        self.settle(state);
        self.tunnel.send_off();
        result
    }

    /// Forgets the stream where nothing of it is left to say.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        if state.is_done() && !std::mem::replace(&mut state.is_forgotten, true) {
            let (number, place) = (state.number, state.place.take());
            drop(state);
            self.tunnel.streams.remove(number);
            drop(place);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("number", &self.lock().number)
            .finish_non_exhaustive()
    }
}

/// Nobody wants what this end sends.
#[derive(Debug)]
pub(crate) struct Unwanted;

/// What has arrived.
impl Stream {
    pub(crate) fn head_arrived(&self, head: ArrivedHead) -> Result<(), Impossible> {
        self.arrived(|state| {
            if std::mem::replace(&mut state.has_head, true) {
                return Err(Impossible::SecondHead(state.number));
            }
            if head.ends {
                state.incoming = Direction::Ended;
            }
            state.head = Some(head);
            Ok(())
        })
    }

    pub(crate) fn data_arrived(&self, data: Bytes, ends: bool) -> Result<(), Impossible> {
        let window = self.tunnel.window;
        self.arrived(|state| {
            state.expects_body()?;
            let used = state
                .used
                .saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
            if used > window {
                return Err(Impossible::NoRoom(state.number));
            }
            if state.incoming == Direction::Open {
                state.used = used;
                state.unread.push(data);
            }
            if ends {
                state.incoming = Direction::Ended;
            }
            Ok(())
        })
    }

    pub(crate) fn abort_arrived(&self) -> Result<(), Impossible> {
        self.arrived(|state| {
            state.expects_body()?;
            state.incoming = Direction::Aborted;
            Ok(())
        })
    }

    pub(crate) fn enough_arrived(&self) {
        self.arrived(|state| {
            if state.outgoing == Direction::Open {
                state.outgoing = Direction::Unwanted;
            }
        });
    }

    pub(crate) fn room_arrived(&self, bytes: u32) -> Result<(), Impossible> {
        self.arrived(|state| {
            state.room = state
                .room
                .checked_add(bytes)
                .ok_or(Impossible::TooMuchRoom(state.number))?;
            Ok(())
        })
    }

    pub(crate) fn is_over(&self, over: Over) {
        self.arrived(|state| {
            state.over.get_or_insert(over);
        });
    }

    /// It is the stream's turn in the outbox.
    pub(crate) fn turn_arrived(&self) {
        self.arrived(|state| state.turn = Turn::Granted);
    }

    fn arrived<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let wakers = [state.reader.take(), state.writer.take()];
        self.settle(state);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
        result
    }
}

/// Remembers whom to wake.
fn remember(place: &mut Option<Waker>, cx: &mut Context<'_>) {
    match place {
        Some(known) => known.clone_from(cx.waker()),
        unknown => *unknown = Some(cx.waker().clone()),
    }
}

impl State {
    fn new(
        number: u32,
        incoming: Direction,
        room: u32,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            number,
            head: None,
            has_head: false,
            unread: Unread::default(),
            used: 0,
            incoming,
            room,
            outgoing: Direction::Open,
            over: None,
            turn: Turn::None,
            is_forgotten: false,
            reader: None,
            writer: None,
            place,
        }
    }

    /// Writes the head of what this end says, and with it all of its body where that is there, for which there is room.
    fn begin(
        &mut self,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut),
        body: Option<&Bytes>,
        ends: bool,
    ) {
        put_head(out, self.number, ends && body.is_none(), write);
        if let Some(body) = body {
            self.room -= body.len() as u32;
            put_data(out, self.number, body, ends);
        }
        if ends {
            self.outgoing = Direction::Ended;
        }
    }

    fn expects_body(&self) -> Result<(), Impossible> {
        match self.incoming {
            _ if !self.has_head => Err(Impossible::BodyBeforeHead(self.number)),
            Direction::Open | Direction::Unwanted => Ok(()),
            Direction::Ended | Direction::Aborted => Err(Impossible::BehindTheEnd(self.number)),
        }
    }

    fn is_done(&self) -> bool {
        self.over.is_some()
            || (self.incoming != Direction::Open && self.outgoing != Direction::Open)
    }
}
