//! Chunks that differ from the one before in the text of their content alone, as nearly all chunks of a
//! generation do: they are recognized by their bytes, and need no parse.

use std::ops::Range;

use bytes::Bytes;

use crate::json_walk::JsonWalk;
use crate::members::place_of;

/// A chunk that was parsed, and the place of the one string in it that may be another one.
#[derive(Debug)]
pub(crate) struct RepeatedChunk {
    data: Bytes,
    /// Where the string is, with its quotes.
    string: Range<usize>,
}

impl RepeatedChunk {
    /// Remembers a chunk. `data` is its text, and `string` a part of it.
    pub(crate) fn new(bytes: &Bytes, data: &str, string: &str) -> Self {
        Self {
            data: bytes.clone(),
            string: place_of(string, data),
        }
    }

    /// Returns the string of a chunk that is equal in all other bytes, with its quotes. `None` if the
    /// chunk is another one, or its string is empty.
    pub(crate) fn string_of<'a>(&self, data: &'a [u8]) -> Option<&'a str> {
        let before = &self.data[..self.string.start];
        let behind = &self.data[self.string.end..];
        let string = data.strip_prefix(before)?.strip_suffix(behind)?;
        let string = std::str::from_utf8(string).ok()?;

        let mut walk = JsonWalk::new(string);
        let is_one = string.len() > 2 && walk.string() == Ok(string);
        is_one.then_some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(text: &'static str, string: &str) -> RepeatedChunk {
        let at = text.find(string).unwrap();
        RepeatedChunk::new(
            &Bytes::from_static(text.as_bytes()),
            text,
            &text[at..at + string.len()],
        )
    }

    #[test]
    fn only_another_text_makes_the_same_chunk() {
        let chunk = repeated(r#"{"a":1,"text":"x","b":2}"#, r#""x""#);

        for (data, string) in [
            (r#"{"a":1,"text":"other","b":2}"#, Some(r#""other""#)),
            (r#"{"a":1,"text":"\"\u00e9","b":2}"#, Some(r#""\"\u00e9""#)),
            (r#"{"a":1,"text":"x","c":3,"b":2}"#, None),
            (r#"{"a":1,"text":"x","text":"y","b":2}"#, None),
            (r#"{"a":1,"text":"","b":2}"#, None),
            (r#"{"a":1,"text":null,"b":2}"#, None),
            (r#"{"a":1,"text": "x","b":2}"#, None),
            (r#"{"a":1,"text":"\x","b":2}"#, None),
            (r#"{"a":2,"text":"x","b":2}"#, None),
            (r#"{"a":1,"text":"x","b":3}"#, None),
            (r#"{"a":1,"text":"#, None),
            ("", None),
        ] {
            assert_eq!(chunk.string_of(data.as_bytes()), string, "{data}");
        }
    }

    #[test]
    fn a_text_that_is_no_utf8_is_no_repetition() {
        let chunk = repeated(r#"["x"]"#, r#""x""#);

        assert_eq!(chunk.string_of(b"[\"\xff\"]"), None);
    }
}
