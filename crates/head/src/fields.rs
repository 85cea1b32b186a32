//! The header fields of one message.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::name::{NameSet, bit, is_field_name, is_field_value};
use crate::value::FieldValue;

/// The fields that most heads stay within.
const USUAL_FIELDS: usize = 24;
/// The bytes of fields that are added to most heads.
const USUAL_BYTES: usize = 512;
/// Marks a range of the bytes that were added, not received.
const ADDED: u32 = 1 << 31;

/// The header fields of one message, in their order, with all values of a name that is there more than
/// once. Names are in lower case.
///
/// Clones share the bytes that were received.
#[derive(Clone, Default)]
pub struct Fields {
    received: Bytes,
    added: Vec<u8>,
    list: Vec<Field>,
    /// A bit for each name that was ever there.
    names: u64,
}

/// The places of a received field in the bytes that it came in.
#[derive(Debug, Clone)]
pub struct FieldSpan {
    /// The name, in lower case.
    pub name: Range<usize>,
    /// The value, without the white space around it.
    pub value: Range<usize>,
}

#[derive(Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
}

impl Fields {
    /// Returns no fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns no fields yet, with the bytes that [`push_received`](Self::push_received) takes them
    /// from.
    pub fn of_received(received: Bytes) -> Self {
        Self {
            received,
            added: Vec::new(),
            list: Vec::with_capacity(USUAL_FIELDS),
            names: 0,
        }
    }

    /// Adds a field that was received. Returns `false`, and adds none, if the name is no name in lower
    /// case, the value has control characters, or a place is outside of the received bytes.
    #[must_use]
    #[inline]
    pub fn push_received(&mut self, span: FieldSpan) -> bool {
        let FieldSpan { name, value } = span;
        let received = &self.received[..];
        let Some(text) = received.get(name.clone()) else {
            return false;
        };
        let Some(content) = received.get(value.clone()) else {
            return false;
        };
        if !is_field_name(text) || !is_field_value(content) || received.len() >= ADDED as usize {
            return false;
        }

        self.names |= bit(text);
        self.list.push(Field {
            name: Span::received(name),
            value: Span::received(value),
        });
        true
    }

    /// Adds a field that a parser of HTTP has checked already. A place outside of the received bytes is an
    /// empty name or value.
    pub fn push_parsed(&mut self, span: FieldSpan) {
        let FieldSpan { name, value } = span;
        self.names |= bit(self.received.get(name.clone()).unwrap_or_default());
        self.list.push(Field {
            name: Span::received(name),
            value: Span::received(value),
        });
    }

    /// Adds a field that was received, whose name begins at `start` and is followed by its value.
    /// Returns `false`, and adds none, as [`push_received`](Self::push_received) does.
    #[must_use]
    #[inline]
    pub fn push_adjacent(&mut self, start: usize, name_length: usize, value_length: usize) -> bool {
        let rest = self.received.get(start..).unwrap_or_default();
        let Some((name, rest)) = rest.split_at_checked(name_length) else {
            return false;
        };
        let Some(value) = rest.get(..value_length) else {
            return false;
        };
        if !is_field_name(name) || !is_field_value(value) || self.received.len() >= ADDED as usize {
            return false;
        }

        self.names |= bit(name);
        self.list.push(Field {
            name: Span {
                start: start as u32,
                length: name_length as u32,
            },
            value: Span {
                start: (start + name_length) as u32,
                length: value_length as u32,
            },
        });
        true
    }

    /// Adds a field behind all others.
    pub fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.push_added(name.as_str(), value.as_bytes());
    }

    /// Adds a field behind all others. Returns `false`, and adds none, if the value has control
    /// characters.
    #[must_use]
    pub fn append_bytes(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        let is_value = is_field_value(value);
        if is_value {
            self.push_added(name.as_str(), value);
        }
        is_value
    }

    /// Sets the one value of a field, in the place of all that it had.
    pub fn insert(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        self.append(name, value);
    }

    /// Removes all values of a field. Returns whether there were any.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let text = name.as_str();
        if self.names & bit(text.as_bytes()) == 0 {
            return false;
        }
        let before = self.list.len();
        self.retain_bytes(|other, _| other != text.as_bytes());
        self.list.len() < before
    }

    /// Keeps the fields for which `is_kept` returns true of name and value.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&str, FieldValue<'_>) -> bool) {
        self.retain_bytes(|name, value| is_kept(text_of(name), FieldValue::new(value)));
    }

    /// Keeps the fields for which `is_kept` returns true of the bytes of name and value.
    pub fn retain_bytes(&mut self, mut is_kept: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut list = std::mem::take(&mut self.list);
        list.retain(|field| is_kept(self.bytes(field.name), self.bytes(field.value)));
        self.list = list;
    }

    /// Returns the first value of a field.
    pub fn get(&self, name: &HeaderName) -> Option<FieldValue<'_>> {
        let name = name.as_str().as_bytes();
        if self.names & bit(name) == 0 {
            return None;
        }
        // Most names have another length.
        let is_wanted = |field: &&Field| {
            field.name.length as usize == name.len() && self.bytes(field.name) == name
        };
        self.list
            .iter()
            .find(is_wanted)
            .map(|field| self.value_of(*field))
    }

    /// Returns all values of a field in their order.
    pub(crate) fn values_of<'a, 'n>(&'a self, name: &'n str) -> ValuesOf<'a, 'n> {
        let may_be_there = self.names & bit(name.as_bytes()) != 0;
        ValuesOf {
            fields: self,
            name: name.as_bytes(),
            left: if may_be_there { &self.list } else { &[] },
        }
    }

    /// Returns whether there is a field of this name.
    pub fn contains_key(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Returns whether there is a field of one of these names.
    #[inline]
    pub fn contains_any(&self, names: &NameSet) -> bool {
        names.may_be_among(self.names) && self.iter_bytes().any(|(name, _)| names.contains(name))
    }

    /// Returns names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, FieldValue<'_>)> {
        self.iter_bytes()
            .map(|(name, value)| (text_of(name), FieldValue::new(value)))
    }

    /// Returns the bytes of names and values in their order: a text of each name costs a look at each
    /// of its bytes.
    pub fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let pair = |field: &Field| (self.bytes(field.name), self.bytes(field.value));
        self.list.iter().map(pair)
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the bytes of all names and values together.
    pub fn content_bytes(&self) -> usize {
        let sum = |field: &Field| field.name.length as usize + field.value.length as usize;
        self.list.iter().map(sum).sum()
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the fields as a map of the crate `http`. `None` if there are more than it holds.
    pub fn to_http(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::with_capacity(self.list.len());
        for field in &self.list {
            let name = HeaderName::from_bytes(self.bytes(field.name)).ok()?;
            let value = match field.value.received_range() {
                Some(range) => HeaderValue::from_maybe_shared(self.received.slice(range)),
                None => HeaderValue::from_bytes(self.bytes(field.value)),
            };
            map.try_append(name, value.ok()?).ok()?;
        }
        Some(map)
    }

    fn push_added(&mut self, name: &str, value: &[u8]) {
        self.names |= bit(name.as_bytes());
        let name = self.add(name.as_bytes());
        let value = self.add(value);
        self.list.push(Field { name, value });
    }

    fn add(&mut self, bytes: &[u8]) -> Span {
        if self.added.is_empty() {
            self.added.reserve(USUAL_BYTES);
        }
        let start = self.added.len() as u32 | ADDED;
        self.added.extend_from_slice(bytes);
        Span {
            start,
            length: bytes.len() as u32,
        }
    }

    fn value_of(&self, field: Field) -> FieldValue<'_> {
        FieldValue::new(self.bytes(field.value))
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let bytes = match span.received_range() {
            Some(range) => self.received.get(range),
            None => self.added.get(span.range()),
        };
        bytes.unwrap_or_default()
    }
}

/// Returns the text of a name, which was checked to be ASCII.
fn text_of(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

impl Span {
    /// Returns the place of a range whose end is not before its start.
    #[inline]
    fn received(range: Range<usize>) -> Self {
        Self {
            start: range.start as u32,
            length: (range.end - range.start) as u32,
        }
    }

    fn received_range(self) -> Option<Range<usize>> {
        (self.start & ADDED == 0).then(|| self.range())
    }

    fn range(self) -> Range<usize> {
        let start = (self.start & !ADDED) as usize;
        start..start + self.length as usize
    }
}

/// The values of one field.
pub(crate) struct ValuesOf<'a, 'n> {
    fields: &'a Fields,
    name: &'n [u8],
    left: &'a [Field],
}

impl ValuesOf<'_, '_> {
    fn is_wanted(&self, field: Field) -> bool {
        field.name.length as usize == self.name.len() && self.fields.bytes(field.name) == self.name
    }
}

impl<'a> Iterator for ValuesOf<'a, '_> {
    type Item = FieldValue<'a>;

    fn next(&mut self) -> Option<FieldValue<'a>> {
        while let [field, left @ ..] = self.left {
            self.left = left;
            if self.is_wanted(*field) {
                return Some(self.fields.value_of(*field));
            }
        }
        None
    }
}

impl DoubleEndedIterator for ValuesOf<'_, '_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        while let [left @ .., field] = self.left {
            self.left = left;
            if self.is_wanted(*field) {
                return Some(self.fields.value_of(*field));
            }
        }
        None
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(pairs: I) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            fields.append(&name, &value);
        }
        fields
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let mut fields = Self {
            list: Vec::with_capacity(map.len()),
            ..Self::default()
        };
        for (name, value) in map {
            fields.append(name, value);
        }
        fields
    }
}

/// Names without their values, which have secrets.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests;
