//! The identities of requests. Only `auth` makes them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::http::{HeaderValue, header};
use llamapool_head::{FieldLookup, FieldValue};
use llamapool_identity::{AdminRight, AdminRights, KeyId, MessageRules};
use llamapool_limits::{Claim, Owner};
use llamapool_wire::CallerTag;

use super::llm_keys::LlmParty;
use super::{AccessError, CallerFacts};
use crate::identity::{KeyHolder, KeyUse};
use crate::listen::{CallerAddress, Peer};

/// The factors of the shares of a caller and of its address (see [`llamapool_limits::FairShare`]):
/// one greedy caller leaves a fifth of what all share, one greedy address a ninth.
const CALLER_FACTOR: usize = 4;
const ADDRESS_FACTOR: usize = 8;

/// The party that a request acts for, as proved by what it presented.
///
/// It goes as an argument from `auth` to admission, to the running call, its log line and its
/// statistics. A further kind of proof is a further variant here, with the identity of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Presented nothing that this server checks.
    Anonymous,
    /// Presented the API key.
    ApiKey,
    /// Presented a caller key, a worker key, or a token of a grant.
    Key(KeyUse),
}

/// A caller of the LLM API.
#[derive(Debug, Clone)]
pub(crate) struct LlmCaller {
    /// What it may do besides.
    pub(crate) party: LlmParty,
    /// The party that it acts for.
    pub(crate) principal: Principal,
    /// The parties that its shares count for.
    pub(crate) owners: CallerOwners,
}

/// A caller of providers that the origin policy admits.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The party that it acts for.
    pub(crate) principal: Principal,
    /// The origin of the page, if a browser calls.
    pub(crate) origin: Option<AllowedOrigin>,
    /// The address that it calls from.
    pub(crate) peer: Peer,
    /// The parties that its shares count for.
    pub(crate) owners: CallerOwners,
    /// What follows from the head of its request.
    pub(crate) facts: Arc<CallerFacts>,
    /// The rules of the messages that it may send to the id it was admitted to.
    pub(crate) rules: MessageRules,
    /// The challenge of a message that its scope does not allow; `None` if another token of the same
    /// approver would not allow it either.
    pub(crate) step_up: Option<Box<str>>,
}

/// The parties that the shares of one caller count for: itself, and the address that it calls from.
///
/// A caller is an address with what it presents as `Authorization`. That is not checked here, so it
/// only divides the share of the address: made-up tokens gain nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallerOwners {
    caller: Owner,
    address: Owner,
    /// True if the caller presents something as `Authorization`.
    has_token: bool,
}

/// The key of the tags of callers. It is drawn anew in every run, so a tag cannot be traced back to
/// an address or a token, and no caller can choose one.
#[derive(Debug, Default)]
pub(super) struct CallerTagKey(RandomState);

/// An `Origin` that the origin policy admits.
#[derive(Debug, Clone)]
pub(crate) struct AllowedOrigin(HeaderValue);

/// A party that operates the server.
#[derive(Debug)]
pub(crate) struct Operator {
    principal: Principal,
    /// Those of its admin key; `None`: it may do everything.
    rights: Option<AdminRights>,
}

impl Principal {
    /// Returns the word for it in the log. `None` for an anonymous one, of which there is nothing
    /// to log.
    pub(crate) fn label(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::ApiKey => Some("api_key"),
            Self::Key(key) => Some(key.holder().name()),
        }
    }

    /// Returns the use of the key that it presented.
    pub(crate) fn key_use(&self) -> Option<&KeyUse> {
        match self {
            Self::Key(key) => Some(key),
            Self::Anonymous | Self::ApiKey => None,
        }
    }

    /// Returns whether its key has ended since it was presented.
    pub(crate) fn has_ended(&self) -> bool {
        self.key_use().is_some_and(KeyUse::has_ended)
    }
}

impl CallerOwners {
    /// Returns the parties of a request with these headers.
    pub(super) fn of(address: CallerAddress<'_>, headers: &impl FieldLookup) -> Self {
        let mut tokens = headers.all_values(&header::AUTHORIZATION);
        let address = Owner::of(&("address", address));
        let token = tokens.next();
        let caller = match token {
            Some(token) => Owner::of(&("caller", address, token.as_bytes())),
            None => Owner::of(&("caller", address)),
        };
        Self {
            caller,
            address,
            has_token: token.is_some(),
        }
    }

    /// Returns the parties of a request with a caller key or a token, which is one caller at all its
    /// addresses. All grants of a key share with it.
    pub(super) fn of_holder(address: CallerAddress<'_>, holder: &KeyHolder) -> Self {
        Self {
            caller: Owner::of(&("caller key", holder.account())),
            address: Owner::of(&("address", address)),
            has_token: true,
        }
    }

    /// Returns the tag by which relays tell these parties apart.
    pub(super) fn tag(self, key: &CallerTagKey) -> CallerTag {
        let number = |owner: Owner| key.0.hash_one(owner);
        let credentials = self.has_token.then(|| number(self.caller));
        CallerTag::new(number(self.address), credentials)
    }

    /// Returns the claims of the caller and of its address.
    pub(crate) fn claims(self) -> [Claim; 2] {
        let caller = Claim {
            owner: self.caller,
            factor: CALLER_FACTOR,
        };
        let address = Claim {
            owner: self.address,
            factor: ADDRESS_FACTOR,
        };
        [caller, address]
    }
}

impl AllowedOrigin {
    /// Returns an origin that was admitted. `None` if it cannot be sent back.
    pub(super) fn new(origin: FieldValue<'_>) -> Option<Self> {
        origin.to_http().map(Self)
    }

    /// Returns the origin as the browser sent it.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl Operator {
    /// Returns the owner of the server.
    pub(super) fn owner(principal: Principal) -> Self {
        Self {
            principal,
            rights: None,
        }
    }

    /// Returns the holder of an admin key.
    pub(super) fn admin(principal: Principal, rights: AdminRights) -> Self {
        Self {
            principal,
            rights: Some(rights),
        }
    }

    /// Checks that it may do something.
    pub(crate) fn check(&self, right: AdminRight) -> Result<(), AccessError> {
        match &self.rights {
            Some(rights) if !rights.includes(right) => Err(AccessError::NotAllowed),
            _ => Ok(()),
        }
    }

    /// Returns the admin key that it acts by; `None`: it is the owner.
    pub(crate) fn key(&self) -> Option<&KeyId> {
        self.principal.key_use()?.holder().account()
    }

    /// Returns the party that it acts for.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }
}

#[cfg(test)]
mod tests {
    use llamapool_head::Fields;

    use super::*;

    fn owners(address: &str, token: Option<&'static str>) -> CallerOwners {
        let token = token.map(HeaderValue::from_static);
        let headers: Fields = token
            .map(|token| (header::AUTHORIZATION, token))
            .into_iter()
            .collect();
        CallerOwners::of(CallerAddress::of(address), &headers)
    }

    #[test]
    fn a_token_divides_the_share_of_its_address() {
        let [one, other] = ["Bearer 1", "Bearer 2"].map(|token| owners("192.0.2.1", Some(token)));

        assert_ne!(one.caller, other.caller);
        assert_eq!(one.address, other.address);
        assert_ne!(one.address, owners("192.0.2.2", None).address);
        assert_eq!(
            owners("2001:db8::1", None),
            owners("2001:db8::2", None),
            "one line has many addresses"
        );
        assert_eq!(owners("unknown", None), owners("unknown", None));
    }

    #[test]
    fn a_tag_tells_callers_apart_and_is_another_in_each_run() {
        let key = CallerTagKey::default();
        let tag = |address, token| owners(address, token).tag(&key);

        let plain = tag("192.0.2.1", None);
        let alice = tag("192.0.2.1", Some("Bearer alice"));
        let bob = tag("192.0.2.1", Some("Bearer bob"));
        let elsewhere = tag("192.0.2.2", Some("Bearer alice"));

        assert_eq!(plain.credentials(), None);
        assert_eq!(plain.network(), alice.network());
        assert_eq!(alice.network(), bob.network());
        assert_ne!(alice.credentials(), bob.credentials());
        assert_ne!(alice.network(), elsewhere.network());
        assert_ne!(alice.credentials(), elsewhere.credentials());

        let other_run = owners("192.0.2.1", None).tag(&CallerTagKey::default());
        assert_ne!(plain, other_run);
    }
}
