//! Ids and progress tokens: a value to compare, and a place in the text.

use std::ops::Range;

/// Above this, another program may have parsed a different number (IEEE 754).
const EXACT: u64 = 1 << 53;

/// An id or a progress token: its value and its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The value, for comparison.
    pub key: TokenKey,
    /// The place in the text of the message.
    pub span: Range<usize>,
}

/// The value of a token, independent of its spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenKey {
    /// A string.
    Text(Box<str>),
    /// An integer that is exact in every program.
    Integer(i64),
    /// The bits of a fraction, or of a number too large to be exact in every program.
    Float(u64),
}

impl Token {
    /// Reads the token at `span` in `text`. `None` if that is neither a string nor a number.
    pub(super) fn read(text: &str, span: Range<usize>) -> Option<Self> {
        let key = TokenKey::parse(text.get(span.clone())?)?;
        Some(Self { key, span })
    }

    /// Returns the token as it is spelled in `text`, the text of its message.
    pub fn raw<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.span.clone()).unwrap_or_default()
    }
}

impl TokenKey {
    /// Parses a string or a number. `None` for any other JSON.
    pub(super) fn parse(json: &str) -> Option<Self> {
        if json.starts_with('"') {
            return serde_json::from_str(json).ok().map(Self::Text);
        }

        let integer = json.parse().ok();
        if let Some(integer) = integer.filter(|integer: &i64| integer.unsigned_abs() <= EXACT) {
            return Some(Self::Integer(integer));
        }

        let number: f64 = json.parse().ok()?;
        let is_exact = number.fract() == 0.0 && number.abs() <= EXACT as f64;
        Some(if is_exact {
            Self::Integer(number as i64)
        } else {
            Self::Float(number.to_bits())
        })
    }

    /// Returns the integer that the token is or spells as a string: the SDKs accept `"7"` as the
    /// answer to the request 7. `None` for any other token.
    pub fn as_integer(&self) -> Option<i64> {
        let integer = match self {
            Self::Integer(integer) => *integer,
            Self::Text(text) => text.parse().ok()?,
            Self::Float(_) => return None,
        };
        (integer.unsigned_abs() <= EXACT).then_some(integer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> TokenKey {
        TokenKey::parse(json).unwrap()
    }

    #[test]
    fn an_id_is_the_same_in_every_spelling() {
        assert_eq!(key("1"), key("1.0"));
        assert_eq!(key("-0"), key("0"));
        assert_eq!(key("1e2"), key("100"));
        assert_eq!(key(r#""a""#), key(r#""\u0061""#));
        assert_eq!(
            key("12345678901234567890123"),
            key("1.2345678901234568e+22")
        );
        assert_ne!(key("1"), key(r#""1""#));
        assert_ne!(key("1.5"), key("1"));
    }

    #[test]
    fn a_string_of_digits_is_also_an_integer() {
        assert_eq!(key(r#""17""#).as_integer(), Some(17));
        assert_eq!(key("17").as_integer(), Some(17));

        for none in [r#""x""#, r#""""#, r#""1.0""#, "1.5", "12345678901234567890"] {
            assert_eq!(key(none).as_integer(), None, "{none}");
        }
        assert_eq!(key(r#""9007199254740993""#).as_integer(), None);
    }
}
