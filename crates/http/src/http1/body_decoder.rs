//! The body of a message, found in the bytes behind its head (RFC 9112, sections 6 and 7).

use bytes::{Bytes, BytesMut};

use super::chunks::Chunks;

/// A body is not what its head announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection ended before the body.
    #[error("the body ended before its announced length")]
    Incomplete,
    /// A chunk is malformed, or its extensions are too long.
    #[error("a chunk is malformed")]
    Chunk,
    /// The trailers are malformed, too many or too long.
    #[error("the trailers are malformed or too large")]
    Trailers,
}

/// Finds a body in the bytes behind a head. Its pieces are slices of them.
#[derive(Debug)]
pub struct BodyDecoder(Framing);

#[derive(Debug)]
enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    /// A body until the end of the connection, which has come.
    Closed,
    Failed(BodyError),
}

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Bytes of the body, at least one.
    Data(Bytes),
    /// Nothing: more bytes are needed.
    NeedsMore,
    /// The end of the body.
    End,
}

impl BodyDecoder {
    /// Returns the decoder of a message without a body.
    pub fn empty() -> Self {
        Self::of_length(0)
    }

    /// Returns the decoder of a body with this many bytes.
    pub fn of_length(bytes: u64) -> Self {
        Self(Framing::Length(bytes))
    }

    /// Returns the decoder of a body in chunks.
    pub fn chunked() -> Self {
        Self(Framing::Chunked(Chunks::default()))
    }

    /// Returns the decoder of a body that ends with the connection.
    pub fn until_close() -> Self {
        Self(Framing::UntilClose)
    }

    /// Returns whether the body is over. That a body in chunks is over shows with its last data, if its
    /// end has arrived by then.
    pub fn is_ended(&self) -> bool {
        match &self.0 {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunks) => chunks.is_at_end(),
            Framing::Closed => true,
            Framing::UntilClose | Framing::Failed(_) => false,
        }
    }

    /// Returns how many bytes are still to come, `None` if that is not known.
    pub fn bytes_left(&self) -> Option<u64> {
        match &self.0 {
            Framing::Length(left) => Some(*left),
            _ if self.is_ended() => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece of the body off the front of `buffer`: all of it that is there in one piece.
    ///
    /// # Errors
    ///
    /// The bytes are not a body in chunks.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BodyError> {
        let bytes = match &mut self.0 {
            Framing::Length(0) | Framing::Closed => return Ok(Decoded::End),
            Framing::Length(left) => {
                let bytes = usize::try_from(*left).unwrap_or(usize::MAX);
                let bytes = bytes.min(buffer.len());
                *left -= bytes as u64;
                bytes
            }
            Framing::Chunked(chunks) => chunks.advance_to_data(buffer)?,
            Framing::UntilClose => buffer.len(),
            Framing::Failed(error) => return Err(*error),
        };
        if bytes == 0 {
            return Ok(if self.is_ended() {
                Decoded::End
            } else {
                Decoded::NeedsMore
            });
        }

        let data = buffer.split_to(bytes).freeze();
        if let Framing::Chunked(chunks) = &mut self.0 {
            chunks.took(bytes);
            // The end has mostly come with the last data. An error is the next piece's.
            if let Err(error) = chunks.advance_to_data(buffer) {
                self.0 = Framing::Failed(error);
            }
        }
        Ok(Decoded::Data(data))
    }

    /// Notes that the connection has ended, and no byte is left to be decoded.
    ///
    /// # Errors
    ///
    /// The body has no end yet.
    pub fn close(&mut self) -> Result<(), BodyError> {
        match &self.0 {
            Framing::UntilClose => self.0 = Framing::Closed,
            _ if self.is_ended() => {}
            _ => return Err(BodyError::Incomplete),
        }
        Ok(())
    }
}
