//! The comparison of this WebSocket's framing with tungstenite's, for tests and for fuzzing.

use std::io::{self, Read, Write};
use std::task::{Context, Poll, Waker};

use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{self, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::Role;
use super::reader::{Incoming, Reader};
use crate::config::MAX_MESSAGE_BYTES;

/// What a reader found in its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    messages: Vec<Incoming>,
    end: End,
}

/// What came after the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing, or what may become a message.
    Incomplete,
    /// What the reader refused.
    Refused,
    /// A text or a close frame. The tunnel has no use for what is in them, and tungstenite also
    /// judges that.
    NotCompared,
}

/// Checks that a WebSocket receives the messages that tungstenite receives, and refuses what it
/// refuses, however the bytes are cut. The first byte chooses the side.
pub fn websocket_messages(bytes: &[u8]) {
    let Some((side, bytes)) = bytes.split_first() else {
        return;
    };
    let sides = [
        (Role::Server, protocol::Role::Server),
        (Role::Client, protocol::Role::Client),
    ];
    let (role, their_role) = sides[usize::from(side % 2)];

    let ours = found_in_cuts_of(bytes, bytes.len().max(1), role);
    for size in [1, 10, 1000] {
        assert_eq!(found_in_cuts_of(bytes, size, role), ours);
    }

    let theirs = found_by_tungstenite(bytes, their_role);
    match (ours.end, theirs.end) {
        (End::NotCompared, _) | (_, End::NotCompared) => {
            let both = ours.messages.len().min(theirs.messages.len());
            assert_eq!(ours.messages[..both], theirs.messages[..both]);
        }
        // A header may be refused before the payload has arrived, for which tungstenite waits.
        (End::Refused, End::Incomplete) => assert_eq!(ours.messages, theirs.messages),
        _ => assert_eq!(ours, theirs),
    }
}

/// Receives from a stream of which each read returns `size` bytes.
fn found_in_cuts_of(bytes: &[u8], size: usize, role: Role) -> Found {
    let mut cx = Context::from_waker(Waker::noop());
    let mut reader = Reader::new(role);
    let mut rest = bytes;
    let mut messages = Vec::new();
    let end = loop {
        match reader.next() {
            Ok(Some(Incoming::Text | Incoming::Close(_))) => break End::NotCompared,
            Ok(Some(incoming)) => messages.push(incoming),
            Ok(None) if rest.is_empty() => break End::Incomplete,
            Ok(None) => {
                let mut piece = &rest[..size.min(rest.len())];
                let before = piece.len();
                let read = reader.poll_read(&mut piece, &mut cx);
                assert!(matches!(read, Poll::Ready(Ok(true))), "{read:?}");
                rest = &rest[before - piece.len()..];
            }
            Err(_) => break End::Refused,
        }
    };
    Found { messages, end }
}

fn found_by_tungstenite(bytes: &[u8], role: protocol::Role) -> Found {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let mut websocket = WebSocket::from_raw_socket(Received(bytes), role, Some(config));
    let mut messages = Vec::new();
    let end = loop {
        match websocket.read() {
            Ok(Message::Binary(bytes)) => messages.push(Incoming::Binary(bytes)),
            Ok(Message::Ping(payload)) => messages.push(Incoming::Ping(payload)),
            Ok(Message::Pong(_)) => messages.push(Incoming::Pong),
            Ok(Message::Text(_) | Message::Close(_) | Message::Frame(_)) => break End::NotCompared,
            Err(Error::Utf8(_) | Error::Protocol(ProtocolError::InvalidCloseSequence)) => {
                break End::NotCompared;
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                break End::Incomplete;
            }
            Err(Error::Protocol(_) | Error::Capacity(_)) => break End::Refused,
            Err(other) => unreachable!("reading from memory: {other}"),
        }
    };
    Found { messages, end }
}

/// A stream that ends with these bytes, and takes whatever is written.
struct Received<'a>(&'a [u8]);

impl Read for Received<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Received<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
