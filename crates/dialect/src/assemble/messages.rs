//! `messages` from its events.

use bytes::Bytes;

use super::joined::{Joined, Room, close, write_name};
use super::tool_calls::write_object;
use super::{AssembleError, utf8};
use crate::members::{NotJsonError, decoded, each_member, is_filled, text_inside, whole_number};
use crate::runtime_error::ErrorMembers;

/// The most blocks of content of one message.
const MAX_BLOCKS: usize = 4096;

/// A message, as far as it came.
#[derive(Debug)]
pub(super) struct Messages {
    room: Room,
    members: Joined,
    usage: Joined,
    blocks: Vec<Block>,
    has_stopped: bool,
}

#[derive(Debug, Default)]
struct Block {
    index: u64,
    members: Joined,
    /// The input of a tool as the inside of a JSON string, `None` if no part of it came.
    partial_json: Option<String>,
}

/// The members of an event that matter.
#[derive(Default)]
struct Members<'a> {
    kind: Option<&'a str>,
    index: u64,
    message: Option<&'a str>,
    content_block: Option<&'a str>,
    delta: Option<&'a str>,
    usage: Option<&'a str>,
    /// Others, of which `message_delta` has some.
    rest: Vec<(&'a str, &'a str)>,
}

impl Messages {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            room: Room::new(max_bytes),
            members: Joined::default(),
            usage: Joined::default(),
            blocks: Vec::new(),
            has_stopped: false,
        }
    }

    pub(super) fn event(&mut self, data: &[u8]) -> Result<(), AssembleError> {
        let mut errors = ErrorMembers::default();
        let event = Members::read(utf8(data)?, &mut errors)?;
        if let Some(error) = errors.error() {
            return Err(error.into());
        }

        let kind = event.kind.and_then(text_inside).unwrap_or_default();
        match kind {
            "message_start" => self.start(event.message),
            "content_block_start" => self.start_block(event.index, event.content_block),
            "content_block_delta" => match event.delta {
                Some(delta) => self.add_delta(event.index, delta),
                None => Ok(()),
            },
            "message_delta" => self.add_message_delta(&event),
            "message_stop" => {
                self.has_stopped = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<Bytes, AssembleError> {
        if !self.has_stopped || self.members.is_empty() {
            return Err(AssembleError::Incomplete {
                expected: "`message_stop`",
            });
        }

        let mut out = String::from("{");
        self.members.write_members(&mut out);
        write_name("content", &mut out);
        out.push('[');
        for block in &self.blocks {
            block.write(&mut out);
            out.push(',');
        }
        close(&mut out, ']');
        out.push(',');
        if !self.usage.is_empty() {
            write_name("usage", &mut out);
            write_object(&self.usage, &mut out);
        }
        close(&mut out, '}');
        Ok(Bytes::from(out))
    }

    fn start(&mut self, message: Option<&str>) -> Result<(), AssembleError> {
        let message = message.ok_or(AssembleError::Malformed {
            expected: "a `message_start` with a `message`",
        })?;
        each_member(message, |member| match &*member.name {
            "content" => Ok(()),
            "usage" => self.add_usage(member.value),
            name => self.members.last(name, member.value, &mut self.room),
        })
    }

    fn start_block(&mut self, index: u64, block: Option<&str>) -> Result<(), AssembleError> {
        let i = self.new_block(index)?;
        let members = &mut self.blocks[i].members;
        let room = &mut self.room;
        match block {
            Some(block) => each_member(block, |member| {
                members.join(&member.name, member.value, room)
            }),
            None => Ok(()),
        }
    }

    fn new_block(&mut self, index: u64) -> Result<usize, AssembleError> {
        if self.blocks.len() >= MAX_BLOCKS {
            return Err(AssembleError::Malformed {
                expected: "one of at most 4096 blocks",
            });
        }
        self.blocks.push(Block {
            index,
            ..Block::default()
        });
        Ok(self.blocks.len() - 1)
    }

    fn add_delta(&mut self, index: u64, delta: &str) -> Result<(), AssembleError> {
        let i = match self.blocks.iter().rposition(|block| block.index == index) {
            Some(i) => i,
            None => self.new_block(index)?,
        };
        let block = &mut self.blocks[i];
        let room = &mut self.room;
        each_member(delta, |member| {
            let name = &*member.name;
            match name {
                "type" => block.set_type_of(member.value, room),
                "partial_json" => {
                    let json = block.partial_json.get_or_insert_default();
                    room.append(json, text_inside(member.value).unwrap_or_default())
                }
                "signature" => block.members.last(name, member.value, room),
                "citation" => block.members.append_items("citations", member.value, room),
                _ => block.members.join(name, member.value, room),
            }
        })
    }

    fn add_message_delta(&mut self, event: &Members<'_>) -> Result<(), AssembleError> {
        for (name, value) in &event.rest {
            self.members.last(name, value, &mut self.room)?;
        }
        if let Some(delta) = event.delta {
            each_member(delta, |member| {
                self.members
                    .last(&member.name, member.value, &mut self.room)
            })?;
        }
        match event.usage {
            Some(usage) => self.add_usage(usage),
            None => Ok(()),
        }
    }

    fn add_usage(&mut self, usage: &str) -> Result<(), AssembleError> {
        if usage == "null" {
            return Ok(());
        }
        each_member(usage, |member| {
            self.usage.last(&member.name, member.value, &mut self.room)
        })
    }
}

impl<'a> Members<'a> {
    fn read(data: &'a str, errors: &mut ErrorMembers<'a>) -> Result<Self, NotJsonError> {
        let mut members = Self::default();
        each_member(data, |member| {
            let value = member.value;
            errors.take(&member.name, value);
            match &*member.name {
                "type" => members.kind = Some(value),
                "index" => members.index = whole_number(value).unwrap_or(0),
                "message" => members.message = Some(value),
                "content_block" => members.content_block = Some(value),
                "delta" => members.delta = Some(value),
                "usage" => members.usage = Some(value),
                "error" => {}
                _ => {
                    let name = text_inside(member.raw_name).unwrap_or_default();
                    members.rest.push((name, value));
                }
            }
            Ok::<(), NotJsonError>(())
        })?;
        Ok(members)
    }
}

impl Block {
    /// Gives a block that was never begun the type that its delta shows.
    fn set_type_of(&mut self, delta: &str, room: &mut Room) -> Result<(), AssembleError> {
        if !self.members.is_empty() {
            return Ok(());
        }
        let kind = match delta {
            "\"thinking_delta\"" | "\"signature_delta\"" => "\"thinking\"",
            "\"input_json_delta\"" => "\"tool_use\"",
            _ => "\"text\"",
        };
        self.members.first("type", kind, room)
    }

    fn write(&self, out: &mut String) {
        let Some(input) = self.input() else {
            write_object(&self.members, out);
            return;
        };
        out.push('{');
        self.members.write_chosen(out, |name| name != "input");
        write_name("input", out);
        out.push_str(&input);
        out.push('}');
    }

    /// Returns the input of a tool that came in parts, `None` if nothing of it came.
    ///
    /// Anything but a JSON object becomes `{}`, as in answers of llama.cpp without a stream: nothing,
    /// or the begin of an object in an answer that reached its longest.
    fn input(&self) -> Option<String> {
        let inside = self.partial_json.as_deref()?;
        let json: Option<String> = decoded(&format!("\"{inside}\""));
        let json = json.as_deref().map(str::trim_ascii).unwrap_or_default();
        if json.is_empty() && self.members.get("input").is_some() {
            return None;
        }
        let is_object =
            each_member(json, |_| Ok::<(), NotJsonError>(())).is_ok() && is_filled(json);
        Some(if is_object { json } else { "{}" }.to_owned())
    }
}
