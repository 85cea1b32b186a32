//! JSON as borrowed text: the members of an object and the items of a list, values never decoded
//! unless they are asked for.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memchr;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The text is not the kind of JSON that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJsonError;

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// Its name, decoded.
    pub(crate) name: Cow<'a, str>,
    /// Its name as it stands there, with quotes.
    pub(crate) raw_name: &'a str,
    /// Its value as it stands there, without white space around it.
    pub(crate) value: &'a str,
}

/// Calls `visit` for each member of an object, in order.
pub(crate) fn each_member<'a, E: From<NotJsonError>>(
    object: &'a str,
    visit: impl FnMut(Member<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut failure = None;
    let walk = MemberWalk {
        visit,
        failure: &mut failure,
    };

    let mut reader = serde_json::Deserializer::from_str(object);
    let walked = reader.deserialize_map(walk).and_then(|()| reader.end());
    match failure {
        Some(failure) => Err(failure),
        None => walked.map_err(|_| NotJsonError.into()),
    }
}

/// Calls `visit` for each item of a list, in order.
pub(crate) fn each_item<'a, E: From<NotJsonError>>(
    list: &'a str,
    visit: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<(), E> {
    let mut failure = None;
    let walk = ItemWalk {
        visit,
        failure: &mut failure,
    };

    let mut reader = serde_json::Deserializer::from_str(list);
    let walked = reader.deserialize_seq(walk).and_then(|()| reader.end());
    match failure {
        Some(failure) => Err(failure),
        None => walked.map_err(|_| NotJsonError.into()),
    }
}

/// Returns where a part of a text stands in it. Both are of the same text.
pub(crate) fn place_of(part: &str, text: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + part.len()
}

/// Returns what is between the quotes of a string, `None` for another value.
pub(crate) fn text_inside(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// Returns what is between the brackets of a list, `None` for another value. Empty for `[ ]`.
pub(crate) fn items_inside(value: &str) -> Option<&str> {
    let inside = value.strip_prefix('[')?.strip_suffix(']')?;
    Some(inside.trim_ascii())
}

/// Returns `true` for `null` and the empty string, which some runtimes send in its place.
pub(crate) fn is_nothing(value: &str) -> bool {
    value == "null" || value == "\"\""
}

/// Returns `true` for a string, a list or an object with something in it.
pub(crate) fn is_filled(value: &str) -> bool {
    let inside = value
        .get(1..value.len().saturating_sub(1))
        .unwrap_or_default();
    match value.as_bytes().first() {
        Some(b'"') => !inside.is_empty(),
        Some(b'[' | b'{') => !inside.trim_ascii().is_empty(),
        _ => false,
    }
}

/// Returns a decoded string, `None` for another value.
pub(crate) fn decoded(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

/// Returns a whole number that is not negative, also one that is written as `12.0` or `"12"`.
pub(crate) fn whole_number(value: &str) -> Option<u64> {
    let text = text_inside(value).unwrap_or(value);
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    let is_whole = number >= 0.0 && number <= u64::MAX as f64 && number.fract() == 0.0;
    is_whole.then_some(number as u64)
}

/// A visitor that hands on the members of an object, and keeps the first failure.
struct MemberWalk<'f, F, E> {
    visit: F,
    failure: &'f mut Option<E>,
}

/// A visitor that hands on the items of a list, and keeps the first failure.
struct ItemWalk<'f, F, E> {
    visit: F,
    failure: &'f mut Option<E>,
}

impl<'a, F, E> Visitor<'a> for MemberWalk<'_, F, E>
where
    F: FnMut(Member<'a>) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<&'a RawValue>()? {
            let value = members.next_value::<&'a RawValue>()?.get();
            let raw_name = name.get();
            let name = match text_inside(raw_name) {
                Some(name) if memchr(b'\\', name.as_bytes()).is_none() => Cow::Borrowed(name),
                _ => Cow::Owned(serde_json::from_str(raw_name).map_err(A::Error::custom)?),
            };

            let member = Member {
                name,
                raw_name,
                value,
            };
            if let Err(failure) = (self.visit)(member) {
                *self.failure = Some(failure);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

impl<'a, F, E> Visitor<'a> for ItemWalk<'_, F, E>
where
    F: FnMut(&'a str) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&'a RawValue>()? {
            if let Err(failure) = (self.visit)(item.get()) {
                *self.failure = Some(failure);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
