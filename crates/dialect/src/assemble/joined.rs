//! Objects whose members come in parts. Strings are joined as JSON text between the quotes, never
//! decoded: that is cheaper, and the halves of a surrogate pair that were cut apart come together.

use super::AssembleError;
use crate::members::{is_nothing, items_inside, text_inside};

/// The most members of one object that is put together.
const MAX_MEMBERS: usize = 256;
/// The memory of a member beside its bytes.
const MEMBER_BYTES: usize = 64;

/// The bytes that an answer may still take.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    max: usize,
}

/// An object whose members come in parts, in the order in which they came first.
#[derive(Debug, Default)]
pub(super) struct Joined {
    members: Vec<(String, Value)>,
}

#[derive(Debug)]
pub(super) enum Value {
    /// A string: what is between its quotes.
    Text(String),
    /// A list: what is between its brackets.
    Items(String),
    /// Any value as it is.
    Whole(String),
}

impl Room {
    pub(super) fn new(max: usize) -> Self {
        Self { left: max, max }
    }

    /// Takes room for bytes that are kept.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), AssembleError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(AssembleError::TooLarge { max: self.max }),
        }
    }

    /// Keeps a text in the place of another one.
    fn replace(&mut self, old: &mut String, new: &str) -> Result<(), AssembleError> {
        if old == new {
            return Ok(());
        }
        self.left += old.len();
        self.take(new.len())?;
        old.clear();
        old.push_str(new);
        Ok(())
    }

    /// Appends a text to another one.
    pub(super) fn append(&mut self, text: &mut String, more: &str) -> Result<(), AssembleError> {
        self.take(more.len())?;
        text.push_str(more);
        Ok(())
    }
}

impl Joined {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let found = self.members.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    /// Returns `true` if a member is there and not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_null())
    }

    /// Keeps the last value of a member that is not `null`.
    pub(super) fn last(
        &mut self,
        name: &str,
        value: &str,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        match self.place(name, room)? {
            _ if value == "null" => Ok(()),
            Value::Whole(old) => room.replace(old, value),
            other => {
                room.take(value.len())?;
                *other = Value::Whole(value.to_owned());
                Ok(())
            }
        }
    }

    /// Keeps the first value of a member that is neither `null` nor empty.
    pub(super) fn first(
        &mut self,
        name: &str,
        value: &str,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        match self.place(name, room)? {
            Value::Whole(old) if is_nothing(old) && value != "null" => room.replace(old, value),
            _ => Ok(()),
        }
    }

    /// Joins strings, appends lists, and keeps the last of other values.
    pub(super) fn join(
        &mut self,
        name: &str,
        value: &str,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        let Some(more) = text_inside(value) else {
            return self.append(name, value, room);
        };
        match self.place(name, room)? {
            Value::Text(text) => room.append(text, more),
            other => {
                room.take(more.len())?;
                *other = Value::Text(more.to_owned());
                Ok(())
            }
        }
    }

    /// Appends lists, and keeps the last of other values.
    pub(super) fn append(
        &mut self,
        name: &str,
        value: &str,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        match items_inside(value) {
            Some(more) => self.append_items(name, more, room),
            None => self.last(name, value, room),
        }
    }

    /// Appends items to a list.
    pub(super) fn append_items(
        &mut self,
        name: &str,
        more: &str,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        match self.place(name, room)? {
            Value::Items(_) if more.is_empty() => Ok(()),
            Value::Items(items) => {
                let comma = if items.is_empty() { "" } else { "," };
                room.append(items, comma)?;
                room.append(items, more)
            }
            other => {
                room.take(more.len())?;
                *other = Value::Items(more.to_owned());
                Ok(())
            }
        }
    }

    /// Joins a name that comes in parts, or again and again.
    pub(super) fn name_part(
        &mut self,
        name: &str,
        value: &str,
        room: &mut Room,
    ) -> Result<(), AssembleError> {
        let repeats = match self.get(name) {
            Some(Value::Text(text)) => text_inside(value) == Some(text),
            _ => false,
        };
        if repeats {
            return Ok(());
        }
        self.join(name, value, room)
    }

    /// Writes the members, each with a comma behind it.
    pub(super) fn write_members(&self, out: &mut String) {
        for (name, value) in &self.members {
            write_name(name, out);
            value.write(out);
            out.push(',');
        }
    }

    /// Writes the members whose names are `chosen`, each with a comma behind it.
    pub(super) fn write_chosen(&self, out: &mut String, chosen: impl Fn(&str) -> bool) {
        for (name, value) in self.members.iter().filter(|(name, _)| chosen(name)) {
            write_name(name, out);
            value.write(out);
            out.push(',');
        }
    }

    /// Returns the place of a member, `null` at first.
    fn place(&mut self, name: &str, room: &mut Room) -> Result<&mut Value, AssembleError> {
        let found = self.members.iter().position(|(known, _)| known == name);
        let i = match found {
            Some(i) => i,
            None if self.members.len() < MAX_MEMBERS => {
                room.take(name.len() + MEMBER_BYTES)?;
                let null = Value::Whole("null".to_owned());
                self.members.push((name.to_owned(), null));
                self.members.len() - 1
            }
            None => {
                return Err(AssembleError::Malformed {
                    expected: "an object of at most 256 members",
                });
            }
        };
        Ok(&mut self.members[i].1)
    }
}

impl Value {
    fn is_null(&self) -> bool {
        matches!(self, Self::Whole(value) if value == "null")
    }

    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => write_parts(out, &["\"", text, "\""]),
            Self::Items(items) => write_parts(out, &["[", items, "]"]),
            Self::Whole(value) => out.push_str(value),
        }
    }
}

/// Writes the name of a member and the colon behind it.
pub(super) fn write_name(name: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(name).to_string());
    out.push(':');
}

/// Ends an object or a list whose last part has a comma behind it.
pub(super) fn close(out: &mut String, bracket: char) {
    if out.ends_with(',') {
        out.pop();
    }
    out.push(bracket);
}

fn write_parts(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}
