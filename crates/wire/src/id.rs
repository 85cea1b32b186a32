//! Ids and names of the peer, as types that are valid ever after.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::display::controls_display;

/// The longest relay id, in bytes.
const MAX_ID_BYTES: usize = 128;
/// The longest name of a relay, in characters; longer ones are cut.
const MAX_NAME_CHARS: usize = 128;
/// The ASCII characters of a name that a header value must not contain as they are.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The id under which a relay's provider is reached: 1 to 128 of `A-Z a-z 0-9 - _ . ~`, not `.` or
/// `..`.
///
/// These are the characters that need no encoding in a URL's path, so an id has exactly one spelling
/// there. Clones share it, as every call has some.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelayId(Arc<str>);

/// A text is not a [`RelayId`] or an [`InstanceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("the id is empty, expected 1 to {MAX_ID_BYTES} of A-Z a-z 0-9 - _ . ~")]
    Empty,
    /// The text has more bytes than an id may have.
    #[error("the id has {0} bytes, expected at most {MAX_ID_BYTES}")]
    TooLong(usize),
    /// The text has a character that an id may not have.
    #[error("the id has the character {0:?}, expected only A-Z a-z 0-9 - _ . ~")]
    Character(char),
    /// The text is `.` or `..`, which have another meaning in a path.
    #[error("the id is a relative path segment (`.` or `..`)")]
    DotSegment,
    /// The text is not 32 hexadecimal digits.
    #[error("the instance id is not 32 hexadecimal digits")]
    NotAnInstance,
}

/// The beginning of the ids of relays that only look whether everything works.
const DOCTOR_PREFIX: &str = "doctor-";

impl RelayId {
    /// Returns a new id with 128 random bits, which cannot be guessed.
    pub fn random() -> Self {
        Self(hex(rand::random()).into())
    }

    /// Returns a new id that cannot be guessed, of a relay that only looks whether everything works.
    pub fn of_doctor() -> Self {
        Self(format!("{DOCTOR_PREFIX}{}", hex(rand::random())).into())
    }

    /// Returns whether it is the id of a relay that only looks: nobody misses it afterwards.
    pub fn is_of_doctor(&self) -> bool {
        let random = self.0.strip_prefix(DOCTOR_PREFIX);
        random.is_some_and(|random| {
            random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    /// Returns the id's only spelling.
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
        Ok(Self(text.into()))
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
        id.as_str().to_owned()
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

/// 128 random bits, new in every relay process. They prove to be that process and take its ids over,
/// so they are a secret and never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InstanceId(String);

impl InstanceId {
    /// Returns the instance id of a new process.
    pub fn random() -> Self {
        Self(hex(rand::random()))
    }

    /// Returns the text of the header.
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

/// A relay's name for people: any text, cut to 128 characters, with control characters replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DisplayName(String);

/// A header value is not a [`DisplayName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name is not percent-encoded UTF-8")]
pub struct NameError;

impl DisplayName {
    /// Cuts a text and replaces its control characters.
    pub fn new(text: &str) -> Self {
        let harmless = text
            .chars()
            .map(|c| if controls_display(c) { '\u{fffd}' } else { c });
        Self(harmless.take(MAX_NAME_CHARS).collect())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as a header value: percent-encoded, so that a header can contain any
    /// language.
    pub fn encode(&self) -> String {
        utf8_percent_encode(&self.0, ENCODED).to_string()
    }

    /// Parses a header value.
    ///
    /// # Errors
    ///
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    pub fn decode(value: &str) -> Result<Self, NameError> {
        let mut escapes = value.split('%').skip(1);
        let is_sound = escapes.all(|escape| {
            let digits = escape.as_bytes().get(..2);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        });
        if !is_sound {
            return Err(NameError);
        }
        percent_decode_str(value)
            .decode_utf8()
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
    fn an_id_has_the_characters_that_need_no_encoding() {
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
        let instance = InstanceId::random();

        assert_ne!(one, other);
        assert_eq!(one.as_str().parse::<RelayId>().unwrap(), one);
        assert_eq!(instance.expose().parse::<InstanceId>().unwrap(), instance);
        assert!(!format!("{instance:?}").contains(instance.expose()));
    }

    #[test]
    fn a_name_is_encoded_as_exactly_these_bytes() {
        let encoded = "a b%25~%C3%A9";

        assert_eq!(DisplayName::new("a b%~é").encode(), encoded);
        assert_eq!(DisplayName::decode(encoded), Ok(DisplayName::new("a b%~é")));
        for wrong in ["%", "%4", "%zz", "%ff", "a%2"] {
            assert_eq!(DisplayName::decode(wrong), Err(NameError), "{wrong}");
        }
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
