//! JSON as borrowed text: the members of an object and the items of a list, values never decoded
//! unless they are asked for.

use std::borrow::Cow;
use std::ops::Range;

use crate::json_walk::JsonWalk;
pub(crate) use crate::json_walk::NotJsonError;

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
    mut visit: impl FnMut(Member<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut walk = JsonWalk::new(object);
    walk.pass(b'{')?;
    if !walk.passes(b'}') {
        loop {
            let raw_name = walk.string()?;
            walk.pass(b':')?;
            let value = walk.value()?;
            visit(Member {
                name: decoded_name(raw_name)?,
                raw_name,
                value,
            })?;
            if !walk.passes(b',') {
                walk.pass(b'}')?;
                break;
            }
        }
    }
    Ok(walk.end()?)
}

/// Calls `visit` for each item of a list, in order, with the text of the item.
pub(crate) fn each_item<'a, E: From<NotJsonError>>(
    list: &'a str,
    mut visit: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<(), E> {
    let mut walk = JsonWalk::new(list);
    walk.pass(b'[')?;
    if !walk.passes(b']') {
        loop {
            visit(walk.value()?)?;
            if !walk.passes(b',') {
                walk.pass(b']')?;
                break;
            }
        }
    }
    Ok(walk.end()?)
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
/// Returns a name without its quotes and escapes.
fn decoded_name(raw: &str) -> Result<Cow<'_, str>, NotJsonError> {
    match text_inside(raw) {
        Some(name) if !name.as_bytes().contains(&b'\\') => Ok(Cow::Borrowed(name)),
        _ => serde_json::from_str(raw)
            .map(Cow::Owned)
            .map_err(|_| NotJsonError),
    }
}
