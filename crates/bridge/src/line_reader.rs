//! The lines that a program writes: MCP's framing on standard output (MCP 2025-11-25, stdio).
//!
//! The content of a line is not parsed. A line is whole or it is an error: none is cut or skipped,
//! for it may be the response that a call waits for.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use llamapool_http::CountedMemory;
use llamapool_limits::{MemoryAccount, ShareError};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// How much is read at once. This much memory is held for every program that writes nothing.
const READ_BYTES: usize = 8 * 1024;
/// How long a line waits for memory, and how long it waits between two attempts. Meanwhile the
/// program is not read, and waits, too.
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);
const MEMORY_RETRY: Duration = Duration::from_millis(50);
/// UTF-8's byte order mark, which some programs write at the beginning.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads the lines of a source.
pub(crate) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    /// So many bytes of the buffer contain no line end.
    searched: usize,
    max_bytes: usize,
    memory: CountedMemory,
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The line exceeds the bound, in bytes.
    #[error("it wrote a line of more than {0} bytes, see PROVIDER_MAX_MESSAGE_BYTES")]
    TooLong(usize),
    /// There was no memory for the line.
    #[error("there was no memory for a line of its output: {0}; see MAX_MEMORY")]
    OutOfMemory(ShareError),
    /// The source cannot be read.
    #[error("its output cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Creates a reader of lines of up to `max_bytes`.
    pub(crate) fn new(source: R, max_bytes: usize, memory: &MemoryAccount) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            searched: 0,
            max_bytes,
            memory: CountedMemory::new(memory),
        }
    }

    /// Counts what is read from now on in another account. If that has no room for the line that is
    /// being read, nothing changes.
    pub(crate) fn count_in(&mut self, memory: &MemoryAccount) {
        let mut memory = CountedMemory::new(memory);
        if memory.cover(self.buffer.len()).is_ok() {
            self.memory = memory;
        }
    }

    /// Returns the next line that is not blank, without its line end; `None` at the end of the
    /// source. Bytes after the last line end count as a line. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            while let Some(end) = memchr(b'\n', &self.buffer[self.searched..]) {
                let mut line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                line.truncate(line.len() - 1);
                let held = line.len();
                let line = self.memory.seal(line.freeze(), held);
                if let Some(line) = content(line) {
                    return Ok(Some(line));
                }
            }

            self.searched = self.buffer.len();
            if self.searched > self.max_bytes {
                return Err(LineError::TooLong(self.max_bytes));
            }

            self.reserve().await?;
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                self.searched = 0;
                return Ok(content(self.buffer.split().freeze()));
            }
        }
    }

    /// Makes room for one read. The buffer of a long line doubles, so that the line is not copied
    /// again and again; its memory is counted before it is taken.
    async fn reserve(&mut self) -> Result<(), LineError> {
        if self.buffer.capacity() - self.buffer.len() >= READ_BYTES / 2 {
            return Ok(());
        }
        let more = READ_BYTES.max(self.buffer.len());
        let deadline = Instant::now() + MEMORY_PATIENCE;
        while let Err(error) = self.memory.cover(self.buffer.len() + more) {
            if Instant::now() >= deadline {
                return Err(LineError::OutOfMemory(error));
            }
            tokio::time::sleep(MEMORY_RETRY).await;
        }
        self.buffer.reserve(more);
        Ok(())
    }
}

/// Returns a line without a byte order mark and a carriage return; `None` if the rest is blank.
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
    use llamapool_limits::{Claim, MemoryBudget, Owner};
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn all(pieces: &[&[u8]], max_bytes: usize) -> (Vec<String>, Option<String>) {
        let (mut writer, reader) = tokio::io::duplex(1 << 20);
        let mut lines = LineReader::new(reader, max_bytes, &MemoryAccount::default());
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
    async fn lines_are_separated_and_blank_ones_are_skipped() {
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
    async fn a_character_that_a_read_cuts_is_whole_in_its_line() {
        let text = "ü".repeat(READ_BYTES);
        let (lines, _) = all(&[b"x", text.as_bytes(), b"\n"], 1 << 20).await;
        assert_eq!(lines, [format!("x{text}")]);
    }

    #[tokio::test]
    async fn only_a_line_above_the_bound_is_an_error() {
        let long = "x".repeat(1000);

        assert_eq!(
            all(&[long.as_bytes(), b"\n"], 1000).await.0,
            [long.as_str()]
        );

        let (lines, error) = all(&[b"a\n", long.as_bytes(), long.as_bytes()], 1000).await;
        assert_eq!(lines, ["a"]);
        assert!(error.unwrap().contains("more than 1000 bytes"));
    }

    /// A line for which there is no memory waits in the program's pipe until there is some.
    #[tokio::test(start_paused = true)]
    async fn a_long_line_waits_for_memory() {
        let claim = Claim {
            owner: Owner::of(&"all"),
            factor: usize::MAX,
        };
        let account = MemoryBudget::new(1 << 20).account([claim; 3]);
        let taken = account.take(1 << 20).unwrap();
        let (mut writer, reader) = tokio::io::duplex(1 << 20);
        let line = [vec![b'x'; 100_000], vec![b'\n']].concat();
        writer.write_all(&line).await.unwrap();
        let mut lines = LineReader::new(reader, 1 << 20, &account);
        let mut next = Box::pin(lines.next());

        assert!(futures_util::poll!(next.as_mut()).is_pending());

        drop(taken);
        let line = next.await.unwrap().unwrap();

        assert_eq!(line.len(), 100_000);
        assert!(account.budget().used() >= 100_000);

        drop(line);

        assert_eq!(account.budget().used(), 0);
    }
}
