//! Sessions of ids that several relays share: the session id that the caller holds contains the
//! relay that the session belongs to, sealed, so that no table is needed and none can be lost.
//!
//! The provider gives a session its id; the caller gets that id and the relay's tag, encrypted and
//! authenticated together with the id of the URL. A caller can neither make such a session id nor
//! use it elsewhere, and learns nothing of the relay. The same session always looks the same: some
//! clients compare.

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use llamapool_mcp::header::SESSION_ID;
use llamapool_wire::{RelayId, Secret};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use crate::directory::RelayTag;

/// The longest sealed text that is opened, in bytes: as long as the head of a request may be, so
/// that every text a caller can send back opens.
const MAX_SEALED_BYTES: usize = 64 * 1024;

/// The purpose of a sealed text. One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The session id that a caller gets.
    Session,
    /// The name of one of the relays in a URL.
    Place,
}

impl Purpose {
    /// Returns the associated data: it binds purpose and id to the content.
    fn associated_data(self, id: &RelayId) -> Vec<u8> {
        let word: &[u8] = match self {
            Self::Session => b"session\0",
            Self::Place => b"place\0",
        };
        [word, id.as_str().as_bytes()].concat()
    }
}

/// The content of a sealed text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The relay that is meant.
    pub(super) tag: RelayTag,
    /// The provider's own session id; empty for the name of a relay.
    pub(super) session: Vec<u8>,
}

/// Seals and opens session ids. Servers with the same key open each other's.
pub(crate) struct SessionSeal {
    aead: Option<LessSafeKey>,
    nonces: hmac::Key,
}

impl SessionSeal {
    /// Returns a seal with keys derived from a secret.
    pub(crate) fn new(secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let derived = |purpose: &str| hmac::sign(&root, purpose.as_bytes());

        // A SHA-256 is as long as the cipher's key, so there always is one.
        let seal_key = derived("llamapool session seal");
        let aead = UnboundKey::new(&CHACHA20_POLY1305, seal_key.as_ref()).ok();
        let nonce_key = derived("llamapool session nonce");

        Self {
            aead: aead.map(LessSafeKey::new),
            nonces: hmac::Key::new(hmac::HMAC_SHA256, nonce_key.as_ref()),
        }
    }

    /// Returns the text that a caller gets in place of a relay and a session id. `None` if it
    /// cannot be made.
    pub(super) fn seal(
        &self,
        purpose: Purpose,
        id: &RelayId,
        tag: RelayTag,
        session: &[u8],
    ) -> Option<String> {
        let mut content = [tag.as_bytes(), session].concat();
        let associated_data = purpose.associated_data(id);

        // Derived from the content: another content never meets the same nonce.
        let nonce = hmac::sign(
            &self.nonces,
            &[&associated_data, &b"\0"[..], &content].concat(),
        );
        let nonce: [u8; NONCE_LEN] = nonce.as_ref().get(..NONCE_LEN)?.try_into().ok()?;

        self.aead
            .as_ref()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data),
                &mut content,
            )
            .ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce, content.as_slice()].concat()))
    }

    /// Opens a text of a caller. Returns `None` if this server did not make it, or not for this
    /// purpose and id.
    pub(super) fn open(&self, purpose: Purpose, id: &RelayId, sealed: &[u8]) -> Option<Opened> {
        if sealed.len() > MAX_SEALED_BYTES {
            return None;
        }

        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, content) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut content = content.to_vec();

        let associated_data = Aad::from(purpose.associated_data(id));
        let opened = self
            .aead
            .as_ref()?
            .open_in_place(nonce, associated_data, &mut content)
            .ok()?;
        let (tag, session) = opened.split_at_checked(RelayTag::LEN)?;
        Some(Opened {
            tag: RelayTag::from_bytes(tag.try_into().ok()?),
            session: session.to_vec(),
        })
    }

    /// Seals the session id that an answer of a shared id has.
    pub(super) fn seal_header(&self, id: &RelayId, tag: RelayTag, headers: &mut HeaderMap) {
        let Some(session) = headers.get(SESSION_ID) else {
            return;
        };

        let sealed = self
            .seal(Purpose::Session, id, tag, session.as_bytes())
            .and_then(|sealed| HeaderValue::from_str(&sealed).ok());
        match sealed {
            Some(sealed) => drop(headers.insert(SESSION_ID, sealed)),
            None => drop(headers.remove(SESSION_ID)),
        }
    }
}

#[cfg(test)]
mod tests {
    use llamapool_wire::InstanceId;

    use super::*;

    fn id(text: &str) -> RelayId {
        text.parse().unwrap()
    }

    fn seal() -> SessionSeal {
        SessionSeal::new(&Secret::new("key"))
    }

    fn opened(tag: RelayTag, session: &[u8]) -> Option<Opened> {
        let session = session.to_vec();
        Some(Opened { tag, session })
    }

    #[test]
    fn a_sealed_session_opens_after_a_restart_and_looks_the_same() {
        let tag = RelayTag::of(&InstanceId::random());
        let session = b"!~any visible~ASCII!";
        let sealed = || {
            seal()
                .seal(Purpose::Session, &id("a"), tag, session)
                .unwrap()
        };

        let text = sealed();

        assert_eq!(sealed(), text);
        assert_eq!(
            seal().open(Purpose::Session, &id("a"), text.as_bytes()),
            opened(tag, session)
        );
        assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
        assert!(!text.contains("visible"));
    }

    #[test]
    fn nothing_else_opens() {
        let tag = RelayTag::of(&InstanceId::random());
        let sealed = seal()
            .seal(Purpose::Session, &id("a"), tag, b"session")
            .unwrap();
        let open =
            |seal: &SessionSeal, name, text: &[u8]| seal.open(Purpose::Session, &id(name), text);

        let other_key = SessionSeal::new(&Secret::new("other"));
        assert_eq!(open(&seal(), "b", sealed.as_bytes()), None, "another id");
        assert_eq!(
            open(&other_key, "a", sealed.as_bytes()),
            None,
            "another key"
        );

        for place in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(&seal(), "a", &forged), None, "byte {place} changed");
        }
        for hostile in [&b""[..], b"x", b"\0\xff", &[b'A'; 16], &vec![b'A'; 100_000]] {
            assert_eq!(open(&seal(), "a", hostile), None);
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
                opened(tag, b"")
            );
            assert_eq!(seal().open(other, &id("a"), sealed.as_bytes()), None);
        }
    }

    #[test]
    fn a_session_id_as_long_as_any_that_a_head_carries_opens() {
        let tag = RelayTag::of(&InstanceId::random());
        let long = vec![b'x'; 40 * 1024];

        let sealed = seal().seal(Purpose::Session, &id("a"), tag, &long).unwrap();

        assert_eq!(
            seal().open(Purpose::Session, &id("a"), sealed.as_bytes()),
            opened(tag, &long)
        );
    }
}
