//! Who may call the LLM API: everyone, or the holders of the API key and of caller keys that open models.
//!
//! A caller key is looked up by its SHA-256, so that the time of the search depends on nothing that a
//! caller can learn about a key.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use llamapool_identity::{Key, KeyError, KeyKind};
use llamapool_wire::{Secret, bearer};

use super::Auth;
use super::principal::{CallerOwners, LlmCaller, Principal};
use crate::audit::Refused;
use crate::identity::Presented;
use crate::listen::Peer;

/// The header of Anthropic's clients.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The header of Azure's clients.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The demand of the LLM API on its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LlmAccess {
    /// Nothing.
    Open,
    /// The API key, or a caller key that opens models.
    Keys,
}

/// The party of the LLM API that a request acts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LlmParty {
    /// The holder of the API key; and everyone, where there is none and no key is asked for.
    Operator,
    /// Everyone else.
    Caller,
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
    /// The key is none of this server's: it may be a guess.
    #[error("the API key is not valid")]
    Unknown,
    /// The key was good once, or is of another kind. The text is that for an unknown one, so that it
    /// reveals nothing of the key.
    #[error("the API key is not valid")]
    Ended,
    /// The key opens no model.
    #[error("the caller key {0} opens no model of the LLM API")]
    NotCovered(String),
}

impl LlmAccess {
    /// Returns the access where none is set: without an API key and declared keys that open models,
    /// there is nothing that callers could present. Keys of the store do not change it: it must not
    /// depend on what is revoked there.
    pub fn default_for(api_key: Option<&Secret>, declared: &[Key]) -> Self {
        if api_key.is_none() && !declared.iter().any(Key::opens_llm) {
            Self::Open
        } else {
            Self::Keys
        }
    }

    /// Returns the word for it in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Keys => "keys",
        }
    }
}

impl Auth {
    /// Returns the caller of the LLM API that presents a key, or presents none where none is asked
    /// for.
    pub(crate) fn llm_caller(
        &self,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<LlmCaller, LlmKeyError> {
        let address = self.public_url.caller_address(headers, peer);
        if self.llm_access == LlmAccess::Open {
            let party = self.party_without_key(headers);
            return Ok(LlmCaller {
                party,
                principal: match (party, &self.api) {
                    (LlmParty::Operator, Some(_)) => Principal::ApiKey,
                    _ => Principal::Anonymous,
                },
                owners: CallerOwners::of(address, headers),
            });
        }

        let token = presented(headers)?.ok_or(LlmKeyError::Missing)?;
        if self.api.as_ref().is_some_and(|key| key.matches(token)) {
            return Ok(LlmCaller {
                party: LlmParty::Operator,
                principal: Principal::ApiKey,
                owners: CallerOwners::of(address, headers),
            });
        }
        let Presented { key, holder } = self
            .identity
            .authenticate(token, KeyKind::Caller)
            .inspect_err(|error| self.audit.refused((*error).into()))
            .map_err(|error| match error {
                KeyError::Unknown => LlmKeyError::Unknown,
                KeyError::OtherKind(_) | KeyError::Expired | KeyError::Revoked => {
                    LlmKeyError::Ended
                }
            })?;
        if !key.opens_llm() {
            self.audit.refused(Refused::KeyNotCovered);
            return Err(LlmKeyError::NotCovered(key.id.to_string()));
        }
        Ok(LlmCaller {
            party: LlmParty::Caller,
            owners: CallerOwners::of_holder(address, &holder),
            principal: Principal::Key(holder.begin()),
        })
    }

    /// Returns the party of a caller of an open API. Only the API key makes a difference.
    fn party_without_key(&self, headers: &HeaderMap) -> LlmParty {
        let Some(api_key) = &self.api else {
            return LlmParty::Operator;
        };
        match presented(headers) {
            Ok(Some(token)) if api_key.matches(token) => LlmParty::Operator,
            _ => LlmParty::Caller,
        }
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
        .filter_map(|value| bearer(value.as_bytes()))
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
