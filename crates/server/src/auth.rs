//! Makes identities, and nothing else does: a door that needs one takes it as an argument.
//!
//! Keys are compared in constant time and are never part of an error.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use llamapool_wire::{
    CallError, DisplayName, InstanceId, Refusal, RelayId, Secret, bearer, header as wire, read_ids,
};

use crate::config::Keys;
use crate::edge::Edge;

/// Who decides who is who.
pub(crate) struct Auth {
    api: Option<Secret>,
    worker: Option<Secret>,
    edge: Edge,
}

/// Somebody who may call providers. Whether a provider's relay wants a token besides is the relay's business.
pub(crate) struct Caller {
    /// Where the page comes from, if a browser calls.
    pub(crate) origin: Option<AllowedOrigin>,
}

/// An Origin that got past the edge.
#[derive(Debug, Clone)]
pub(crate) struct AllowedOrigin(HeaderValue);

/// Somebody who may look at the state.
pub(crate) struct Operator(());

/// A relay that presented the worker key, and what it asks for.
#[derive(Debug)]
pub(crate) struct RelayIdentity {
    /// The ids it wants, one for each of its providers; where there is none, the server assigns it.
    pub(crate) ids: Vec<Option<RelayId>>,
    pub(crate) name: DisplayName,
    pub(crate) version: DisplayName,
    pub(crate) instance: InstanceId,
    pub(crate) secret: Option<Secret>,
}

/// Why somebody may not look at the state.
pub(crate) enum NotAnOperator {
    /// The edge does not let them in.
    Edge(CallError),
    /// The API key is missing or wrong.
    Key,
}

/// Why a relay may not connect: which refusal, and what was wrong.
pub(crate) type NotARelay = (Refusal, String);

impl Auth {
    pub(crate) fn new(keys: &Keys, edge: Edge) -> Self {
        Self {
            api: keys.api.clone(),
            worker: keys.worker.clone(),
            edge,
        }
    }

    /// Who calls a provider: anyone whom the edge lets in.
    pub(crate) fn caller(&self, headers: &HeaderMap, uri: &Uri) -> Result<Caller, CallError> {
        self.edge.check(headers, uri)?;
        // The edge lets one Origin through at most.
        Ok(Caller {
            origin: headers.get(header::ORIGIN).cloned().map(AllowedOrigin),
        })
    }

    /// Somebody who asks for what everybody may know, of this server.
    pub(crate) fn addressee(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), CallError> {
        self.edge.check_host(headers, uri)
    }

    /// Somebody who asks how the server is, under whatever name it was found; but no hostile page.
    pub(crate) fn prober(&self, headers: &HeaderMap) -> Result<(), CallError> {
        self.edge.check_origin(headers)
    }

    /// Who looks at the state: whoever presents the API key.
    pub(crate) fn operator(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Operator, NotAnOperator> {
        self.edge.check(headers, uri).map_err(NotAnOperator::Edge)?;
        if is_presented(&self.api, headers) {
            Ok(Operator(()))
        } else {
            Err(NotAnOperator::Key)
        }
    }

    /// Which relay connects: one that presents the worker key and says who it is.
    pub(crate) fn relay(&self, headers: &HeaderMap) -> Result<RelayIdentity, NotARelay> {
        if !is_presented(&self.worker, headers) {
            let expected =
                "the worker key is missing or wrong, expected Authorization: Bearer <WORKER_KEY>";
            return Err((Refusal::WrongKey, expected.to_owned()));
        }
        let invalid = |message: String| (Refusal::InvalidHeader, message);
        let text = |name| match headers.get(&name).map(HeaderValue::to_str) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(invalid(format!("the {name} header is not ASCII text"))),
        };
        let name_of = |text: Option<&str>| {
            DisplayName::decode(text.unwrap_or_default())
                .map_err(|error| invalid(error.to_string()))
        };
        let instance = text(wire::INSTANCE)?
            .ok_or_else(|| invalid(format!("the {} header is missing", wire::INSTANCE)))?;
        Ok(RelayIdentity {
            ids: read_ids(headers).map_err(|error| invalid(error.to_string()))?,
            name: name_of(text(wire::NAME)?)?,
            version: name_of(text(wire::VERSION)?)?,
            instance: instance
                .parse()
                .map_err(|error| invalid(format!("{error}")))?,
            secret: text(wire::SECRET)?
                .filter(|secret| !secret.is_empty())
                .map(Secret::new),
        })
    }

    /// Takes the server's own keys out of a call: a caller who sends one by mistake must not hand it to a provider.
    pub(crate) fn withhold_own_keys(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(header::AUTHORIZATION) {
            return;
        }
        let is_own = |value: &HeaderValue| {
            let token = bearer(value);
            let matches = |key: &Option<Secret>| {
                key.as_ref()
                    .is_some_and(|key| token.is_some_and(|t| key.matches(t)))
            };
            matches(&self.api) | matches(&self.worker)
        };
        if headers.get_all(header::AUTHORIZATION).iter().any(is_own) {
            headers.remove(header::AUTHORIZATION);
        }
    }
}

impl AllowedOrigin {
    /// The origin as the browser sent it.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn for_test(origin: &'static str) -> Self {
        Self(HeaderValue::from_static(origin))
    }
}

/// Whether the key is presented, once and well. A key that is not set is presented by everybody.
fn is_presented(key: &Option<Secret>, headers: &HeaderMap) -> bool {
    key.as_ref().is_none_or(|key| key.is_presented_in(headers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthConfig;

    fn auth() -> Auth {
        let keys = Keys {
            api: Some(Secret::new("api")),
            worker: Some(Secret::new("worker")),
            session: None,
        };
        Auth::new(
            &keys,
            Edge::new(&AuthConfig::default(), None, [0, 0, 0, 0].into()),
        )
    }

    fn with(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    fn is_operator(values: &[&'static str]) -> bool {
        auth()
            .operator(&with(values), &Uri::from_static("/api/state"))
            .is_ok()
    }

    #[test]
    fn an_operator_presents_the_api_key_once_and_nothing_else() {
        assert!(is_operator(&["Bearer api"]));
        assert!(is_operator(&["bearer  api "]));
        for wrong in [
            &[][..],
            &["Bearer "],
            &["Bearer"],
            &["api"],
            &["Basic api"],
            &["Bearer apj"],
            &["Bearer worker"],
        ] {
            assert!(!is_operator(wrong), "{wrong:?}");
        }
        assert!(!is_operator(&["Bearer api", "Bearer api"]));
    }

    #[test]
    fn a_relay_presents_the_worker_key_and_says_who_it_is() {
        let mut headers = with(&["Bearer worker"]);
        headers.insert(
            wire::INSTANCE,
            HeaderValue::from_static("0123456789abcdef0123456789abcdef"),
        );
        headers.insert(wire::ID, HeaderValue::from_static("mcp-1234"));
        headers.insert(wire::NAME, HeaderValue::from_static("Al%C3%A9"));
        let relay = auth().relay(&headers).unwrap();
        assert_eq!(relay.ids, [Some("mcp-1234".parse().unwrap())]);
        assert_eq!(relay.name.as_str(), "Alé");
        headers.insert(wire::ID, HeaderValue::from_static("a/b"));
        assert!(matches!(
            auth().relay(&headers),
            Err((Refusal::InvalidHeader, _))
        ));
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_static("Bearer api"),
        );
        assert!(matches!(
            auth().relay(&headers),
            Err((Refusal::WrongKey, _))
        ));
    }

    #[test]
    fn the_servers_own_keys_never_leave_and_the_callers_tokens_do() {
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
