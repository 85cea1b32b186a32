//! Carries the frames of one tunnel between its WebSocket and its streams.
//!
//! The one rule: it always reads. What has arrived is bounded by the windows of the streams, so nothing has to wait for
//! anybody to take it, and no two ends can wait for each other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::config::{FRAME_BYTES, REFUSALS_BYTES, TunnelConfig};
use crate::frame::{CancelReason, Decoder, Frame, NoFrame};
use crate::link::TunnelEnd;
use crate::stream::{ArrivedHead, Impossible, Over, Stream};
use crate::tunnel::Tunnel;
use crate::websocket::{Socket, SocketError};

/// One end's side of the wire. When it is dropped, the tunnel is lost for all streams.
pub(crate) struct Connection {
    tunnel: Arc<Tunnel>,
    decoder: Decoder,
    role: Role,
    /// The number of the newest request that has come.
    last: u32,
    lost: LostWhenDropped,
}

/// Whatever happens to the connection, its streams learn that it is gone.
struct LostWhenDropped(Arc<Tunnel>);

/// Which end this is.
#[derive(Debug)]
pub(crate) enum Role {
    /// Sends the requests.
    Server,
    /// Answers so many of them at once.
    Relay {
        max_streams: usize,
        drain: Drain,
        requests: VecDeque<Arrived>,
    },
}

/// How far a relay is with taking no more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    /// The server was told.
    Asked,
    /// The server has said that nothing more comes.
    Agreed,
}

/// A request that has come.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) stream: Arc<Stream>,
    pub(crate) head: ArrivedHead,
}

/// Why a connection breaks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the peer sent what is no frame: {0}")]
    NoFrame(#[from] NoFrame),
    #[error("the peer sent {0}")]
    Impossible(#[from] Impossible),
    #[error("the peer did not begin with a hello")]
    NoHello,
    #[error("the peer said hello twice")]
    SecondHello,
    #[error("the peer sent a {0} of stream {1}, which was not opened")]
    NotOpened(&'static str, u32),
    #[error("the server opened stream {0} behind stream {1}, or behind its last")]
    OutOfOrder(u32, u32),
    #[error("the server said that no more requests come, and was not asked")]
    NotAsked,
    #[error("the server opens streams that it may not, and does not read that they are not begun")]
    DoesNotRead,
}

impl Connection {
    pub(crate) fn new(tunnel: Arc<Tunnel>, config: &TunnelConfig, role: Role) -> Self {
        let decoder = Decoder::new(FRAME_BYTES.max(config.max_header_bytes as usize));
        let lost = LostWhenDropped(tunnel.clone());
        Self {
            tunnel,
            decoder,
            role,
            last: 0,
            lost,
        }
    }

    /// Moves all that can be moved; ready when the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.tunnel.socket.ping_if_wanted(cx)?;
        while let Poll::Ready(message) = self.tunnel.socket.poll_message(cx)? {
            let Some(message) = message else {
                return Poll::Ready(Ok(()));
            };
            self.decoder.push(message);
            while let Some(frame) = self.decoder.next()? {
                self.take(frame)?;
            }
        }
        self.tunnel.socket.carry(&self.tunnel.outbox, cx)?;
        self.give_turns(cx);
        Poll::Pending
    }

    /// The next request that has come.
    pub(crate) fn next_request(&mut self) -> Option<Arrived> {
        match &mut self.role {
            Role::Relay { requests, .. } => requests.pop_front(),
            Role::Server => None,
        }
    }

    /// Whether requests have come that nobody has taken.
    pub(crate) fn has_requests(&self) -> bool {
        matches!(&self.role, Role::Relay { requests, .. } if !requests.is_empty())
    }

    /// Tells the server to send no more requests.
    pub(crate) fn start_drain(&mut self) {
        if let Role::Relay {
            drain: drain @ Drain::No,
            ..
        } = &mut self.role
        {
            *drain = Drain::Asked;
            self.tunnel.outbox.put_frame(&Frame::Drain);
        }
    }

    /// Whether nothing more comes and nothing is left to do.
    pub(crate) fn is_drained(&self) -> bool {
        let agreed = matches!(&self.role, Role::Relay { drain: Drain::Agreed, requests, .. } if requests.is_empty());
        agreed && self.tunnel.streams.len() == 0 && self.tunnel.outbox.len() == 0
    }

    /// The end of the connection, as all streams learn it, and the WebSocket for a last word.
    pub(crate) fn lose(self, end: &TunnelEnd) -> Option<Socket> {
        self.lost.0.lose(end);
        self.tunnel.socket.take()
    }

    /// Gives those who wait for the outbox what there is room for now.
    fn give_turns(&self, cx: &Context<'_>) {
        let (senders, others_wait) = self.tunnel.outbox.next_senders();
        if others_wait {
            cx.waker().wake_by_ref();
        }
        for sender in senders {
            sender.turn_arrived();
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        if !self.tunnel.has_met() && !matches!(frame, Frame::Hello(_)) {
            return Err(ConnectionError::NoHello);
        }
        match frame {
            Frame::Hello(hello) if self.tunnel.meet(hello) => {}
            Frame::Hello(_) => return Err(ConnectionError::SecondHello),
            Frame::Head {
                stream,
                head: bytes,
                ends,
            } => return self.take_head(stream, ArrivedHead { bytes, ends }),
            Frame::Data { stream, data, ends } => {
                if let Some(stream) = self.stream("piece", stream)? {
                    stream.data_arrived(data, ends)?;
                }
            }
            Frame::Abort { stream } => {
                if let Some(stream) = self.stream("break", stream)? {
                    stream.abort_arrived()?;
                }
            }
            Frame::Enough { stream } => {
                if let Some(stream) = self.stream("refusal", stream)? {
                    stream.enough_arrived();
                }
            }
            Frame::Cancel { stream, why } => {
                if let Some(stream) = self.stream("cancel", stream)? {
                    stream.is_over(Over::Cancelled(why));
                }
            }
            Frame::Room { stream, bytes } => {
                if let Some(stream) = self.stream("window", stream)? {
                    stream.room_arrived(bytes)?;
                }
            }
            Frame::Drain => self.take_drain()?,
        }
        Ok(())
    }

    fn take_head(&mut self, number: u32, head: ArrivedHead) -> Result<(), ConnectionError> {
        let Role::Relay {
            max_streams,
            drain,
            requests,
        } = &mut self.role
        else {
            if let Some(stream) = self.stream("head", number)? {
                stream.head_arrived(head)?;
            }
            return Ok(());
        };
        if number <= self.last || *drain == Drain::Agreed {
            return Err(ConnectionError::OutOfOrder(number, self.last));
        }
        self.last = number;
        if *drain == Drain::Asked || self.tunnel.streams.len() >= *max_streams {
            if self.tunnel.outbox.len() > REFUSALS_BYTES {
                return Err(ConnectionError::DoesNotRead);
            }
            self.tunnel.outbox.put_frame(&Frame::Cancel {
                stream: number,
                why: CancelReason::NotBegun,
            });
            return Ok(());
        }
        let stream = Stream::opened_by_peer(self.tunnel.clone(), number, head.ends);
        self.tunnel.streams.insert(number, stream.clone());
        requests.push_back(Arrived { stream, head });
        Ok(())
    }

    fn take_drain(&mut self) -> Result<(), ConnectionError> {
        match &mut self.role {
            Role::Server => self.tunnel.open_no_more(),
            Role::Relay {
                drain: drain @ Drain::Asked,
                ..
            } => *drain = Drain::Agreed,
            Role::Relay { .. } => return Err(ConnectionError::NotAsked),
        }
        Ok(())
    }

    /// A stream that is open; none, if it is over here, of which the peer does not know yet.
    fn stream(
        &self,
        what: &'static str,
        number: u32,
    ) -> Result<Option<Arc<Stream>>, ConnectionError> {
        let stream = self.tunnel.streams.get(number);
        let newest = match self.role {
            Role::Server => self.tunnel.outbox.last_request(),
            Role::Relay { .. } => self.last,
        };
        match stream {
            None if number == 0 || number > newest => Err(ConnectionError::NotOpened(what, number)),
            stream => Ok(stream),
        }
    }
}

impl Drop for LostWhenDropped {
    fn drop(&mut self) {
        // Nothing, if it was lost before.
        self.0.lose(&TunnelEnd::Closed);
        drop(self.0.socket.take());
    }
}
