//! Keys that the settings of a server declare. They are as good as stored ones at every door, and no
//! command changes them.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::SystemTime;

use super::{Key, KeyDigest, KeyId, KeyIdError, KeyOrigin, KeySecret, Rights, digest_of};
use crate::base32::base32;

/// What the ids of declared keys begin with. No stored key has such an id.
const PREFIX: &str = "settings-";
/// The bytes of the digest of a name that are its id, where the name is too long for one.
const NAME_BYTES: usize = 10;

/// A declared key that is in the store as well: it could not be revoked there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key {declared:?} of the settings is the key {stored} of the store as well: take its [[key]] \
     table out of the settings, or give it another key"
)]
pub struct DeclaredTwiceError {
    /// The name of the declared key.
    pub declared: String,
    /// The id of the stored one.
    pub stored: KeyId,
}

impl Key {
    /// Returns a declared key. Its id follows from its name, so what it has used is counted over
    /// restarts, and in any order of the declarations.
    ///
    /// # Errors
    ///
    /// If the name is empty.
    pub fn declared(name: &str, rights: Rights, digest: KeyDigest) -> Result<Self, KeyIdError> {
        Ok(Self {
            id: id_of(name)?,
            name: name.to_owned(),
            rights,
            origin: KeyOrigin::Declared,
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            secrets: vec![KeySecret {
                digest,
                expires_at: None,
            }],
        })
    }

    /// Checks that no declared key is in the store as well, whether it is valid there or not: a key
    /// that was revoked must not come back by the settings.
    ///
    /// # Errors
    ///
    /// If one is.
    pub fn check_declared<'a>(
        declared: &[Self],
        stored: impl IntoIterator<Item = &'a Self>,
    ) -> Result<(), DeclaredTwiceError> {
        let secrets = declared.iter().flat_map(|key| {
            let secrets = key.secrets.iter();
            secrets.map(move |secret| (secret.digest, key))
        });
        let declared: HashMap<KeyDigest, &Self> = secrets.collect();
        let twice = stored.into_iter().find_map(|key| {
            let mut secrets = key.secrets.iter();
            let declared = secrets.find_map(|secret| declared.get(&secret.digest))?;
            Some((declared, key))
        });
        match twice {
            None => Ok(()),
            Some((declared, stored)) => Err(DeclaredTwiceError {
                declared: declared.name.clone(),
                stored: stored.id.clone(),
            }),
        }
    }
}

fn id_of(name: &str) -> Result<KeyId, KeyIdError> {
    if name.is_empty() {
        return name.parse();
    }
    let mut id = PREFIX.to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            id.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(id, "%{byte:02X}");
        }
    }
    let digest = digest_of(name.as_bytes());
    let short = || format!("{PREFIX}{}", base32().encode(&digest[..NAME_BYTES]));
    id.parse().or_else(|_| short().parse())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CallerRights;

    fn key(name: &str, secret: &str) -> Key {
        let rights = Rights::Caller(CallerRights::default());
        Key::declared(name, rights, digest_of(secret.as_bytes())).unwrap()
    }

    #[test]
    fn the_id_of_a_declared_key_follows_from_its_name() {
        let id = |name: &str| key(name, "a").id.to_string();

        assert_eq!(id("laptop"), "settings-laptop");
        assert_eq!(id("key 2"), "settings-key%202");
        assert_ne!(id("a b"), id("a%20b"));
        let long = id(&"é".repeat(40));
        assert!(long.len() < 40 && long != id(&"é".repeat(41)), "{long}");
        let rights = Rights::Caller(CallerRights::default());
        assert!(Key::declared("", rights, KeyDigest::default()).is_err());
    }

    #[test]
    fn a_declared_key_that_is_stored_is_refused() {
        let declared = [key("laptop", "a"), key("ci", "b")];
        let stored = |secret: &str| Key {
            id: "7k3x".parse().unwrap(),
            origin: KeyOrigin::Stored,
            revoked_at: Some(SystemTime::now()),
            ..key("other", secret)
        };

        assert_eq!(Key::check_declared(&declared, &[stored("c")]), Ok(()));
        let error = Key::check_declared(&declared, &[stored("c"), stored("b")]).unwrap_err();

        assert_eq!(error.declared, "ci");
        let text = error.to_string();
        assert!(text.contains("\"ci\"") && text.contains("7k3x"), "{text}");
    }
}
