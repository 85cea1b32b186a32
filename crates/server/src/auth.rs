//! Makes identities, and nothing else does: a door that needs one takes it as an argument.
//!
//! Keys are compared in constant time and are never part of an error.

mod caller_facts;
mod challenge;
pub(crate) mod cors;
mod extract;
mod limiter;
mod limits;
mod llm_keys;
mod operators;
mod origin_policy;
mod principal;
mod relay_identity;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, Uri, header};
use llamapool_head::{FieldLookup, FieldValue, Fields, RequestHead};
use llamapool_identity::{
    AccessMode, Key, KeyError, KeyKind, MessagePolicy, MessageRules, Rights, RuleSource, Scope,
    TokenError, TokenSeal, WorkerKind,
};
use llamapool_limits::network_of;
use llamapool_wire::{CallError, Cause, Refusal, RelayId, Secret, bearer};

use self::limiter::Limiter;
use self::principal::CallerTagKey;
use crate::audit::{Audit, Refused};
use crate::identity::{Identity, KeyHolder, KeyUse};
use crate::listen::{CallerAddress, Peer, PublicUrl};
use crate::sign_in::SignIn;

pub(crate) use caller_facts::{CallerFacts, FactsMemo};
pub(crate) use extract::{AccessControl, Prober};
pub(crate) use limiter::LimitedCall;
pub(crate) use limits::TOO_MANY_WRONG_KEYS;
pub use llm_keys::LlmAccess;
pub(crate) use llm_keys::{LlmKeyError, LlmParty, remove_keys};
pub(crate) use origin_policy::{HostAndOrigin, OriginPolicy};
pub(crate) use principal::{AllowedOrigin, Caller, CallerOwners, LlmCaller, Operator, Principal};
pub(crate) use relay_identity::{RelayIdentity, RelayKind, RelayRefusedError};

/// What proves a caller to this server, and to no provider: a proof of possession belongs to a token
/// (RFC 9449, 4).
const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("dpop")];

/// How the keys begin that open something of this server and no provider. A caller key is not among
/// them: the provider may be another llamapool.
const OWN_PREFIXES: [&[u8]; 2] = [b"llp_a_", b"llp_w_"];

/// The keys, and the accepted values of `Origin` and `Host`.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// The keys of the server.
    pub keys: Keys,
    /// What the LLM API asks of its callers; `None`: see [`LlmAccess::default_for`].
    pub llm_access: Option<LlmAccess>,
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
    /// Opens the state API, and the LLM API.
    pub api: Option<Secret>,
    /// Lets relays connect.
    pub worker: Option<Secret>,
    /// Seals the session ids of shared ids; `None`: a key of this server does, which is in its data
    /// directory, or is one of this run. The worker key does not: every relay has it.
    pub session: Option<Secret>,
}

/// Proves identities by the keys and the origin policy.
pub(crate) struct Auth {
    api: Option<Secret>,
    worker: Option<Secret>,
    llm_access: LlmAccess,
    policy: OriginPolicy,
    caller_tags: CallerTagKey,
    /// The keys that are declared and stored, and the access of ids.
    identity: Identity,
    /// The own authorization server, if sign-in is on.
    sign_in: Option<Arc<SignIn>>,
    /// Finds the addresses of callers.
    public_url: PublicUrl,
    /// Gets what is refused.
    audit: Audit,
    /// Counts what has a limit.
    limiter: Limiter,
    /// The policy of messages by a credential that may read alone.
    read_only: Arc<MessagePolicy>,
}

/// A credential that admits a call to an id.
struct Admitted {
    holder: Arc<KeyHolder>,
    /// How much its messages may do.
    scope: Scope,
    /// The challenge of a message that the scope does not allow, if another token could.
    step_up: Option<Box<str>>,
}

/// The reasons for refusing an operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// `Host` or `Origin` is refused.
    #[error("{}", .0.message)]
    Origin(CallError),
    /// The key is missing or wrong.
    #[error("the API key is missing or wrong")]
    WrongKey,
    /// The key is of another kind, or has ended. It is answered as a wrong one, and is no guess.
    #[error("the key is no admin key, or has ended")]
    NoAdminKey,
    /// The admin key lacks the right, or is not for the address.
    #[error("the admin key may not do this, or not from this address")]
    NotAllowed,
    /// A page sends it.
    #[error("it was sent by a page in a browser")]
    Page,
    /// The API key is wrong, as too many were that came from the address; the next one is answered as
    /// such after this time.
    #[error("{TOO_MANY_WRONG_KEYS}")]
    TooManyWrongKeys(Duration),
}

impl Auth {
    /// Returns the keeper of these keys and of this policy.
    pub(crate) fn new(
        keys: &Keys,
        identity: Identity,
        policy: OriginPolicy,
        public_url: PublicUrl,
    ) -> Self {
        Self {
            api: keys.api.clone(),
            worker: keys.worker.clone(),
            llm_access: LlmAccess::Keys,
            policy,
            caller_tags: CallerTagKey::default(),
            identity,
            sign_in: None,
            public_url,
            audit: Audit::default(),
            limiter: Limiter::default(),
            read_only: Arc::new(MessagePolicy::read_only()),
        }
    }

    /// Lets tokens of the own authorization server in.
    pub(crate) fn with_sign_in(self, sign_in: Option<Arc<SignIn>>) -> Self {
        Self { sign_in, ..self }
    }

    /// Asks this of the callers of the LLM API.
    pub(crate) fn with_llm_access(self, llm_access: LlmAccess) -> Self {
        Self { llm_access, ..self }
    }

    /// Writes what is refused into a log.
    pub(crate) fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Returns the base of all public URLs, where it is set.
    pub(crate) fn configured_public_url(&self) -> Option<String> {
        self.public_url.configured_base()
    }

    /// Returns the audit log.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Returns the address of a request for the audit log; `None` without one.
    pub(crate) fn audited_address(&self, headers: &impl FieldLookup, peer: Peer) -> Option<IpAddr> {
        let is_on = self.audit.is_on();
        is_on.then(|| self.public_url.address_of(headers, peer))?
    }

    /// Returns the caller of a provider: any that the origin policy admits. A token that the
    /// provider's relay demands besides is checked there.
    pub(crate) fn caller(
        &self,
        memo: &mut FactsMemo,
        source: &HostAndOrigin<'_, impl FieldLookup>,
        uri: &Uri,
        peer: Peer,
    ) -> Result<Caller, CallError> {
        let facts = match self.known_facts(memo, source.headers(), uri) {
            Some(facts) => {
                self.policy.check_again(source)?;
                facts
            }
            None => {
                self.policy.check(source, uri)?;
                self.find_facts(memo, source.headers(), uri, peer)
            }
        };
        Ok(Caller {
            principal: Principal::Anonymous,
            origin: source.origin_value().and_then(AllowedOrigin::new),
            peer,
            owners: facts.owners,
            facts,
            rules: MessageRules::default(),
            step_up: None,
        })
    }

    /// Admits a caller to an id: where the id asks for a caller key or a token, by that. Both then end
    /// here; what the provider needs comes from its relay.
    ///
    /// It is asked before the directory is: a caller that may not call an id does not learn whether it
    /// exists.
    pub(crate) fn admit_to(
        &self,
        id: &RelayId,
        caller: &mut Caller,
        request: &mut RequestHead,
    ) -> Result<(), CallError> {
        caller.rules = self.identity.messages(id.as_str());
        let headers = &request.fields;
        let peer = caller.peer;
        let admitted = match self.identity.access(id.as_str()) {
            AccessMode::Open => return Ok(()),
            AccessMode::Keys => self.holder_of_key(id, headers, peer),
            AccessMode::SignIn => match &self.sign_in {
                None => self.holder_of_key(id, headers, peer),
                Some(sign_in) => self.holder_of_either(id, sign_in, request, peer),
            },
        };
        let Admitted {
            holder,
            scope,
            step_up,
        } = admitted?;

        let address = self.public_url.caller_address(headers, caller.peer);
        caller.owners = CallerOwners::of_holder(address, &holder);
        caller.principal = Principal::Key(holder.begin());
        if scope == Scope::Read {
            let rules = std::mem::take(&mut caller.rules);
            caller.rules = rules.and(RuleSource::Credential, self.read_only.clone());
        }
        caller.step_up = step_up;
        for credential in CREDENTIALS {
            request.fields.remove(&credential);
        }
        Ok(())
    }

    /// Returns the holder of the caller key that a call presents.
    fn holder_of_key(
        &self,
        id: &RelayId,
        headers: &Fields,
        peer: Peer,
    ) -> Result<Admitted, CallError> {
        let wrong_key = || self.wrong_key(invalid_key(), headers, peer);
        self.holder_with(id, presented(headers)?, wrong_key)
    }

    /// Returns the holder of the caller key, or of the grant of the access token, that a call presents.
    /// A refusal names the metadata by which a client finds the authorization server (RFC 9728, 5.1).
    fn holder_of_either(
        &self,
        id: &RelayId,
        sign_in: &SignIn,
        request: &RequestHead,
        peer: Peer,
    ) -> Result<Admitted, CallError> {
        let metadata = || sign_in.issuer.resource_metadata(id, request.uri.path());
        let wrong_key = || self.wrong_key(invalid_key(), &request.fields, peer);
        let credential = presented(&request.fields);
        let admitted = credential.and_then(|credential| {
            if !TokenSeal::is_access_token(credential) {
                return self.holder_with(id, credential, wrong_key);
            }
            let token = std::str::from_utf8(credential).unwrap_or_default();
            let presented = self.identity.authenticate_token(&sign_in.seal, token, id);
            let presented = presented.inspect_err(|error| self.audit.refused((*error).into()));
            let presented = presented.map_err(|error| match error {
                // A guess. Others are of a token that was good once.
                TokenError::Unknown => wrong_key(),
                _ => invalid_key(),
            })?;
            let is_narrowed = presented.scope < presented.widest;
            Ok(Admitted {
                holder: presented.holder,
                scope: presented.scope,
                step_up: is_narrowed.then(|| challenge::step_up(&metadata()).into()),
            })
        });
        admitted.map_err(|failure| match challenge::of(failure.cause, &metadata()) {
            Some(challenge) => failure.with_challenge(challenge),
            None => failure,
        })
    }

    /// Returns the holder of a caller key that covers an id.
    fn holder_with(
        &self,
        id: &RelayId,
        key: &[u8],
        wrong_key: impl FnOnce() -> CallError,
    ) -> Result<Admitted, CallError> {
        let presented = self.identity.authenticate(key, KeyKind::Caller);
        let presented = presented.inspect_err(|error| self.audit.refused((*error).into()));
        let presented = presented.map_err(|error| match error {
            // A guess. Others have the right secret of a key that has ended, and are told at any pace.
            KeyError::Unknown => wrong_key(),
            KeyError::OtherKind(_) | KeyError::Expired | KeyError::Revoked => invalid_key(),
        })?;
        let covers = match &presented.key.rights {
            Rights::Caller(rights) => rights.may_call(id.as_str()),
            Rights::Worker(_) | Rights::Admin(_) => false,
        };
        if !covers {
            self.audit.refused(Refused::KeyNotCovered);
            let message = format!(
                "the caller key {} does not cover the id {id}",
                presented.key.id
            );
            return Err(CallError::new(Cause::NotAllowed, message));
        }
        Ok(Admitted {
            holder: presented.holder,
            scope: presented.key.rights.scope(),
            step_up: None,
        })
    }

    /// Returns what an id asks of its callers.
    pub(crate) fn access(&self, id: &RelayId) -> AccessMode {
        self.identity.access(id.as_str())
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
        let facts = self.find_facts(&mut FactsMemo::default(), headers, uri, peer);
        Ok(Caller {
            principal: Principal::Anonymous,
            origin: None,
            peer,
            owners: facts.owners,
            facts,
            rules: MessageRules::default(),
            step_up: None,
        })
    }

    /// Admits a call to the LLM API by where it comes from. Returns the origin of the page, if a
    /// browser calls.
    pub(crate) fn llm_origin(
        &self,
        source: &HostAndOrigin<'_, impl FieldLookup>,
        uri: &Uri,
    ) -> Result<Option<AllowedOrigin>, CallError> {
        self.policy.check(source, uri)?;
        Ok(source.origin_value().and_then(AllowedOrigin::new))
    }

    /// Admits a health probe, under any name of the server; but from no page of another origin.
    pub(crate) fn prober(&self, headers: &HeaderMap) -> Result<Prober, CallError> {
        let source = HostAndOrigin::read(headers)?;
        self.policy.check_origin(&source)?;
        Ok(Prober)
    }

    /// Returns the relay that presents the worker key, with what it asks for.
    pub(crate) fn relay(
        &self,
        headers: &HeaderMap,
        kind: RelayKind,
        peer: Peer,
    ) -> Result<RelayIdentity, RelayRefusedError> {
        let key = self.worker_key(headers, peer)?;
        let network = match self.public_url.caller_address(headers, peer) {
            CallerAddress::Network(network) => network,
            CallerAddress::Named(_) => network_of(peer.0.ip()),
        };
        let identity = RelayIdentity::read(headers, kind, network)?;
        let address = self.public_url.address_of(headers, peer);
        let Some((key, key_use)) = key else {
            self.check_ids(None, &identity, address)?;
            return Ok(identity);
        };
        self.check_ids(Some(&key), &identity, address)?;
        Ok(RelayIdentity {
            key: Some(key_use),
            ..identity
        })
    }

    /// Returns the address that a relay connects from, `None` if a proxy names none.
    pub(crate) fn relay_address(&self, headers: &HeaderMap, peer: Peer) -> Option<IpAddr> {
        self.public_url.address_of(headers, peer)
    }

    /// Returns the worker key that a relay presents; `None` for the bootstrap key.
    fn worker_key(
        &self,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<Option<(Arc<Key>, KeyUse)>, RelayRefusedError> {
        let is_bootstrap = self
            .worker
            .as_ref()
            .is_none_or(|key| key.is_presented_in(headers));
        if is_bootstrap {
            return Ok(None);
        }

        let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
        let token = values.next().and_then(|value| bearer(value.as_bytes()));
        let token = token.filter(|_| values.next().is_none());
        let token = token.ok_or_else(RelayRefusedError::wrong_key)?;
        let presented = self.identity.authenticate(token, KeyKind::Worker);
        let presented = presented.map_err(|error| match error {
            KeyError::Expired | KeyError::Revoked => {
                RelayRefusedError::new(Refusal::KeyEnded, error.to_string())
            }
            KeyError::OtherKind(_) => RelayRefusedError::wrong_key(),
            KeyError::Unknown => match self.count_wrong_key(headers, peer) {
                None if self.has_api_key(headers) => RelayRefusedError::api_key(),
                None => RelayRefusedError::wrong_key(),
                Some(_) => RelayRefusedError::new(Refusal::TooManyWrongKeys, TOO_MANY_WRONG_KEYS),
            },
        })?;
        Ok(Some((presented.key, presented.holder.begin())))
    }

    fn has_api_key(&self, headers: &HeaderMap) -> bool {
        let key = self.api.as_ref();
        key.is_some_and(|key| key.is_presented_in(headers))
    }

    /// Checks that a relay may serve what it asks for.
    fn check_ids(
        &self,
        key: Option<&Key>,
        identity: &RelayIdentity,
        address: Option<IpAddr>,
    ) -> Result<(), RelayRefusedError> {
        let refused = |message: String| RelayRefusedError::new(Refusal::IdNotAllowed, message);
        if let Some(Rights::Worker(rights)) = key.map(|key| &key.rights) {
            let kind = match identity.kind {
                RelayKind::Mcp => WorkerKind::Mcp,
                RelayKind::Worker => WorkerKind::Llm,
            };
            if !rights.admits(kind) {
                return Err(refused(format!(
                    "the worker key is not for `{}`",
                    kind.command()
                )));
            }
            if !rights.networks.admit(address) {
                return Err(refused("the worker key is not for this address".to_owned()));
            }
            let wanted = identity.ids.len();
            if wanted > rights.max_ids {
                return Err(refused(format!(
                    "the relay asks for {wanted} ids, and the worker key may have {}",
                    rights.max_ids
                )));
            }
        }

        let published = self.identity.published();
        let now = self.identity.now();
        for id in &identity.ids {
            let allowed = match id {
                Some(id) => published.snapshot.may_serve(key, id.as_str(), now),
                None => published.snapshot.may_serve_assigned(key),
            };
            allowed.map_err(|error| refused(error.to_string()))?;
        }
        Ok(())
    }

    /// Removes the server's own keys from a call: a caller that sends one by mistake must not hand
    /// it to a provider.
    pub(crate) fn withhold_own_keys(&self, fields: &mut Fields) {
        if !fields.contains_key(&header::AUTHORIZATION) {
            return;
        }

        let is_own = |value: FieldValue<'_>| {
            let token = bearer(value.as_bytes());
            let matches = |key: &Option<Secret>| {
                key.as_ref()
                    .is_some_and(|key| token.is_some_and(|token| key.matches(token)))
            };
            let is_ours = token.is_some_and(|token| {
                let mut prefixes = OWN_PREFIXES.into_iter();
                prefixes.any(|prefix| token.starts_with(prefix))
            });
            is_ours || matches(&self.api) | matches(&self.worker)
        };
        if fields.all_values(&header::AUTHORIZATION).any(is_own) {
            fields.remove(&header::AUTHORIZATION);
        }
    }
}

/// Returns the one key or token that a call presents.
fn presented(headers: &Fields) -> Result<&[u8], CallError> {
    let mut values = headers.all_values(&header::AUTHORIZATION);
    let Some(value) = values.next() else {
        let expected = "this id asks for a caller key, expected Authorization: Bearer llp_c_…";
        return Err(CallError::new(Cause::KeyMissing, expected));
    };
    if values.next().is_some() {
        return Err(invalid_key());
    }
    bearer(value.as_bytes()).ok_or_else(invalid_key)
}

/// Returns the failure of a call with a key that is not valid: the same for all reasons, so that it
/// tells nothing of the key.
fn invalid_key() -> CallError {
    let expected = "the caller key is not valid, expected Authorization: Bearer llp_c_…";
    CallError::new(Cause::KeyInvalid, expected)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use llamapool_wire::header as wire;

    use llamapool_identity::{AdminRight, Records};

    use super::*;
    use crate::identity::IdentityConfig;
    use crate::listen::ForwardedTrust;

    fn auth() -> Auth {
        let keys = Keys {
            api: Some(Secret::new("api")),
            worker: Some(Secret::new("worker")),
            session: None,
        };
        let policy = OriginPolicy::new(&AuthConfig::default(), None, [0, 0, 0, 0].into());
        let identity = Identity::new(IdentityConfig::default(), Records::default());
        Auth::new(
            &keys,
            identity,
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
            .operator(
                &with(values),
                &Uri::from_static("/api/state"),
                Peer::default(),
                AdminRight::State,
            )
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
            ("Bearer llp_a_7k3xq2mbdrta_secret", false),
            ("Bearer llp_w_7k3xq2mbdrta_secret", false),
            ("Bearer llp_c_7k3xq2mbdrta_secret", true),
            ("Bearer mine", true),
            ("Basic api", true),
        ] {
            let mut fields = Fields::new();
            fields.append(&header::AUTHORIZATION, &HeaderValue::from_static(sent));

            auth().withhold_own_keys(&mut fields);

            assert_eq!(fields.contains_key(&header::AUTHORIZATION), stays, "{sent}");
        }
    }
}
