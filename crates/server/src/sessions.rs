//! Sessions of ids that several relays share: which relay a session belongs to travels inside the session id that the
//! caller holds, sealed, so that no table is needed and none can be lost.
//!
//! The provider gives a session its id; the caller sees that id and the relay's tag, encrypted and authenticated
//! together with the id of the URL. A caller can neither make such a session id nor use it elsewhere, and learns
//! nothing of the relay. The same session always looks the same: some clients compare.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use llamapool_wire::{InstanceId, RelayId, Secret};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{digest, hmac};

/// How many bytes tell the relays of an id apart.
const TAG_BYTES: usize = 8;
/// The longest sealed text that is taken apart, in bytes: as long as the head of a request may be, so that whatever a
/// caller can send back opens.
const MAX_SEALED_BYTES: usize = 64 * 1024;

/// What a sealed text is for. One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The session id that a caller sees.
    Session,
    /// The name of one of the relays in a URL.
    Place,
}

impl Purpose {
    /// What it and the id are bound to the content as.
    fn of_id(self, id: &RelayId) -> Vec<u8> {
        let word: &[u8] = match self {
            Self::Session => b"session\0",
            Self::Place => b"place\0",
        };
        [word, id.as_str().as_bytes()].concat()
    }
}

/// Which relay process a session belongs to. It survives reconnects and restarts of the server, and no restart of the
/// relay: its sessions do not either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RelayTag([u8; TAG_BYTES]);

impl RelayTag {
    /// The tag of a relay process.
    pub(crate) fn of(instance: &InstanceId) -> Self {
        let digest = digest::digest(
            &digest::SHA256,
            format!("llamapool relay tag {}", instance.expose()).as_bytes(),
        );
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&digest.as_ref()[..TAG_BYTES]);
        Self(tag)
    }

    /// How much the relay suits a caller: another number for every pair, and always the same for one (rendezvous
    /// hashing).
    pub(crate) fn suits(self, caller: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, caller).hash(&mut hasher);
        hasher.finish()
    }
}

/// Seals and opens session ids. Servers with the same key open each other's.
pub(crate) struct Seal {
    aead: Option<LessSafeKey>,
    nonces: hmac::Key,
}

impl Seal {
    /// A seal with keys derived from a secret.
    pub(crate) fn new(secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let derived = |purpose: &str| hmac::sign(&root, purpose.as_bytes());
        // A SHA-256 is as long as the cipher's key, so there always is one.
        let key = UnboundKey::new(
            &CHACHA20_POLY1305,
            derived("llamapool session seal").as_ref(),
        )
        .ok();
        let nonces = hmac::Key::new(
            hmac::HMAC_SHA256,
            derived("llamapool session nonce").as_ref(),
        );
        Self {
            aead: key.map(LessSafeKey::new),
            nonces,
        }
    }

    /// The text that a caller sees in place of a relay and a session id; nothing, if it cannot be made.
    pub(crate) fn seal(
        &self,
        purpose: Purpose,
        id: &RelayId,
        tag: RelayTag,
        session: &[u8],
    ) -> Option<String> {
        let mut content = [&tag.0, session].concat();
        let bound = purpose.of_id(id);
        // Made of what is sealed: another content never meets the same nonce.
        let made_of = hmac::sign(&self.nonces, &[&bound, &b"\0"[..], &content].concat());
        let nonce: [u8; NONCE_LEN] = made_of.as_ref().get(..NONCE_LEN)?.try_into().ok()?;
        let aead = self.aead.as_ref()?;
        aead.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound),
            &mut content,
        )
        .ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce, content.as_slice()].concat()))
    }

    /// The relay and the provider's session id that a caller's text stands for; nothing, if this server did not make it,
    /// or not for this purpose and id.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        id: &RelayId,
        sealed: &[u8],
    ) -> Option<(RelayTag, Vec<u8>)> {
        if sealed.len() > MAX_SEALED_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, content) = bytes.split_at_checked(NONCE_LEN)?;
        let mut content = content.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self
            .aead
            .as_ref()?
            .open_in_place(nonce, Aad::from(purpose.of_id(id)), &mut content)
            .ok()?;
        let (tag, session) = opened.split_at_checked(TAG_BYTES)?;
        Some((RelayTag(tag.try_into().ok()?), session.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RelayId {
        text.parse().unwrap()
    }

    fn seal() -> Seal {
        Seal::new(&Secret::new("key"))
    }

    #[test]
    fn what_was_sealed_opens_after_a_restart_and_looks_the_same_each_time() {
        let tag = RelayTag::of(&InstanceId::random());
        let session = b"!~any visible~ASCII!";
        let sealed = seal()
            .seal(Purpose::Session, &id("a"), tag, session)
            .unwrap();
        assert_eq!(
            seal()
                .seal(Purpose::Session, &id("a"), tag, session)
                .unwrap(),
            sealed
        );
        assert_eq!(
            seal().open(Purpose::Session, &id("a"), sealed.as_bytes()),
            Some((tag, session.to_vec()))
        );
        assert!(sealed.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
        assert!(!sealed.contains("visible"));
    }

    #[test]
    fn nothing_else_opens() {
        let tag = RelayTag::of(&InstanceId::random());
        let sealed = seal()
            .seal(Purpose::Session, &id("a"), tag, b"session")
            .unwrap();
        assert_eq!(
            seal().open(Purpose::Session, &id("b"), sealed.as_bytes()),
            None,
            "moved to another id"
        );
        assert_eq!(
            Seal::new(&Secret::new("other")).open(Purpose::Session, &id("a"), sealed.as_bytes()),
            None,
            "another key"
        );
        for place in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                seal().open(Purpose::Session, &id("a"), &forged),
                None,
                "byte {place} changed"
            );
        }
        for hostile in [&b""[..], b"x", b"\0\xff", &[b'A'; 16], &vec![b'A'; 100_000]] {
            assert_eq!(seal().open(Purpose::Session, &id("a"), hostile), None);
        }
    }

    #[test]
    fn the_name_of_a_relay_is_no_session_and_the_other_way_round() {
        let tag = RelayTag::of(&InstanceId::random());
        for (purpose, other) in [
            (Purpose::Session, Purpose::Place),
            (Purpose::Place, Purpose::Session),
        ] {
            let sealed = seal().seal(purpose, &id("a"), tag, b"").unwrap();
            assert_eq!(
                seal().open(purpose, &id("a"), sealed.as_bytes()),
                Some((tag, Vec::new()))
            );
            assert_eq!(seal().open(other, &id("a"), sealed.as_bytes()), None);
        }
    }

    #[test]
    fn a_session_id_as_long_as_any_that_a_head_carries_opens() {
        let (tag, long) = (RelayTag::of(&InstanceId::random()), vec![b'x'; 40 * 1024]);
        let sealed = seal().seal(Purpose::Session, &id("a"), tag, &long).unwrap();
        assert_eq!(
            seal().open(Purpose::Session, &id("a"), sealed.as_bytes()),
            Some((tag, long))
        );
    }

    #[test]
    fn relays_have_their_own_tags_and_keep_them() {
        let (one, other) = (InstanceId::random(), InstanceId::random());
        assert_eq!(RelayTag::of(&one), RelayTag::of(&one));
        assert_ne!(RelayTag::of(&one), RelayTag::of(&other));
    }
}
