//! An event stream as a client reads it.

use crate::harness::soon;

/// The stream. Dropping it leaves.
pub(crate) struct Events {
    answer: reqwest::Response,
    held: Vec<u8>,
    looked: usize,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) data: String,
}

/// The stream has broken off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BrokenOff;

impl Events {
    /// The events of an answer.
    pub(crate) fn of(answer: reqwest::Response) -> Self {
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self {
            answer,
            held: Vec::new(),
            looked: 0,
        }
    }

    /// The next event; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, BrokenOff> {
        loop {
            let end = text(&self.held[self.looked..]).find("\n\n");
            if let Some(end) = end {
                let rest = self.held.split_off(self.looked + end + 2);
                let event = std::mem::replace(&mut self.held, rest);
                self.looked = 0;
                return Ok(Some(Event::read(&String::from_utf8(event).unwrap())));
            }
            self.looked = self.held.len() - usize::from(self.held.ends_with(b"\n"));
            match soon("the stream goes on", self.answer.chunk()).await {
                Ok(Some(chunk)) => self.held.extend_from_slice(&chunk),
                Ok(None) => {
                    assert!(self.held.is_empty(), "half an event");
                    return Ok(None);
                }
                Err(_) => return Err(BrokenOff),
            }
        }
    }

    /// The next event, which must come.
    pub(crate) async fn event(&mut self) -> Event {
        self.next()
            .await
            .unwrap()
            .expect("an event, not the end of the stream")
    }

    /// The next event with a message.
    pub(crate) async fn message(&mut self) -> serde_json::Value {
        loop {
            let event = self.event().await;
            if !event.data.is_empty() {
                return serde_json::from_str(&event.data).unwrap();
            }
        }
    }
}

/// What is text of these bytes, up to a character that has not arrived whole.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes)
        .unwrap_or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap())
}

impl Event {
    fn read(text: &str) -> Self {
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
