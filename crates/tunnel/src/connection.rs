//! Delivers the frames of one tunnel between its WebSocket and its streams.
//!
//! The one rule: it always reads. Received data is bounded by the windows of the streams, so the
//! connection never waits for a reader, and no two ends can wait for each other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::config::{FRAME_BYTES, REFUSALS_BYTES, TunnelConfig};
use crate::frame::{CancelReason, Decoder, Frame, FrameError};
use crate::socket::{TunnelEnd, WebSocket, WebSocketError};
use crate::stream::{
    ProtocolError, ReceivedHead, SharedState, Stream, StreamError, StreamState, Tunnel,
};

/// One end's side of the wire. When it is dropped, the tunnel is lost for all its streams.
pub(crate) struct Connection {
    tunnel: Arc<Tunnel>,
    decoder: Decoder,
    role: EndRole,
    /// Number of the newest request that was received.
    newest_received: u32,
    guard: LoseOnDrop,
}

/// A guard that loses the tunnel when its connection is dropped, so that all streams end.
struct LoseOnDrop(Arc<Tunnel>);

/// The side of the tunnel.
#[derive(Debug)]
pub(crate) enum EndRole {
    /// Sends the requests.
    Server,
    /// Answers requests, up to `max_streams` at once.
    Relay {
        max_streams: usize,
        drain: Drain,
        requests: VecDeque<IncomingRequest>,
    },
}

/// Progress of a relay's drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    NotStarted,
    /// The drain frame is on its way to the server.
    Requested,
    /// The server has replied that no more requests come.
    Acknowledged,
}

/// A received request.
#[derive(Debug)]
pub(crate) struct IncomingRequest {
    pub(crate) stream: Stream,
    pub(crate) head: ReceivedHead,
}

/// The reason why a connection broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
    #[error("the peer sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer sent {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the peer did not begin with a hello")]
    NoHello,
    #[error("the peer said hello twice")]
    SecondHello,
    #[error("the peer sent a {0} of stream {1}, which was not opened")]
    UnknownStream(&'static str, u32),
    #[error("the server opened stream {0} behind stream {1}, or behind its last")]
    OutOfOrder(u32, u32),
    #[error("the server said that no more requests come, and was not asked")]
    UnrequestedDrain,
    #[error("the server opens streams that it may not, and does not read that they are not begun")]
    RefusalsUnread,
}

impl Connection {
    /// Creates the connection of a tunnel. Its polls need one task, which the socket wakes.
    pub(crate) fn new(tunnel: Arc<Tunnel>, config: &TunnelConfig, role: EndRole) -> Self {
        let max_content = FRAME_BYTES.max(config.max_header_bytes as usize);
        Self {
            guard: LoseOnDrop(tunnel.clone()),
            tunnel,
            decoder: Decoder::new(max_content),
            role,
            newest_received: 0,
        }
    }

    /// Returns what the connection shares with the streams.
    pub(crate) fn tunnel(&self) -> &Arc<Tunnel> {
        &self.tunnel
    }

    /// Receives and sends as much as possible. Ready when the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.tunnel.socket.register(cx)?;

        while let Poll::Ready(message) = self.tunnel.socket.poll_message(cx)? {
            let Some(message) = message else {
                return Poll::Ready(Ok(()));
            };
            self.decoder.push(message);
            while let Some(frame) = self.decoder.next()? {
                self.receive(frame)?;
            }
        }

        self.tunnel.socket.flush(&self.tunnel.outbox, cx)?;
        if self.tunnel.outbox.grant_turns() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Returns the next received request.
    pub(crate) fn next_request(&mut self) -> Option<IncomingRequest> {
        match &mut self.role {
            EndRole::Relay { requests, .. } => requests.pop_front(),
            EndRole::Server => None,
        }
    }

    /// Returns whether there are received requests.
    pub(crate) fn has_requests(&self) -> bool {
        matches!(&self.role, EndRole::Relay { requests, .. } if !requests.is_empty())
    }

    /// Asks the server to send no more requests, once.
    pub(crate) fn start_drain(&mut self) {
        if let EndRole::Relay { drain, .. } = &mut self.role
            && *drain == Drain::NotStarted
        {
            *drain = Drain::Requested;
            self.tunnel.outbox.enqueue_frame(&Frame::Drain);
        }
    }

    /// Returns whether no more requests come and all work is done.
    pub(crate) fn is_drained(&self) -> bool {
        let EndRole::Relay {
            drain, requests, ..
        } = &self.role
        else {
            return false;
        };
        *drain == Drain::Acknowledged
            && requests.is_empty()
            && self.tunnel.streams.len() == 0
            && self.tunnel.outbox.len() == 0
    }

    /// Ends all streams, and returns the WebSocket for the close handshake.
    pub(crate) fn lose(self, end: &TunnelEnd) -> Option<WebSocket> {
        self.guard.0.lose(end);
        self.tunnel.socket.take()
    }

    fn receive(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        let is_hello = matches!(frame, Frame::Hello(_));
        if !is_hello && !self.tunnel.has_received_hello() {
            return Err(ConnectionError::NoHello);
        }

        match frame {
            Frame::Hello(hello) if self.tunnel.receive_hello(hello) => Ok(()),
            Frame::Hello(_) => Err(ConnectionError::SecondHello),
            Frame::Head {
                stream,
                head,
                is_last,
            } => {
                let head = ReceivedHead {
                    bytes: head,
                    is_last,
                };
                self.receive_head(stream, head)
            }
            Frame::Data {
                stream,
                data,
                is_last,
            } => {
                let outbox = &self.tunnel.outbox;
                self.deliver("piece", stream, |state| {
                    let refusal = state.receive_data(data, is_last)?;
                    refusal.iter().for_each(|frame| outbox.enqueue_frame(frame));
                    Ok(())
                })
            }
            Frame::Abort { stream } => self.deliver("break", stream, StreamState::receive_abort),
            Frame::StopSending { stream } => self.deliver("refusal", stream, |state| {
                state.receive_stop_sending();
                Ok(())
            }),
            Frame::Cancel { stream, reason } => self.deliver("cancel", stream, |state| {
                state.fail(StreamError::Cancelled(reason));
                Ok(())
            }),
            Frame::WindowUpdate { stream, bytes } => {
                self.deliver("window", stream, |state| state.receive_window_update(bytes))
            }
            Frame::Drain => self.receive_drain(),
        }
    }

    /// Receives a head: a response on the server's side, a request on the relay's.
    fn receive_head(&mut self, number: u32, head: ReceivedHead) -> Result<(), ConnectionError> {
        let EndRole::Relay {
            max_streams,
            drain,
            requests,
        } = &mut self.role
        else {
            return self.deliver("head", number, |state| state.receive_head(head));
        };

        if number <= self.newest_received || *drain == Drain::Acknowledged {
            return Err(ConnectionError::OutOfOrder(number, self.newest_received));
        }
        self.newest_received = number;

        let is_refused = *drain == Drain::Requested || self.tunnel.streams.len() >= *max_streams;
        if is_refused {
            return self.refuse(number);
        }

        let stream = Stream::accept(self.tunnel.clone(), number, head.is_last);
        requests.push_back(IncomingRequest { stream, head });
        Ok(())
    }

    /// Refuses a request that was not begun.
    fn refuse(&self, number: u32) -> Result<(), ConnectionError> {
        if self.tunnel.outbox.len() > REFUSALS_BYTES {
            return Err(ConnectionError::RefusalsUnread);
        }
        self.tunnel.outbox.enqueue_frame(&Frame::Cancel {
            stream: number,
            reason: CancelReason::NotBegun,
        });
        Ok(())
    }

    /// Receives a drain frame: the relay's request, or the server's reply to it.
    fn receive_drain(&mut self) -> Result<(), ConnectionError> {
        match &mut self.role {
            EndRole::Server => self.tunnel.stop_opening(),
            EndRole::Relay { drain, .. } if *drain == Drain::Requested => {
                *drain = Drain::Acknowledged;
            }
            EndRole::Relay { .. } => return Err(ConnectionError::UnrequestedDrain),
        }
        Ok(())
    }

    /// Delivers a frame to its stream. `kind` names the frame in an error.
    fn deliver(
        &self,
        kind: &'static str,
        number: u32,
        receive: impl FnOnce(&mut StreamState) -> Result<(), ProtocolError>,
    ) -> Result<(), ConnectionError> {
        if let Some(stream) = self.find_stream(kind, number)? {
            self.tunnel.deliver(&stream, receive)?;
        }
        Ok(())
    }

    /// Returns an open stream, or `None` if it is over here, while late frames of the
    /// peer are still on their way.
    fn find_stream(
        &self,
        kind: &'static str,
        number: u32,
    ) -> Result<Option<SharedState>, ConnectionError> {
        if let Some(stream) = self.tunnel.streams.get(number) {
            return Ok(Some(stream));
        }
        let newest = match self.role {
            EndRole::Server => self.tunnel.outbox.newest_request(),
            EndRole::Relay { .. } => self.newest_received,
        };
        if number == 0 || number > newest {
            return Err(ConnectionError::UnknownStream(kind, number));
        }
        Ok(None)
    }
}

impl Drop for LoseOnDrop {
    fn drop(&mut self) {
        // Without effect if the tunnel was lost before.
        self.0.lose(&TunnelEnd::Closed);
        drop(self.0.socket.take());
    }
}
