//! Makes identities, and nothing else does: a door that needs one takes it as an argument.
//!
//! Keys are compared in constant time and are never part of an error.

pub(crate) mod cors;
mod extract;
mod llm_keys;
mod origin_policy;
mod principal;
mod relay_identity;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use llamapool_limits::network_of;
use llamapool_wire::{CallError, CallerTag, Secret, bearer};

use self::llm_keys::LlmKeys;
use self::principal::CallerTagKey;
use crate::listen::{CallerAddress, Peer, PublicUrl};

pub(crate) use extract::{AccessControl, Prober};
pub use llm_keys::{KeyClass, KeyDigest, LlmKey};
pub(crate) use llm_keys::{LlmKeyError, LlmParty, remove_keys};
pub(crate) use origin_policy::{HostAndOrigin, OriginPolicy};
pub(crate) use principal::{AllowedOrigin, Caller, CallerOwners, LlmCaller, Operator, Principal};
pub(crate) use relay_identity::{RelayIdentity, RelayKind, RelayRefusedError};

/// The keys, and the accepted values of `Origin` and `Host`.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// The keys of the server.
    pub keys: Keys,
    /// Origins of browsers that may call, such as `https://inspector.example`; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Host names under which the server may be addressed, without port, IPv6 addresses in
    /// brackets; empty: any, except that a server which listens on loopback only is addressed by
    /// loopback names only.
    pub allowed_hosts: Vec<String>,
}

/// The keys. A missing one leaves its doors open, which is for `--no-auth` alone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Opens the state API.
    pub api: Option<Secret>,
    /// Lets relays connect.
    pub worker: Option<Secret>,
    /// Seals the session ids of shared ids; `None`: a key of this server does, which is in its data
    /// directory, or is one of this run. The worker key does not: every relay has it.
    pub session: Option<Secret>,
    /// Open the LLM API, beside the API key, and nothing else.
    pub llm: Arc<[LlmKey]>,
}

/// Proves identities by the keys and the origin policy.
pub(crate) struct Auth {
    api: Option<Secret>,
    worker: Option<Secret>,
    llm: LlmKeys,
    policy: OriginPolicy,
    caller_tags: CallerTagKey,
    /// Finds the addresses of callers.
    public_url: PublicUrl,
}

/// The reasons for refusing an operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// `Host` or `Origin` is refused.
    #[error("{}", .0.message)]
    Origin(CallError),
    /// The API key is missing or wrong.
    #[error("the API key is missing or wrong")]
    WrongKey,
}

impl Auth {
    /// Returns the keeper of these keys and of this policy.
    pub(crate) fn new(keys: &Keys, policy: OriginPolicy, public_url: PublicUrl) -> Self {
        Self {
            api: keys.api.clone(),
            worker: keys.worker.clone(),
            llm: LlmKeys::new(keys.llm.clone()),
            policy,
            caller_tags: CallerTagKey::default(),
            public_url,
        }
    }

    /// Returns the tag by which relays count what a caller holds.
    pub(crate) fn caller_tag(&self, caller: &Caller) -> CallerTag {
        caller.owners.tag(&self.caller_tags)
    }

    /// Returns the caller of a provider: any that the origin policy admits. A token that the
    /// provider's relay demands besides is checked there.
    pub(crate) fn caller(
        &self,
        source: &HostAndOrigin<'_>,
        headers: &HeaderMap,
        uri: &Uri,
        peer: Peer,
    ) -> Result<Caller, CallError> {
        self.policy.check(source, uri)?;
        Ok(Caller {
            principal: Principal::Anonymous,
            origin: source.origin_value().cloned().map(AllowedOrigin::new),
            peer,
            owners: self.owners(headers, peer),
        })
    }

    /// Returns the reader of a public document of a provider, on any page: only the
    /// `Host` is checked.
    pub(crate) fn public_reader(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        peer: Peer,
    ) -> Result<Caller, CallError> {
        let source = HostAndOrigin::read(headers)?;
        self.policy.check_host(&source, uri)?;
        Ok(Caller {
            principal: Principal::Anonymous,
            origin: None,
            peer,
            owners: self.owners(headers, peer),
        })
    }

    /// Admits a call to the LLM API by where it comes from. Returns the origin of the page, if a
    /// browser calls.
    pub(crate) fn llm_origin(
        &self,
        source: &HostAndOrigin<'_>,
        uri: &Uri,
    ) -> Result<Option<AllowedOrigin>, CallError> {
        self.policy.check(source, uri)?;
        Ok(source.origin_value().cloned().map(AllowedOrigin::new))
    }

    /// Returns the caller of the LLM API that presents a key.
    pub(crate) fn llm_caller(
        &self,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<LlmCaller, LlmKeyError> {
        let party = self.llm.party(self.api.as_ref(), headers)?;
        let principal = match party {
            LlmParty::Anyone => Principal::Anonymous,
            LlmParty::Operator => Principal::ApiKey,
            LlmParty::Key(place) => Principal::LlmKey(self.llm.name(place)),
        };
        let address = self.public_url.caller_address(headers, peer);
        let owners = match party {
            LlmParty::Key(place) => CallerOwners::of_key(address, place),
            LlmParty::Anyone | LlmParty::Operator => CallerOwners::of(address, headers),
        };
        Ok(LlmCaller {
            party,
            principal,
            owners,
        })
    }

    /// Returns the parties that the shares of a caller count for.
    fn owners(&self, headers: &HeaderMap, peer: Peer) -> CallerOwners {
        CallerOwners::of(self.public_url.caller_address(headers, peer), headers)
    }

    /// Admits a health probe, under any name of the server; but from no page of another origin.
    pub(crate) fn prober(&self, headers: &HeaderMap) -> Result<Prober, CallError> {
        let source = HostAndOrigin::read(headers)?;
        self.policy.check_origin(&source)?;
        Ok(Prober)
    }

    /// Returns the operator that presents the API key.
    pub(crate) fn operator(&self, headers: &HeaderMap, uri: &Uri) -> Result<Operator, AccessError> {
        let source = HostAndOrigin::read(headers).map_err(AccessError::Origin)?;
        self.policy
            .check(&source, uri)
            .map_err(AccessError::Origin)?;

        match &self.api {
            None => Ok(Operator::new(Principal::Anonymous)),
            Some(key) if key.is_presented_in(headers) => Ok(Operator::new(Principal::ApiKey)),
            Some(_) => Err(AccessError::WrongKey),
        }
    }

    /// Returns the relay that presents the worker key, with what it asks for.
    pub(crate) fn relay(
        &self,
        headers: &HeaderMap,
        kind: RelayKind,
        peer: Peer,
    ) -> Result<RelayIdentity, RelayRefusedError> {
        let is_admitted = self
            .worker
            .as_ref()
            .is_none_or(|key| key.is_presented_in(headers));
        if !is_admitted {
            return Err(RelayRefusedError::wrong_key());
        }
        let network = match self.public_url.caller_address(headers, peer) {
            CallerAddress::Network(network) => network,
            CallerAddress::Named(_) => network_of(peer.0.ip()),
        };
        RelayIdentity::read(headers, kind, network)
    }

    /// Removes the server's own keys from a call: a caller that sends one by mistake must not hand
    /// it to a provider.
    pub(crate) fn withhold_own_keys(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(header::AUTHORIZATION) {
            return;
        }

        let is_own = |value: &HeaderValue| {
            let token = bearer(value);
            let matches = |key: &Option<Secret>| {
                key.as_ref()
                    .is_some_and(|key| token.is_some_and(|token| key.matches(token)))
            };
            matches(&self.api) | matches(&self.worker)
        };
        if headers.get_all(header::AUTHORIZATION).iter().any(is_own) {
            headers.remove(header::AUTHORIZATION);
        }
    }
}

#[cfg(test)]
mod tests {
    use llamapool_wire::{Refusal, header as wire};

    use super::*;
    use crate::listen::ForwardedTrust;

    fn auth() -> Auth {
        let keys = Keys {
            api: Some(Secret::new("api")),
            worker: Some(Secret::new("worker")),
            session: None,
            llm: Arc::default(),
        };
        let policy = OriginPolicy::new(&AuthConfig::default(), None, [0, 0, 0, 0].into());
        Auth::new(
            &keys,
            policy,
            PublicUrl::new(None, ForwardedTrust::Untrusted),
        )
    }

    fn with(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    fn operator(values: &[&'static str]) -> Option<Principal> {
        auth()
            .operator(&with(values), &Uri::from_static("/api/state"))
            .ok()
            .map(|operator| operator.principal().clone())
    }

    #[test]
    fn an_operator_presents_the_api_key_once() {
        assert_eq!(operator(&["Bearer api"]), Some(Principal::ApiKey));
        assert_eq!(operator(&["bearer  api "]), Some(Principal::ApiKey));

        for wrong in [
            &[][..],
            &["Bearer "],
            &["Bearer"],
            &["api"],
            &["Basic api"],
            &["Bearer apj"],
            &["Bearer worker"],
        ] {
            assert_eq!(operator(wrong), None, "{wrong:?}");
        }
        assert_eq!(operator(&["Bearer api", "Bearer api"]), None);
    }

    #[test]
    fn a_relay_presents_the_worker_key_and_its_identity() {
        let mut headers = with(&["Bearer worker"]);
        headers.insert(
            wire::INSTANCE,
            HeaderValue::from_static("0123456789abcdef0123456789abcdef"),
        );
        headers.insert(wire::ID, HeaderValue::from_static("mcp-1234"));
        headers.insert(wire::NAME, HeaderValue::from_static("Al%C3%A9"));

        let relay = auth()
            .relay(&headers, RelayKind::Mcp, Peer::default())
            .unwrap();
        assert_eq!(relay.ids, [Some("mcp-1234".parse().unwrap())]);
        assert_eq!(relay.name.as_str(), "Alé");

        headers.insert(wire::ID, HeaderValue::from_static("a/b"));
        let refused = auth()
            .relay(&headers, RelayKind::Mcp, Peer::default())
            .unwrap_err();
        assert_eq!(refused.refusal, Refusal::InvalidHeader);

        let wrong_key = HeaderValue::from_static("Bearer api");
        headers.insert(header::AUTHORIZATION, wrong_key);
        let refused = auth()
            .relay(&headers, RelayKind::Mcp, Peer::default())
            .unwrap_err();
        assert_eq!(refused.refusal, Refusal::WrongKey);
    }

    #[test]
    fn the_servers_own_keys_are_withheld_and_other_tokens_are_not() {
        for (sent, stays) in [
            ("Bearer api", false),
            ("bearer worker", false),
            ("Bearer mine", true),
            ("Basic api", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(sent));

            auth().withhold_own_keys(&mut headers);

            assert_eq!(headers.contains_key(header::AUTHORIZATION), stays, "{sent}");
        }
    }
}
