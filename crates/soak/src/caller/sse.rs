//! Reads server-sent events (the HTML standard) as a caller does: on its own, so that it does not
//! share a fault with llamapool.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// A reader that gets its bytes piece by piece.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// Bytes of a line that has not ended.
    line: Vec<u8>,
    event: Event,
}

impl EventReader {
    /// Takes the next piece, and returns the events that it completes.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let Some(length) = memchr::memchr(b'\n', rest) {
            self.line.extend_from_slice(&rest[..length]);
            rest = &rest[length + 1..];
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            events.extend(self.take_line(line.trim_end_matches('\r')));
        }
        self.line.extend_from_slice(rest);
        events
    }

    /// Takes one line. Returns the event that an empty line completes.
    fn take_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (event != Event::default()).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_their_bytes_are_cut() {
        let text = b": hello\n\nid: 7\r\ndata: one\r\ndata: two\r\n\r\ndata:three\n\ndata: half";
        let event = |id: Option<&str>, data: &str| Event {
            id: id.map(str::to_owned),
            data: data.to_owned(),
        };

        for cut in 0..text.len() {
            let mut reader = EventReader::default();
            let mut events = reader.take(&text[..cut]);
            events.extend(reader.take(&text[cut..]));

            assert_eq!(events, [event(Some("7"), "one\ntwo"), event(None, "three")]);
        }
    }
}
