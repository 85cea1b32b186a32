//! Ids and names that arrive from outside, as types that are valid ever after.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest relay id, in bytes.
const MAX_ID_BYTES: usize = 128;
/// The longest name of a relay, in characters; longer ones are cut.
const MAX_NAME_CHARS: usize = 128;

/// The id under which a relay's provider is reached: 1 to 128 of `A-Z a-z 0-9 - _ . ~`, not `.` or `..`.
///
/// These are the characters that need no encoding in a URL's path, so an id has exactly one spelling there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelayId(String);

/// Why a text is not a [`RelayId`] or an [`InstanceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing where an id was expected.
    #[error("the id is empty, expected 1 to {MAX_ID_BYTES} of A-Z a-z 0-9 - _ . ~")]
    Empty,
    /// More bytes than an id may have.
    #[error("the id has {0} bytes, expected at most {MAX_ID_BYTES}")]
    TooLong(usize),
    /// A character that an id may not have.
    #[error("the id has the character {0:?}, expected only A-Z a-z 0-9 - _ . ~")]
    Character(char),
    /// `.` or `..`, which mean something else in a path.
    #[error("the id is a relative path segment (`.` or `..`)")]
    DotSegment,
    /// Not 32 hexadecimal digits.
    #[error("the instance id is not 32 hexadecimal digits")]
    NotAnInstance,
}

impl RelayId {
    /// A new random id with 128 bits that nobody can guess.
    pub fn random() -> Self {
        Self(hex(rand::random()))
    }

    /// The id's only spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for RelayId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > MAX_ID_BYTES {
            return Err(IdError::TooLong(text.len()));
        }
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        if let Some(other) = text.chars().find(|c| !allowed(c)) {
            return Err(IdError::Character(other));
        }
        if text == "." || text == ".." {
            return Err(IdError::DotSegment);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RelayId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RelayId> for String {
    fn from(id: RelayId) -> Self {
        id.0
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 128 random bits, new in every relay process. Who knows them is that process: they take an id over without asking,
/// so they are treated as a secret and never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InstanceId(String);

impl InstanceId {
    /// The instance id of a process that starts now.
    pub fn random() -> Self {
        Self(hex(rand::random()))
    }

    /// The text that goes into the header.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for InstanceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_one = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_one {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(IdError::NotAnInstance)
        }
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceId(…)")
    }
}

/// A relay's name for people: any text, cut to 128 characters, control characters replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DisplayName(String);

/// Why a header value is not a [`DisplayName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name is not percent-encoded UTF-8")]
pub struct NameError;

impl DisplayName {
    /// The name that a text stands for, made harmless.
    pub fn new(text: &str) -> Self {
        let sanitize = text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c });
        Self(sanitize.take(MAX_NAME_CHARS).collect())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a header value: percent-encoded, so that any language fits through a header.
    pub fn encode(&self) -> String {
        let mut encoded = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            match byte {
                b'%' | 0..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
                plain => encoded.push(plain as char),
            }
        }
        encoded
    }

    /// The name that a header value says.
    pub fn decode(value: &str) -> Result<Self, NameError> {
        let mut bytes = Vec::with_capacity(value.len());
        let mut rest = value.bytes();
        while let Some(byte) = rest.next() {
            let decoded = match byte {
                b'%' => {
                    let digits = [rest.next().ok_or(NameError)?, rest.next().ok_or(NameError)?];
                    let digits = std::str::from_utf8(&digits).map_err(|_| NameError)?;
                    u8::from_str_radix(digits, 16).map_err(|_| NameError)?
                }
                plain => plain,
            };
            bytes.push(decoded);
        }
        String::from_utf8(bytes)
            .map(|text| Self::new(&text))
            .map_err(|_| NameError)
    }
}

fn hex(bits: u128) -> String {
    format!("{bits:032x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_texts_that_need_no_encoding_in_a_path() {
        for good in ["mcp-1234", "a", "A.b_c~d-9", &"x".repeat(128)] {
            assert_eq!(good.parse::<RelayId>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<RelayId>(), Err(IdError::Empty));
        assert_eq!("..".parse::<RelayId>(), Err(IdError::DotSegment));
        assert_eq!(
            "x".repeat(129).parse::<RelayId>(),
            Err(IdError::TooLong(129))
        );

        for (bad, character) in [
            ("a/b", '/'),
            ("a%2fb", '%'),
            ("a b", ' '),
            ("a\0", '\0'),
            ("ａ", 'ａ'),
        ] {
            assert_eq!(bad.parse::<RelayId>(), Err(IdError::Character(character)));
        }
    }

    #[test]
    fn random_ids_are_valid_and_differ() {
        let one = RelayId::random();
        let other = RelayId::random();
        assert_ne!(one, other);
        assert_eq!(one.as_str().parse::<RelayId>().unwrap(), one);
        let instance = InstanceId::random();
        assert_eq!(instance.expose().parse::<InstanceId>().unwrap(), instance);
        assert!(!format!("{instance:?}").contains(instance.expose()));
    }

    proptest! {
        #[test]
        fn any_name_survives_its_header(text in ".{0,200}") {
            let name = DisplayName::new(&text);
            let encoded = name.encode();
            prop_assert!(http::HeaderValue::from_str(&encoded).is_ok());
            prop_assert_eq!(DisplayName::decode(&encoded).unwrap(), name);
        }

        #[test]
        fn hostile_names_and_ids_never_panic(text in "\\PC*|%.{0,8}") {
            let _ = DisplayName::decode(&text);
            let _ = text.parse::<RelayId>();
            let _ = text.parse::<InstanceId>();
        }
    }
}
