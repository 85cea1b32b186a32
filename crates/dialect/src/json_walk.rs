//! A walk through JSON that is not validated yet: values are passed over as strictly as `serde_json`
//! reads them, and much faster, because nothing is made of them.
//!
//! An event of 170 bytes has some twenty values, and each level of objects is walked by itself: with
//! `RawValue` that took 11 000 instructions for one event.

use serde_json::value::RawValue;

/// The text is not the kind of JSON that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJsonError;

/// The depth down to which brackets are kept in one word. What is deeper is left to `serde_json`.
const MAX_DEPTH: u32 = 64;
/// Bytes of a string that are looked at by words: names and most values have fewer.
const SHORT_BYTES: usize = 32;
/// A one in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte of a word.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A place in a text.
#[derive(Debug)]
pub(crate) struct JsonWalk<'a> {
    text: &'a str,
    at: usize,
}

/// The open brackets around a place: one bit for each, 1 for an object.
#[derive(Debug, Default)]
struct Brackets {
    kinds: u64,
    depth: u32,
}

impl<'a> JsonWalk<'a> {
    /// Starts at the beginning of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Passes over white space, and returns the byte behind it, `None` at the end.
    #[inline]
    pub(crate) fn look(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Passes over white space and one byte, which must be this one.
    #[inline]
    pub(crate) fn pass(&mut self, byte: u8) -> Result<(), NotJsonError> {
        if self.look() != Some(byte) {
            return Err(NotJsonError);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes over white space and one byte if it is this one. Returns whether it is.
    #[inline]
    pub(crate) fn passes(&mut self, byte: u8) -> bool {
        self.pass(byte).is_ok()
    }

    /// Passes over white space up to the end, where nothing else may be.
    pub(crate) fn end(&mut self) -> Result<(), NotJsonError> {
        match self.look() {
            None => Ok(()),
            Some(_) => Err(NotJsonError),
        }
    }

    /// Passes over a string, and returns it with its quotes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, NotJsonError> {
        self.look();
        let start = self.at;
        self.pass_string()?;
        Ok(&self.text[start..self.at])
    }

    /// Passes over a value, and returns it without white space around it.
    pub(crate) fn value(&mut self) -> Result<&'a str, NotJsonError> {
        let first = self.look();
        let start = self.at;
        match first {
            Some(b'"') => self.pass_string()?,
            Some(b'{' | b'[') => self.pass_container(start)?,
            _ => self.pass_scalar()?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Passes over the object or the array that begins at `start`.
    fn pass_container(&mut self, start: usize) -> Result<(), NotJsonError> {
        let mut open = Brackets::default();
        loop {
            match self.look() {
                Some(b'"') => self.pass_string()?,
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    if open.depth == MAX_DEPTH {
                        return self.pass_deep(start);
                    }
                    open.push(bracket == b'{');
                    if !self.passes(open.closing()) {
                        self.begin_item(&open)?;
                        continue;
                    }
                    open.pop();
                }
                _ => self.pass_scalar()?,
            }
            if !self.ends_item(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Passes over what follows a value, up to the next one. Returns `false` if there is no next one,
    /// because the outermost bracket is closed.
    fn ends_item(&mut self, open: &mut Brackets) -> Result<bool, NotJsonError> {
        while open.depth > 0 {
            if self.passes(b',') {
                self.begin_item(open)?;
                return Ok(true);
            }
            self.pass(open.closing())?;
            open.pop();
        }
        Ok(false)
    }

    /// Passes over the name of a member, where one is due.
    fn begin_item(&mut self, open: &Brackets) -> Result<(), NotJsonError> {
        if !open.is_object() {
            return Ok(());
        }
        self.look();
        self.pass_string()?;
        self.pass(b':')
    }

    /// Passes over a value that is nested deeper than [`MAX_DEPTH`].
    fn pass_deep(&mut self, start: usize) -> Result<(), NotJsonError> {
        let reader = serde_json::Deserializer::from_str(&self.text[start..]);
        let mut values = reader.into_iter::<&RawValue>();
        match values.next() {
            Some(Ok(_)) => {
                self.at = start + values.byte_offset();
                Ok(())
            }
            _ => Err(NotJsonError),
        }
    }

    fn pass_scalar(&mut self) -> Result<(), NotJsonError> {
        match self.text.as_bytes().get(self.at) {
            Some(b'-' | b'0'..=b'9') => self.pass_number(),
            Some(b't') => self.pass_word("true"),
            Some(b'f') => self.pass_word("false"),
            Some(b'n') => self.pass_word("null"),
            _ => Err(NotJsonError),
        }
    }

    fn pass_word(&mut self, word: &str) -> Result<(), NotJsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(NotJsonError);
        }
        self.at += word.len();
        Ok(())
    }

    /// Passes over a number (RFC 8259, 6).
    fn pass_number(&mut self) -> Result<(), NotJsonError> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
            if matches!(bytes.get(self.at), Some(b'0'..=b'9')) {
                return Err(NotJsonError);
            }
        } else {
            self.pass_digits()?;
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.pass_digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = bytes.get(self.at) {
                self.at += 1;
            }
            self.pass_digits()?;
        }
        Ok(())
    }

    /// Passes over one digit or more.
    fn pass_digits(&mut self) -> Result<(), NotJsonError> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 {
            return Err(NotJsonError);
        }
        Ok(())
    }

    /// Passes over the string that begins here.
    #[inline]
    fn pass_string(&mut self) -> Result<(), NotJsonError> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return Err(NotJsonError);
        }
        self.at += 1;
        loop {
            self.at += plain_bytes(&bytes[self.at..]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.pass_escape()?,
                _ => return Err(NotJsonError),
            }
        }
    }

    /// Passes over an escape. Halves of surrogate pairs are not looked for: only a reader that decodes
    /// needs both.
    fn pass_escape(&mut self) -> Result<(), NotJsonError> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = rest.get(2..6).ok_or(NotJsonError)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotJsonError);
                }
                6
            }
            _ => return Err(NotJsonError),
        };
        self.at += length;
        Ok(())
    }
}

impl Brackets {
    fn push(&mut self, is_object: bool) {
        self.kinds = self.kinds << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.kinds >>= 1;
        self.depth -= 1;
    }

    fn is_object(&self) -> bool {
        self.kinds & 1 == 1
    }

    fn closing(&self) -> u8 {
        if self.is_object() { b'}' } else { b']' }
    }
}

/// Returns how many bytes come before a quote, a backslash, a control character or the end.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let short = &bytes[..bytes.len().min(SHORT_BYTES)];
    let plain = plain_bytes_by_words(short);
    if plain < SHORT_BYTES {
        return plain;
    }
    plain + plain_bytes_of_text(&bytes[plain..])
}

/// The same for a long text: its end is searched for with the widest registers, and what is before it is looked
/// at as a whole.
#[inline(never)]
fn plain_bytes_of_text(bytes: &[u8]) -> usize {
    let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let text = &bytes[..end];
    let least = text.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    if least >= 0x20 {
        end
    } else {
        plain_bytes_by_words(text)
    }
}

/// The same, eight bytes at a time.
#[inline]
fn plain_bytes_by_words(bytes: &[u8]) -> usize {
    let mut words = bytes.chunks_exact(8);
    let mut plain = 0;
    for word in words.by_ref() {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        // A byte is flagged if the subtraction borrows into its highest bit. The lowest flag is
        // always right, as a borrow only goes upwards.
        let below = |limited: u64, limit: u64| limited.wrapping_sub(ONES * limit) & !limited & HIGH;
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = below(word, 0x20) | quotes | backslashes;
        if found != 0 {
            return plain + found.trailing_zeros() as usize / 8;
        }
        plain += 8;
    }
    let is_plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    plain + words.remainder().iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The one value of a text, as this walk finds it.
    fn walked(text: &str) -> Option<&str> {
        let mut walk = JsonWalk::new(text);
        let value = walk.value().ok()?;
        walk.end().ok()?;
        Some(value)
    }

    fn read_by_serde(text: &str) -> Option<&str> {
        let value = serde_json::from_str::<&RawValue>(text);
        value.ok().map(RawValue::get)
    }

    /// Texts of all lengths around the limits of its steps, with each byte that ends them at each place, and another
    /// one behind it.
    #[test]
    fn plain_bytes_end_where_the_first_other_one_is() {
        for length in [0, 1, 7, 8, 9, 31, 32, 33, 40, 64, 95, 96, 97, 131] {
            let plain: Vec<u8> = (0..length).map(|at| b" a\x7f\xc3\xa9~"[at % 6]).collect();
            assert_eq!(plain_bytes(&plain), length);
            for at in 0..length {
                for end in [b'"', b'\\', 0, b'\n', 0x1f] {
                    let mut bytes = plain.clone();
                    bytes[at] = end;
                    assert_eq!(plain_bytes(&bytes), at, "{end} at {at} of {length}");

                    bytes[length - 1] = b'"';
                    assert_eq!(plain_bytes(&bytes), at, "{end} at {at} of {length}");
                }
            }
        }
    }

    /// Fragments of JSON, of which random ones make texts that are often nearly JSON.
    fn nearly_json() -> impl Strategy<Value = String> {
        let fragments = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            "\"",
            "\"a\"",
            "\"b\":",
            "\\",
            "\\\"",
            "\\u00e9",
            "\\u00g0",
            "\\x",
            "\u{7}",
            "\u{e9}",
            "0",
            "-",
            "1",
            "01",
            "1.",
            ".5",
            "e",
            "E+3",
            "-0.5e-7",
            "true",
            "false",
            "null",
            "nul",
            "x",
            "12345678",
            "\"12345678\"",
            "\"1234567\u{1f}\"",
        ]);
        prop::collection::vec(fragments, 0..12).prop_map(|parts| parts.concat())
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn what_is_json_is_what_serde_json_takes() {
        for text in [
            "",
            " ",
            "1",
            "-",
            "-0",
            "00",
            "1e",
            "1e5",
            "1.e5",
            "[]",
            "[ ]",
            "{}",
            "{ }",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{1:1}",
            "[1 2]",
            "\"",
            "\"\\\"",
            "\"\\u12",
            "\"\u{7f}\"",
            "\"\\ud800\"",
            "nulll",
            "true false",
            "[1}",
            "{\"a\":1]",
            "]",
            "\u{feff}1",
            "\u{b}1",
        ] {
            assert_eq!(walked(text), read_by_serde(text), "{text:?}");
        }
    }

    #[test]
    fn depth_has_no_bound_of_its_own() {
        for depth in [1, 63, 64, 65, 66, 500] {
            let lists = "[".repeat(depth) + &"]".repeat(depth);
            let objects = "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
            let broken = "[".repeat(depth) + "}" + &"]".repeat(depth);

            assert_eq!(walked(&lists), Some(&*lists), "{depth}");
            assert_eq!(walked(&objects), Some(&*objects), "{depth}");
            assert_eq!(walked(&broken), None, "{depth}");
        }
    }

    #[test]
    fn a_string_ends_at_its_quote_wherever_it_is() {
        for length in 0..40 {
            let plain = "x".repeat(length);
            let quoted = format!("\"{plain}\"");

            assert_eq!(walked(&quoted), Some(&*quoted));
            for special in ["\u{0}", "\u{1f}", "\"", "\\"] {
                let wrong = format!("\"{plain}{special}{plain}\"");
                assert_eq!(walked(&wrong), read_by_serde(&wrong), "{wrong:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_json_exactly_where_serde_json_takes_them(text in nearly_json()) {
            prop_assert_eq!(walked(&text), read_by_serde(&text));
        }

        #[test]
        fn json_is_passed_over_as_a_whole(value in json(), is_pretty: bool) {
            let text = if is_pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };

            prop_assert_eq!(walked(&text), Some(&*text));
        }

        #[test]
        fn json_with_one_byte_changed_is_judged_alike(
            value in json(),
            place: prop::sample::Index,
            byte in prop::sample::select(b"\"\\{}[],:x0 \n\x01".to_vec()),
        ) {
            let mut bytes = value.to_string().into_bytes();
            let at = place.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert_eq!(walked(&text), read_by_serde(&text));
            }
        }
    }
}
