//! Received bytes of one body that wait to be read.
//!
//! The one rule: it costs about as much memory as it contains bytes, however small the pieces were
//! in which they arrived.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Size below which pieces are joined while they wait.
const SMALL_BYTES: usize = 4 * 1024;
/// Size of a joined piece.
const JOINED_BYTES: usize = 32 * 1024;

/// The unread bytes of a body, in their order.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    /// The first piece. Most bodies are one piece.
    first: Bytes,
    /// What is behind it, once there was any.
    rest: Option<Box<Rest>>,
    length: usize,
}

#[derive(Debug, Default)]
struct Rest {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind all others, joined.
    joined: BytesMut,
}

impl ReceiveBuffer {
    /// Appends a piece.
    pub(super) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }

        let was_empty = self.is_empty();
        self.length += data.len();
        if was_empty {
            self.first = data;
        } else {
            self.rest.get_or_insert_default().push(data);
        }
    }

    /// Removes and returns the first bytes, or `None` if the buffer is empty.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        let piece = if self.first.is_empty() {
            self.rest.as_mut()?.pop()
        } else {
            std::mem::take(&mut self.first)
        };
        self.length -= piece.len();
        Some(piece)
    }

    /// Removes and returns all bytes.
    pub(super) fn take_all(&mut self) -> Bytes {
        let first = self.pop().unwrap_or_default();
        if self.is_empty() {
            return first;
        }

        let mut all = BytesMut::with_capacity(first.len() + self.length);
        all.extend_from_slice(&first);
        while let Some(piece) = self.pop() {
            all.extend_from_slice(&piece);
        }
        all.freeze()
    }

    /// Returns the number of unread bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Rest {
    fn push(&mut self, data: Bytes) {
        if data.len() < SMALL_BYTES {
            self.joined.extend_from_slice(&data);
            if self.joined.len() >= JOINED_BYTES {
                self.finish_joined();
            }
        } else {
            self.finish_joined();
            self.pieces.push_back(data);
        }
    }

    fn pop(&mut self) -> Bytes {
        match self.pieces.pop_front() {
            Some(piece) => piece,
            None => std::mem::take(&mut self.joined).freeze(),
        }
    }

    fn finish_joined(&mut self) {
        if !self.joined.is_empty() {
            let piece = std::mem::take(&mut self.joined).freeze();
            self.pieces.push_back(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_pieces_cost_no_more_than_their_bytes() {
        let mut buffer = ReceiveBuffer::default();
        let message = Bytes::from(vec![7; 32 * 1024]);

        for at in 0..10_000 {
            buffer.push(message.slice(at..=at));
        }
        buffer.pop();

        assert!(
            message.is_unique(),
            "only the first piece is kept as it came"
        );
        let rest = buffer.rest.unwrap();
        let capacity = rest.joined.capacity();
        assert!(capacity <= 4 * 10_000, "{capacity}");
        assert!(rest.pieces.is_empty());
    }

    proptest! {
        #[test]
        fn every_byte_is_read_in_its_order(
            steps in proptest::collection::vec((0..9000_usize, 0..3_usize), 1..60),
        ) {
            let mut buffer = ReceiveBuffer::default();
            let mut pushed = Vec::new();
            let mut popped = Vec::new();

            for (length, pops) in steps {
                let data: Vec<u8> = (0..length).map(|i| (i + pushed.len()) as u8).collect();
                pushed.extend_from_slice(&data);
                buffer.push(Bytes::from(data));
                for _ in 0..pops {
                    popped.extend(buffer.pop().into_iter().flatten());
                }
            }
            prop_assert_eq!(buffer.len(), pushed.len() - popped.len());

            while let Some(piece) = buffer.pop() {
                prop_assert!(!piece.is_empty());
                popped.extend_from_slice(&piece);
            }
            prop_assert_eq!(pushed, popped);
        }
    }
}
