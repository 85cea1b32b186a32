//! The text of a key, as people copy it:
//! `llp_<c|w|a>_<id: 12 characters>_<secret: 52 characters><check: 7 characters>`, in the letters of
//! base32 (RFC 4648, 6) in lower case, so that a double click selects all of it.
//!
//! The prefix is for scanners that look for leaked secrets. The id, 60 random bits, is public. The
//! secret has 256 random bits. The check is the CRC-32 of what is before it: a form can tell a
//! typing error from a key that is not known.

use llamapool_wire::Secret;

use super::{KeyDigest, KeyId, KeyKind, digest_of};
use crate::base32::base32;

const PREFIX: &str = "llp_";
/// The characters of the id, of five bits each.
const ID_CHARS: usize = 12;
/// The random bytes of the id; its text is cut to [`ID_CHARS`].
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 52;
const CHECK_CHARS: usize = 7;
/// The characters of a whole key.
const CHARS: usize = PREFIX.len() + 2 + ID_CHARS + 1 + SECRET_CHARS + CHECK_CHARS;

/// The text of a key, which is a secret.
#[derive(Debug, Clone)]
pub struct KeyText {
    kind: KeyKind,
    id: KeyId,
    text: Secret,
}

/// The reasons why a text is not that of a key. None contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It does not begin as a key does.
    #[error("this is no key, expected llp_c_…, llp_w_… or llp_a_…")]
    Prefix,
    /// It is shorter or longer than a key, or has other characters.
    #[error("this key is incomplete or has other characters, expected {CHARS} of a-z, 2-7 and _")]
    Shape,
    /// Its check does not fit.
    #[error("this key has a typing error: its last {CHECK_CHARS} characters do not fit the others")]
    Check,
}

impl KeyText {
    /// Returns a new key.
    pub fn random(kind: KeyKind) -> Self {
        let id = base32().encode(&rand::random::<[u8; ID_BYTES]>());
        let id = id.get(..ID_CHARS).unwrap_or_default();
        let secret = base32().encode(&rand::random::<[u8; SECRET_BYTES]>());

        let letter = kind.letter();
        let body = format!("{PREFIX}{letter}_{id}_{secret}");
        let check = check_of(&body);
        Self {
            kind,
            id: KeyId(id.into()),
            text: Secret::new(body + &check),
        }
    }

    /// Reads the text of a key.
    ///
    /// # Errors
    ///
    /// If it is none; whether the key exists is another question.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let kinds = KeyKind::ALL.into_iter();
        let mut kind_and_rest = kinds.filter_map(|kind| {
            let rest = text.strip_prefix(PREFIX)?;
            let rest = rest.strip_prefix(kind.letter())?;
            Some((kind, rest.strip_prefix('_')?))
        });
        let (kind, rest) = kind_and_rest.next().ok_or(KeyTextError::Prefix)?;

        let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
        let (id, secret) = rest.split_once('_').ok_or(KeyTextError::Shape)?;
        let is_whole = text.len() == CHARS && id.len() == ID_CHARS;
        if !is_whole || !id.bytes().chain(secret.bytes()).all(is_letter) {
            return Err(KeyTextError::Shape);
        }

        let (body, check) = text.split_at(CHARS - CHECK_CHARS);
        if check != check_of(body) {
            return Err(KeyTextError::Check);
        }
        Ok(Self {
            kind,
            id: KeyId(id.into()),
            text: Secret::new(text),
        })
    }

    /// Returns what the key is for.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns its public id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Returns another secret for the same key.
    pub fn rotated(id: &KeyId, kind: KeyKind) -> Self {
        let Self { text, .. } = Self::random(kind);
        let at = PREFIX.len() + 2;
        let new = text.expose();
        let secret = new
            .get(at + ID_CHARS..CHARS - CHECK_CHARS)
            .unwrap_or_default();
        let body = format!("{}{id}{secret}", new.get(..at).unwrap_or_default());
        let check = check_of(&body);
        Self {
            kind,
            id: id.clone(),
            text: Secret::new(body + &check),
        }
    }

    /// Returns its SHA-256, which is what is stored.
    pub fn digest(&self) -> KeyDigest {
        digest_of(self.text.expose().as_bytes())
    }

    /// Returns the whole text, to be shown once to the one who asked for the key.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

/// Returns the check of what stands before it.
fn check_of(body: &str) -> String {
    base32().encode(&crc32fast::hash(body.as_bytes()).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        for kind in KeyKind::ALL {
            let key = KeyText::random(kind);
            let text = key.expose();

            assert_eq!(text.len(), CHARS);
            assert!(text.starts_with("llp_"), "a scanner finds it");
            let read = KeyText::parse(text).unwrap();
            assert_eq!(read.kind(), kind);
            assert_eq!(read.id(), key.id());
            assert_eq!(read.digest(), key.digest());
        }
    }

    #[test]
    fn a_rotated_key_has_the_same_id_and_another_secret() {
        let old = KeyText::random(KeyKind::Worker);

        let new = KeyText::rotated(old.id(), KeyKind::Worker);

        assert_eq!(KeyText::parse(new.expose()).unwrap().id(), old.id());
        assert_ne!(new.digest(), old.digest());
    }

    #[test]
    fn what_is_no_key_says_what_is_wrong() {
        let key = KeyText::random(KeyKind::Caller);
        let text = key.expose();

        assert_eq!(KeyText::parse("test123").unwrap_err(), KeyTextError::Prefix);
        assert_eq!(KeyText::parse("llp_x_a").unwrap_err(), KeyTextError::Prefix);
        let cut = &text[..CHARS - 1];
        assert_eq!(KeyText::parse(cut).unwrap_err(), KeyTextError::Shape);
        let upper = text.to_uppercase().replace("LLP_C_", "llp_c_");
        assert_eq!(KeyText::parse(&upper).unwrap_err(), KeyTextError::Shape);
        assert!(!format!("{key:?}").contains(&text[20..]), "{key:?}");
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_a_typing_error(at in 6_usize..CHARS, to in "[a-z2-7]") {
            let key = KeyText::random(KeyKind::Caller);
            let mut text = key.expose().to_owned();
            prop_assume!(&text[at..=at] != "_" && text[at..=at] != to);

            text.replace_range(at..=at, &to);

            prop_assert_eq!(KeyText::parse(&text).unwrap_err(), KeyTextError::Check);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,100}") {
            let _ = KeyText::parse(&text);
            let _ = KeyText::parse(&format!("llp_c_{text}"));
        }
    }
}
