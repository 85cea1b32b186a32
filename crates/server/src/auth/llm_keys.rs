//! The keys of the LLM API: the API key, and the `[[key]]` tables of the server's file.
//!
//! A key is looked up by its SHA-256, so that the time of the search depends on nothing that a
//! caller can learn about a key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use llamapool_wire::{Secret, bearer};
use ring::digest;

/// The header of Anthropic's clients.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The header of Azure's clients.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The SHA-256 of a key.
pub type KeyDigest = [u8; 32];

/// The importance of the calls of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyClass {
    /// Runs when no other class waits.
    Low,
    /// The class of keys that have none.
    #[default]
    Normal,
    /// Goes before the others.
    High,
}

/// One key of the LLM API. It opens nothing else.
#[derive(Debug, Clone)]
pub struct LlmKey {
    /// The name, for the log, the state and the metrics.
    pub name: String,
    /// The SHA-256 of the key itself.
    pub digest: KeyDigest,
    /// The share of slot time, relative to the other keys.
    pub weight: u32,
    /// The class of its calls.
    pub class: KeyClass,
    /// Patterns of the models that it may use; `*` stands for any characters.
    pub models: Vec<String>,
    /// The most calls at once; `None`: no limit.
    pub max_concurrency: Option<u32>,
    /// The most calls that wait; `None`: a quarter of the queue.
    pub max_queued: Option<u32>,
    /// The most calls a minute; `None`: no limit.
    pub requests_per_minute: Option<u64>,
    /// The most tokens a minute; `None`: no limit.
    pub tokens_per_minute: Option<u64>,
    /// The most tokens a day; `None`: no limit.
    pub tokens_per_day: Option<u64>,
    /// The time from which it is refused; `None`: never.
    pub expires: Option<SystemTime>,
}

/// The party of the LLM API that a request acts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LlmParty {
    /// Everyone, as no key is configured.
    Anyone,
    /// The holder of the API key.
    Operator,
    /// The holder of the key at this place in the configuration.
    Key(usize),
}

/// The keys of the LLM API.
pub(super) struct LlmKeys {
    keys: Arc<[LlmKey]>,
    by_digest: HashMap<KeyDigest, usize>,
}

/// The reasons for refusing a caller of the LLM API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LlmKeyError {
    /// No key was presented.
    #[error("no API key was sent; expected Authorization: Bearer <key>, or x-api-key: <key>")]
    Missing,
    /// Two headers have different keys.
    #[error("Authorization, x-api-key and api-key have different keys, expected one key")]
    Several,
    /// The key is none of this server's.
    #[error("the API key is not valid")]
    Unknown,
    /// The key has expired.
    #[error("the API key has expired")]
    Expired,
}

impl LlmKey {
    /// Returns a key with a name and no bounds, whose secret has this SHA-256.
    pub fn new(name: impl Into<String>, digest: KeyDigest) -> Self {
        Self {
            name: name.into(),
            digest,
            weight: 1,
            class: KeyClass::Normal,
            models: vec!["*".to_owned()],
            max_concurrency: None,
            max_queued: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            tokens_per_day: None,
            expires: None,
        }
    }

    /// Returns the SHA-256 of a key.
    pub fn digest_of(secret: &Secret) -> KeyDigest {
        digest_of(secret.expose().as_bytes())
    }
}

impl LlmKeys {
    /// Returns these keys.
    pub(super) fn new(keys: Arc<[LlmKey]>) -> Self {
        let by_digest = keys
            .iter()
            .enumerate()
            .map(|(place, key)| (key.digest, place))
            .collect();
        Self { keys, by_digest }
    }

    /// Returns the party that presents a key.
    pub(super) fn party(
        &self,
        api_key: Option<&Secret>,
        headers: &HeaderMap,
    ) -> Result<LlmParty, LlmKeyError> {
        if api_key.is_none() && self.keys.is_empty() {
            return Ok(LlmParty::Anyone);
        }
        let token = presented(headers)?.ok_or(LlmKeyError::Missing)?;
        if api_key.is_some_and(|key| key.matches(token)) {
            return Ok(LlmParty::Operator);
        }

        let place = self.by_digest.get(&digest_of(token)).copied();
        let place = place.ok_or(LlmKeyError::Unknown)?;
        let expires = self.keys.get(place).and_then(|key| key.expires);
        if expires.is_some_and(|expires| expires <= SystemTime::now()) {
            return Err(LlmKeyError::Expired);
        }
        Ok(LlmParty::Key(place))
    }

    /// Returns the name of a key.
    pub(super) fn name(&self, place: usize) -> Arc<str> {
        self.keys.get(place).map_or("", |key| &key.name).into()
    }
}

/// Removes what may be a key from the headers of a request.
pub(crate) fn remove_keys(headers: &mut HeaderMap) {
    for name in [header::AUTHORIZATION, X_API_KEY, API_KEY] {
        headers.remove(name);
    }
}

/// Returns the one key of a request, `None` without any. Clients send it in several headers, or
/// leave some of them blank.
fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, LlmKeyError> {
    let bearers = headers.get_all(header::AUTHORIZATION).into_iter();
    let plain = [X_API_KEY, API_KEY].map(|name| headers.get_all(name).into_iter());
    let plain = plain.into_iter().flatten().map(HeaderValue::as_bytes);

    let mut tokens = bearers
        .filter_map(bearer)
        .chain(plain)
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty());
    let Some(first) = tokens.next() else {
        return Ok(None);
    };
    if tokens.any(|other| other != first) {
        return Err(LlmKeyError::Several);
    }
    Ok(Some(first))
}

fn digest_of(token: &[u8]) -> KeyDigest {
    let mut digest = KeyDigest::default();
    digest.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    digest
}
