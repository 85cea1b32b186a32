//! The tag that distinguishes the relay processes of one id.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use llamapool_wire::InstanceId;
use ring::digest;

/// The tag of a relay process. It survives reconnects and restarts of the server, and no restart of
/// the relay: its sessions do not either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RelayTag([u8; RelayTag::LEN]);

impl RelayTag {
    /// The bytes of a tag.
    pub(crate) const LEN: usize = 8;

    /// Returns the tag of a relay process.
    pub(crate) fn of(instance: &InstanceId) -> Self {
        let digest = digest::digest(
            &digest::SHA256,
            format!("llamapool relay tag {}", instance.expose()).as_bytes(),
        );
        let mut tag = [0; Self::LEN];
        tag.copy_from_slice(&digest.as_ref()[..Self::LEN]);
        Self(tag)
    }

    /// Returns the tag with these bytes.
    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the tag.
    pub(crate) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Returns the rank of the relay for a caller: another number for every pair, and always the
    /// same for one (rendezvous hashing).
    pub(crate) fn rank_for(self, affinity: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, affinity).hash(&mut hasher);
        hasher.finish()
    }
}

/// Shown to operators, who name a relay by it.
impl fmt::Display for RelayTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no tag of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the id of a relay, 16 hexadecimal digits as in mcp.clients[].relays[].id of the state"
)]
pub(crate) struct RelayTagError;

impl FromStr for RelayTag {
    type Err = RelayTagError;

    fn from_str(text: &str) -> Result<Self, RelayTagError> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let tag = u64::from_str_radix(text, 16).ok();
        let tag = tag.filter(|_| is_hex && text.len() == 2 * Self::LEN);
        tag.map(|tag| Self(tag.to_be_bytes())).ok_or(RelayTagError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_have_their_own_tags_and_keep_them() {
        let one = InstanceId::random();
        let other = InstanceId::random();

        assert_eq!(RelayTag::of(&one), RelayTag::of(&one));
        assert_ne!(RelayTag::of(&one), RelayTag::of(&other));
        let shown = RelayTag::of(&one).to_string();
        assert_eq!(shown.parse(), Ok(RelayTag::of(&one)));
        for wrong in ["", "1", "+00000000000000f", "g000000000000000"] {
            assert_eq!(wrong.parse::<RelayTag>(), Err(RelayTagError), "{wrong}");
        }
    }
}
