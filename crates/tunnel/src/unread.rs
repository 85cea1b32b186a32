//! What has come of a body and waits to be read.
//!
//! The one rule: it costs about as much memory as it has bytes, however small the pieces were in which they came, and
//! whatever else was in the messages that brought them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces smaller than this are joined while they wait.
const SMALL_BYTES: usize = 4 * 1024;
/// A message up to this size may be kept for whatever part of it.
const SMALL_MESSAGE_BYTES: usize = 4 * 1024;
/// As much as is joined to one piece.
const JOINED_BYTES: usize = 32 * 1024;

/// The bytes of a body that wait, in their order.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// What comes first: most bodies are one piece, which then needs no queue.
    first: Bytes,
    pieces: VecDeque<Bytes>,
    /// Small pieces behind all others, joined.
    joined: BytesMut,
    length: usize,
}

/// A part of a message of so many bytes, as it may be kept: the message stays in memory with it only where little is lost by that.
pub(crate) fn kept(part: Bytes, message: usize) -> Bytes {
    if part.len() * 2 >= message || message <= SMALL_MESSAGE_BYTES { part } else { Bytes::copy_from_slice(&part) }
}

impl Unread {
    /// Takes a piece that came in a message of so many bytes, which it may keep alive.
    pub(crate) fn push(&mut self, data: Bytes, message: usize) {
        self.length += data.len();
        if data.is_empty() {
            return;
        }
        if self.length == data.len() {
            self.first = kept(data, message);
        } else if data.len() < SMALL_BYTES {
            self.joined.extend_from_slice(&data);
            if self.joined.len() >= JOINED_BYTES {
                self.close_joined();
            }
        } else {
            self.close_joined();
            self.pieces.push_back(kept(data, message));
        }
    }

    /// The next bytes.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let piece = if !self.first.is_empty() {
            std::mem::take(&mut self.first)
        } else if let Some(piece) = self.pieces.pop_front() {
            piece
        } else {
            std::mem::take(&mut self.joined).freeze()
        };
        self.length -= piece.len();
        (!piece.is_empty()).then_some(piece)
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn close_joined(&mut self) {
        if !self.joined.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.joined).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_pieces_cost_what_they_have() {
        let mut unread = Unread::default();
        let message = Bytes::from(vec![7; 32 * 1024]);
        for at in 0..10_000 {
            unread.push(message.slice(at..=at), message.len());
        }
        assert!(message.is_unique(), "nothing keeps the message");
        assert!(unread.joined.capacity() <= 4 * 10_000, "{}", unread.joined.capacity());
        assert!(unread.pieces.is_empty());
    }

    #[test]
    fn most_of_a_message_is_not_copied_and_a_little_does_not_keep_it() {
        let message = Bytes::from(vec![7; 32 * 1024]);
        let mut unread = Unread::default();
        unread.push(message.slice(..16 * 1024), message.len());
        assert!(!message.is_unique());
        unread.push(message.slice(..8 * 1024), message.len());
        unread.pop();
        assert!(message.is_unique());
    }

    proptest! {
        #[test]
        fn every_byte_comes_back_in_its_order(
            steps in proptest::collection::vec((0..9000_usize, 0..3_usize, any::<bool>()), 1..60),
        ) {
            let mut unread = Unread::default();
            let (mut given, mut taken) = (Vec::new(), Vec::new());
            for (length, pops, whole) in steps {
                let data: Vec<u8> = (0..length).map(|i| (i + given.len()) as u8).collect();
                given.extend_from_slice(&data);
                unread.push(Bytes::from(data), if whole { length } else { length * 3 });
                for _ in 0..pops {
                    taken.extend(unread.pop().into_iter().flatten());
                }
            }
            prop_assert_eq!(unread.len(), given.len() - taken.len());
            while let Some(piece) = unread.pop() {
                prop_assert!(!piece.is_empty());
                taken.extend_from_slice(&piece);
            }
            prop_assert_eq!(given, taken);
        }
    }
}
