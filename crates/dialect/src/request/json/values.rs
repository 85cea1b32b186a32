//! Reading of single values, with errors that name the member and its value.

use std::ops::Range;

use crate::request::cursor::{Cursor, Kind, WalkError};
use crate::request::{RequestError, model_name, shown};

/// Reads the name of a model.
pub(super) fn model(
    cursor: &mut Cursor<'_>,
) -> Result<(Option<String>, Range<usize>), RequestError> {
    cursor.kind()?;
    let start = cursor.at();
    let name = string(cursor, "model")?;
    let name = name.map(model_name).transpose()?.flatten();
    Ok((name, start..cursor.at()))
}

/// Reads a string or null.
pub(super) fn string(
    cursor: &mut Cursor<'_>,
    name: &'static str,
) -> Result<Option<String>, RequestError> {
    let kind = cursor.kind()?;
    let value = cursor.value()?;
    let text = &cursor.text()[value];
    match kind {
        Kind::Null => Ok(None),
        Kind::String => serde_json::from_str(text)
            .map(Some)
            .map_err(|_| wrong(name, text, "a string of Unicode characters")),
        _ => Err(wrong(name, text, "a string")),
    }
}

/// Reads a boolean or null.
pub(super) fn flag(
    cursor: &mut Cursor<'_>,
    name: &'static str,
) -> Result<(Option<bool>, Range<usize>), RequestError> {
    let value = cursor.value()?;
    let flag = match &cursor.text()[value.clone()] {
        "true" => Some(true),
        "false" => Some(false),
        "null" => None,
        other => return Err(wrong(name, other, "true or false")),
    };
    Ok((flag, value))
}

/// Reads an integer. `None` for everything else: whether that is right, the runtime decides.
pub(super) fn integer(cursor: &mut Cursor<'_>) -> Result<Option<i64>, WalkError> {
    let value = cursor.value()?;
    Ok(cursor.text()[value].parse().ok())
}

pub(super) fn positive(number: Option<i64>) -> Option<u64> {
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
}

/// Reads `conversation`: its id, or an object that has it.
pub(super) fn conversation(cursor: &mut Cursor<'_>) -> Result<Option<String>, RequestError> {
    const NAME: &str = "conversation";
    if cursor.kind()? != Kind::Object {
        return string(cursor, NAME);
    }
    let id = member_of(cursor, "id")?;
    cursor.value()?;
    match id {
        Some(id) => string(&mut Cursor::new(cursor.text(), id.start), NAME),
        None => Err(wrong(NAME, "an object without `id`", "one with it")),
    }
}

/// Reads `modalities`, and returns whether the answer is spoken.
pub(super) fn has_audio(cursor: &mut Cursor<'_>) -> Result<bool, WalkError> {
    if cursor.kind()? != Kind::Array {
        cursor.value()?;
        return Ok(false);
    }
    let mut has_audio = false;
    cursor.each_item::<WalkError>(|cursor| {
        let value = cursor.value()?;
        has_audio |= &cursor.text()[value] == r#""audio""#;
        Ok(())
    })?;
    Ok(has_audio)
}

/// Returns the place of a member's value in the object at the cursor, which stays where it is.
/// `None` if there is no such member, or no object.
pub(super) fn member_of(
    cursor: &mut Cursor<'_>,
    name: &str,
) -> Result<Option<Range<usize>>, WalkError> {
    if cursor.kind()? != Kind::Object {
        return Ok(None);
    }
    let mut ahead = Cursor::new(cursor.text(), cursor.at());
    let walked = ahead.each_member::<Search>(|cursor, found| {
        if found.decoded() == name {
            return Err(Search::Found(cursor.value()?));
        }
        Ok(())
    });
    match walked {
        Err(Search::Found(value)) => Ok(Some(value)),
        Err(Search::Failed(error)) => Err(error),
        Ok(_) => Ok(None),
    }
}

/// The end of a search, before the end of the object.
enum Search {
    Found(Range<usize>),
    Failed(WalkError),
}

impl From<WalkError> for Search {
    fn from(error: WalkError) -> Self {
        Self::Failed(error)
    }
}

pub(super) fn wrong(name: &'static str, found: &str, expected: &'static str) -> RequestError {
    RequestError::WrongValue {
        name,
        found: shown(found),
        expected,
    }
}
