//! One-time codes: `llamapool login` prints one on the server, and who types it on the consent page
//! approves as its approver.
//!
//! A code has 8 characters of 32, of which the first three find its record and the other five are
//! secret: so wrong ones are counted against the code that they are meant for, and not against all.

use llamapool_wire::Secret;
use std::time::Duration;

use crate::key::{KeyDigest, digest_of};

/// The characters of a code: none that is taken for another (Crockford's base32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARS: usize = 8;
/// The characters that find the record.
const SELECTOR_CHARS: usize = 3;
/// The place of the dash that people read it by.
const DASH: usize = 4;

/// How long a code can be used.
pub const LOGIN_CODE_LIFE: Duration = Duration::from_secs(10 * 60);
/// The wrong tries after which a code is refused.
pub(crate) const MAX_TRIES: i64 = 5;

/// A one-time code.
#[derive(Debug, Clone)]
pub struct LoginCode(Secret);

/// The reasons for refusing a one-time code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginCodeError {
    /// It has other characters, or not so many.
    #[error("this is no one-time code, expected {CHARS} letters and digits")]
    Shape,
    /// It is wrong, was used, has expired, or was tried too often.
    #[error("the one-time code is not valid; `llamapool login` prints another")]
    Invalid,
}

impl LoginCode {
    /// Returns a new code.
    pub fn random() -> Self {
        let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 32)]);
        let bytes: [u8; CHARS] = rand::random();
        Self(Secret::new(bytes.map(letter).iter().collect::<String>()))
    }

    /// Reads a code as people type it: in any case, with dashes and spaces, and with letters for the
    /// digits that they look like.
    ///
    /// # Errors
    ///
    /// If it cannot be one.
    pub fn parse(text: &str) -> Result<Self, LoginCodeError> {
        let typed = text.chars().filter(|c| !matches!(c, '-' | ' '));
        let read: String = typed
            .map(|c| match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            })
            .collect();
        if read.len() != CHARS || !read.bytes().all(|byte| LETTERS.contains(&byte)) {
            return Err(LoginCodeError::Shape);
        }
        Ok(Self(Secret::new(read)))
    }

    /// Returns the code as it is shown, with a dash in its middle.
    pub fn expose(&self) -> String {
        let (first, second) = self.0.expose().split_at(DASH);
        format!("{first}-{second}")
    }

    /// Returns what finds its record. It is no secret.
    pub(crate) fn selector(&self) -> &str {
        self.0.expose().split_at(SELECTOR_CHARS).0
    }

    /// Returns the SHA-256 of it.
    pub(crate) fn digest(&self) -> KeyDigest {
        digest_of(self.0.expose().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = LoginCode::random();
        let shown = code.expose();

        assert_eq!(shown.len(), 9);
        let lower = format!(" {} ", shown.to_lowercase().replace('-', " "));
        let looks_alike = shown.replace('0', "O").replace('1', "l");
        for typed in [&shown, &lower, &looks_alike] {
            let read = LoginCode::parse(typed).unwrap();
            assert_eq!(read.digest(), code.digest(), "{typed}");
        }
        for wrong in [
            "",
            "ABCD-EFG",
            "ABCD-EFGHJ",
            "ABCD-EFGU",
            "äBCD-EFGH",
            "llp_c_aaa",
        ] {
            assert_eq!(LoginCode::parse(wrong).unwrap_err(), LoginCodeError::Shape);
        }
        assert!(!format!("{code:?}").contains(&shown[5..]));
    }

    proptest! {
        #[test]
        fn any_typed_text_is_read_without_a_panic(text in "\\PC{0,12}") {
            let _ = LoginCode::parse(&text);
        }
    }
}
