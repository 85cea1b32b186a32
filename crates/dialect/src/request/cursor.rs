//! A walk through a JSON text from value to value: each byte is passed once, however much is
//! looked at on the way.
//!
//! The text was validated by `serde_json` before. Reading level by level with `RawValue` would pass a
//! picture in a message six times.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

/// The deepest nesting of objects and arrays.
pub(super) const MAX_DEPTH: usize = 128;

/// A place in a JSON text, before a value or behind one.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// The name of a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    /// The text between the quotes.
    raw: &'a str,
    has_escapes: bool,
    /// Where the member begins.
    pub(super) start: usize,
}

/// The walk cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkError {
    /// Objects and arrays are nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// The text is not JSON. Not for a text that was validated.
    NotJson,
}

impl Kind {
    /// Returns the kind with its article, for messages.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
        }
    }
}

impl<'a> Name<'a> {
    /// Returns the name with its escapes resolved. A name with half a surrogate pair stays as it is:
    /// it equals no name that is read.
    pub(super) fn decoded(self) -> Cow<'a, str> {
        if !self.has_escapes {
            return Cow::Borrowed(self.raw);
        }
        let decoded = serde_json::from_str(&format!("\"{}\"", self.raw));
        decoded.map_or(Cow::Borrowed(self.raw), Cow::Owned)
    }
}

impl<'a> Cursor<'a> {
    /// Starts before the value that begins at `at`, or behind white space there.
    pub(super) fn new(text: &'a str, at: usize) -> Self {
        Self { text, at, depth: 0 }
    }

    /// Returns the text.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the place in the text.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Passes over white space, and returns the kind of the value behind it.
    pub(super) fn kind(&mut self) -> Result<Kind, WalkError> {
        match self.look()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            _ => Err(WalkError::NotJson),
        }
    }

    /// Passes over a value, and returns its place.
    pub(super) fn value(&mut self) -> Result<Range<usize>, WalkError> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::String => self.pass_string()?,
            Kind::Object | Kind::Array => self.pass_container()?,
            Kind::Number | Kind::Bool | Kind::Null => self.pass_scalar(),
        }
        Ok(start..self.at)
    }

    /// Calls `visit` before the value of each member of an object, and returns the place of the
    /// object. `visit` passes over the value, or leaves the cursor where it is.
    pub(super) fn each_member<E: From<WalkError>>(
        &mut self,
        mut visit: impl FnMut(&mut Self, Name<'a>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.each(b'{', b'}', |cursor| {
            let name = cursor.name()?;
            let before = cursor.at;
            visit(cursor, name)?;
            Ok(before)
        })
    }

    /// Calls `visit` before each item of an array, and returns the place of the array. `visit`
    /// passes over the item, or leaves the cursor where it is.
    pub(super) fn each_item<E: From<WalkError>>(
        &mut self,
        mut visit: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.each(b'[', b']', |cursor| {
            cursor.look()?;
            let before = cursor.at;
            visit(cursor)?;
            Ok(before)
        })
    }

    /// Passes over an object or an array. `visit_one` returns the place of the value that it visited.
    fn each<E: From<WalkError>>(
        &mut self,
        open: u8,
        close: u8,
        mut visit_one: impl FnMut(&mut Self) -> Result<usize, E>,
    ) -> Result<Range<usize>, E> {
        self.look()?;
        let start = self.at;
        self.pass_byte(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(WalkError::TooDeep.into());
        }

        if self.look()? != close {
            loop {
                let value = visit_one(self)?;
                if self.at == value {
                    self.value()?;
                }
                if self.look()? != b',' {
                    break;
                }
                self.at += 1;
            }
        }
        self.pass_byte(close)?;
        self.depth -= 1;
        Ok(start..self.at)
    }

    /// Passes over the name of a member, its colon and white space.
    fn name(&mut self) -> Result<Name<'a>, WalkError> {
        let byte = self.look()?;
        let start = self.at;
        if byte != b'"' {
            return Err(WalkError::NotJson);
        }
        self.pass_string()?;
        let raw = &self.text[start + 1..self.at - 1];
        let has_escapes = raw.as_bytes().contains(&b'\\');

        self.look()?;
        self.pass_byte(b':')?;
        self.look()?;
        Ok(Name {
            raw,
            has_escapes,
            start,
        })
    }

    /// Passes over white space, and returns the byte behind it.
    fn look(&mut self) -> Result<u8, WalkError> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(WalkError::NotJson),
            }
        }
    }

    fn pass_byte(&mut self, byte: u8) -> Result<(), WalkError> {
        if self.text.as_bytes().get(self.at) != Some(&byte) {
            return Err(WalkError::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes over a string. A quote behind an odd number of backslashes is a part of it: looking for
    /// quotes alone stops at fewer places than looking for escapes as well.
    fn pass_string(&mut self) -> Result<(), WalkError> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut from = start;
        loop {
            let rest = bytes.get(from..).ok_or(WalkError::NotJson)?;
            let quote = from + memchr(b'"', rest).ok_or(WalkError::NotJson)?;
            let backslashes = bytes[start..quote].iter().rev();
            let backslashes = backslashes.take_while(|byte| **byte == b'\\').count();
            from = quote + 1;
            if backslashes % 2 == 0 {
                self.at = from;
                return Ok(());
            }
        }
    }

    /// Passes over an object or an array without looking at its values. Its brackets pair, as the
    /// text was validated.
    fn pass_container(&mut self) -> Result<(), WalkError> {
        let outside = self.depth;
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.pass_string()?;
                    continue;
                }
                Some(b'{' | b'[') => self.depth += 1,
                Some(b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                Some(_) => {}
                None => return Err(WalkError::NotJson),
            }
            self.at += 1;
            if self.depth > MAX_DEPTH {
                return Err(WalkError::TooDeep);
            }
            if self.depth <= outside {
                return Ok(());
            }
        }
    }

    fn pass_scalar(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().position(is_end).unwrap_or(rest.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_at_their_places() {
        let text = r#" {"a" : [1, {"b":"x\"]"} ,null] ,"\u0062":-1.5e3 } "#;
        let mut found = Vec::new();

        let object = Cursor::new(text, 0).each_member::<WalkError>(|cursor, name| {
            let value = cursor.value()?;
            found.push((name.decoded().into_owned(), &text[value]));
            Ok(())
        });

        assert_eq!(&text[object.unwrap()], text.trim());
        assert_eq!(
            found,
            [
                ("a".to_owned(), r#"[1, {"b":"x\"]"} ,null]"#),
                ("b".to_owned(), "-1.5e3")
            ]
        );
    }

    #[test]
    fn items_that_are_not_visited_are_passed() {
        let text = r#"[ "a" , [ ] ,{"b":[]}, 1]"#;
        let mut kinds = Vec::new();

        let array = Cursor::new(text, 0).each_item::<WalkError>(|cursor| {
            kinds.push(cursor.kind()?);
            Ok(())
        });

        assert_eq!(array, Ok(0..text.len()));
        assert_eq!(
            kinds,
            [Kind::String, Kind::Array, Kind::Object, Kind::Number]
        );
    }

    #[test]
    fn the_depth_has_a_bound_visited_or_not() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let visited = |text: &str| {
            fn visit(cursor: &mut Cursor<'_>) -> Result<(), WalkError> {
                cursor.each_item(visit).map(|_| ())
            }
            visit(&mut Cursor::new(text, 0))
        };

        assert!(Cursor::new(&nested(MAX_DEPTH), 0).value().is_ok());
        assert_eq!(
            Cursor::new(&nested(MAX_DEPTH + 1), 0).value(),
            Err(WalkError::TooDeep)
        );
        assert_eq!(visited(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(visited(&nested(MAX_DEPTH + 1)), Err(WalkError::TooDeep));
    }

    #[test]
    fn texts_that_are_no_json_end_the_walk() {
        for text in ["", " ", "{", "[1", r#"["a"#, r#"["\"#, "[,", "]"] {
            let walked = Cursor::new(text, 0).value();
            assert_eq!(walked, Err(WalkError::NotJson), "{text}");
        }
        let walked = Cursor::new("[1 2]", 0).each_item::<WalkError>(|_| Ok(()));
        assert_eq!(walked, Err(WalkError::NotJson));
    }
}
