//! Tokens: texts that only servers with the same key and issuer can make and read. Their content names
//! a grant; what the grant gives is looked up at every call, so a revocation acts at once.
//!
//! The nonce is a keyed hash of the content: the same content always has the same text, which is what
//! makes the successor of a refresh token the same for all who ask for it.

mod request;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use llamapool_wire::Secret;

use crate::grant::{GrantId, Granted};
use crate::scope::Scope;
use crate::seal::Seal;

pub use request::FORM_LIFE;

/// The beginnings of tokens, for scanners that look for leaked ones.
const ACCESS_PREFIX: &str = "llpa_";
const REFRESH_PREFIX: &str = "llpr_";
/// The form of the content of access and refresh tokens.
const VERSION: u8 = 1;
/// The random bytes of a code.
const CODE_BYTES: usize = 16;
/// The longest text that is opened, in bytes: an authorization request of 16 KiB, sealed.
const MAX_SEALED_BYTES: usize = 64 * 1024;

/// Seals and opens tokens, codes and authorization requests. One server's are another's only if both
/// the key and the issuer are the same.
pub struct TokenSeal {
    seal: Seal,
    issuer: String,
}

/// What a sealed text is for. One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Access,
    Refresh,
    Code,
    Request,
}

/// The content of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessToken {
    /// The grant that it is of.
    pub grant: GrantId,
    /// The turn that it was issued with.
    pub turn: u32,
    /// The most that it gives.
    pub scope: Scope,
    /// From when on it is refused, in whole seconds.
    pub expires_at: SystemTime,
}

/// The content of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// The grant that it is of.
    pub grant: GrantId,
    /// Its turn.
    pub turn: u32,
}

/// The tokens of one turn of a grant.
#[derive(Debug, Clone)]
pub struct IssuedTokens {
    /// The access token.
    pub access: Secret,
    /// How long it lives.
    pub expires_in: Duration,
    /// The refresh token.
    pub refresh: Secret,
    /// How much the access token gives.
    pub scope: Scope,
}

/// How much longer an access token is accepted than its client is told. The client counts from when it
/// got the token; and several, the official Python client among them, sign in anew after a 401, where
/// an expired token would have been refreshed.
const LEEWAY: Duration = Duration::from_secs(10);

impl TokenSeal {
    /// Returns the seal of an issuer, with keys derived from the key of the server.
    pub fn new(key: &Secret, issuer: &str) -> Self {
        Self {
            seal: Seal::new(key, "token"),
            issuer: issuer.to_owned(),
        }
    }

    /// Returns whether a text begins as an access token does, and so is no key.
    pub fn is_access_token(text: &[u8]) -> bool {
        text.starts_with(ACCESS_PREFIX.as_bytes())
    }

    /// Returns the tokens of a step of a grant. `None` if they cannot be sealed.
    pub fn issue(
        &self,
        granted: &Granted,
        life: Duration,
        now: SystemTime,
    ) -> Option<IssuedTokens> {
        let grant = granted.grant.id;
        let end = granted.grant.ends_at;
        let within = |moment: SystemTime| end.map_or(moment, |end| end.min(moment));
        let expires_at = within(now + life);
        let access = AccessToken {
            grant,
            turn: granted.turn,
            scope: granted.scope,
            expires_at: within(expires_at + LEEWAY),
        };
        Some(IssuedTokens {
            access: self.access(&access)?,
            expires_in: expires_at.duration_since(now).unwrap_or_default(),
            refresh: self.refresh(grant, granted.turn)?,
            scope: granted.scope,
        })
    }

    /// Returns the text of an access token.
    pub fn access(&self, token: &AccessToken) -> Option<Secret> {
        let since = token.expires_at.duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let content = [
            &[VERSION][..],
            token.grant.as_bytes(),
            &token.turn.to_be_bytes(),
            &[u8::from(token.scope == Scope::All)],
            &seconds.to_be_bytes(),
        ];
        let sealed = self.seal(Purpose::Access, content.concat())?;
        Some(Secret::new(format!("{ACCESS_PREFIX}{sealed}")))
    }

    /// Opens an access token. `None` if this issuer did not make it. Its expiry is not checked here.
    pub fn open_access(&self, text: &str) -> Option<AccessToken> {
        let content = self.open(Purpose::Access, text.strip_prefix(ACCESS_PREFIX)?)?;
        let (version, rest) = content.split_first()?;
        let (grant, rest) = rest.split_first_chunk()?;
        let (turn, rest) = rest.split_first_chunk()?;
        let (scope, rest) = rest.split_first()?;
        let seconds = u64::from_be_bytes(rest.try_into().ok()?);
        let scope = match scope {
            0 => Scope::Read,
            1 => Scope::All,
            _ => return None,
        };
        (*version == VERSION).then_some(AccessToken {
            grant: GrantId::from_bytes(*grant),
            turn: u32::from_be_bytes(*turn),
            scope,
            expires_at: UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?,
        })
    }

    /// Returns the text of the refresh token of a turn, which is always the same.
    pub fn refresh(&self, grant: GrantId, turn: u32) -> Option<Secret> {
        let content = [&[VERSION][..], grant.as_bytes(), &turn.to_be_bytes()];
        let sealed = self.seal(Purpose::Refresh, content.concat())?;
        Some(Secret::new(format!("{REFRESH_PREFIX}{sealed}")))
    }

    /// Opens a refresh token. `None` if this issuer did not make it.
    pub fn open_refresh(&self, text: &str) -> Option<RefreshToken> {
        let content = self.open(Purpose::Refresh, text.strip_prefix(REFRESH_PREFIX)?)?;
        let (version, rest) = content.split_first()?;
        let (grant, turn) = rest.split_first_chunk()?;
        let turn = u32::from_be_bytes(turn.try_into().ok()?);
        (*version == VERSION).then_some(RefreshToken {
            grant: GrantId::from_bytes(*grant),
            turn,
        })
    }

    /// Returns the grant of an access or refresh token, for its revocation (RFC 7009).
    pub fn grant_of(&self, text: &str) -> Option<GrantId> {
        let access = self.open_access(text).map(|token| token.grant);
        access.or_else(|| self.open_refresh(text).map(|token| token.grant))
    }

    /// Returns a new code of a grant.
    pub fn code(&self, grant: GrantId) -> Option<Secret> {
        let nonce = rand::random::<[u8; CODE_BYTES]>();
        let content = [&grant.as_bytes()[..], &nonce].concat();
        self.seal(Purpose::Code, content).map(Secret::new)
    }

    /// Returns the grant of a code. `None` if this issuer did not make it.
    pub fn open_code(&self, text: &str) -> Option<GrantId> {
        let content = self.open(Purpose::Code, text)?;
        let (grant, nonce) = content.split_first_chunk()?;
        (nonce.len() == CODE_BYTES).then_some(GrantId::from_bytes(*grant))
    }

    fn seal(&self, purpose: Purpose, content: Vec<u8>) -> Option<String> {
        self.seal.seal(&self.associated_data(purpose), content)
    }

    fn open(&self, purpose: Purpose, sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > MAX_SEALED_BYTES {
            return None;
        }
        let associated_data = self.associated_data(purpose);
        self.seal.open(&associated_data, sealed.as_bytes())
    }

    /// Returns what binds a text to its purpose and issuer. No issuer contains a zero byte.
    fn associated_data(&self, purpose: Purpose) -> Vec<u8> {
        let word: &[u8] = match purpose {
            Purpose::Access => b"access\0",
            Purpose::Refresh => b"refresh\0",
            Purpose::Code => b"code\0",
            Purpose::Request => b"request\0",
        };
        [word, self.issuer.as_bytes()].concat()
    }
}

impl std::fmt::Debug for TokenSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenSeal({})", self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use proptest::prelude::*;

    use super::*;

    const ISSUER: &str = "https://pool.example/oauth";

    fn seal() -> TokenSeal {
        TokenSeal::new(&Secret::new("key"), ISSUER)
    }

    fn token(grant: GrantId) -> AccessToken {
        AccessToken {
            grant,
            turn: 7,
            scope: Scope::Read,
            expires_at: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn tokens_open_after_a_restart_and_are_short() {
        let token = token(GrantId::random());

        let access = seal().access(&token).unwrap();
        let refresh = seal().refresh(token.grant, 7).unwrap();

        assert_eq!(seal().open_access(access.expose()), Some(token));
        let opened = seal().open_refresh(refresh.expose()).unwrap();
        assert_eq!((opened.grant, opened.turn), (token.grant, 7));
        for text in [access.expose(), refresh.expose()] {
            assert!(
                text.len() <= 90,
                "some clients cut long ones: {}",
                text.len()
            );
            assert!(
                text.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            );
            assert_eq!(seal().grant_of(text), Some(token.grant));
        }
        assert!(TokenSeal::is_access_token(access.expose().as_bytes()));
        assert!(!TokenSeal::is_access_token(refresh.expose().as_bytes()));
    }

    #[test]
    fn the_refresh_token_of_a_turn_is_always_the_same() {
        let grant = GrantId::random();
        let text = |turn| seal().refresh(grant, turn).unwrap().expose().to_owned();

        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        let code = || seal().code(grant).unwrap().expose().to_owned();
        assert_ne!(code(), code(), "a code cannot be foreseen");
    }

    #[test]
    fn nothing_opens_for_another_purpose_key_or_issuer() {
        let grant = GrantId::random();
        let access = seal().access(&token(grant)).unwrap().expose().to_owned();
        let refresh = seal().refresh(grant, 1).unwrap().expose().to_owned();
        let code = seal().code(grant).unwrap().expose().to_owned();

        let other_key = TokenSeal::new(&Secret::new("other"), ISSUER);
        let other_issuer = TokenSeal::new(&Secret::new("key"), "https://other.example/oauth");
        for seal in [&other_key, &other_issuer] {
            assert_eq!(seal.open_access(&access), None);
            assert_eq!(seal.open_refresh(&refresh), None);
            assert_eq!(seal.open_code(&code), None);
        }
        assert_eq!(seal().open_code(&code), Some(grant));
        for other in [Purpose::Refresh, Purpose::Code, Purpose::Request] {
            assert_eq!(seal().open(other, &access[5..]), None, "{other:?}");
        }
        let swapped = access.replace("llpa_", "llpr_");
        assert_eq!(seal().open_refresh(&swapped), None);
        assert_eq!(seal().open_code(&access[5..]), None);
        assert_eq!(seal().open_access(&format!("llpa_{code}")), None);
        assert_eq!(seal().open_access(&access[5..]), None);
        for at in 0..access.len() {
            let mut forged = access.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(seal().open_access(&forged), None, "byte {at}");
        }
    }

    #[test]
    fn a_token_shows_nothing_and_is_never_printed() {
        let grant = GrantId::random();
        let access = seal().access(&token(grant)).unwrap();

        let bytes = BASE64URL_NOPAD
            .decode(&access.expose().as_bytes()[5..])
            .unwrap();
        let contains = bytes.windows(16).any(|part| part == grant.as_bytes());
        assert!(!contains, "the content is encrypted");
        assert!(!format!("{access:?} {:?}", seal()).contains("llpa_"));
    }

    proptest! {
        #[test]
        fn any_text_is_opened_without_a_panic(text in "\\PC{0,120}", bytes in "[A-Za-z0-9_-]{0,120}") {
            for text in [text.clone(), bytes, format!("llpa_{text}"), format!("llpr_{text}")] {
                prop_assert_eq!(seal().open_access(&text), None);
                prop_assert_eq!(seal().open_refresh(&text), None);
                prop_assert_eq!(seal().open_code(&text), None);
                prop_assert!(seal().open_request(&text, UNIX_EPOCH).is_none());
            }
        }

        #[test]
        fn any_access_token_survives_its_text(grant: [u8; 16], turn: u32, seconds in 0_u64..1 << 40) {
            let token = AccessToken {
                grant: GrantId::from_bytes(grant),
                turn,
                scope: Scope::All,
                expires_at: UNIX_EPOCH + Duration::from_secs(seconds),
            };
            let text = seal().access(&token).unwrap();
            prop_assert_eq!(seal().open_access(text.expose()), Some(token));
        }
    }
}
