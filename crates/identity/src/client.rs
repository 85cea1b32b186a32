//! OAuth clients: programs that ask for grants. The operator names them, they publish a document
//! about themselves, or they register.

mod credentials;
mod document;
mod registration;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use llamapool_wire::{Secret, controls_display};

use crate::base32::base32;
use crate::key::{KeyDigest, digest_of};
use crate::redirect::{RedirectError, RedirectPolicy, RedirectUri};
use crate::uri::UriParts;

pub use credentials::{ClientAuthError, ClientCredentials};
pub use document::{DocumentError, client_of_document};
pub use registration::{MAX_REGISTRATION_BYTES, NewClient, Registration};

/// The most redirects of a client.
pub(crate) const MAX_REDIRECTS: usize = 10;
/// The longest name of a client, in characters; longer ones are cut.
const MAX_NAME_CHARS: usize = 80;
/// The name of a client that has none.
const NO_NAME: &str = "unnamed";
/// The longest id that is no URL, in bytes.
const MAX_ID_BYTES: usize = 80;
/// The longest id that is a URL, in bytes.
const MAX_DOCUMENT_BYTES: usize = 1024;
/// The random bytes of an id that this server makes: 33 characters with its prefix.
const ID_BYTES: usize = 16;
const ID_PREFIX: &str = "client_";
const SECRET_BYTES: usize = 32;
/// The beginning of a secret, for scanners that look for leaked ones.
const SECRET_PREFIX: &str = "llps_";

/// The id of a client. It is public.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

/// Where a client comes from, which is what the consent page shows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientOrigin {
    /// The operator named it.
    Known,
    /// Its id is the URL of a document about it.
    Document,
    /// It registered itself; nothing of it is verified.
    Registered,
}

/// How a client authenticates at the token endpoint (RFC 7591, 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAuthMethod {
    /// Not at all: it is a public client.
    None,
    /// By its secret in the form.
    Post,
    /// By its secret in `Authorization`.
    Basic,
}

/// An OAuth client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its public id.
    pub id: ClientId,
    /// Where it comes from.
    pub origin: ClientOrigin,
    /// Its name for people, as it calls itself: cut, and without characters that control display.
    pub name: String,
    /// Where answers to it may go.
    pub redirects: Vec<RedirectUri>,
    /// How it authenticates.
    pub auth_method: ClientAuthMethod,
    /// The SHA-256 of its secret, if it has one.
    pub secret: Option<KeyDigest>,
    /// When it was named, first seen or registered.
    pub created_at: SystemTime,
    /// When it last got a grant; `None`: never.
    pub granted_at: Option<SystemTime>,
    /// Since when it is blocked; `None`: it is not.
    pub blocked_at: Option<SystemTime>,
}

/// A text that is no id of a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no id of a client, expected 1 to {MAX_ID_BYTES} printable ASCII characters, or the https \
     URL of a document with a path"
)]
pub struct ClientIdError(String);

impl ClientId {
    /// Returns a new id, which contains nothing readable.
    pub fn random() -> Self {
        let text = base32().encode(&rand::random::<[u8; ID_BYTES]>());
        Self(format!("{ID_PREFIX}{text}").into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it is the URL of a document about the client.
    pub fn is_document(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Returns the host of the document, in lower case; `None` for other clients.
    pub fn document_host(&self) -> Option<String> {
        let uri = UriParts::parse(&self.0).ok()?;
        let host = uri.host?.to_ascii_lowercase();
        self.is_document().then_some(host)
    }
}

impl FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        let is_id = if text.starts_with("https://") {
            let uri = UriParts::parse(text).ok();
            let has_path = uri.is_some_and(|uri| uri.path.len() > 1);
            has_path && text.len() <= MAX_DOCUMENT_BYTES
        } else {
            let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
            (1..=MAX_ID_BYTES).contains(&text.len()) && is_printable && !text.contains("://")
        };
        if !is_id {
            return Err(ClientIdError(text.chars().take(MAX_ID_BYTES).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Client {
    /// Returns a client that the operator names, with its secret if it is to have one.
    pub fn known(
        name: &str,
        redirects: Vec<RedirectUri>,
        auth_method: ClientAuthMethod,
        now: SystemTime,
    ) -> NewClient {
        NewClient::new(ClientOrigin::Known, name, redirects, auth_method, now)
    }

    /// Reads a redirect of a client that the operator names. A private scheme is one that they mean;
    /// whether the server takes it is its `REDIRECT_SCHEMES`.
    ///
    /// # Errors
    ///
    /// If no server would send an answer there.
    pub fn known_redirect(text: &str) -> Result<RedirectUri, RedirectError> {
        let mut policy = RedirectPolicy::default();
        let first = policy.parse(text);
        let Err(RedirectError::Scheme(scheme)) = &first else {
            return first;
        };
        match policy.allow_scheme(scheme) {
            Ok(()) => policy.parse(text),
            Err(_) => first,
        }
    }

    /// Returns whether an answer may go to a redirect.
    pub fn admits(&self, asked: &RedirectUri) -> bool {
        self.redirects.iter().any(|own| own.admits(asked))
    }
}

/// Returns a name as it is shown: without characters that control display, and cut.
pub(crate) fn shown_name(name: Option<&str>) -> String {
    let plain = name.unwrap_or_default().chars();
    let plain: String = plain.filter(|c| !controls_display(*c)).collect();
    let words: Vec<_> = plain.split_whitespace().collect();
    let cut: String = words.join(" ").chars().take(MAX_NAME_CHARS).collect();
    if cut.is_empty() {
        return NO_NAME.to_owned();
    }
    cut
}

/// Returns a new secret of a client, and what is kept of it.
fn new_secret() -> (Secret, KeyDigest) {
    let text = base32().encode(&rand::random::<[u8; SECRET_BYTES]>());
    let text = format!("{SECRET_PREFIX}{text}");
    let digest = digest_of(text.as_bytes());
    (Secret::new(text), digest)
}

impl ClientOrigin {
    /// All origins.
    pub const ALL: [Self; 3] = [Self::Known, Self::Document, Self::Registered];

    /// Returns the word for it in settings, commands and the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Document => "document",
            Self::Registered => "registered",
        }
    }
}

impl ClientAuthMethod {
    /// All methods.
    pub const ALL: [Self; 3] = [Self::None, Self::Post, Self::Basic];

    /// Returns the word of RFC 7591.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Post => "client_secret_post",
            Self::Basic => "client_secret_basic",
        }
    }
}

/// A word that is no origin of clients, or no way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not known, expected {expected}")]
pub struct ClientWordError {
    found: String,
    expected: &'static str,
}

impl FromStr for ClientOrigin {
    type Err = ClientWordError;

    fn from_str(word: &str) -> Result<Self, ClientWordError> {
        let found = Self::ALL.into_iter().find(|origin| origin.word() == word);
        found.ok_or_else(|| ClientWordError {
            found: word.chars().take(MAX_ID_BYTES).collect(),
            expected: "known, document or registered",
        })
    }
}

impl FromStr for ClientAuthMethod {
    type Err = ClientWordError;

    fn from_str(word: &str) -> Result<Self, ClientWordError> {
        let found = Self::ALL.into_iter().find(|method| method.word() == word);
        found.ok_or_else(|| ClientWordError {
            found: word.chars().take(MAX_ID_BYTES).collect(),
            expected: "none, client_secret_post or client_secret_basic",
        })
    }
}

impl fmt::Display for ClientOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for ClientAuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_contains_nothing_readable() {
        let id = ClientId::random();

        assert!(id.as_str().len() <= 40, "some clients cut long ones");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_ne!(id, ClientId::random());
        assert!(!id.is_document());
    }

    #[test]
    fn the_url_of_a_document_is_an_id() {
        let id: ClientId = "https://Claude.ai/oauth/metadata".parse().unwrap();

        assert!(id.is_document());
        assert_eq!(id.document_host().as_deref(), Some("claude.ai"));
        for wrong in [
            "",
            "a b",
            "http://claude.ai/oauth/metadata",
            "HTTPS://claude.ai/oauth/metadata",
            "ftp://claude.ai/a",
            "https://claude.ai",
            "https://claude.ai/",
            "https://claude.ai/a#b",
            "https://claude.ai/a/../b",
            "https://user@claude.ai/a",
            "<script>alert(1)</script> ",
            &"a".repeat(81),
            &format!("https://claude.ai/{}", "a".repeat(1024)),
        ] {
            assert!(wrong.parse::<ClientId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_cannot_control_the_page() {
        let long = "x".repeat(200);
        for (name, shown) in [
            (Some("Claude"), "Claude"),
            (Some(" Clau\nde\u{202e} \t app\u{0}"), "Claude app"),
            (Some("<b>&amp;</b>"), "<b>&amp;</b>"),
            (Some("\u{200b}\u{202e}"), "unnamed"),
            (Some("   "), "unnamed"),
            (None, "unnamed"),
            (Some(&long), &long[..80]),
        ] {
            assert_eq!(shown_name(name), shown, "{name:?}");
        }
    }

    #[test]
    fn a_word_survives_and_another_is_named() {
        for origin in ClientOrigin::ALL {
            assert_eq!(origin.word().parse(), Ok(origin));
        }
        for method in ClientAuthMethod::ALL {
            assert_eq!(method.word().parse(), Ok(method));
        }
        let error = "private_key_jwt".parse::<ClientAuthMethod>().unwrap_err();
        assert!(error.to_string().contains("private_key_jwt"), "{error}");
    }
}
