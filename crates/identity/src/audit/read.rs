//! Lines of a file, with a bound: a damaged file may have a line without an end.

use std::io::{self, BufRead, Read};

use super::MAX_LINE_BYTES;

/// What is read at once of a line that is too long.
const SKIPPED_BYTES: u64 = 64 * 1024;

/// A reader of lines.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    line: Vec<u8>,
}

/// A line as it is in the file.
#[derive(Debug, PartialEq, Eq)]
pub enum RawLine<'a> {
    /// A line, without its newline.
    Whole(&'a [u8]),
    /// The end of the file, which has no newline.
    Torn(&'a [u8]),
    /// A line of more than [`MAX_LINE_BYTES`].
    TooLong,
}

impl<R: BufRead> LineReader<R> {
    /// Returns a reader of the lines of a file.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
        }
    }

    /// Returns the next line, `None` at the end.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<RawLine<'_>>> {
        self.line.clear();
        let most = MAX_LINE_BYTES as u64 + 1;
        let mut part = self.reader.by_ref().take(most);
        if part.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.ends_with(b"\n") {
            self.line.pop();
            return Ok(Some(RawLine::Whole(&self.line)));
        }
        if self.line.len() <= MAX_LINE_BYTES {
            return Ok(Some(RawLine::Torn(&self.line)));
        }

        while !self.line.ends_with(b"\n") {
            self.line.clear();
            let mut part = self.reader.by_ref().take(SKIPPED_BYTES);
            if part.read_until(b'\n', &mut self.line)? == 0 {
                break;
            }
        }
        Ok(Some(RawLine::TooLong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_not_collected() {
        let long = vec![b'x'; 3 * MAX_LINE_BYTES];
        let file = [b"one\n", long.as_slice(), b"\n\ntwo\ntorn"].concat();
        let mut lines = LineReader::new(file.as_slice());

        assert_eq!(lines.next_line().unwrap(), Some(RawLine::Whole(b"one")));
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::TooLong));
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::Whole(b"")));
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::Whole(b"two")));
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::Torn(b"torn")));
        assert_eq!(lines.next_line().unwrap(), None);

        let mut lines = LineReader::new(long.as_slice());
        assert_eq!(lines.next_line().unwrap(), Some(RawLine::TooLong));
        assert_eq!(lines.next_line().unwrap(), None);
    }
}
