//! Reads event streams: lines with any of the three line ends (CRLF, LF, CR), a byte order mark
//! before the first line, and the data of events.

use std::ops::Range;

/// The character that may precede the first line of a stream and has no meaning there.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the place of each complete line in the beginning of a stream, without its line end and
/// without a byte order mark.
///
/// A CR at the end of `bytes` ends its line, although an LF that belongs to it may follow.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = if bytes.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    std::iter::from_fn(move || {
        let (length, line_end) = first_line(&bytes[start..])?;
        let line = start..start + length;
        start = line.end + line_end;
        Some(line)
    })
}

/// Returns the length of the first line and the length of its line end, `None` if it has not
/// ended.
fn first_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let length = bytes
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))?;
    let is_pair = bytes[length..].starts_with(b"\r\n");
    Some((length, if is_pair { 2 } else { 1 }))
}

/// Returns what precedes the line end at the end of `bytes`, `None` if they end inside a line.
pub(super) fn without_line_end(bytes: &[u8]) -> Option<&[u8]> {
    bytes
        .strip_suffix(b"\r\n")
        .or_else(|| bytes.strip_suffix(b"\n"))
        .or_else(|| bytes.strip_suffix(b"\r"))
}

/// An event has more bytes than the reader holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {max_bytes} bytes")]
pub struct EventTooLargeError {
    /// The bound in bytes.
    pub max_bytes: usize,
}

/// Collects the data of events from a stream that arrives in pieces. Other fields and comments are
/// skipped.
#[derive(Debug)]
pub struct EventReader {
    /// How many bytes of an unfinished line and of an event's data are held together.
    max_bytes: usize,
    /// The line that has begun.
    line: Vec<u8>,
    /// The data of the event that has begun.
    data: Vec<u8>,
    /// The last piece ended with a CR: an LF at the beginning of the next belongs to it.
    after_return: bool,
    is_first_line: bool,
}

impl EventReader {
    /// A reader at the beginning of a stream.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            line: Vec::new(),
            data: Vec::new(),
            after_return: false,
            is_first_line: true,
        }
    }

    /// Reads from `piece` up to the end of the next event and returns the event's data. `None`
    /// if the piece has no further event; then all of it has been read.
    ///
    /// # Errors
    ///
    /// An event is too large. The reader must not be used further.
    pub fn next_event(&mut self, piece: &mut &[u8]) -> Result<Option<Vec<u8>>, EventTooLargeError> {
        if std::mem::take(&mut self.after_return) {
            *piece = piece.strip_prefix(b"\n").unwrap_or(piece);
        }

        while let Some((length, line_end)) = first_line(piece) {
            self.extend_line(&piece[..length])?;
            let is_return = piece[length] == b'\r' && line_end == 1;
            *piece = &piece[length + line_end..];
            self.after_return = is_return && piece.is_empty();

            if let Some(data) = self.end_line() {
                return Ok(Some(data));
            }
        }

        self.extend_line(piece)?;
        *piece = &[];
        Ok(None)
    }

    /// Returns how many bytes are held: those of the unfinished line and of the event's data.
    pub(super) fn held_bytes(&self) -> usize {
        self.line.len() + self.data.len()
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), EventTooLargeError> {
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.data.len() > self.max_bytes {
            return Err(EventTooLargeError {
                max_bytes: self.max_bytes,
            });
        }
        Ok(())
    }

    /// Takes in a complete line. Returns the event's data if the line ends an event that has some.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if self.is_first_line => rest,
            _ => &line,
        };
        self.is_first_line = false;

        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then_some(data);
        }
        if let Some(value) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of all events of a stream that arrives in pieces of `size` bytes.
    fn events(stream: &str, size: usize) -> Vec<String> {
        let mut reader = EventReader::new(1000);
        let mut events = Vec::new();
        for mut piece in stream.as_bytes().chunks(size) {
            while let Some(data) = reader.next_event(&mut piece).unwrap() {
                events.push(String::from_utf8(data).unwrap());
            }
        }
        events
    }

    #[test]
    fn events_are_found_with_any_line_end_however_they_are_cut() {
        let stream = "\u{feff}data: 1\n\n: comment\nid: 1\ndata:\n\nevent: x\ndata:2\ndata: 3\n\n";
        for line_end in ["\n", "\r\n", "\r"] {
            let stream = stream.replace('\n', line_end);
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(events(&stream, size), ["1", "2\n3"], "{line_end:?} {size}");
            }
        }
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_complete() {
        assert_eq!(events("data: 1\n", 5), [""; 0]);
    }

    #[test]
    fn a_mark_inside_the_stream_is_part_of_its_line() {
        assert_eq!(events("data: 1\n\n\u{feff}data: 2\n\n", 1000), ["1"]);
    }

    #[test]
    fn more_bytes_than_the_bound_are_an_error() {
        let mut line = &[b'x'; 1001][..];
        let mut many = &b"data: 12345\n".repeat(100)[..];

        assert!(EventReader::new(1000).next_event(&mut line).is_err());
        assert!(EventReader::new(400).next_event(&mut many).is_err());
        assert!(
            EventReader::new(1000)
                .next_event(&mut &[b'x'; 1000][..])
                .is_ok()
        );
    }

    #[test]
    fn the_places_of_lines_exclude_line_ends_and_the_mark() {
        let places: Vec<_> = lines(b"\xef\xbb\xbfa\r\n\nbc\rd").collect();

        assert_eq!(places, [3..4, 6..6, 7..9]);
    }
}
