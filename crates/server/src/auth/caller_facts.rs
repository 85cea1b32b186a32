//! What follows of a caller from its address, its `Host` and its `Authorization`: found out once for
//! the calls on a connection that are alike in these.

use std::sync::Arc;

use axum::http::{HeaderValue, Uri, header};
use llamapool_head::FieldLookup;

use super::Auth;
use super::principal::CallerOwners;
use crate::listen::{Address, Peer};

/// What follows of a caller from the head of a request.
#[derive(Debug)]
pub(crate) struct CallerFacts {
    /// The parties that its shares count for, if it presents no key of this server.
    pub(crate) owners: CallerOwners,
    /// The tag by which relays count what these parties hold.
    pub(crate) tag: HeaderValue,
    /// The addresses of the caller and of the proxies before this server.
    pub(crate) forwarded_for: Option<HeaderValue>,
    /// The public address, as the caller reaches it.
    pub(crate) address: Option<Address>,
}

/// The facts about the sender of the last request on a connection.
#[derive(Default)]
pub(crate) struct FactsMemo(Option<Known>);

struct Known {
    host: Vec<u8>,
    authorization: Option<Vec<u8>>,
    facts: Arc<CallerFacts>,
}

impl Known {
    fn is_of(&self, headers: &impl FieldLookup) -> bool {
        let mut tokens = headers.all_values(&header::AUTHORIZATION);
        let token = tokens.next().map(|token| token.as_bytes());
        let host = headers.first_value(&header::HOST);
        host.is_some_and(|host| host.as_bytes() == self.host)
            && token == self.authorization.as_deref()
            && tokens.next().is_none()
    }
}

impl Auth {
    /// Returns what is known of the sender of a request, if that of the last one on its connection was
    /// alike. The policy has admitted its `Host` then.
    pub(super) fn known_facts(
        &self,
        memo: &FactsMemo,
        headers: &impl FieldLookup,
        uri: &Uri,
    ) -> Option<Arc<CallerFacts>> {
        let known = memo.0.as_ref().filter(|_| self.are_alike(uri))?;
        known.is_of(headers).then(|| known.facts.clone())
    }

    /// Returns whether the requests of a connection are those of one caller. With a proxy in front, they
    /// are those of many.
    fn are_alike(&self, uri: &Uri) -> bool {
        !self.public_url.trusts_proxies() && uri.authority().is_none()
    }

    /// Finds out the facts about the sender of a request.
    pub(super) fn find_facts(
        &self,
        memo: &mut FactsMemo,
        headers: &impl FieldLookup,
        uri: &Uri,
        peer: Peer,
    ) -> Arc<CallerFacts> {
        let owners = CallerOwners::of(self.public_url.caller_address(headers, peer), headers);
        let facts = Arc::new(CallerFacts {
            owners,
            tag: owners.tag(&self.caller_tags).to_header(),
            forwarded_for: self.public_url.forwarded_for(headers, peer),
            address: self.public_url.of(headers, uri),
        });
        memo.0 = headers
            .first_value(&header::HOST)
            .filter(|_| self.are_alike(uri))
            .map(|host| Known {
                host: host.as_bytes().to_vec(),
                authorization: headers
                    .first_value(&header::AUTHORIZATION)
                    .map(|token| token.as_bytes().to_vec()),
                facts: facts.clone(),
            });
        facts
    }

    /// Returns the tag by which relays count what a caller holds.
    pub(crate) fn caller_tag(&self, facts: &CallerFacts, owners: CallerOwners) -> HeaderValue {
        if owners == facts.owners {
            return facts.tag.clone();
        }
        owners.tag(&self.caller_tags).to_header()
    }
}

#[cfg(test)]
mod tests {
    use llamapool_head::Fields;
    use llamapool_identity::Records;

    use super::*;
    use crate::auth::{AuthConfig, Keys, OriginPolicy};
    use crate::identity::{Identity, IdentityConfig};
    use crate::listen::{ForwardedTrust, PublicUrl};

    fn uri() -> Uri {
        Uri::from_static("/api/mcp/id/x")
    }

    fn auth(trust: ForwardedTrust) -> Auth {
        let policy = OriginPolicy::new(&AuthConfig::default(), None, [0, 0, 0, 0].into());
        let identity = Identity::new(IdentityConfig::default(), Records::default());
        Auth::new(
            &Keys::default(),
            identity,
            policy,
            PublicUrl::new(None, trust),
        )
    }

    fn head(host: &'static str, tokens: &[&'static str]) -> Fields {
        let host = (header::HOST, HeaderValue::from_static(host));
        let token = |token: &&'static str| (header::AUTHORIZATION, HeaderValue::from_static(token));
        let tokens = tokens.iter().map(token);
        std::iter::once(host).chain(tokens).collect()
    }

    #[test]
    fn what_differs_in_host_or_token_is_found_out_anew() {
        let auth = auth(ForwardedTrust::Untrusted);
        let mut memo = FactsMemo::default();
        let heads = [
            head("a.example", &[]),
            head("b.example", &[]),
            head("b.example", &["Bearer 1"]),
            head("b.example", &["Bearer 2"]),
            head("b.example", &["Bearer 2", "Bearer 3"]),
            head("b.example", &[]),
        ];

        for head in &heads {
            assert!(auth.known_facts(&memo, head, &uri()).is_none());

            let found = auth.find_facts(&mut memo, head, &uri(), Peer::default());
            let known = auth.known_facts(&memo, head, &uri());

            let is_single = head.all_values(&header::AUTHORIZATION).count() < 2;
            assert_eq!(known.is_some(), is_single);
            assert!(known.is_none_or(|known| Arc::ptr_eq(&known, &found)));
        }
    }

    /// Each request of a proxy's connection can be that of another caller.
    #[test]
    fn nothing_is_remembered_of_a_proxys_connection() {
        let auth = auth(ForwardedTrust::Proxies(Vec::new()));
        let mut memo = FactsMemo::default();
        let mut of = |caller: &'static str| {
            let mut head = head("a.example", &[]);
            let name = crate::listen::FORWARDED_FOR;
            head.append(&name, &HeaderValue::from_static(caller));
            assert!(auth.known_facts(&memo, &head, &uri()).is_none());
            auth.find_facts(&mut memo, &head, &uri(), Peer::default())
        };

        assert_ne!(of("192.0.2.1").owners, of("192.0.3.1").owners);
    }
}
