//! Events of an answer: server-sent events and lines of JSON, cut out of pieces of any size.
//!
//! Each event keeps its exact bytes, separators included: all events one after the other are the
//! stream. Their meaning is in `content`.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The way in which a stream is divided into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events (WHATWG HTML, 9.2).
    Sse,
    /// One JSON value on each line, as Ollama sends them.
    Lines,
}

/// Cuts a stream into its events, however its bytes arrive.
///
/// The events that are not taken yet are in memory: take them after each [`push`](Self::push).
#[derive(Debug)]
pub struct EventReader {
    framing: Framing,
    max_event_bytes: usize,
    /// The bytes of the event that has begun.
    buffer: BytesMut,
    /// Where its current line begins.
    line: usize,
    /// Up to where no line ends.
    scanned: usize,
    /// The fields of it that are complete.
    fields: Fields,
    events: VecDeque<RawEvent>,
    /// The last line ended with a CR: an LF that follows is a part of that line end.
    after_cr: bool,
    at_start: bool,
    is_too_large: bool,
}

/// One event as it stands in the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawEvent {
    /// The exact bytes with their separators. The events of a stream one after the other are the
    /// stream.
    pub raw: Bytes,
    /// The field `event`, `None` if it is missing or empty.
    pub name: Option<Bytes>,
    /// The value of `data`, several lines joined by LF; or the line without white space around it.
    /// Empty if the event has none, as comments and blank lines have.
    pub data: Bytes,
}

/// An event of a stream is larger than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {max} bytes")]
pub struct EventTooLargeError {
    /// The bound in bytes.
    pub max: usize,
}

/// The fields of an event, as ranges of its bytes.
#[derive(Debug, Default)]
struct Fields {
    name: Option<(usize, usize)>,
    first_data: Option<(usize, usize)>,
    more_data: Vec<(usize, usize)>,
    /// A line that is neither a comment nor blank.
    has_some: bool,
}

impl Framing {
    /// Returns the framing of a `Content-Type`, `None` if it is not one of a stream of events.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);

        if is("text/event-stream") {
            Some(Self::Sse)
        } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl")
        {
            Some(Self::Lines)
        } else {
            None
        }
    }
}

impl EventReader {
    /// Creates a reader of events of at most `max_event_bytes`, separators included.
    pub fn new(framing: Framing, max_event_bytes: usize) -> Self {
        Self {
            framing,
            max_event_bytes,
            buffer: BytesMut::new(),
            line: 0,
            scanned: 0,
            fields: Fields::default(),
            events: VecDeque::new(),
            after_cr: false,
            at_start: true,
            is_too_large: false,
        }
    }

    /// Takes the next bytes of the stream. Events that are complete can be taken then, also after
    /// an error.
    ///
    /// # Errors
    ///
    /// [`EventTooLargeError`], now and for all further bytes.
    pub fn push(&mut self, piece: Bytes) -> Result<(), EventTooLargeError> {
        self.buffer.extend_from_slice(&piece);
        while !self.is_too_large && self.take_line() {}

        // Lines that belong to no event, such as comments, do not wait for one.
        if !self.fields.has_some && self.line > 0 {
            self.end_event(self.line);
        }
        if self.buffer.len() > self.max_event_bytes {
            self.is_too_large = true;
        }
        if self.is_too_large {
            return Err(EventTooLargeError {
                max: self.max_event_bytes,
            });
        }
        Ok(())
    }

    /// Returns the next complete event, `None` if there is none yet.
    // Not an iterator: after `None` there may be more.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<RawEvent> {
        self.events.pop_front()
    }

    /// Returns the next event after the end of the stream: those that are complete, then what
    /// follows the last separator. To be called until it returns `None`.
    ///
    /// A last event without a blank line counts, as runtimes end so: call this only where the
    /// stream has ended as it should.
    pub fn finish(&mut self) -> Option<RawEvent> {
        if !self.buffer.is_empty() && !self.is_too_large {
            let end = self.buffer.len();
            if self.line < end {
                self.read_line(self.line, end);
            }
            self.end_event(end);
        }
        self.next()
    }

    /// Takes one complete line. Returns `false` if there is none.
    fn take_line(&mut self) -> bool {
        if self.after_cr {
            match self.buffer.get(self.line) {
                None => return false,
                Some(b'\n') => self.line += 1,
                Some(_) => {}
            }
            self.after_cr = false;
        }

        self.scanned = self.scanned.max(self.line);
        let rest = &self.buffer[self.scanned..];
        let found = match self.framing {
            Framing::Sse => memchr2(b'\n', b'\r', rest),
            Framing::Lines => memchr(b'\n', rest),
        };
        let Some(found) = found else {
            self.scanned = self.buffer.len();
            return false;
        };

        let start = self.line;
        let end = self.scanned + found;
        self.line = end + 1;
        if self.buffer[end] == b'\r' {
            // An event does not wait for the LF that may follow its last CR.
            match self.buffer.get(end + 1) {
                None => self.after_cr = true,
                Some(b'\n') => self.line += 1,
                Some(_) => {}
            }
        }

        let is_blank = start == end;
        if !is_blank {
            self.read_line(start, end);
        }
        self.at_start = false;
        if is_blank || self.framing == Framing::Lines {
            self.end_event(self.line);
        }
        true
    }

    /// Reads the line between `start` and `end`.
    fn read_line(&mut self, start: usize, end: usize) {
        let mut start = start;
        if self.at_start && self.buffer[start..end].starts_with(BOM) {
            start += BOM.len();
        }

        let line = &self.buffer[start..end];
        if self.framing == Framing::Lines {
            let blank = line.len() - line.trim_ascii_start().len();
            let data = (start + blank, start + blank + line.trim_ascii().len());
            if data.0 < data.1 {
                self.fields.first_data = Some(data);
                self.fields.has_some = true;
            }
            return;
        }
        match field(line) {
            Field::Nothing => {}
            Field::Data(from) => {
                self.fields.has_some = true;
                let data = (start + from, end);
                match self.fields.first_data {
                    None => self.fields.first_data = Some(data),
                    Some(_) => self.fields.more_data.push(data),
                }
            }
            Field::Name(from) => {
                self.fields.has_some = true;
                self.fields.name = Some((start + from, end));
            }
            Field::Other => self.fields.has_some = true,
        }
    }

    /// Ends the current event before `end`, and begins the next one there.
    fn end_event(&mut self, end: usize) {
        let raw = self.buffer.split_to(end).freeze();
        let fields = std::mem::take(&mut self.fields);
        self.line = 0;
        self.scanned = 0;
        if raw.len() > self.max_event_bytes {
            self.is_too_large = true;
            return;
        }

        let name = fields.name.filter(|(from, to)| from < to);
        let name = name.map(|(from, to)| raw.slice(from..to));
        let data = match fields.first_data {
            None => Bytes::new(),
            Some((from, to)) if fields.more_data.is_empty() => raw.slice(from..to),
            Some((from, to)) => {
                let mut joined = raw[from..to].to_vec();
                for (from, to) in fields.more_data {
                    joined.push(b'\n');
                    joined.extend_from_slice(&raw[from..to]);
                }
                Bytes::from(joined)
            }
        };
        self.events.push_back(RawEvent { raw, name, data });
    }
}

/// A line of a server-sent event, with the place where its value begins.
enum Field {
    /// A comment.
    Nothing,
    Data(usize),
    Name(usize),
    /// `id`, `retry`, or one that means nothing.
    Other,
}

fn field(line: &[u8]) -> Field {
    let colon = memchr(b':', line).unwrap_or(line.len());
    let value = line.len().min(colon + 1);
    let value = value + usize::from(line.get(value) == Some(&b' '));

    match &line[..colon] {
        b"" => Field::Nothing,
        b"data" => Field::Data(value),
        b"event" => Field::Name(value),
        _ => Field::Other,
    }
}

impl RawEvent {
    /// Returns the places of the values of `data` in the bytes of a server-sent event, one for each
    /// line.
    pub(crate) fn data_lines(&self) -> Vec<std::ops::Range<usize>> {
        let mut lines = Vec::new();
        let mut start = 0;
        while start < self.raw.len() {
            let rest = &self.raw[start..];
            let end = start + memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &self.raw[start..end];
            let has_bom = start == 0 && line.starts_with(BOM);
            let bom = if has_bom { BOM.len() } else { 0 };
            if let Field::Data(from) = field(&line[bom..]) {
                lines.push(start + bom + from..end);
            }
            start = end + 1;
        }
        lines
    }
}
