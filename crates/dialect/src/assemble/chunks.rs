//! Chat and completions from their chunks.

use bytes::Bytes;

use super::joined::{Joined, Room, Value, close, write_name};
use super::tool_calls::{ToolCalls, add_function, write_object};
use super::{AssembleError, utf8};
use crate::content::DONE;
use crate::members::{
    Member, NotJsonError, each_item, each_member, is_filled, is_nothing, text_inside, whole_number,
};
use crate::repeated_chunk::RepeatedChunk;
use crate::runtime_error::ErrorMembers;

/// The most choices of one answer.
const MAX_CHOICES: usize = 128;
/// Members that come behind the choices, as in answers without a stream.
const LAST_MEMBERS: &[&str] = &["usage", "timings"];

/// The place of the text of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message.
    Chat,
    /// A plain text.
    Completion,
}

/// An answer of chat or completions, as far as it came.
#[derive(Debug)]
pub(super) struct Chunks {
    kind: Kind,
    room: Room,
    members: Joined,
    choices: Vec<Choice>,
    is_done: bool,
    /// The last chunk, if it was one with nothing but text that later ones may repeat.
    repeated: Option<Repeated>,
}

/// A chunk with one choice that has nothing but text.
#[derive(Debug)]
struct Repeated {
    chunk: RepeatedChunk,
    /// The place of its choice.
    choice: usize,
    /// The member of the content that the text is joined to.
    name: String,
}

/// What a chunk has to join, as far as it is one string.
#[derive(Debug, Default)]
struct Added<'a> {
    choices: usize,
    choice: usize,
    strings: usize,
    /// The string with its quotes, and the name of its member.
    text: Option<(String, &'a str)>,
    /// True if something is added that is no string: joined again, it would be there twice.
    has_more: bool,
}

#[derive(Debug, Default)]
struct Choice {
    index: u64,
    /// The value of `finish_reason`, `None` while it is null or empty.
    finish_reason: Option<String>,
    /// The message, or the text.
    content: Joined,
    tool_calls: ToolCalls,
    /// The older form of a tool call.
    function_call: Joined,
    has_logprobs: bool,
    logprobs: Joined,
    members: Joined,
    has_content: bool,
}

impl Chunks {
    pub(super) fn new(kind: Kind, max_bytes: usize) -> Self {
        Self {
            kind,
            room: Room::new(max_bytes),
            members: Joined::default(),
            choices: Vec::new(),
            is_done: false,
            repeated: None,
        }
    }

    pub(super) fn event(&mut self, data: &Bytes) -> Result<(), AssembleError> {
        if data == DONE {
            self.is_done = true;
            return Ok(());
        }
        if let Some(repeated) = &self.repeated
            && let Some(text) = repeated.chunk.string_of(data)
        {
            // Its other members are those of the chunk before, which are there.
            let choice = &mut self.choices[repeated.choice];
            return choice.content.join(&repeated.name, text, &mut self.room);
        }
        self.repeated = None;

        let mut added = Added::default();
        let text = utf8(data)?;
        self.chunk(text, &mut added)?;
        self.repeated = added.repeatable().map(|(name, string)| Repeated {
            chunk: RepeatedChunk::new(data, text, string),
            choice: added.choice,
            name: name.to_owned(),
        });
        Ok(())
    }

    fn chunk<'a>(&mut self, text: &'a str, added: &mut Added<'a>) -> Result<(), AssembleError> {
        let mut errors = ErrorMembers::default();
        each_member(text, |member| {
            let name = &*member.name;
            errors.take(name, member.value);
            match name {
                "choices" if member.value == "null" => Ok(()),
                "choices" => each_item(member.value, |choice| self.add_choice(choice, added)),
                "object" => self.members.last(name, self.kind.object(), &mut self.room),
                // Answers without a stream have neither.
                "error" | "prompt_progress" => Ok(()),
                _ => self.members.last(name, member.value, &mut self.room),
            }
        })?;
        match errors.error() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    pub(super) fn finish(mut self, ended_orderly: bool) -> Result<Bytes, AssembleError> {
        self.finish_choices(ended_orderly)?;

        let mut out = String::from("{");
        let is_last = |name: &str| LAST_MEMBERS.contains(&name);
        self.members.write_chosen(&mut out, |name| !is_last(name));
        if self.members.get("object").is_none() {
            write_name("object", &mut out);
            out.push_str(self.kind.object());
            out.push(',');
        }

        write_name("choices", &mut out);
        out.push('[');
        for choice in &self.choices {
            choice.write(self.kind, &mut out);
            out.push(',');
        }
        close(&mut out, ']');
        out.push(',');
        self.members.write_chosen(&mut out, is_last);
        close(&mut out, '}');
        Ok(Bytes::from(out))
    }

    /// Sorts the choices and gives each an end, if the answer is whole.
    fn finish_choices(&mut self, ended_orderly: bool) -> Result<(), AssembleError> {
        let unfinished = |choice: &&mut Choice| choice.finish_reason.is_none();
        let missing = self.choices.iter_mut().filter(unfinished).count();
        let has_content = self.choices.iter().any(|choice| choice.has_content);

        let is_whole = match missing {
            0 => !self.choices.is_empty() && (ended_orderly || self.is_done),
            // A runtime that names no `finish_reason` at all has but `[DONE]` to end with.
            _ => missing == self.choices.len() && has_content && ended_orderly && self.is_done,
        };
        if !is_whole {
            return Err(AssembleError::Incomplete {
                expected: "a `finish_reason` of every choice",
            });
        }
        for choice in &mut self.choices {
            let by_calls = !choice.tool_calls.is_empty();
            let reason = if by_calls {
                "\"tool_calls\""
            } else {
                "\"stop\""
            };
            choice
                .finish_reason
                .get_or_insert_with(|| reason.to_owned());
        }
        self.choices.sort_by_key(|choice| choice.index);
        Ok(())
    }

    fn add_choice<'a>(
        &mut self,
        text: &'a str,
        added: &mut Added<'a>,
    ) -> Result<(), AssembleError> {
        let mut index = 0;
        let mut rest = Vec::new();
        each_member(text, |member| {
            match &*member.name {
                "index" => index = whole_number(member.value).unwrap_or(0),
                _ => rest.push(member),
            }
            Ok::<(), NotJsonError>(())
        })?;

        let found = self.choices.iter().position(|choice| choice.index == index);
        let i = match found {
            Some(i) => i,
            None if self.choices.len() < MAX_CHOICES => {
                self.choices.push(Choice {
                    index,
                    ..Choice::default()
                });
                self.choices.len() - 1
            }
            None => {
                return Err(AssembleError::Malformed {
                    expected: "one of at most 128 choices",
                });
            }
        };
        added.choices += 1;
        added.choice = i;
        let choice = &mut self.choices[i];
        for member in rest {
            choice.add(member, added, &mut self.room)?;
        }
        Ok(())
    }
}

impl<'a> Added<'a> {
    /// Notes a value that is joined to a member of the content.
    fn join(&mut self, name: &str, value: &'a str) {
        if text_inside(value).is_none() {
            // A text is begun anew behind anything but null.
            self.has_more |= value != "null";
        } else if is_filled(value) {
            self.strings += 1;
            self.text = Some((name.to_owned(), value));
        }
    }

    /// Notes a value that is added in another way than a string: lists grow.
    fn note(&mut self, value: &str) {
        self.has_more |= is_filled(value);
    }

    /// Returns the name and the string of a chunk that adds nothing else.
    fn repeatable(&self) -> Option<(&str, &'a str)> {
        let is_repeatable = self.choices == 1 && self.strings == 1 && !self.has_more;
        let text = self.text.as_ref().filter(|_| is_repeatable);
        text.map(|(name, string)| (name.as_str(), *string))
    }
}

impl Kind {
    /// Returns the value of `object` of an answer.
    fn object(self) -> &'static str {
        match self {
            Self::Chat => "\"chat.completion\"",
            Self::Completion => "\"text_completion\"",
        }
    }
}

impl Choice {
    fn add<'a>(
        &mut self,
        member: Member<'a>,
        added: &mut Added<'a>,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        let value = member.value;
        match &*member.name {
            "delta" if value == "null" => Ok(()),
            "delta" => each_member(value, |member| self.add_delta(&member, added, room)),
            "text" => {
                added.join(&member.name, value);
                self.has_content |= is_filled(value);
                self.content.join("text", value, room)
            }
            "finish_reason" if is_nothing(value) => Ok(()),
            "finish_reason" => {
                added.has_more = true;
                room.take(value.len())?;
                self.finish_reason = Some(value.to_owned());
                Ok(())
            }
            "logprobs" => {
                self.has_logprobs = true;
                if value == "null" {
                    return Ok(());
                }
                added.has_more = true;
                let logprobs = &mut self.logprobs;
                each_member(value, |member| {
                    logprobs.append(&member.name, member.value, room)
                })
            }
            name => {
                added.note(value);
                self.members.append(name, value, room)
            }
        }
    }

    fn add_delta<'a>(
        &mut self,
        member: &Member<'a>,
        added: &mut Added<'a>,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        let value = member.value;
        match &*member.name {
            "role" if is_nothing(value) => Ok(()),
            "role" => self.content.last("role", value, room),
            "tool_calls" => {
                added.note(value);
                self.tool_calls.add(value, room)?;
                self.has_content |= !self.tool_calls.is_empty();
                Ok(())
            }
            "function_call" => {
                added.note(value);
                self.has_content |= is_filled(value);
                add_function(&mut self.function_call, value, room)
            }
            name => {
                added.join(&member.name, value);
                self.has_content |= is_filled(value);
                self.content.join(name, value, room)
            }
        }
    }

    fn write(&self, kind: Kind, out: &mut String) {
        out.push_str("{\"index\":");
        out.push_str(&self.index.to_string());
        out.push(',');
        match kind {
            Kind::Chat => {
                write_name("message", out);
                self.write_message(out);
                out.push(',');
            }
            Kind::Completion => {
                write_name("text", out);
                match self.content.get("text") {
                    Some(text @ Value::Text(_)) => text.write(out),
                    _ => out.push_str("\"\""),
                }
                out.push(',');
            }
        }

        self.members.write_members(out);
        if self.has_logprobs {
            write_name("logprobs", out);
            if self.logprobs.is_empty() {
                out.push_str("null");
            } else {
                write_object(&self.logprobs, out);
            }
            out.push(',');
        }
        write_name("finish_reason", out);
        out.push_str(self.finish_reason.as_deref().unwrap_or("null"));
        out.push('}');
    }

    fn write_message(&self, out: &mut String) {
        out.push('{');
        if !self.content.has("role") {
            out.push_str("\"role\":\"assistant\",");
        }
        let has_calls = !self.tool_calls.is_empty() || !self.function_call.is_empty();
        if !self.content.has("content") {
            let content = if has_calls { "null" } else { "\"\"" };
            write_name("content", out);
            out.push_str(content);
            out.push(',');
        }
        self.content.write_chosen(out, |name| match name {
            "role" | "content" => self.content.has(name),
            _ => true,
        });

        if !self.tool_calls.is_empty() {
            write_name("tool_calls", out);
            self.tool_calls.write(out);
            out.push(',');
        }
        if !self.function_call.is_empty() {
            write_name("function_call", out);
            write_object(&self.function_call, out);
        }
        close(out, '}');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Chunks of runtimes, and some that none sends.
    fn chunk() -> impl Strategy<Value = String> {
        let text = prop::sample::select(vec![
            r#""a""#,
            r#""word ""#,
            r#""\n\"""#,
            r#""""#,
            "null",
            "5",
            "[]",
            r#"["x"]"#,
            r#""\ud83d""#,
        ]);
        let delta = prop::sample::select(vec![
            r#"{"content":T}"#,
            r#"{"role":"assistant","content":T}"#,
            r#"{"content":T,"refusal":null}"#,
            r#"{"content":T,"reasoning":"r"}"#,
            r#"{"reasoning_content":T,"content":""}"#,
            r#"{"content":5,"content":T}"#,
            r#"{"content":"x","content":T}"#,
            r#"{"content":T,"tool_calls":[]}"#,
            r#"{"content":T,"tool_calls":[{"index":0,"id":"1","function":{"arguments":"{"}}]}"#,
            r#"{"function_call":{"name":"f","arguments":"1"},"content":T}"#,
            "{}",
        ]);
        let choice = prop::sample::select(vec![
            r#"{"index":0,"delta":D}"#,
            r#"{"index":0,"delta":D,"finish_reason":null}"#,
            r#"{"index":1,"delta":D,"finish_reason":null,"stop_reason":5}"#,
            r#"{"index":0,"delta":D,"logprobs":null}"#,
            r#"{"index":0,"delta":D,"logprobs":{"content":[1]}}"#,
            r#"{"index":0,"delta":D,"token_ids":[7]}"#,
            r#"{"index":0,"delta":D,"finish_reason":"stop"}"#,
            r#"{"index":0,"delta":D},{"index":1,"delta":{"content":"b"}}"#,
            r#"{"index":0,"delta":D},{"index":1,"delta":{}}"#,
            r#"{"index":0,"text":T}"#,
            "",
        ]);
        let event = prop::sample::select(vec![
            r#"{"id":"c","choices":[C]}"#,
            r#"{"id":"d","choices":[C]}"#,
            r#"{"choices":[C],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            r#"{"choices":[C],"usage":null,"timings":{"predicted_n":2}}"#,
            r#"{"choices":[C],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
            r#"{"choices":[C],"error":{"message":"no"}}"#,
            "[C]",
        ]);
        (event, choice, delta, text).prop_map(|(event, choice, delta, text)| {
            let choice = choice.replace('D', delta).replace('T', text);
            event.replace('C', &choice)
        })
    }

    /// Few different chunks, so that most are there again and again.
    fn stream() -> impl Strategy<Value = Vec<Bytes>> {
        prop::collection::vec(chunk(), 1..4).prop_flat_map(|chunks| {
            let one = prop::sample::select(chunks);
            prop::collection::vec(one.prop_map(Bytes::from), 1..12)
        })
    }

    proptest! {
        #[test]
        fn a_repetition_joins_what_a_parse_would_join(
            events in stream(),
            most in prop_oneof![Just(1 << 20), 1_usize..1000],
        ) {
            let mut quick = Chunks::new(Kind::Chat, most);
            let mut parsed = Chunks::new(Kind::Chat, most);

            for event in &events {
                parsed.repeated = None;
                let expected = parsed.event(event);
                prop_assert_eq!(quick.event(event), expected.clone());
                if expected.is_err() {
                    return Ok(());
                }
            }
            prop_assert_eq!(quick.finish(true), parsed.finish(true));
        }
    }

    #[test]
    fn chunks_that_only_add_text_are_repetitions() {
        let event = |text: &str| {
            let event = r#"{"id":"1","choices":[{"index":0,"delta":{"content":"T"},"finish_reason":null}]}"#;
            Bytes::from(event.replace('T', text))
        };
        let mut chunks = Chunks::new(Kind::Chat, 1000);

        chunks.event(&event("a")).unwrap();
        let remembered = chunks
            .repeated
            .as_ref()
            .map(|one| one.chunk.string_of(&event("b")).is_some());
        chunks.event(&event("b")).unwrap();
        chunks.event(&event("c")).unwrap();

        assert_eq!(remembered, Some(true));
        assert!(
            matches!(chunks.choices[0].content.get("content"), Some(Value::Text(text)) if text == "abc")
        );
    }
}
