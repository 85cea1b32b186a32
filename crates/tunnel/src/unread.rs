//! What has come of a body and waits to be read.
//!
//! The one rule: it costs about as much memory as it has bytes, however small the pieces were in which they came.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces smaller than this are joined while they wait.
const SMALL_BYTES: usize = 4 * 1024;
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

impl Unread {
    /// Takes a piece.
    pub(crate) fn push(&mut self, data: Bytes) {
        self.length += data.len();
        if data.is_empty() {
            return;
        }
        if self.length == data.len() {
            self.first = data;
        } else if data.len() < SMALL_BYTES {
            self.joined.extend_from_slice(&data);
            if self.joined.len() >= JOINED_BYTES {
                self.close_joined();
            }
        } else {
            self.close_joined();
            self.pieces.push_back(data);
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
            self.pieces
                .push_back(std::mem::take(&mut self.joined).freeze());
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
            unread.push(message.slice(at..=at));
        }
        unread.pop();
        assert!(
            message.is_unique(),
            "only the first piece is kept as it came"
        );
        assert!(
            unread.joined.capacity() <= 4 * 10_000,
            "{}",
            unread.joined.capacity()
        );
        assert!(unread.pieces.is_empty());
    }

    proptest! {
        #[test]
        fn every_byte_comes_back_in_its_order(
            steps in proptest::collection::vec((0..9000_usize, 0..3_usize), 1..60),
        ) {
            let mut unread = Unread::default();
            let (mut given, mut taken) = (Vec::new(), Vec::new());
            for (length, pops) in steps {
                let data: Vec<u8> = (0..length).map(|i| (i + given.len()) as u8).collect();
                given.extend_from_slice(&data);
                unread.push(Bytes::from(data));
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
