//! A key: the account of a caller, of a relay or of an operator.
//!
//! It has a public id, a name, what it may do, and one secret or, while it is rotated, several.
//! Only the SHA-256 of a secret is ever kept: 256 random bits need no slow hash.

mod admin;
mod check;
mod declared;
mod rights;
mod tag;
mod text;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use ring::digest;

pub use admin::{AdminRight, AdminRightError, AdminRights};
pub use check::{KeyNameError, RightsError, check_key_name};
pub use declared::DeclaredTwiceError;
pub use rights::{CallerRights, Class, LlmLimits, Rights, WorkerIds, WorkerKind, WorkerRights};
pub use tag::{RecordTag, RecordTagError};
pub use text::{KeyText, KeyTextError};

/// The SHA-256 of a key's whole text.
pub type KeyDigest = [u8; 32];

/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 80;

/// The public name of a key in commands, the log and the state. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Callers of MCP servers and of the LLM API.
    Caller,
    /// Relays and workers.
    Worker,
    /// Operators: the state, the metrics and the administration API.
    Admin,
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The settings of the server; it cannot be changed while the server runs.
    Declared,
    /// The store.
    Stored,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its public id.
    pub id: KeyId,
    /// Its name for people; two keys of one kind have different ones.
    pub name: String,
    /// What it may do, which also fixes its kind.
    pub rights: Rights,
    /// Where it comes from.
    pub origin: KeyOrigin,
    /// When it was made; the epoch for a declared one.
    pub created_at: SystemTime,
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<SystemTime>,
    /// Since when it is revoked; `None`: it is not.
    pub revoked_at: Option<SystemTime>,
    /// The minute of its last use; `None`: never, or unknown.
    pub last_used_at: Option<SystemTime>,
    /// Its secrets.
    pub secrets: Vec<KeySecret>,
}

/// One secret of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySecret {
    /// Its SHA-256.
    pub digest: KeyDigest,
    /// From when on it is refused; `None`: as long as the key is valid.
    pub expires_at: Option<SystemTime>,
}

/// Returns the SHA-256 of a key's text.
pub fn digest_of(text: &[u8]) -> KeyDigest {
    let mut bytes = KeyDigest::default();
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    bytes
}

impl Key {
    /// Returns its kind.
    pub fn kind(&self) -> KeyKind {
        self.rights.kind()
    }

    /// Returns whether it opens the LLM API.
    pub fn opens_llm(&self) -> bool {
        self.rights.caller().is_some_and(CallerRights::opens_llm)
    }

    /// Returns whether it is neither revoked nor expired.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    /// Returns the next moment after `now` at which the key or one of its secrets ends.
    pub fn next_end(&self, now: SystemTime) -> Option<SystemTime> {
        let ends = self.secrets.iter().filter_map(|secret| secret.expires_at);
        ends.chain(self.expires_at).filter(|at| *at > now).min()
    }
}

impl KeyKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Caller, Self::Worker, Self::Admin];

    /// Returns the word for it in commands, settings and the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Worker => "worker",
            Self::Admin => "admin",
        }
    }

    /// Returns its letter in the text of a key.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Caller => 'c',
            Self::Worker => 'w',
            Self::Admin => 'a',
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Another word than that of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of key, expected caller, worker or admin")]
pub struct KeyKindError(String);

impl FromStr for KeyKind {
    type Err = KeyKindError;

    fn from_str(word: &str) -> Result<Self, KeyKindError> {
        let kind = Self::ALL.into_iter().find(|kind| kind.word() == word);
        kind.ok_or_else(|| KeyKindError(word.to_owned()))
    }
}

/// A text that is no id of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a key, expected 1 to {MAX_ID_BYTES} printable ASCII characters")]
pub struct KeyIdError(String);

impl KeyId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MAX_ID_BYTES || !is_printable {
            return Err(KeyIdError(text.chars().take(MAX_ID_BYTES).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_ends_at_its_revocation_or_expiry() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let secret = |expires_at| KeySecret {
            digest: KeyDigest::default(),
            expires_at,
        };
        let mut key = Key {
            id: "a".parse().unwrap(),
            name: "laptop".to_owned(),
            rights: Rights::Caller(CallerRights::default()),
            origin: KeyOrigin::Stored,
            created_at: at(0),
            expires_at: Some(at(100)),
            revoked_at: None,
            last_used_at: None,
            secrets: vec![secret(None), secret(Some(at(50)))],
        };

        assert!(key.is_valid(at(99)));
        assert!(!key.is_valid(at(100)));
        assert_eq!(key.next_end(at(0)), Some(at(50)));
        assert_eq!(key.next_end(at(50)), Some(at(100)));
        assert_eq!(key.next_end(at(100)), None);

        key.revoked_at = Some(at(1));
        assert!(!key.is_valid(at(2)));
    }

    #[test]
    fn an_id_is_printable_and_a_wrong_one_is_named() {
        assert_eq!("7k3x".parse::<KeyId>().unwrap().as_str(), "7k3x");
        for wrong in ["", "a b", "ä", &"a".repeat(81)] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }
}
