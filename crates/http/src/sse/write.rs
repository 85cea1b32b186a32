//! Writes events.

use std::fmt::{Display, Write};

use bytes::{BufMut, BytesMut};

/// The fields of an event that precede its data.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFields<I> {
    /// The id by which a client resumes the stream after this event.
    pub id: Option<I>,
    /// How long a client waits before it resumes a stream that broke off, in milliseconds.
    pub retry_ms: Option<u32>,
}

impl<I: Display> EventFields<I> {
    /// Appends the fields and the name of the data field, so that the data and a blank line can
    /// follow.
    pub fn write(&self, out: &mut BytesMut) {
        // Writing to memory does not fail.
        if let Some(id) = &self.id {
            let _ = writeln!(out, "id: {id}");
        }
        if let Some(milliseconds) = self.retry_ms {
            let _ = writeln!(out, "retry: {milliseconds}");
        }
        out.put_slice(b"data: ");
    }
}

/// Appends one event without an id. `data` must be a single line, as JSON is.
pub fn write_event(out: &mut BytesMut, data: &[u8]) {
    out.reserve(data.len() + b"data: \n\n".len());
    EventFields::<&str>::default().write(out);
    out.put_slice(data);
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_exactly_these_bytes() {
        let mut out = BytesMut::new();
        write_event(&mut out, b"{}");
        EventFields {
            id: Some(7),
            retry_ms: Some(1000),
        }
        .write(&mut out);

        assert_eq!(&out[..], b"data: {}\n\nid: 7\nretry: 1000\ndata: ");
    }
}
