//! The tag of a record: a short hash of all that can be changed of it. Two administrators that change
//! one record at once find out by it, as the second one names a record that is not there any more.
//!
//! It is a hash and no counter, so that no record needs a number: a record that is again as it was has
//! its earlier tag, and there is nothing to lose by that.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::digest;
use serde_json::json;

use super::Key;
use crate::access::AccessRule;

/// The bytes of a tag.
const BYTES: usize = 16;

/// The tag of a record as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordTag([u8; BYTES]);

/// A text that is no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the ETag of an answer, 32 digits in quotes")]
pub struct RecordTagError;

impl RecordTag {
    fn of(record: &serde_json::Value) -> Self {
        let hash = digest::digest(&digest::SHA256, record.to_string().as_bytes());
        let mut bytes = [0; BYTES];
        for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl fmt::Display for RecordTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for RecordTag {
    type Err = RecordTagError;

    fn from_str(text: &str) -> Result<Self, RecordTagError> {
        let bytes = HEXLOWER.decode(text.as_bytes());
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(RecordTagError)
    }
}

impl Key {
    /// Returns the tag of the key. Its last use is no part of it.
    pub fn tag(&self) -> RecordTag {
        let seconds = |at: Option<std::time::SystemTime>| {
            let since = at?.duration_since(std::time::SystemTime::UNIX_EPOCH);
            since.ok().map(|since| since.as_secs())
        };
        let mut secrets: Vec<_> = self.secrets.iter().collect();
        secrets.sort_by_key(|secret| secret.digest);
        let secrets = secrets
            .iter()
            .map(|secret| json!([HEXLOWER.encode(&secret.digest), seconds(secret.expires_at)]));
        let secrets: Vec<_> = secrets.collect();
        RecordTag::of(&json!([
            self.id.as_str(),
            self.name,
            self.rights,
            seconds(self.expires_at),
            seconds(self.revoked_at),
            secrets,
        ]))
    }
}

impl AccessRule {
    /// Returns the tag of the rule.
    pub fn tag(&self) -> RecordTag {
        RecordTag::of(&json!([
            self.pattern.to_string(),
            self.mode.word(),
            self.limits,
            self.messages,
        ]))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::access::AccessMode;
    use crate::key::{AdminRights, KeyDigest, KeyOrigin, KeySecret, Rights};

    fn key() -> Key {
        Key {
            id: "a".parse().unwrap(),
            name: "ops".to_owned(),
            rights: Rights::Admin(AdminRights::default()),
            origin: KeyOrigin::Stored,
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            secrets: vec![KeySecret {
                digest: KeyDigest::default(),
                expires_at: None,
            }],
        }
    }

    #[test]
    fn a_tag_is_that_of_what_can_be_changed() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let tag = key().tag();

        let used = Key {
            last_used_at: Some(at),
            ..key()
        };
        assert_eq!(used.tag(), tag);
        let renamed = Key {
            name: "other".to_owned(),
            ..key()
        };
        let revoked = Key {
            revoked_at: Some(at),
            ..key()
        };
        let mut rotated = key();
        rotated.secrets.push(KeySecret {
            digest: [1; 32],
            expires_at: None,
        });
        for changed in [renamed, revoked, rotated] {
            assert_ne!(changed.tag(), tag, "{changed:?}");
        }

        let rule = AccessRule::new("a".parse().unwrap(), AccessMode::Keys);
        let open = AccessRule::new("a".parse().unwrap(), AccessMode::Open);
        assert_ne!(rule.tag(), open.tag());
    }

    #[test]
    fn a_tag_survives_its_text() {
        let tag = key().tag();

        assert_eq!(tag.to_string().parse(), Ok(tag));
        for wrong in ["", "*", "xyz", "00", &"0".repeat(34)] {
            assert_eq!(wrong.parse::<RecordTag>(), Err(RecordTagError), "{wrong}");
        }
    }
}
