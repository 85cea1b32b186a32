//! The identities of requests. Only `auth` makes them.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};
use llamapool_limits::network_of;
use llamapool_wire::CallerTag;

use crate::listen::Peer;

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
}

/// An `Origin` that the origin policy admits.
#[derive(Debug, Clone)]
pub(crate) struct AllowedOrigin(HeaderValue);

/// A party that may read the state.
#[derive(Debug)]
pub(crate) struct Operator(Principal);

impl Principal {
    /// Returns the word for it in the log. `None` for an anonymous one, of which there is nothing
    /// to log.
    pub(crate) fn label(&self) -> Option<&'static str> {
        match self {
            Self::Anonymous => None,
            Self::ApiKey => Some("api_key"),
        }
    }
}

/// Makes the tags of callers. Its key is drawn anew in every run, so a tag cannot be traced back to
/// an address or a token, and no caller can choose one.
#[derive(Debug, Default)]
pub(super) struct CallerTags(RandomState);

impl CallerTags {
    /// Returns the tag of a caller: by its network, and by network and `Authorization` where it
    /// presents one. The token is not verified here, so it only divides what its network may take.
    pub(super) fn tag(&self, address: IpAddr, headers: &HeaderMap) -> CallerTag {
        let network = network_of(address);
        let number = self.0.hash_one(network);

        let mut credentials = headers
            .get_all(header::AUTHORIZATION)
            .into_iter()
            .peekable();
        if credentials.peek().is_none() {
            return CallerTag::new(number, None);
        }
        let mut hasher = self.0.build_hasher();
        network.hash(&mut hasher);
        for value in credentials {
            value.as_bytes().hash(&mut hasher);
        }
        CallerTag::new(number, Some(hasher.finish()))
    }
}

impl AllowedOrigin {
    pub(super) fn new(origin: HeaderValue) -> Self {
        Self(origin)
    }

    /// Returns the origin as the browser sent it.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl Operator {
    pub(super) fn new(principal: Principal) -> Self {
        Self(principal)
    }

    /// Returns the party that it acts for.
    pub(crate) fn principal(&self) -> &Principal {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart_by_network_and_token() {
        let tags = CallerTags::default();
        let tag = |address: &str, token: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            let token = token.map(HeaderValue::from_static);
            headers.extend(token.map(|token| (header::AUTHORIZATION, token)));
            tags.tag(address.parse().unwrap(), &headers)
        };

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
        assert_eq!(tag("::ffff:192.0.2.1", None), plain);
    }

    #[test]
    fn a_tag_of_another_run_is_another() {
        let address = [192, 0, 2, 1].into();
        let tag = || CallerTags::default().tag(address, &HeaderMap::new());

        assert_ne!(tag(), tag());
    }
}
