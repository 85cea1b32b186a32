//! Tool calls that come in parts. Runtimes differ in whether each part has an index, an id or a name,
//! and some give all calls the index 0.

use super::AssembleError;
use super::joined::{Joined, Room, close, write_name};
use crate::members::{
    Member, NotJsonError, decoded, each_item, each_member, is_nothing, whole_number,
};

/// The most tool calls of one choice.
const MAX_CALLS: usize = 1024;

/// The tool calls of one choice, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<ToolCall>,
}

#[derive(Debug, Default)]
struct ToolCall {
    index: Option<u64>,
    /// The id as it stands in JSON, empty until it came.
    id: String,
    /// Its members but the function.
    members: Joined,
    function: Joined,
    /// A tool that is not a function has its name and input here.
    custom: Joined,
}

/// One part of a call.
#[derive(Default)]
struct Part<'a> {
    index: Option<u64>,
    id: &'a str,
    has_name: bool,
    members: Vec<Member<'a>>,
}

impl ToolCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes the list of parts that one delta has.
    pub(super) fn add(&mut self, list: &str, room: &mut Room) -> Result<(), AssembleError> {
        if list == "null" {
            return Ok(());
        }
        each_item(list, |part| self.add_part(Part::read(part)?, room))
    }

    /// Writes the calls as a list.
    pub(super) fn write(&self, out: &mut String) {
        out.push('[');
        for call in &self.calls {
            out.push('{');
            call.members.write_members(out);
            for (name, inner) in [("function", &call.function), ("custom", &call.custom)] {
                if !inner.is_empty() {
                    write_name(name, out);
                    write_object(inner, out);
                    out.push(',');
                }
            }
            close(out, '}');
            out.push(',');
        }
        close(out, ']');
    }

    fn add_part(&mut self, part: Part<'_>, room: &mut Room) -> Result<(), AssembleError> {
        let i = match self.find(&part) {
            Some(i) => i,
            None if self.calls.len() < MAX_CALLS => {
                self.calls.push(ToolCall {
                    index: part.index,
                    ..ToolCall::default()
                });
                self.calls.len() - 1
            }
            None => {
                return Err(AssembleError::Malformed {
                    expected: "a message of at most 1024 tool calls",
                });
            }
        };
        self.calls[i].add(part, room)
    }

    /// Returns the call that a part belongs to, `None` if a new one begins.
    fn find(&self, part: &Part<'_>) -> Option<usize> {
        let same_index = |call: &ToolCall| call.index == part.index;
        if !part.id.is_empty() {
            let same =
                |call: &ToolCall| call.id == part.id && (part.index.is_none() || same_index(call));
            let open = self.calls.iter().rposition(same_index);
            return self
                .calls
                .iter()
                .rposition(same)
                .or_else(|| open.filter(|i| self.calls[*i].id.is_empty() && part.index.is_some()));
        }
        match part.index {
            Some(_) => self.calls.iter().rposition(same_index),
            // Neither an index nor an id: a name begins a call, arguments alone go on with one.
            None if part.has_name => None,
            None => self.calls.len().checked_sub(1),
        }
    }
}

impl<'a> Part<'a> {
    fn read(text: &'a str) -> Result<Self, AssembleError> {
        let mut part = Self::default();
        each_member(text, |member| {
            match &*member.name {
                "index" => part.index = whole_number(member.value),
                "id" if !is_nothing(member.value) => part.id = member.value,
                "id" => {}
                "function" | "custom" => {
                    part.has_name |= has_name(member.value)?;
                    part.members.push(member);
                }
                _ => part.members.push(member),
            }
            Ok::<(), NotJsonError>(())
        })?;
        Ok(part)
    }
}

impl ToolCall {
    fn add(&mut self, part: Part<'_>, room: &mut Room) -> Result<(), AssembleError> {
        if self.id.is_empty() && !part.id.is_empty() {
            self.id = part.id.to_owned();
            self.members.first("id", part.id, room)?;
            room.take(part.id.len())?;
        }
        for member in part.members {
            match &*member.name {
                "function" => add_function(&mut self.function, member.value, room)?,
                "custom" => add_function(&mut self.custom, member.value, room)?,
                "type" => self.members.first("type", member.value, room)?,
                name => self.members.last(name, member.value, room)?,
            }
        }
        Ok(())
    }
}

/// Takes a part of a function: its name and arguments are joined.
pub(super) fn add_function(
    function: &mut Joined,
    part: &str,
    room: &mut Room,
) -> Result<(), AssembleError> {
    if part == "null" {
        return Ok(());
    }
    each_member(part, |member| match &*member.name {
        "name" => function.name_part("name", member.value, room),
        "arguments" | "input" if member.value.starts_with(['{', '[']) => {
            let text = serde_json::Value::from(member.value).to_string();
            function.join(&member.name, &text, room)
        }
        "arguments" | "input" => function.join(&member.name, member.value, room),
        name => function.last(name, member.value, room),
    })
}

/// Writes a function or another object.
pub(super) fn write_object(object: &Joined, out: &mut String) {
    out.push('{');
    object.write_members(out);
    close(out, '}');
}

fn has_name(function: &str) -> Result<bool, NotJsonError> {
    if function == "null" {
        return Ok(false);
    }
    let mut has_name = false;
    each_member(function, |member| {
        let is_name = member.name == "name";
        has_name |= is_name && decoded(member.value).is_some_and(|name| !name.is_empty());
        Ok::<(), NotJsonError>(())
    })?;
    Ok(has_name)
}
