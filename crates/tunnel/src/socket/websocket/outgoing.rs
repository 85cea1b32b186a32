//! A message to send, with room for its header in front, so that it is written without a copy.

use bytes::{Buf, BufMut, BytesMut};

use super::Role;
use super::header::{Header, MAX_HEADER_BYTES, Opcode};
use super::mask::apply_mask;

/// The content of a frame to send.
#[derive(Debug)]
pub(in crate::socket) struct Outgoing {
    /// As many bytes as the longest header has, and then the content.
    bytes: BytesMut,
}

impl Outgoing {
    /// Takes bytes that begin with [`MAX_HEADER_BYTES`] of no meaning.
    pub(in crate::socket) fn from_bytes_with_room(bytes: BytesMut) -> Self {
        debug_assert!(bytes.len() >= MAX_HEADER_BYTES);
        Self { bytes }
    }

    /// Copies the content.
    pub(in crate::socket) fn copy(content: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(MAX_HEADER_BYTES + content.len());
        bytes.put_bytes(0, MAX_HEADER_BYTES);
        bytes.extend_from_slice(content);
        Self { bytes }
    }

    #[cfg(test)]
    pub(in crate::socket) fn content(&self) -> &[u8] {
        &self.bytes[MAX_HEADER_BYTES..]
    }

    /// Returns the frame as this end sends it in its `role`.
    pub(super) fn into_frame(self, opcode: Opcode, role: Role) -> BytesMut {
        let mut bytes = self.bytes;
        let Some((room, content)) = bytes.split_first_chunk_mut() else {
            return BytesMut::new();
        };
        // Of a generator that cannot be predicted: a caller who chooses the content must not choose
        // the bytes on the wire (RFC 6455, 10.3).
        let mask = match role {
            Role::Client => Some(rand::random()),
            Role::Server => None,
        };
        if let Some(mask) = mask {
            apply_mask(content, mask);
        }
        let header_bytes = Header::write(room, opcode, content.len(), mask);
        bytes.advance(MAX_HEADER_BYTES - header_bytes);
        bytes
    }
}
