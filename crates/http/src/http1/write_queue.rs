//! Bytes on their way to a stream: small ones are copied together, large ones are sent from where they are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::response_head::write_chunk_size;

/// Up to how many bytes a piece is copied: that costs less than a second slice.
const COPIED_BYTES: usize = 4 * 1024;
/// How many copied bytes are enough for one write.
const ENOUGH_BYTES: usize = 16 * 1024;
/// The most room that is kept between two messages, in bytes.
const KEPT_BYTES: usize = 16 * 1024;

/// Bytes that are to be written, in their order: `copied`, `piece`, `behind`, `end`.
#[derive(Default)]
pub(crate) struct WriteQueue {
    copied: Vec<u8>,
    written: usize,
    piece: Bytes,
    behind: &'static [u8],
    end: &'static [u8],
    needs_flush: bool,
}

impl WriteQueue {
    /// Returns where the head of a message is written, with nothing before it.
    pub(crate) fn head(&mut self) -> &mut Vec<u8> {
        self.needs_flush = true;
        &mut self.copied
    }

    /// Adds a piece of a body, and what frames it behind. Only when it [has room](Self::has_room).
    pub(crate) fn push(&mut self, piece: Bytes, behind: &'static [u8]) {
        self.needs_flush = true;
        if piece.len() <= COPIED_BYTES {
            self.copied.extend_from_slice(&piece);
            self.copied.extend_from_slice(behind);
        } else {
            self.piece = piece;
            self.behind = behind;
        }
    }

    /// Adds a piece of a body as a chunk (RFC 9112, 7.1), as [`push`](Self::push) does. One without data
    /// would be the last.
    pub(crate) fn push_chunk(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            write_chunk_size(piece.len(), &mut self.copied);
            self.push(piece, b"\r\n");
        }
    }

    /// Adds the end of a body.
    pub(crate) fn push_end(&mut self, end: &'static [u8]) {
        self.needs_flush = true;
        if self.piece.is_empty() && self.behind.is_empty() {
            self.copied.extend_from_slice(end);
        } else {
            self.end = end;
        }
    }

    /// Returns whether more is best added before the next write.
    pub(crate) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.behind.is_empty() && self.copied.len() < ENOUGH_BYTES
    }

    /// Returns whether everything was written and flushed.
    pub(crate) fn is_empty(&self) -> bool {
        !self.needs_flush
    }

    /// Writes everything, and flushes it.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.needs_flush {
            return Poll::Ready(Ok(()));
        }
        loop {
            let copied = self.copied.get(self.written..).unwrap_or_default();
            let has_slices =
                !(self.piece.is_empty() && self.behind.is_empty() && self.end.is_empty());
            let bytes = if has_slices {
                let slices = [copied, &self.piece, self.behind, self.end].map(IoSlice::new);
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?
            } else if copied.is_empty() {
                break;
            } else {
                ready!(Pin::new(&mut *stream).poll_write(cx, copied))?
            };
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(bytes);
        }

        self.copied.clear();
        self.copied.shrink_to(KEPT_BYTES);
        self.written = 0;
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.needs_flush = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut bytes: usize) {
        let of_copied = bytes.min(self.copied.len() - self.written);
        self.written += of_copied;
        bytes -= of_copied;
        let of_piece = bytes.min(self.piece.len());
        self.piece.advance(of_piece);
        bytes -= of_piece;
        if self.piece.is_empty() {
            // Even an empty piece keeps the memory that it is of.
            self.piece = Bytes::new();
        }
        for slice in [&mut self.behind, &mut self.end] {
            let of_slice = bytes.min(slice.len());
            *slice = slice.get(of_slice..).unwrap_or_default();
            bytes -= of_slice;
        }
    }
}
