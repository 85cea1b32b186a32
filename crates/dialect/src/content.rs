//! The meaning of events: first content, progress, errors inside a 200, the orderly end,
//! and the position that a late error needs.

mod readers;

use crate::endpoint::Endpoint;
use crate::events::RawEvent;
use crate::members::{NotJsonError, decoded, each_member, is_filled};
use crate::repeated_chunk::RepeatedChunk;
use crate::runtime_error::RuntimeError;
use crate::usage::{Usage, UsageReader};

/// The last event of streams of chat and completions.
pub(crate) const DONE: &[u8] = b"[DONE]";
/// The most choices of one answer that are followed.
const MAX_CHOICES: usize = 128;

/// Follows the events of one answer.
#[derive(Debug)]
pub struct StreamReader {
    endpoint: Endpoint,
    has_content: bool,
    has_failed: bool,
    /// The dialect's last event came.
    has_ended: bool,
    /// The choices of chat and completions, and whether each has a `finish_reason`.
    choices: Vec<(u64, bool)>,
    usage: UsageReader,
    position: StreamPosition,
    /// The last event, if it was a chunk with nothing but text that later ones may repeat.
    repeated: Option<RepeatedChunk>,
    /// True if the last event was such a repetition.
    is_repetition: bool,
}

/// The meaning of one event.
#[derive(Debug, Clone, PartialEq)]
pub enum EventMeaning {
    /// An event of the dialect that comes before content, such as `response.created`.
    Prelude,
    /// Text, a tool call or the end of a choice. The first one is first content.
    Content,
    /// The share of the prompt that was read, 0.0 to 1.0 (llama.cpp with `return_progress`).
    Progress {
        /// The share.
        share: f32,
    },
    /// The runtime failed. Before first content it counts as if it had been the head. An event that
    /// is not JSON is one too, though not one that the runtime reported: see
    /// [`StreamReader::has_failed`].
    Error {
        /// The status that the error stands for, 400 to 599; 502 if it names none.
        status: u16,
        /// The runtime's words.
        message: String,
    },
    /// A comment, a sign of life, usage, or an event that is new to the dialect.
    Other,
    /// The last event of the dialect. It may be first content too: look at
    /// [`StreamReader::has_content`], and at [`StreamReader::is_complete`].
    End,
}

/// How far a stream is, for an error that is added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPosition {
    /// The id of the response, once an event had it. Only for `responses`.
    pub response_id: Option<String>,
    /// The id of the conversation that the response belongs to. Only for `responses`.
    pub conversation_id: Option<String>,
    /// The last `sequence_number`. Only for `responses`.
    pub sequence_number: Option<u64>,
}

impl StreamReader {
    /// Creates a reader of the stream of an endpoint. Where an endpoint has no events in this
    /// table, the head of the answer is first content.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            has_content: !has_events(endpoint),
            has_failed: false,
            has_ended: false,
            choices: Vec::new(),
            usage: UsageReader::default(),
            position: StreamPosition::default(),
            repeated: None,
            is_repetition: false,
        }
    }

    /// Takes the next event and returns what it is.
    pub fn event(&mut self, event: &RawEvent) -> EventMeaning {
        let repeated = self.repeated.as_ref();
        self.is_repetition = repeated.is_some_and(|one| one.string_of(&event.data).is_some());
        if self.is_repetition {
            // All else that it has was read with the chunk that it repeats.
            self.usage.content(1);
            return EventMeaning::Content;
        }
        self.repeated = None;

        if event.data.is_empty() || &*event.data == b"null" {
            return EventMeaning::Other;
        }
        if &*event.data == DONE {
            return self.done();
        }
        let Ok(data) = std::str::from_utf8(&event.data) else {
            return garbage(event);
        };

        let read = match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => self.chunk(event, data),
            Endpoint::Responses => self.response_event(event, data),
            Endpoint::Messages => self.message_event(data),
            Endpoint::OllamaChat | Endpoint::OllamaGenerate => self.ollama_line(data),
            _ => Ok(self.unknown_event(data)),
        };
        read.unwrap_or_else(|NotJsonError| garbage(event))
    }

    /// Returns `true` if the last event was equal to the one before it but for the text of its content.
    pub fn is_repetition(&self) -> bool {
        self.is_repetition
    }

    /// Returns `true` after first content.
    pub fn has_content(&self) -> bool {
        self.has_content
    }

    /// Returns `true` after an error that the runtime reported inside the stream. The caller gets
    /// that one, and no other after it.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Returns `true` if the answer is whole, provided that its body ends now and as it should.
    pub fn is_complete(&self) -> bool {
        if self.has_failed {
            return false;
        }
        match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => {
                let all_finished = self.choices.iter().all(|(_, finished)| *finished);
                (all_finished && !self.choices.is_empty()) || self.lacks_finish_reason()
            }
            endpoint => self.has_ended || !has_events(endpoint),
        }
    }

    /// Returns `true` if the answer is whole only by its `[DONE]`: the runtime names no
    /// `finish_reason` in streams, and is better asked without one.
    pub fn lacks_finish_reason(&self) -> bool {
        let none_finished = self.choices.iter().all(|(_, finished)| !finished);
        none_finished && !self.choices.is_empty() && self.has_content && self.has_ended
    }

    /// Returns the counts so far.
    pub fn usage(&self) -> Usage {
        self.usage.usage(self.endpoint)
    }

    /// Returns how far the stream is.
    pub fn position(&self) -> StreamPosition {
        self.position.clone()
    }

    fn done(&mut self) -> EventMeaning {
        match self.endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => {
                self.has_ended = true;
                EventMeaning::End
            }
            _ => EventMeaning::Other,
        }
    }

    fn failed(&mut self, error: RuntimeError) -> EventMeaning {
        self.has_failed = true;
        EventMeaning::Error {
            status: error.status,
            message: error.message,
        }
    }

    /// Returns what an event is that had content or not.
    fn content_or(&mut self, has_content: bool, otherwise: EventMeaning) -> EventMeaning {
        if has_content {
            self.has_content = true;
            return EventMeaning::Content;
        }
        match otherwise {
            EventMeaning::Prelude if self.has_content => EventMeaning::Other,
            otherwise => otherwise,
        }
    }

    fn end(&mut self) -> EventMeaning {
        self.has_content = true;
        self.has_ended = true;
        EventMeaning::End
    }
}

/// Returns `true` if this module has the events of the endpoint.
fn has_events(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::ChatCompletions
            | Endpoint::Completions
            | Endpoint::Responses
            | Endpoint::Messages
            | Endpoint::OllamaChat
            | Endpoint::OllamaGenerate
    )
}

/// Returns `true` if a delta has more than a role.
pub(crate) fn delta_has_content(delta: &str) -> Result<bool, NotJsonError> {
    Ok(content_of_delta(delta)? != DeltaContent::None)
}

/// The content of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeltaContent<'a> {
    None,
    /// One string, with its quotes.
    Text(&'a str),
    /// Tool calls, or more than one of anything.
    Other,
}

/// Returns what a delta has besides its role.
fn content_of_delta(delta: &str) -> Result<DeltaContent<'_>, NotJsonError> {
    let mut content = DeltaContent::None;
    each_member(delta, |member| {
        if member.name != "role" && is_filled(member.value) {
            content = match content {
                DeltaContent::None if member.value.starts_with('"') => {
                    DeltaContent::Text(member.value)
                }
                _ => DeltaContent::Other,
            };
        }
        Ok::<(), NotJsonError>(())
    })?;
    Ok(content)
}

/// Returns the type of an event: that of its data, else its name.
pub(crate) fn event_kind(event: &RawEvent, kind: Option<&str>) -> String {
    let name = || {
        let name = event.name.as_deref().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    kind.and_then(decoded).unwrap_or_else(name)
}

fn garbage(event: &RawEvent) -> EventMeaning {
    let error = RuntimeError::garbage(&event.data);
    EventMeaning::Error {
        status: error.status,
        message: error.message,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn event(data: &str) -> RawEvent {
        RawEvent {
            data: Bytes::from(data.to_owned()),
            ..RawEvent::default()
        }
    }

    /// Events of which each is there again and again, with one text or another.
    fn stream() -> impl Strategy<Value = Vec<RawEvent>> {
        let chunk = prop::sample::select(vec![
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":T}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":T},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":1,"delta":{"content":T}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":T}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":T,"reasoning":"r"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":T},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":T}}],"prompt_progress":{"total":9,"processed":3}}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":T}}],"error":{"message":"no"}}"#,
            r#"{"choices":[{"index":0,"text":T}],"timings":{"predicted_n":2,"prompt_n":1}}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":T}}]}}]}"#,
            r#"{"choices":[{"delta":{"content":T}},{"index":1,"delta":{"content":"b"}}]}"#,
            "[DONE]",
            "",
            "null",
            "{T}",
        ]);
        let text = prop::sample::select(vec![
            r#""a""#,
            r#""b\n""#,
            r#""""#,
            "null",
            r#"["x"]"#,
            r#"{"x":1}"#,
        ]);
        prop::collection::vec(chunk, 1..4).prop_flat_map(move |chunks| {
            let one = (prop::sample::select(chunks), text.clone());
            let one = one.prop_map(|(chunk, text)| event(&chunk.replace('T', text)));
            prop::collection::vec(one, 1..12)
        })
    }

    proptest! {
        #[test]
        fn a_repetition_is_read_as_a_parse_would_read_it(events in stream()) {
            let mut quick = StreamReader::new(Endpoint::ChatCompletions);
            let mut parsed = StreamReader::new(Endpoint::ChatCompletions);

            for event in &events {
                parsed.repeated = None;
                prop_assert_eq!(quick.event(event), parsed.event(event));
                prop_assert_eq!(quick.usage(), parsed.usage());
                prop_assert_eq!(quick.has_content(), parsed.has_content());
                prop_assert_eq!(quick.is_complete(), parsed.is_complete());
                prop_assert_eq!(quick.has_failed(), parsed.has_failed());
            }
        }
    }

    #[test]
    fn only_a_chunk_with_another_text_is_a_repetition() {
        let chunk = |text: &str| {
            let chunk = r#"{"choices":[{"index":0,"delta":{"content":"T"},"finish_reason":null}]}"#;
            event(&chunk.replace('T', text))
        };
        let mut reader = StreamReader::new(Endpoint::ChatCompletions);
        let mut is_repetition = |event: &RawEvent| {
            reader.event(event);
            reader.is_repetition()
        };

        assert!(!is_repetition(&chunk("a")));
        assert!(is_repetition(&chunk("b")));
        assert!(is_repetition(&chunk("b")));
        assert!(!is_repetition(&chunk("")));
        assert!(!is_repetition(&chunk("c")));
        assert!(!is_repetition(&event("[DONE]")));
        assert!(!is_repetition(&chunk("d")));
    }
}
