//! The value of a field.

use std::fmt;

use http::HeaderValue;

/// The value of a header field: bytes without control characters, except for tabs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldValue<'a>(&'a [u8]);

/// A value is not visible ASCII text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value of a header is not ASCII text")]
pub struct NotTextError;

impl<'a> FieldValue<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the value.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the value as text.
    ///
    /// # Errors
    ///
    /// A byte of it is not visible ASCII, a space or a tab.
    pub fn to_str(self) -> Result<&'a str, NotTextError> {
        let is_text = self
            .0
            .iter()
            .all(|&byte| matches!(byte, b' '..=b'~' | b'\t'));
        if !is_text {
            return Err(NotTextError);
        }
        std::str::from_utf8(self.0).map_err(|_| NotTextError)
    }

    /// Returns the value as one of the crate `http`.
    pub fn to_http(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.0).ok()
    }
}

impl PartialEq<str> for FieldValue<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for FieldValue<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// Not its content: values have secrets.
impl fmt::Debug for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldValue({} bytes)", self.0.len())
    }
}
