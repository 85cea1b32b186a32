//! Objects of JSON, written member by member.

use serde_json::Value;

/// An object that is being written.
#[derive(Debug)]
pub(super) struct ObjectText(String);

impl ObjectText {
    /// An object without members.
    pub(super) fn new() -> Self {
        Self::with_room(256)
    }

    /// An object without members, with room for so many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    /// Adds a member whose value is JSON already.
    pub(super) fn json(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name).push_str(value);
        self
    }

    /// Adds a member that is a string.
    pub(super) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.json(name, &quoted(value))
    }

    /// Begins a member, and returns where its value is written.
    pub(super) fn name(&mut self, name: &str) -> &mut String {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
        &mut self.0
    }

    /// Returns the whole object.
    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Returns a text as a string of JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Writes an item of a list, which begins with its bracket.
pub(super) fn push_item(list: &mut String, item: &str) {
    if !list.ends_with('[') {
        list.push(',');
    }
    list.push_str(item);
}
