//! The tag that distinguishes the relay processes of one id.

use std::hash::{DefaultHasher, Hash, Hasher};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_have_their_own_tags_and_keep_them() {
        let one = InstanceId::random();
        let other = InstanceId::random();

        assert_eq!(RelayTag::of(&one), RelayTag::of(&one));
        assert_ne!(RelayTag::of(&one), RelayTag::of(&other));
    }
}
