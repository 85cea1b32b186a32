//! A client that reads Server-Sent Events.

use crate::harness::soon;

/// The event stream of one answer. Dropping it closes the connection.
pub(crate) struct EventStream {
    answer: reqwest::Response,
    buffer: Vec<u8>,
    /// The part of the buffer that contains no end of an event.
    scanned: usize,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) data: String,
}

/// The stream broke off before its clean end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StreamBrokenError;

impl EventStream {
    /// Reads the events of an answer, which must be an event stream.
    pub(crate) fn of(answer: reqwest::Response) -> Self {
        assert_eq!(answer.headers()["content-type"], "text/event-stream");

        Self {
            answer,
            buffer: Vec::new(),
            scanned: 0,
        }
    }

    /// Returns the next event, `None` at the clean end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, StreamBrokenError> {
        loop {
            let end = valid_prefix(&self.buffer[self.scanned..]).find("\n\n");
            if let Some(end) = end {
                let rest = self.buffer.split_off(self.scanned + end + 2);
                let event = std::mem::replace(&mut self.buffer, rest);
                self.scanned = 0;
                return Ok(Some(Event::parse(&String::from_utf8(event).unwrap())));
            }

            self.scanned = self.buffer.len() - usize::from(self.buffer.ends_with(b"\n"));
            match soon("the stream goes on", self.answer.chunk()).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => {
                    assert!(self.buffer.is_empty(), "half an event");
                    return Ok(None);
                }
                Err(_) => return Err(StreamBrokenError),
            }
        }
    }

    /// Returns the next event; panics at the end of the stream.
    pub(crate) async fn event(&mut self) -> Event {
        self.next()
            .await
            .unwrap()
            .expect("an event, not the end of the stream")
    }

    /// Returns the JSON-RPC message of the next event that has data.
    pub(crate) async fn message(&mut self) -> serde_json::Value {
        loop {
            let event = self.event().await;
            if !event.data.is_empty() {
                return serde_json::from_str(&event.data).unwrap();
            }
        }
    }
}

/// Returns the bytes as text, up to a last character that has not arrived completely.
fn valid_prefix(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes)
        .unwrap_or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap())
}

impl Event {
    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::to_owned)
        };

        Self {
            id: field("id: "),
            retry: field("retry: "),
            data: field("data: ").expect("data"),
        }
    }
}
