//! The lines that a program writes: MCP's framing on standard output (MCP 2025-11-25, stdio).
//!
//! What a line says is not looked at. The one rule: a line is whole or it is an error; none is cut or skipped, for it may
//! be the answer that somebody waits for.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once. It is held for every program that says nothing.
const READ_BYTES: usize = 8 * 1024;
/// UTF-8's mark at the beginning of a text, which some programs write.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The lines of a source.
pub(crate) struct Lines<R> {
    source: R,
    held: BytesMut,
    /// So many of the held bytes are known to have no line end.
    looked: usize,
    max_bytes: usize,
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoLine {
    /// The line exceeds the bound.
    #[error("it wrote a line of more than {0} bytes, see PROVIDER_MAX_MESSAGE_BYTES")]
    TooLong(usize),
    /// The source cannot be read.
    #[error("its output cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The lines of a source, none of them longer than `max_bytes`.
    pub(crate) fn new(source: R, max_bytes: usize) -> Self {
        Self {
            source,
            held: BytesMut::new(),
            looked: 0,
            max_bytes,
        }
    }

    /// The next line that is not blank, without its line end; none at the end of the source. What stands behind the last
    /// line end counts as a line. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, NoLine> {
        loop {
            while let Some(end) = memchr(b'\n', &self.held[self.looked..]) {
                let mut line = self.held.split_to(self.looked + end + 1);
                self.looked = 0;
                line.truncate(line.len() - 1);
                if let Some(line) = content(line.freeze()) {
                    return Ok(Some(line));
                }
            }
            self.looked = self.held.len();
            if self.looked > self.max_bytes {
                return Err(NoLine::TooLong(self.max_bytes));
            }
            self.make_room();
            if self.source.read_buf(&mut self.held).await? == 0 {
                self.looked = 0;
                return Ok(content(self.held.split().freeze()));
            }
        }
    }

    /// Room for one read. A long line grows by doubling, so that it is not copied again and again.
    fn make_room(&mut self) {
        if self.held.capacity() - self.held.len() < READ_BYTES / 2 {
            self.held.reserve(READ_BYTES.max(self.held.len()));
        }
    }
}

/// What is between the mark at its beginning and the rest of a line end, if that is anything.
fn content(mut line: Bytes) -> Option<Bytes> {
    if line.starts_with(BOM) {
        line.advance(BOM.len());
    }
    if line.ends_with(b"\r") {
        line.truncate(line.len() - 1);
    }
    let is_blank = line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    (!is_blank).then_some(line)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn all(pieces: &[&[u8]], max_bytes: usize) -> (Vec<String>, Option<String>) {
        let (mut writer, reader) = tokio::io::duplex(1 << 20);
        let mut lines = Lines::new(reader, max_bytes);
        for piece in pieces {
            writer.write_all(piece).await.unwrap();
        }
        drop(writer);
        let mut found = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => found.push(String::from_utf8(line.to_vec()).unwrap()),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_told_apart_however_they_end_and_blank_ones_are_none() {
        let (lines, error) = all(
            &[b"\xef\xbb\xbf{1}\r\n\n \r\n{2}\n", b"\t\n{3", b"}\n{4}"],
            100,
        )
        .await;
        assert_eq!(
            (lines, error),
            (
                ["{1}", "{2}", "{3}", "{4}"].map(str::to_owned).to_vec(),
                None
            )
        );
    }

    #[tokio::test]
    async fn a_character_that_is_cut_by_a_read_is_whole_in_its_line() {
        let text = "ü".repeat(READ_BYTES);
        let (lines, _) = all(&[b"x", text.as_bytes(), b"\n"], 1 << 20).await;
        assert_eq!(lines, [format!("x{text}")]);
    }

    #[tokio::test]
    async fn a_line_above_the_bound_is_an_error_and_one_below_is_not() {
        let long = "x".repeat(1000);
        assert_eq!(
            all(&[long.as_bytes(), b"\n"], 1000).await.0,
            [long.as_str()]
        );
        let (lines, error) = all(&[b"a\n", long.as_bytes(), long.as_bytes()], 1000).await;
        assert_eq!(lines, ["a"]);
        assert!(error.unwrap().contains("more than 1000 bytes"));
    }
}
