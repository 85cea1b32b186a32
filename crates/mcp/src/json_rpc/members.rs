//! The members of a JSON object and the elements of an array: where each value is in its text.
//!
//! Nothing is copied or decoded except the names, so a message can be read without being
//! understood.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The members of one object, in the order of its text.
#[derive(Debug, Default)]
pub(super) struct Members(Vec<Member>);

/// One member: its name, with escapes resolved, and the place of its value in the message.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Box<str>,
    pub(super) value: Range<usize>,
}

impl Members {
    /// Reads the object that is all of `text`. `Err`: it is not JSON, or no object.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let RawMembers(members) = serde_json::from_str(text)?;
        let members = members.into_iter().map(|(name, value)| Member {
            name: name.0.into(),
            value: span_of(text, value.get()),
        });
        Ok(Self(members.collect()))
    }

    /// Reads an object as [`read`](Self::read) does, and also one that contains `NaN` or
    /// `Infinity`.
    pub(super) fn read_tolerant(text: &str) -> Result<Self, serde_json::Error> {
        Self::read(text).or_else(|error| match without_nan(text) {
            Some(text) => Self::read(&text),
            None => Err(error),
        })
    }

    /// Reads the object at `place` in `text`. `None` if there is something else.
    pub(super) fn read_at(text: &str, place: Range<usize>) -> Option<Self> {
        let Self(mut members) = Self::read_tolerant(text.get(place.clone())?).ok()?;
        for Member { value, .. } in &mut members {
            *value = value.start + place.start..value.end + place.start;
        }
        Some(Self(members))
    }

    /// Returns the place of a member's value: of the last, if the name stands there several times,
    /// as most readers of JSON do. `None` if there is no such member.
    pub(super) fn get(&self, name: &str) -> Option<Range<usize>> {
        let mut last_first = self.0.iter().rev();
        let member = last_first.find(|member| &*member.name == name)?;
        Some(member.value.clone())
    }

    /// Returns whether a name stands there more than once.
    pub(super) fn repeats(&self, name: &str) -> bool {
        let members = self.0.iter().filter(|member| &*member.name == name);
        members.count() > 1
    }

    /// Returns the members in the order of the text.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }
}

/// Returns the places of the elements of the array that is all of `text`.
pub(super) fn elements(text: &str) -> Result<Vec<Range<usize>>, serde_json::Error> {
    let all: Vec<&RawValue> = serde_json::from_str(text)?;
    let spans = all.into_iter().map(|one| span_of(text, one.get()));
    Ok(spans.collect())
}

/// Returns a copy of `text` in which `NaN` and `Infinity`, which some writers of JSON emit, are
/// numbers of the same length. `None` if it contains neither.
pub(super) fn without_nan(text: &str) -> Option<String> {
    const REPLACEMENTS: [(&str, &str); 2] = [("NaN", "0.0"), ("Infinity", "0.000000")];

    let mut copy = String::with_capacity(text.len());
    let mut rest = text;
    let mut has_changed = false;
    while let Some(at) = rest.find(['"', 'N', 'I']) {
        let (before, found) = rest.split_at(at);
        copy.push_str(before);

        let number = REPLACEMENTS
            .iter()
            .find(|(name, _)| found.starts_with(name));
        let length = match number {
            Some((name, number)) => {
                has_changed = true;
                copy.push_str(number);
                name.len()
            }
            None => {
                let length = string_length(found.as_bytes()).unwrap_or(1);
                copy.push_str(&found[..length]);
                length
            }
        };
        rest = &found[length..];
    }
    copy.push_str(rest);
    has_changed.then_some(copy)
}

/// Returns the length of the string that `text` begins with, quotes included. `None` if it does not
/// begin with a quote, or no quote ends it.
pub(super) fn string_length(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut length = 1;
    loop {
        match text.get(length)? {
            b'"' => return Some(length + 1),
            b'\\' => length += 2,
            _ => length += 1,
        }
    }
}

/// Returns the place of `part`, which is a slice of `text`.
fn span_of(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + part.len()
}

/// The members as serde finds them.
struct RawMembers<'a>(Vec<(Name<'a>, &'a RawValue)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawMembersVisitor)
    }
}

struct RawMembersVisitor;

impl<'de> Visitor<'de> for RawMembersVisitor {
    type Value = RawMembers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(RawMembers(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_with_their_places() {
        let text = r#" {"a":1, "\u0062" : {"a":2}, "a":"x\"y"} "#;
        let members = Members::read(text).unwrap();
        let found = |name: &str| members.get(name).map(|place| &text[place]);

        assert_eq!(found("a"), Some(r#""x\"y""#), "the last one counts");
        assert_eq!(found("b"), Some(r#"{"a":2}"#));
        assert_eq!(found("c"), None);
        assert!(members.repeats("a") && !members.repeats("b"));

        let inner = Members::read_at(text, members.get("b").unwrap()).unwrap();
        assert_eq!(&text[inner.get("a").unwrap()], "2");

        for no_object in ["", "[]", "1", "{", "{}x", r#"{"a":"#] {
            assert!(Members::read_tolerant(no_object).is_err(), "{no_object}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_replaced_in_place() {
        let text = r#"{"NaN":NaN,"b":[-Infinity,Infinity],"c":"NaN \" Infinity","d":Nan}"#;
        let copy = without_nan(text).unwrap();

        assert_eq!(
            copy,
            r#"{"NaN":0.0,"b":[-0.000000,0.000000],"c":"NaN \" Infinity","d":Nan}"#
        );
        assert_eq!(without_nan(r#"{"a":"NaN"}"#), None);
        assert_eq!(without_nan(r#"I"N"#), None);
    }
}
