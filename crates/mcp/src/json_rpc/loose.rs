//! The ids of responses that stand in a line although the line is no message: words before or
//! behind it, two messages together, a control character in a string, bytes that are not UTF-8.
//!
//! Such a response is not passed on, for its reader would not understand it either. But its request
//! will get no other, so the request can be ended.

use super::members::string_length;
use super::token::TokenKey;

/// How many objects of one line are looked at: more than a program writes into one by mistake, and
/// few enough for a line of any length.
const MAX_OBJECTS: usize = 16;

/// What can be read of an object.
#[derive(Default)]
struct LooseObject {
    id: Option<TokenKey>,
    has_version: bool,
    has_method: bool,
    has_outcome: bool,
    /// The length of the object; `None` if it is broken.
    length: Option<usize>,
}

/// Returns the ids of the responses that can be read in `line`, which is no message.
pub fn readable_responses(line: &[u8]) -> Vec<TokenKey> {
    let mut found = Vec::new();
    let mut rest = line;
    // Within a broken object, an object is a message only if it has a version: others are parts of
    // the broken one.
    let mut is_inside = false;

    for _ in 0..MAX_OBJECTS {
        let Some(at) = rest.iter().position(|byte| *byte == b'{') else {
            break;
        };
        rest = &rest[at..];
        let object = LooseObject::read(rest);
        if object.is_response(is_inside) {
            found.extend(object.id);
        }

        is_inside |= object.length.is_none();
        rest = &rest[object.length.unwrap_or(1)..];
    }
    found
}

impl LooseObject {
    /// Reads the object that `text` begins with, as far as its members can be told apart.
    fn read(text: &[u8]) -> Self {
        let mut object = Self::default();
        let mut reader = LooseReader { text, at: 1 };
        loop {
            match reader.next_byte() {
                Some(b',') => reader.at += 1,
                Some(b'}') => {
                    object.length = Some(reader.at + 1);
                    return object;
                }
                Some(b'"') => {
                    let Some((name, value)) = reader.member() else {
                        return object;
                    };
                    object.note(name, value);
                }
                _ => return object,
            }
        }
    }

    fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            br#""jsonrpc""# => self.has_version = true,
            br#""method""# => self.has_method |= value != b"null",
            br#""result""# | br#""error""# => self.has_outcome = true,
            br#""id""# => {
                let value = std::str::from_utf8(value).ok();
                self.id = value.and_then(TokenKey::parse);
            }
            _ => {}
        }
    }

    fn is_response(&self, is_inside: bool) -> bool {
        let may_be_message = if is_inside {
            self.has_version
        } else {
            self.has_version || self.has_outcome
        };
        may_be_message && !self.has_method
    }
}

struct LooseReader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> LooseReader<'a> {
    /// Returns the next byte that is no white space, and stays before it.
    fn next_byte(&mut self) -> Option<u8> {
        while self.text.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Reads one member: its name, with quotes, and its value. `None` if it is broken.
    fn member(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let name = self.take(string_length(self.text.get(self.at..)?)?)?;
        if self.next_byte()? != b':' {
            return None;
        }
        self.at += 1;
        self.next_byte()?;

        let length = value_length(self.text.get(self.at..)?)?;
        let value = self.take(length)?;
        Some((name, value.trim_ascii_end()))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.text.get(self.at..self.at + length)?;
        self.at += length;
        Some(taken)
    }
}

/// Returns the length of the value that `text` begins with. `None` if it has no end.
fn value_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut length = 0;
    loop {
        match text.get(length)? {
            b'"' => {
                length += string_length(&text[length..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return (length > 0).then_some(length),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        length += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(line: &[u8]) -> Vec<i64> {
        let ids = readable_responses(line);
        ids.iter().filter_map(TokenKey::as_integer).collect()
    }

    #[test]
    fn responses_are_found_in_broken_lines() {
        for line in [
            &b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"text\":\"a\tb\"}}"[..],
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"text\":\"\xff\"}}",
            b"{\"result\":{\"text\":\"\xff\"},\"id\" : 7 }",
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}} done",
            b"Loading... {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}",
            b"Loading {model} {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}",
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}{\"jsonrpc\":\"2.0\",\"method\":\"x\"}",
            b"{\"jsonrpc\":\"2.0\",\"method\":\"x\"}{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}",
            b"{\"id\":7,\"result\":{}}",
            b"{\"jsonrpc\":\"2.0\",\"id\":7}",
            b"{\"jsonrpc\":\"2.0\",\"id\":\"7\",\"result\":1,\"error\":{}}",
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":null,\"result\":tru}",
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"cut\":\"her",
            b"[{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":nope}]",
        ] {
            assert_eq!(ids(line), [7], "{}", String::from_utf8_lossy(line));
        }
        assert_eq!(
            ids(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}} {\"id\":2,\"error\":{}}"),
            [1, 2]
        );
    }

    /// Parts of a message, and messages with a method, answer nothing.
    #[test]
    fn nothing_else_is_taken_for_a_response() {
        for line in [
            &b"Server is starting... {\"port\":7}"[..],
            b"{\"id\":7}",
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"sampling/createMessage\",\"params\":\"\t\"}",
            b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"id\":7,\"result\":\"\t\"}}",
            b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"id\":7,\"result\":1} broken",
            b"{\"jsonrpc\":\"2.0\",\"id\":",
            b"{{{{",
            b"",
        ] {
            assert!(ids(line).is_empty(), "{}", String::from_utf8_lossy(line));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(text in r#"(\{|\}|\[|\]|"|\\|:|,| |7|"id":|"jsonrpc":"2.0"|"result":|é)*"#) {
            let _ = readable_responses(text.as_bytes());
        }

        /// Whatever stands around a response, its id is found.
        #[test]
        fn an_id_is_found_between_words(before in "[^{\"]*", behind in "[^{\"]*", id in 0i64..1 << 53) {
            let line = format!(r#"{before}{{"jsonrpc":"2.0","id":{id},"result":{{}}}}{behind}"#);
            prop_assert_eq!(ids(line.as_bytes()), [id]);
        }
    }
}
