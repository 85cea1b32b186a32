//! The chain: each line has a keyed hash of the line before it, so that none can be changed, removed,
//! inserted or moved without the key and not be found.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use llamapool_wire::Secret;
use ring::hmac;

/// The key of a chain, derived from the key of the server.
#[derive(Clone)]
pub struct ChainKey(hmac::Key);

/// The keyed hash of a line: an HMAC-SHA-256 of its bytes without the newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link([u8; 32]);

/// A line that was noted elsewhere: its number and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of the line.
    pub sequence: u64,
    /// Its hash.
    pub link: Link,
}

/// A text that is no hash of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits in lower case")]
pub struct LinkError;

/// A text that is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no checkpoint, expected <seq>:<hash>, as the log of the server has it")]
pub struct CheckpointError(String);

impl ChainKey {
    /// Returns the key of the chain of a server with this key.
    pub fn new(key: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
        let derived = hmac::sign(&root, b"llamapool audit chain");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// Returns the hash of a line without its newline.
    pub fn link(&self, line: &[u8]) -> Link {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hmac::sign(&self.0, line).as_ref());
        Link(bytes)
    }

    /// Returns what the first line has in the place of the hash of the line before it.
    pub fn start(&self) -> Link {
        self.link(b"")
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| LinkError)?;
        bytes.try_into().map(Self).map_err(|_| LinkError)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.link)
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let parsed = text.split_once(':').and_then(|(sequence, link)| {
            Some(Self {
                sequence: sequence.parse().ok()?,
                link: link.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| CheckpointError(text.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_key_and_on_every_byte() {
        let key = ChainKey::new(&Secret::new("a"));
        let link = key.link(b"a line");

        assert_eq!(key.link(b"a line"), link);
        assert_ne!(key.link(b"a lind"), link);
        assert_ne!(ChainKey::new(&Secret::new("b")).link(b"a line"), link);
        assert_ne!(key.start(), ChainKey::new(&Secret::new("b")).start());
    }

    #[test]
    fn a_checkpoint_survives_its_text() {
        let key = ChainKey::new(&Secret::new("a"));
        let checkpoint = Checkpoint {
            sequence: 812,
            link: key.start(),
        };

        assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
        for wrong in ["", "812", "812:", "x:00", "812:00", ":"] {
            assert!(wrong.parse::<Checkpoint>().is_err(), "{wrong}");
        }
    }
}
