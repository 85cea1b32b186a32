//! Sessions of ids that several relays share: the session id that the caller holds contains the
//! relay that the session belongs to, sealed, so that no table is needed and none can be lost.
//!
//! The provider gives a session its id; the caller gets that id and the relay's tag, encrypted and
//! authenticated together with the id of the URL. A caller can neither make such a session id nor
//! use it elsewhere, and learns nothing of the relay. Where the id asks for a key or a token, also what
//! the caller is known by is authenticated: the id of its key, or approver and client of its grant. To
//! another caller the session does not exist. The same session always looks the same: some clients
//! compare.

use axum::http::HeaderValue;
use llamapool_head::Fields;
use llamapool_identity::Seal;
use llamapool_mcp::header::SESSION_ID;
use llamapool_wire::{RelayId, Secret};

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

/// What a sealed text is good for: one purpose, at one id, for the caller with one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) purpose: Purpose,
    pub(super) id: &'a RelayId,
    /// `None` where the id asks for no key.
    pub(super) key: Option<&'a str>,
}

impl<'a> Scope<'a> {
    /// Returns the scope of a session id.
    pub(super) fn session(id: &'a RelayId, key: Option<&'a str>) -> Self {
        let purpose = Purpose::Session;
        Self { purpose, id, key }
    }

    /// Returns the scope of the name of a relay.
    pub(super) fn place(id: &'a RelayId, key: Option<&'a str>) -> Self {
        let purpose = Purpose::Place;
        Self { purpose, id, key }
    }

    /// Returns the associated data, which binds the scope to the content. No id contains a zero byte.
    fn associated_data(self) -> Vec<u8> {
        let word: &[u8] = match self.purpose {
            Purpose::Session => b"session\0",
            Purpose::Place => b"place\0",
        };
        let id = self.id.as_str().as_bytes();
        match self.key {
            None => [word, id].concat(),
            Some(key) => [word, id, b"\0", key.as_bytes()].concat(),
        }
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
pub(crate) struct SessionSeal(Seal);

impl SessionSeal {
    /// Returns a seal with keys derived from a secret.
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(Seal::new(secret, "session"))
    }

    /// Returns the text that a caller gets in place of a relay and a session id. `None` if it
    /// cannot be made.
    pub(super) fn seal(&self, scope: Scope<'_>, tag: RelayTag, session: &[u8]) -> Option<String> {
        let content = [tag.as_bytes(), session].concat();
        self.0.seal(&scope.associated_data(), content)
    }

    /// Opens a text of a caller. Returns `None` if this server did not make it, or not for this scope.
    pub(super) fn open(&self, scope: Scope<'_>, sealed: &[u8]) -> Option<Opened> {
        if sealed.len() > MAX_SEALED_BYTES {
            return None;
        }

        let opened = self.0.open(&scope.associated_data(), sealed)?;
        let (tag, session) = opened.split_at_checked(RelayTag::LEN)?;
        Some(Opened {
            tag: RelayTag::from_bytes(tag.try_into().ok()?),
            session: session.to_vec(),
        })
    }

    /// Seals the session id that an answer has.
    pub(super) fn seal_header(&self, scope: Scope<'_>, tag: RelayTag, headers: &mut Fields) {
        let Some(session) = headers.get(&SESSION_ID) else {
            return;
        };

        let sealed = self
            .seal(scope, tag, session.as_bytes())
            .and_then(|sealed| HeaderValue::from_str(&sealed).ok());
        match sealed {
            Some(sealed) => headers.insert(&SESSION_ID, &sealed),
            None => drop(headers.remove(&SESSION_ID)),
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
                .seal(Scope::session(&id("a"), None), tag, session)
                .unwrap()
        };

        let text = sealed();

        assert_eq!(sealed(), text);
        assert_eq!(
            seal().open(Scope::session(&id("a"), None), text.as_bytes()),
            opened(tag, session)
        );
        assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
        assert!(!text.contains("visible"));
    }

    #[test]
    fn nothing_else_opens() {
        let tag = RelayTag::of(&InstanceId::random());
        let sealed = seal()
            .seal(Scope::session(&id("a"), None), tag, b"session")
            .unwrap();
        let open = |seal: &SessionSeal, name, text: &[u8]| {
            seal.open(Scope::session(&id(name), None), text)
        };

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
    fn a_session_of_one_key_does_not_exist_for_another() {
        let tag = RelayTag::of(&InstanceId::random());
        let id = id("a");
        let [mine, yours] = ["mine", "yours"];
        let scope = |key| Scope::session(&id, key);

        let sealed = seal().seal(scope(Some(mine)), tag, b"session").unwrap();

        let open = |key| seal().open(scope(key), sealed.as_bytes());
        assert_eq!(open(Some(mine)), opened(tag, b"session"));
        assert_eq!(open(Some(yours)), None);
        assert_eq!(open(None), None);
    }

    #[test]
    fn the_name_of_a_relay_is_no_session_and_the_other_way_round() {
        let tag = RelayTag::of(&InstanceId::random());

        for (purpose, other) in [
            (Purpose::Session, Purpose::Place),
            (Purpose::Place, Purpose::Session),
        ] {
            let id = id("a");
            let scope = |purpose| Scope {
                purpose,
                id: &id,
                key: None,
            };
            let sealed = seal().seal(scope(purpose), tag, b"").unwrap();
            assert_eq!(
                seal().open(scope(purpose), sealed.as_bytes()),
                opened(tag, b"")
            );
            assert_eq!(seal().open(scope(other), sealed.as_bytes()), None);
        }
    }

    #[test]
    fn a_session_id_as_long_as_any_that_a_head_carries_opens() {
        let tag = RelayTag::of(&InstanceId::random());
        let long = vec![b'x'; 40 * 1024];

        let sealed = seal()
            .seal(Scope::session(&id("a"), None), tag, &long)
            .unwrap();

        assert_eq!(
            seal().open(Scope::session(&id("a"), None), sealed.as_bytes()),
            opened(tag, &long)
        );
    }
}
